"""The machine: its GPU and driver against torch, its disks against what is planned."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from pipeline.config import Engine
from pipeline.doctor.diagnosis import Skipped, Unwell, run_apart
from pipeline.doctor.ports import shown
from pipeline.embed.settings import DRIVER, driver_version, gpus_hidden, places

GIB = 2**30

# The oldest driver for a CUDA version (NVIDIA's CUDA compatibility guide, minor version compatibility).
_LEAST_DRIVER = {11: 450, 12: 525, 13: 580}

# What a document comes to where no run has shown it yet: ten chunks, of 2.5 KB in Parquet and again in the store.
_USUAL_CHUNKS = 10
_USUAL_TEXT_BYTES = 2_500


@dataclass(frozen=True, slots=True)
class Torch:
    """What torch says of itself and of the machine: `cuda` is "" for a CPU build, `gpus` their memory in bytes.

    `free` is what others have left of it, as seen from a process that computes there; empty if it cannot be told.
    """

    version: str
    cuda: str
    available: bool
    gpus: Sequence[int]
    free: Sequence[int] = ()


_ASK_TORCH = """
import json, torch
gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
try:
    free = [torch.cuda.mem_get_info(gpu)[0] for gpu in gpus]
except RuntimeError:
    free = []
total = [torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus]
print(json.dumps([torch.__version__, torch.version.cuda or "", torch.cuda.is_available(), total, free]))
"""


def look_at_torch() -> Torch:
    """Import torch, in a process of its own. Raises Unwell if it cannot be."""
    try:
        said = run_apart(["-c", _ASK_TORCH], timeout=300)
    except Unwell as unwell:
        raise Unwell(f"torch does not import: {unwell}", "install it again, in a new environment") from unwell
    return Torch(*json.loads(said.splitlines()[-1]))


def check_driver(torch: Torch, engine: Engine, driver_file: Path = DRIVER) -> str:
    """torch is built for what the machine has, and lets us see. Raises UsageError as `places` does."""
    driver = driver_version(driver_file)
    if driver:
        places(engine)
    if torch.available and engine.device != "cpu":
        count = f"{len(torch.gpus)} GPU{'' if len(torch.gpus) == 1 else 's'}"
        return f"torch {torch.version} with {count}, driver {driver or 'unknown'}"
    if not torch.cuda:
        if engine.device == "cpu":
            return f"torch {torch.version} on the CPU, as engine.device says"
        if driver and gpus_hidden():
            return f"torch {torch.version} on the CPU: CUDA_VISIBLE_DEVICES hides every GPU"
        if driver:
            raise Unwell(
                f"there is a GPU (driver {driver}), but torch {torch.version} is built without CUDA",
                "pip install 'corpusvec[gpu]' in a new environment; or say engine.device = \"cpu\"",
            )
        if engine.device == "cuda":
            raise Unwell(
                "engine.device is cuda, and this machine has no NVIDIA driver",
                "install the driver; or say engine.device = \"cpu\", with pip install 'corpusvec[cpu]'",
            )
        return f"torch {torch.version}, no GPU"
    if not driver:
        raise Unwell(
            f"torch {torch.version} needs an NVIDIA driver, and this machine has none",
            "install the driver; or use the CPU build, in a new environment: pip install 'corpusvec[cpu]'",
        )
    least = _LEAST_DRIVER.get(int(torch.cuda.partition(".")[0]), 0)
    if driver != "unknown" and int(driver.partition(".")[0]) < least:
        raise Unwell(
            f"driver {driver} is too old for torch {torch.version} (CUDA {torch.cuda})",
            f"install driver {least} or newer, or a torch for an older CUDA",
        )
    if not torch.available:
        raise Unwell(
            f"torch {torch.version} finds no GPU, though driver {driver} is loaded",
            "look at nvidia-smi and CUDA_VISIBLE_DEVICES; in a container, pass the GPUs in",
        )
    return f"torch {torch.version}, its GPUs left alone, as engine.device says"


def check_data(root: str) -> str:
    """Parquet can be written under the data root; what is written to find out is removed."""
    folder = local_folder(root)
    try:
        if folder is None:
            fs, path = fsspec.url_to_fs(root)
            probe = f"{path.rstrip('/')}/.corpusvec-{secrets.token_hex(4)}"
            fs.pipe_file(probe, b"")
            fs.rm_file(probe)
            return f"{shown(root)} can be written"
        nearest = _nearest(folder)
        with tempfile.TemporaryFile(dir=nearest):
            return f"{folder} can be {'written' if nearest == folder else 'made'}"
    except Exception as error:  # each file system has its own
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        raise Unwell(
            f"data = {shown(root)!r} cannot be written: {shown(str(reason))}",
            "make it writable, or correct 'data'",
        ) from error


def check_space(
    folders: Sequence[Path], dimensions: int, documents: int | None, reports: Sequence[Mapping[str, Any]]
) -> str:
    """There is room on the disks of `folders` for what `documents` come to, judged by the newest of `reports`.

    Without a number, as many as that run wrote.
    """
    if not folders:
        raise Skipped("neither Parquet nor the store is on a disk of this machine")
    free = min(shutil.disk_usage(_nearest(folder)).free for folder in folders)
    each, wrote = _usual_bytes(reports)
    each = each or _USUAL_CHUNKS * 2 * (4 * dimensions + _USUAL_TEXT_BYTES)
    count = documents or wrote
    if not count:
        return f"{in_gib(free)} free; --documents N says whether that is enough for N"
    needed = each * count
    how = "as in the last run" if wrote else f"taking {_USUAL_CHUNKS} chunks for each"
    if needed > free:
        raise Unwell(
            f"{count:,} documents come to about {in_gib(needed)} ({how}), and {in_gib(free)} are free",
            "free some disk space, choose fewer dimensions, or put 'data' and the store elsewhere",
        )
    return f"about {in_gib(needed)} for {count:,} documents ({how}), {in_gib(free)} free"


def local_folder(root: str) -> Path | None:
    """The folder that a data root names; None if it is elsewhere."""
    if root.startswith("file://"):
        return Path(root.removeprefix("file://"))
    return None if "://" in root else Path(root).expanduser().absolute()


def _usual_bytes(reports: Sequence[Mapping[str, Any]]) -> tuple[float, int]:
    """What a document came to in the newest run that wrote some, and how many it wrote; 0 if there was none."""
    for report in reports:
        wrote = report["documents"]["new"] + report["documents"]["changed"]
        if wrote and report["bytes"]["written"]:
            return report["bytes"]["written"] / wrote, wrote
    return 0.0, 0


def _nearest(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def in_gib(size: float) -> str:
    """Bytes, for people."""
    return f"{size / GIB:,.1f} GiB"
