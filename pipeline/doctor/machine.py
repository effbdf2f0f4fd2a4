"""The machine: its GPU and driver against torch, its memory against the model, its disks against what is planned."""

from __future__ import annotations

import json
import os
import re
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
from pipeline.doctor.files import parameters
from pipeline.embed.model import Model
from pipeline.embed.settings import DRIVER, computed_dtype, driver_version

GIB = 2**30

# The oldest driver for a CUDA version (NVIDIA's CUDA compatibility guide, minor version compatibility).
_LEAST_DRIVER = {11: 450, 12: 525, 13: 580}

_MEMORY = Path("/proc/meminfo")

# What an engine holds besides weights and a batch: libraries, kernels, CUDA's context, the process itself.
_ENGINE_BYTES = 1.5 * GIB
_BATCHED_TOKENS = {"cuda": 32_768, "cpu": 4_096}
_ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}

# What a document comes to where no run has shown it yet: ten chunks, of 2.5 KB in Parquet and again in the store.
_USUAL_CHUNKS = 10
_USUAL_TEXT_BYTES = 2_500


@dataclass(frozen=True, slots=True)
class Torch:
    """What torch says of itself and of the machine: `cuda` is "" for a CPU build, `gpus` their memory in bytes."""

    version: str
    cuda: str
    available: bool
    gpus: Sequence[int]


def look_at_torch() -> Torch:
    """Import torch, in a process of its own. Raises Unwell if it cannot be."""
    code = (
        "import json, torch; there = torch.cuda.is_available(); "
        "print(json.dumps([torch.__version__, torch.version.cuda or '', there, "
        "[torch.cuda.get_device_properties(n).total_memory for n in range(torch.cuda.device_count())] "
        "if there else []]))"
    )
    try:
        version, cuda, available, gpus = json.loads(run_apart(["-c", code], timeout=300).splitlines()[-1])
    except Unwell as unwell:
        raise Unwell(f"torch does not import: {unwell}", "install it again, in a new environment") from unwell
    return Torch(version, cuda, available, gpus)


def check_driver(torch: Torch, engine: Engine, driver_file: Path = DRIVER) -> str:
    """torch is built for what the machine has."""
    driver = driver_version(driver_file)
    if torch.available and engine.device != "cpu":
        count = f"{len(torch.gpus)} GPU{'' if len(torch.gpus) == 1 else 's'}"
        return f"torch {torch.version} with {count}, driver {driver or 'unknown'}"
    if not torch.cuda:
        if engine.device == "cpu":
            return f"torch {torch.version} on the CPU, as engine.device says"
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


def check_memory(model: Model, engine: Engine, torch: Torch, memory_file: Path = _MEMORY) -> str:
    """Weights, one batch and the engine itself fit; an estimate, see `needed_memory`."""
    gpu = bool(torch.gpus) and engine.device != "cpu"
    needed = needed_memory(model, engine, gpu)
    if gpu:
        there = min(torch.gpus) * (engine.gpu_memory_utilization or 0.9)
        what, remedy = "of GPU memory", "lower engine.max_num_batched_tokens, or take a smaller model"
    else:
        there = _available(memory_file)
        what, remedy = "of memory free", "end what else runs here, or take a smaller model or window"
    if needed > there:
        raise Unwell(
            f"{model.name} needs about {_gib(needed)} with a window of {model.window:,} tokens; there are "
            f"{_gib(there)} {what}",
            remedy,
        )
    return f"about {_gib(needed)} needed of {_gib(there)} {what}"


def needed_memory(model: Model, engine: Engine, gpu: bool) -> float:
    """Bytes: weights in what is computed in, one batch's activations, the engine's own, and a CPU's cache.

    Of a batch's n tokens a layer holds at once about n x (6 hidden + 2 intermediate) numbers: the residual, the
    normalized input, queries, keys, values and attention's output, and two of the feed-forward network.
    """
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    hidden = int(config["hidden_size"])
    tokens = max(engine.max_num_batched_tokens or _BATCHED_TOKENS["cuda" if gpu else "cpu"], model.window)
    item = _ITEM_BYTES[computed_dtype(model, engine, "cuda" if gpu else "cpu")]
    activations = tokens * (6 * hidden + 2 * int(config.get("intermediate_size", 4 * hidden))) * item
    cache = 0 if gpu else float(os.environ.get("VLLM_CPU_KVCACHE_SPACE") or 2) * GIB
    return parameters(model.path) * item + activations + cache + _ENGINE_BYTES


def check_data(root: str) -> str:
    """Parquet can be written under the data root; what is written to find out is removed."""
    folder = local_folder(root)
    try:
        if folder is None:
            fs, path = fsspec.url_to_fs(root)
            probe = f"{path.rstrip('/')}/.corpusvec-{secrets.token_hex(4)}"
            fs.pipe_file(probe, b"")
            fs.rm_file(probe)
            return f"{root} can be written"
        nearest = _nearest(folder)
        with tempfile.TemporaryFile(dir=nearest):
            return f"{folder} can be {'written' if nearest == folder else 'made'}"
    except Exception as error:  # each file system has its own
        raise Unwell(
            f"data = {root!r} cannot be written: {getattr(error, 'strerror', None) or error or type(error).__name__}",
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
        return f"{_gib(free)} free; --documents N says whether that is enough for N"
    needed = each * count
    how = "as in the last run" if wrote else f"taking {_USUAL_CHUNKS} chunks for each"
    if needed > free:
        raise Unwell(
            f"{count:,} documents come to about {_gib(needed)} ({how}), and {_gib(free)} are free",
            "free some disk space, choose fewer dimensions, or put 'data' and the store elsewhere",
        )
    return f"about {_gib(needed)} for {count:,} documents ({how}), {_gib(free)} free"


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


def _available(file: Path) -> float:
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Skipped("this system does not say how much memory is free") from error
    if found is None:
        raise Skipped("this system does not say how much memory is free")
    return int(found[1]) * 1024.0


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f} GiB"
