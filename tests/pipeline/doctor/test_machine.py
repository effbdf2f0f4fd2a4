"""What a machine lacks is told in its own terms: driver, disk; and how checks are gone through."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Engine
from pipeline.doctor.diagnosis import Check, Doubtful, Skipped, Unwell, examine, run_apart
from pipeline.doctor.machine import (
    GIB,
    Torch,
    check_data,
    check_driver,
    check_space,
    look_at_torch,
)
from pipeline.errors import Transient, UsageError
from pipeline.report import Figures

CPU = Torch("2.13.0+cpu", "", False, ())
CUDA = Torch("2.11.0+cu130", "13.0", True, (141 * GIB,))
BLIND = Torch("2.11.0+cu130", "13.0", False, ())


@pytest.fixture
def fake_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that is imported in torch's place; its content is the test's."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "torch.py"


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """What the kernel says of a driver."""
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: 13.3.0\n"
    )
    return file


class TestDriver:
    """torch must be built for what is there."""

    def test_torch_is_asked_itself(self, fake_torch: Path) -> None:
        """What it says of its build and of the GPUs is what is judged."""
        fake_torch.write_text(
            "__version__ = '2.11.0+cu130'\nclass version: cuda = '13.0'\n"
            "class cuda:\n    is_available = staticmethod(lambda: False)\n    device_count = staticmethod(lambda: 0)\n"
        )
        assert look_at_torch() == Torch("2.11.0+cu130", "13.0", False, [], [])

    @pytest.mark.parametrize(
        ("says", "free"), [("return gpu + 3, gpu + 5", [3, 4]), ("raise RuntimeError('busy')", [])]
    )
    def test_each_gpu_says_what_is_free(self, says: str, free: list[int], fake_torch: Path) -> None:
        """Its memory, and what others have left of it; a GPU that lets nobody in leaves only the latter unsaid."""
        fake_torch.write_text(
            "import types\n__version__ = '2.11.0+cu130'\nclass version: cuda = '13.0'\n"
            "class cuda:\n    is_available = staticmethod(lambda: True)\n    device_count = staticmethod(lambda: 2)\n"
            "    get_device_properties = staticmethod(lambda gpu: types.SimpleNamespace(total_memory=gpu + 5))\n"
            f"    @staticmethod\n    def mem_get_info(gpu): {says}\n"
        )
        assert look_at_torch() == Torch("2.11.0+cu130", "13.0", True, [5, 6], free)

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            ("import os; os.abort()", "SIGABRT killed Python"),
            ("raise ImportError('libcudart.so.13: cannot open')", "libcudart"),
        ],
    )
    def test_a_torch_that_does_not_import(self, code: str, told: str, fake_torch: Path) -> None:
        """Even one that takes the interpreter with it costs only its own line."""
        fake_torch.write_text(code)
        with pytest.raises(Unwell, match=told):
            look_at_torch()

    @pytest.mark.parametrize(
        ("torch", "device", "there", "told", "remedy"),
        [
            (CPU, "auto", True, "built without CUDA", r"corpusvec\[gpu\]"),
            (CPU, "cuda", False, "engine.device is cuda, and this machine has no", r"corpusvec\[cpu\]"),
            (BLIND, "auto", False, "this machine has none", "install the driver"),
            (BLIND, "auto", True, "finds no GPU", "CUDA_VISIBLE_DEVICES"),
        ],
    )
    def test_what_does_not_fit(
        self, torch: Torch, device: Any, there: bool, told: str, remedy: str, driver: Path, tmp_path: Path
    ) -> None:
        """A CPU torch beside a GPU, a CUDA torch without a driver, a GPU that torch does not see."""
        with pytest.raises(Unwell, match=told) as caught:
            check_driver(torch, Engine(device=device), driver if there else tmp_path / "none")
        assert re.search(remedy, caught.value.remedy)

    def test_a_driver_too_old(self, driver: Path) -> None:
        """Both versions are named, and the one that is needed."""
        driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n")
        with pytest.raises(Unwell, match=r"535\.183\.01 is too old .*CUDA 13\.0") as caught:
            check_driver(BLIND, Engine(), driver)
        assert "580" in caught.value.remedy

    def test_what_fits(self, driver: Path, tmp_path: Path) -> None:
        """A CUDA torch with its driver, wherever that is; a CPU torch without; any beside a GPU that is not wanted."""
        assert check_driver(CUDA, Engine(), tmp_path / "none").endswith("driver unknown")
        assert "as engine.device says" in check_driver(CUDA, Engine(device="cpu"), driver)
        assert check_driver(CUDA, Engine(), driver) == "torch 2.11.0+cu130 with 1 GPU, driver 580.95.05"
        assert "no GPU" in check_driver(CPU, Engine(), tmp_path / "none")
        assert "engine.device" in check_driver(CPU, Engine(device="cpu"), driver)

    def test_gpus_that_are_hidden(self, driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A CPU torch is then right on a GPU's machine; who wants the GPU is told why there is none."""
        monkeypatch.setattr("pipeline.embed.settings.DRIVER", driver)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert "CUDA_VISIBLE_DEVICES hides" in check_driver(CPU, Engine(), driver)
        with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES is '' and hides every GPU"):
            check_driver(CUDA, Engine(device="cuda"), driver)
        with pytest.raises(Unwell, match="finds no GPU"):
            check_driver(BLIND, Engine(), driver)


class TestDisk:
    """Parquet can be written, and there is room."""

    @pytest.mark.parametrize("root", ["/proc/corpusvec", "/sys/corpusvec", "a-file/data", "nosuch://bucket/data"])
    def test_a_root_that_cannot_be_written(self, root: str, workplace: Path) -> None:
        """A read-only place, a file in the way, a file system that nobody knows: told with the setting to correct."""
        (workplace / "a-file").write_text("in the way")
        with pytest.raises(Unwell, match="cannot be written") as caught:
            check_data(root)
        assert "'data'" in caught.value.remedy

    def test_a_root_that_can(self, workplace: Path) -> None:
        """Whether it is there or would be made; nothing is left behind."""
        assert check_data("data/deeper").endswith("can be made")
        (workplace / "data").mkdir()
        assert check_data(str(workplace / "data")).endswith("can be written")
        assert check_data("memory://doctor/data") == "memory://doctor/data can be written"
        assert [path.name for path in workplace.rglob("*")] == ["data"]

    def test_too_little_room(self, workplace: Path) -> None:
        """More documents than there is room for, by what the newest run's came to."""
        report = Figures(Counter(new=8, changed=2), bytes_written=10 * 2**20).as_dict()
        with pytest.raises(Unwell, match=r"come to about .* \(as in the last run\)"):
            check_space([workplace], 384, 10**12, [report])
        assert "10 documents (as in the last run)" in check_space([workplace / "data"], 384, None, [report])
        assert "for 5 documents" in check_space([workplace], 384, 5, [report])

    def test_room_without_a_run(self, workplace: Path) -> None:
        """Then what is assumed is said; longer vectors need more."""
        with pytest.raises(Unwell, match="10 chunks for each"):
            check_space([workplace], 384, 10**12, [])
        assert "--documents" in check_space([workplace], 384, None, [])
        with pytest.raises(Skipped):
            check_space([], 384, 10, [])


class TestExamining:
    """One check's trouble is not another's."""

    def test_every_check_is_done(self) -> None:
        """Sound, unwell, failing in words or in a way that nobody foresaw; what builds on them is skipped."""

        def transient() -> str:
            raise Transient("the server is away")

        def unforeseen() -> str:
            raise RuntimeError("oops")

        def unwell() -> str:
            raise Unwell("too old", "get a new one")

        def doubtful() -> str:
            raise Doubtful("odd", "if it is not meant, mend it")

        found = list(
            examine(
                [
                    Check("a", lambda: "fine"),
                    Check("b", transient),
                    Check("c", unforeseen),
                    Check("d", unwell),
                    Check("e", lambda: "never", ("a", "d")),
                    Check("f", lambda: "never", ("e",)),
                    Check("g", doubtful),
                    Check("h", lambda: "done", ("g",)),
                ]
            )
        )
        states = ["ok", "failed", "failed", "failed", "skipped", "skipped", "warning", "ok"]
        assert [one.state for one in found] == states
        assert [one.remedy for one in found if one.remedy] == ["get a new one", "if it is not meant, mend it"]
        assert found[4].found == "needs d"

    @pytest.mark.parametrize("here", [[""], []])
    def test_what_lies_in_the_current_folder(
        self, here: list[str], workplace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A user's own `torch.py`, `flows` or `pipeline` is not the package, though a notebook's path has "" in it."""
        monkeypatch.setattr("sys.path", here + sys.path)
        for name in ("torch.py", "flows/__init__.py", "pipeline/__init__.py"):
            (workplace / name).parent.mkdir(exist_ok=True)
            (workplace / name).write_text("raise RuntimeError('no package')\n")
        assert "usage: corpusvec" in run_apart(["-m", "flows.cli", "--help"], timeout=60)
        found = run_apart(
            ["-c", "from importlib.util import find_spec as f; print(f('torch').origin, f('flows').origin)"]
        )
        assert str(workplace) not in found

    def test_a_process_that_does_not_end(self) -> None:
        """It is given up on."""
        with pytest.raises(Unwell, match=r"did not end within 0\.2 s"):
            run_apart(["-c", "import time; time.sleep(60)"], timeout=0.2)
