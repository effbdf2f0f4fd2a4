"""A model that does not fit is told before minutes are spent on loading it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.config import Engine
from pipeline.doctor.diagnosis import Skipped, Unwell
from pipeline.doctor.machine import GIB, Torch
from pipeline.doctor.memory import check_memory, engines_with_room, needed_memory
from pipeline.embed.model import Model

CPU = Torch("2.13.0+cpu", "", False, ())


def cuda(*gpus: int, free: tuple[int, ...] = ()) -> Torch:
    """GPUs with so many GiB, of which so many are free."""
    return Torch("2.11.0+cu130", "13.0", True, [gib * GIB for gib in gpus], [gib * GIB for gib in free])


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A machine with 64 GiB free."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:    {64 * 2**20} kB\n")
    return tmp_path


def limited(group: Path, names: tuple[str, str, str], limit: str, used: int, idle: int) -> None:
    """A control group with a limit, so much used, and so much of that in files that nobody reads."""
    group.mkdir(parents=True, exist_ok=True)
    (group / names[0]).write_text(f"{limit}\n")
    (group / names[1]).write_text(f"{used}\n")
    (group / "memory.stat").write_text(
        f"anon 1\ninactive_file 0\n{names[2]} {idle}\n".replace("\ninactive_file 0", "", 1)
    )


SECOND = ("memory.max", "memory.current", "inactive_file")
FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


class TestMachine:
    """On a CPU: what is free, and what is allowed."""

    def test_too_little(self, minilm: Model, system: Path) -> None:
        """The window, what is needed and what there is are in the sentence."""
        assert "64.0 GiB of memory free" in check_memory(minilm, Engine(), CPU, system)
        (system / "proc" / "meminfo").write_text("MemTotal: 2097152 kB\nMemAvailable:    1048576 kB\n")
        with pytest.raises(Unwell, match=r"minilm needs about .* window of 256 tokens; there are 1\.0 GiB"):
            check_memory(minilm, Engine(), CPU, system)

    @pytest.mark.parametrize(
        ("line", "root", "names"),
        [("0::/pod/box", "sys/fs/cgroup", SECOND), ("4:cpuacct,memory:/pod/box", "sys/fs/cgroup/memory", FIRST)],
    )
    def test_a_container_that_has_less(
        self, line: str, root: str, names: tuple[str, str, str], minilm: Model, system: Path
    ) -> None:
        """The limit of its control group counts, or of one above, in either version; files that can go are no loss."""
        (system / "proc" / "self" / "cgroup").write_text(f"7:pids:/elsewhere\n{line}\n")
        limited(system / root / "pod" / "box", names, str(8 * GIB), 7 * GIB, 6 * GIB)
        assert "7.0 GiB of memory left by the limit" in check_memory(minilm, Engine(), CPU, system)
        limited(system / root / "pod", names, str(2 * GIB), GIB, 0)
        with pytest.raises(Unwell, match=r"there are 1\.0 GiB of memory left by the limit .*container"):
            check_memory(minilm, Engine(), CPU, system)

    def test_a_container_sees_its_own_group_as_the_root(self, minilm: Model, system: Path) -> None:
        """The kernel may name a path of the host's that is not there inside."""
        (system / "proc" / "self" / "cgroup").write_text("0::/../docker/4f\n")
        limited(system / "sys" / "fs" / "cgroup", SECOND, str(GIB), 0, 0)
        with pytest.raises(Unwell, match=r"there are 1\.0 GiB"):
            check_memory(minilm, Engine(), CPU, system)

    def test_a_group_without_a_limit(self, minilm: Model, system: Path) -> None:
        """Then what the machine has free counts."""
        (system / "proc" / "self" / "cgroup").write_text("0::/pod\n4:memory:/pod\n")
        limited(system / "sys/fs/cgroup/pod", SECOND, "max", GIB, 0)
        limited(system / "sys/fs/cgroup/memory/pod", FIRST, "9223372036854771712", GIB, 0)
        assert "64.0 GiB of memory free" in check_memory(minilm, Engine(), CPU, system)

    def test_a_system_that_does_not_say(self, minilm: Model, tmp_path: Path) -> None:
        """Without the kernel's word nothing is guessed, and one engine is started."""
        with pytest.raises(Skipped):
            check_memory(minilm, Engine(), CPU, tmp_path / "none")
        assert engines_with_room(minilm, Engine(), tmp_path / "none") == 1

    def test_several_engines(self, minilm: Model, system: Path) -> None:
        """No more are started than three quarters of it hold; one that is asked for beyond is told by its setting."""
        count = engines_with_room(minilm, Engine(), system)
        assert count * needed_memory(minilm, Engine(), False) <= 48 * GIB
        assert (count + 1) * needed_memory(minilm, Engine(), False) > 48 * GIB
        assert check_memory(minilm, Engine(cpu_engines=count), CPU, system)
        with pytest.raises(Unwell, match=r"for \d+ engines with") as caught:
            check_memory(minilm, Engine(cpu_engines=2 * count), CPU, system)
        assert "engine.cpu_engines" in caught.value.remedy
        (system / "proc" / "meminfo").write_text("MemAvailable:    1048576 kB\n")
        assert engines_with_room(minilm, Engine(), system) == 1


class TestGpus:
    """On GPUs: what is free on each of those that are used."""

    def test_too_little(self, minilm: Model) -> None:
        """The smallest GPU counts, by the part of it that the engine may have; one that is not used does not."""
        small = cuda(80, 2)
        half = Engine(gpu_memory_utilization=0.5)
        with pytest.raises(Unwell, match=r"1\.0 GiB of GPU memory"):
            check_memory(minilm, half, small)
        assert "40.0 GiB" in check_memory(minilm, half.model_copy(update={"gpus": 1}), small)
        assert check_memory(minilm, Engine(), cuda(141))

    def test_what_others_have_taken(self, minilm: Model) -> None:
        """What is free counts, not what there is; and vLLM does not start without the part that it is to take."""
        with pytest.raises(Unwell, match=r"there are 1\.0 GiB of GPU memory free"):
            check_memory(minilm, Engine(), cuda(80, 80, free=(79, 1)))
        with pytest.raises(
            Unwell, match=r"GPU 1 has 40\.0 GiB of 80\.0 GiB free, and an engine asks for 90%"
        ) as caught:
            check_memory(minilm, Engine(), cuda(80, 80, free=(79, 40)))
        assert "engine.gpu_memory_utilization = 0.5" in caught.value.remedy
        assert check_memory(minilm, Engine(gpu_memory_utilization=0.5), cuda(80, 80, free=(79, 40)))

    def test_several_engines_on_one(self, minilm: Model) -> None:
        """Each has its own weights and batch: twice as many need twice as much."""
        one = needed_memory(minilm, Engine(), True) / GIB
        fits = cuda(int(one * 1.5 / 0.9) + 1)
        assert check_memory(minilm, Engine(), fits)
        with pytest.raises(Unwell, match=r"for 2 engines a GPU") as caught:
            check_memory(minilm, Engine(engines_per_gpu=2), fits)
        assert "engines_per_gpu" in caught.value.remedy


def test_a_longer_window_needs_more(tiny: Model) -> None:
    """So does a wider type of number, by as much as the weights have numbers; a window that is set lower needs less."""
    shorter = dataclasses.replace(tiny, window=512)
    assert needed_memory(tiny, Engine(), False) > needed_memory(shorter, Engine(), False)
    assert needed_memory(tiny, Engine(max_model_len=512), False) == needed_memory(shorter, Engine(), False)
    narrow, wide = (needed_memory(tiny, Engine(compute_dtype=dtype), False) for dtype in ("bfloat16", "float32"))
    assert wide > narrow
