"""How engines are set up: from the hardware and the model, and as the user says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Engine
from pipeline.embed.settings import (
    batched_tokens,
    cpu_cache_gib,
    driver_version,
    engine_settings,
    environment,
    for_work,
    likely_device,
    outgrown,
    places,
    smaller,
)
from pipeline.embed.shapes import REACHED_FLOPS, SHAPES
from pipeline.embed.watchdog import Suspects, Watchdog
from pipeline.embed.work import Job, Row, WorkQueue
from pipeline.errors import Terminal, UsageError
from tests.pipeline.embed.fake import WINDOW, fake_model, vector_of

MODEL = fake_model(Path("nowhere"))
# Qwen3-Embedding-0.6B's: 114,688 bytes a token in bfloat16.
QWEN = {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
HALF = replace(MODEL, dtype="bfloat16")


def rows_of(lengths: list[int]) -> tuple[Job, list[Row]]:
    """A job of texts with so many tokens each."""
    job = Job(len(lengths), 16)
    return job, [Row(job, index, np.arange(length, dtype=np.int32)) for index, length in enumerate(lengths)]


def test_each_engine_of_a_gpu_gets_its_part_of_the_memory() -> None:
    """Several engines share what one would take."""
    assert engine_settings(MODEL, Engine(device="cuda"))["gpu_memory_utilization"] == 0.9
    shared = engine_settings(MODEL, Engine(device="cuda", engines_per_gpu=3, gpu_memory_utilization=0.6))
    assert shared["gpu_memory_utilization"] == 0.2


def test_engines_stand_where_gpus_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One engine a visible GPU, or as many as asked for; more GPUs than there are is a mistake; a CPU has one too."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert places(Engine(device="cuda")) == ["2", "5"]
    assert places(Engine(device="cuda", gpus=1, engines_per_gpu=2)) == ["2", "2"]
    assert places(Engine(device="cpu")) == ["cpu"]
    assert places(Engine(device="cpu", cpu_engines=3)) == ["cpu"] * 3
    with pytest.raises(UsageError, match="gpus is 3, but 2"):
        places(Engine(device="cuda", gpus=3))


@pytest.mark.parametrize("hiding", ["", " ", "-1", "NoDevFiles", "-1,0"])
def test_gpus_that_are_hidden(hiding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CUDA_VISIBLE_DEVICES names no GPU, "auto" is the CPU, and "cuda" a mistake that names the variable."""
    (tmp_path / "version").touch()
    monkeypatch.setattr("pipeline.embed.settings.DRIVER", tmp_path / "version")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert likely_device(Engine()) == "cuda"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hiding)
    assert likely_device(Engine()) == "cpu"
    assert places(Engine()) == ["cpu"]
    with pytest.raises(UsageError, match=f"CUDA_VISIBLE_DEVICES is '{hiding}' and hides every GPU"):
        places(Engine(device="cuda"))


def test_gpus_are_named_as_cuda_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number or by UUID, up to the first that is neither."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-8932f937,MIG-4e2f,-1,3")
    assert places(Engine(device="cuda")) == ["1", "GPU-8932f937", "MIG-4e2f"]


def test_a_few_queries_take_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many GPUs there are; it makes room for all of them once there is enough for them to do."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    wanted = Engine(device="cuda", engines_per_gpu=2)
    one, few, many = (for_work(wanted, tokens) for tokens in (0, 1_000, 1e7))
    assert places(one) == ["2"]
    assert places(few) == places(many) == ["2", "2", "5", "5"]
    assert not outgrown(one, few, 1_000)
    assert outgrown(one, many, 1e7)
    assert not outgrown(few, many, 1e7)
    assert not outgrown(many, one, 0)
    assert outgrown(many, for_work(wanted, 1e12), 1e12), "which is compiled"


@pytest.mark.parametrize(
    ("cores", "room", "engines", "threads"),
    [(1, 9, 1, 1), (2, 9, 2, 1), (2, 1, 1, 2), (4, 3, 2, 2), (6, 9, 6, 1), (7, 6, 1, 7), (9, 9, 3, 3), (64, 99, 8, 8)],
)
def test_a_large_run_shares_out_a_cpus_cores(
    cores: int, room: int, engines: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among as many engines as memory has room for, 8 at most, of as many threads each; a small run has one of all."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    for name in ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND"):  # an engine inside this process leaves its own
        monkeypatch.delenv(name, raising=False)
    cpu = Engine(device="cpu")
    for tokens, expected in ((0, (1, cores)), (1_000, (1, cores)), (math.inf, (engines, threads))):
        chosen = for_work(cpu, tokens, room)
        variables = environment(MODEL, chosen, "cpu")
        assert (len(places(chosen)), int(variables["OMP_NUM_THREADS"])) == expected
        assert (variables["VLLM_CPU_OMP_THREADS_BIND"] == "nobind") == (expected[0] > 1)
    assert len(places(for_work(Engine(device="cpu", cpu_engines=3), 1_000, room))) == 3, "as it is set"
    assert len(places(for_work(Engine(device="cpu", cpu_engines=3), 0, room))) == 1, "but for queries"


@pytest.mark.parametrize(
    ("said", "dtype"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 vnni", "bfloat16"),
        ("flags\t\t: fpu amx_bf16 amx_tile", "bfloat16"),
        ("Features\t: fp asimd bf16 sve", "bfloat16"),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", "float32"),
        ("Features\t: fp asimd", "float32"),
        ("nothing of the kind", "bfloat16"),
    ],
)
def test_a_cpu_computes_in_what_it_can(said: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 where the CPU has instructions for it, else float32; a recipe in anything else is left as it is."""
    monkeypatch.setattr("pipeline.embed.settings._CPU", tmp_path / "cpuinfo")
    assert engine_settings(HALF, Engine(device="cpu"))["dtype"] == "bfloat16", "the system does not say"
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{said}\nbogomips\t: 5000\n")
    assert engine_settings(HALF, Engine(device="cpu"))["dtype"] == dtype
    assert engine_settings(HALF, Engine(device="cuda"))["dtype"] == "bfloat16"
    assert engine_settings(replace(HALF, dtype="float16"), Engine(device="cpu"))["dtype"] == "float16"


def test_what_is_computed_in_is_no_less_exact_than_the_recipe() -> None:
    """The setting may be the recipe's dtype or float32; what is less exact would make other vectors."""
    for device in ("cpu", "cuda"):
        for dtype in ("bfloat16", "float32"):
            assert engine_settings(HALF, Engine(device=device, compute_dtype=dtype))["dtype"] == dtype
        with pytest.raises(UsageError, match=r"float16.*bfloat16"):
            engine_settings(HALF, Engine(device=device, compute_dtype="float16"))
    with pytest.raises(UsageError, match=r"bfloat16.*float32"):
        engine_settings(replace(HALF, dtype="float32"), Engine(compute_dtype="bfloat16"))


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC",
            "580.95.05",
        ),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n", "535.183.01"),
        ("something else", "unknown"),
    ],
)
def test_the_driver_is_named(said: str, version: str, tmp_path: Path) -> None:
    """By its version, in either form that the driver tells it; the chip's architecture is none."""
    (tmp_path / "version").write_text(said)
    assert driver_version(tmp_path / "version") == version
    assert driver_version(tmp_path / "none") == ""


def test_compiling_is_for_large_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's graph is compiled if there are tokens enough for each GPU; a CPU's never; or as it is set."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    one = Engine(device="cuda")
    assert [for_work(one, tokens).compile for tokens in (0, 1_000, 1e12, math.inf)] == [False, False, True, True]
    enough = next(tokens for tokens in range(0, 10**9, 10**6) if for_work(one, tokens).compile)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert not for_work(one, 3 * enough).compile
    assert for_work(one, 4 * enough).compile
    assert not for_work(Engine(device="cpu"), math.inf).compile
    assert for_work(Engine(device="cpu", compile=True), 0).compile
    assert not for_work(Engine(device="cuda", compile=False), math.inf).compile


def test_what_the_user_set_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours are defaults."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    assert environment(MODEL, Engine(device="cpu"), "cpu")["VLLM_CPU_KVCACHE_SPACE"] == "7"


@pytest.mark.parametrize(
    ("config", "window", "dtype", "gib"),
    [
        (QWEN, 32_768, "bfloat16", 4),
        (QWEN, 32_768, "float32", 8),
        (QWEN, 512, "bfloat16", 2),
        ({"num_hidden_layers": 6, "num_attention_heads": 12, "hidden_size": 384}, 256, "bfloat16", 2),
        ({"num_hidden_layers": 24, "num_attention_heads": 0, "hidden_size": 8192}, 32_768, "bfloat16", 2),
        ({}, 32_768, "bfloat16", 2),
    ],
)
def test_a_cpu_has_room_for_the_keys_and_values_of_a_window(
    config: dict[str, int], window: int, dtype: str, gib: int, tmp_path: Path
) -> None:
    """As many GiB as the longest text takes, at least two; without, vLLM does not start."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = replace(MODEL, path=tmp_path, window=window, dtype=dtype)
    engine = Engine.model_validate({"device": "cpu", "compute_dtype": dtype})
    assert cpu_cache_gib(model, engine) == gib


def test_a_window_above_the_models_is_refused() -> None:
    """`max_model_len` may be less than the model's window, not more; a batch holds at least one such text."""
    assert engine_settings(MODEL, Engine(device="cpu", max_model_len=32))["max_model_len"] == 32
    with pytest.raises(UsageError, match=f"takes {WINDOW} tokens"):
        engine_settings(MODEL, Engine(device="cpu", max_model_len=WINDOW + 1))


def test_smaller_batches_come_to_an_end() -> None:
    """Each time less, never less than a window, and then nothing is smaller."""
    engine: Engine | None = Engine(device="cuda")
    seen = []
    while engine is not None:
        seen.append(batched_tokens(MODEL, engine))
        engine = smaller(engine, MODEL)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == WINDOW
    assert len(seen) < 20


def test_the_arithmetic_roof_is_the_known_one() -> None:
    """4B at 512 tokens and 790 TFLOP/s is 106,000 tokens/s, at 32,768 tokens 47,000."""
    shape = SHAPES["qwen3-4b"]
    roofs = [REACHED_FLOPS * length / shape.flops([length]) for length in (512, 32_768)]
    assert [round(roof / 1000) for roof in roofs] == [107, 47]


class TestQueue:
    """Texts of many callers, handed out by token count."""

    @settings(deadline=None)
    @given(st.lists(st.integers(1, 64), max_size=80), st.integers(64, 300), st.integers(1, 20))
    def test_everything_is_handed_out_once_in_bounded_parcels(self, lengths: list[int], tokens: int, rows: int) -> None:
        """No parcel holds more tokens or texts than asked for, and every text is in one."""
        job, submitted = rows_of(lengths)
        queue = WorkQueue(window=200)
        queue.submit(job, submitted)
        taken: list[int] = []
        while parcel := queue.take(tokens, rows):
            assert sum(map(len, parcel)) <= tokens
            assert len(parcel) <= rows
            taken += [row.index for row in parcel]
        assert sorted(taken) == list(range(len(lengths)))

    def test_the_longest_of_a_window_go_first_and_the_next_window_waits(self) -> None:
        """Lengths fall within a window; a later text, however long, does not overtake it."""
        job, submitted = rows_of([3, 9, 5, 60, 50])
        queue = WorkQueue(window=17)
        queue.submit(job, submitted)
        order = []
        while parcel := queue.take(64, 1):
            order += [len(row) for row in parcel]
        assert order == [9, 5, 3, 60, 50]

    def test_towards_the_end_parcels_get_smaller(self) -> None:
        """What is left is shared among the engines, for all to end together."""
        job, submitted = rows_of([10] * 100)
        queue = WorkQueue(window=10_000)
        queue.share_among(2)
        queue.submit(job, submitted)
        sizes = []
        while parcel := queue.take(400, 100):
            sizes.append(len(parcel))
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > 4 * sizes[-1]

    def test_whoever_waits_is_told_of_the_end(self) -> None:
        """An ended queue fails what is in it and what comes."""
        job, submitted = rows_of([4, 4])
        queue = WorkQueue(window=100)
        queue.submit(job, submitted)
        queue.end(Terminal("over"))
        assert job.settled.is_set()
        assert str(job.error) == "over"
        with pytest.raises(Terminal, match="over"):
            queue.submit(*rows_of([1]))


class TestWatchdog:
    """How long silence is borne, and who is blamed."""

    def test_patience_follows_tokens_and_speed(self) -> None:
        """More tokens, more patience; a faster engine, less; never less than the setting."""
        watchdog = Watchdog(60, "cuda")
        unknown = watchdog.patience(100_000)
        watchdog.observe(100_000, 1.0)
        assert 60 < watchdog.patience(50_000) < watchdog.patience(100_000) < unknown
        assert watchdog.patience(0) == 60

    def test_a_speed_is_that_of_all_parcels_of_a_step(self) -> None:
        """Four parcels finished in one breath are as fast as one of all their tokens."""
        burst, whole = Watchdog(60, "cpu"), Watchdog(60, "cpu")
        for _ in range(5):
            whole.observe(4_000, 2.0)
            for seconds in (2.0, 1e-6, 1e-6, 1e-6):
                burst.observe(1_000, seconds)
        assert burst.patience(5_000) == pytest.approx(whole.patience(5_000), rel=1e-3)

    def test_a_moment_says_nothing_of_a_speed(self) -> None:
        """Before it has been at work for a second, an engine may still be as slow as any."""
        watchdog = Watchdog(60, "cpu")
        unknown = watchdog.patience(4_096)
        watchdog.observe(500, 0.01)
        assert watchdog.patience(4_096) == unknown

    @pytest.mark.parametrize("factor", [0.1, 10.0])
    def test_an_engine_may_change_its_speed(self, factor: float) -> None:
        """Two minutes later the old speed counts for little, whether it was the greater or the less."""
        watchdog = Watchdog(0.001, "cpu")
        for _ in range(100):
            watchdog.observe(1_000, 1.0)
        before = watchdog.patience(4_096)
        for _ in range(120):
            watchdog.observe(int(1_000 * factor), 1.0)
        assert watchdog.patience(4_096) * factor == pytest.approx(before, rel=0.5)

    @settings(deadline=None)
    @given(st.integers(1, 64), st.sets(st.integers(0, 63), max_size=5))
    def test_exactly_the_guilty_are_found(self, count: int, guilty: set[int]) -> None:
        """Whatever kills the engine is found, nothing else is blamed, and restarts grow with the logarithm."""
        _, rows = rows_of([1] * count)
        guilty = {index for index in guilty if index < count}
        suspects, blamed, cleared, restarts = Suspects(), set(), set(), 0
        suspects.delay(rows)
        while suspects:
            group = suspects.next_group()
            if guilty & {row.index for row in group}:
                restarts += 1
                poison = suspects.accuse(group)
                blamed |= {poison.index} if poison else set()
            else:
                cleared |= {row.index for row in group}
        assert blamed == guilty
        assert cleared == set(range(count)) - guilty
        assert restarts <= max(1, len(guilty)) * (count.bit_length() + 2)


def test_a_vector_is_a_matter_of_its_text() -> None:
    """The fake engine these tests rest on gives different texts different vectors of length 1."""
    one, other = vector_of([1, 2]), vector_of([2, 1])
    assert abs(float(one @ one) - 1) < 1e-6
    assert float(one @ other) < 0.999
