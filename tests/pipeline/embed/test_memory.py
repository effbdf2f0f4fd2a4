"""An engine without enough memory gets smaller batches, in whatever words it died; no text is blamed for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.embed.memory import Memory, in_words
from pipeline.embed.pool import Pool
from pipeline.errors import Poisoned, Terminal
from tests.pipeline.embed.fake import WINDOW, expect, fault, starts, texts

TORCH_CPU = (
    "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "8589934592 bytes. Error code 12 (Cannot allocate memory)"
)


def batches(folder: Path) -> list[int]:
    """How many texts at a time each engine took."""
    return [int(batch) for _, _, batch in starts(folder)]


@pytest.mark.parametrize(
    "died",
    [
        "raised:CUDA out of memory. Tried to allocate 2.00 GiB",
        f"raised:{TORCH_CPU}",
        "raised:std::bad_alloc",
        "raised:CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "raised:could not create a memory object",
        "raised:[Errno 12] Cannot allocate memory",
        f"wrapped:{TORCH_CPU}",
        "meanwhile:std::bad_alloc",
        f"apart:{TORCH_CPU}",
        "aborted:terminate called after throwing an instance of 'std::bad_alloc'",
        "killed:",
    ],
)
def test_out_of_memory_means_smaller_batches(
    died: str, opened: Callable[..., Pool], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised in each library's words, as the cause of another error or while one was handled, printed by a process of
    the engine's own or before an abort, or ended by the kernel: half as much at a time embeds the same texts."""
    monkeypatch.setenv("FAKE_MEMORY", died)
    pool = opened(max_num_seqs=4)
    for first in (0, 100):
        ids = [[first + number, fault("memory")] for number in range(12)]
        assert np.array_equal(pool.embed(ids), expect(ids))
    assert batches(folder) == [4, 2]
    assert "again, with batches of 2048 tokens and 2 texts" in pool.warnings[0]


def test_batches_get_smaller_until_they_fit(opened: Callable[..., Pool], folder: Path) -> None:
    """Half, and half of that."""
    ids = [[number, fault("memory")] for number in range(1, 13)]
    pool = opened(max_num_seqs=8)
    assert np.array_equal(pool.embed(ids), expect(ids))
    assert batches(folder) == [8, 4, 2]
    assert "out of memory" in pool.warnings[0]


def test_a_text_that_ends_its_engine_leaves_the_batches_as_they_were(opened: Callable[..., Pool], folder: Path) -> None:
    """SIGKILL may have been for memory; if it was one text's doing after all, smaller batches were of no use."""
    ids = texts(4)
    ids[2] = [3, fault("kill")]
    with pytest.raises(Poisoned, match="SIGKILL") as caught:
        opened(max_num_seqs=8).embed(ids)
    assert list(caught.value.faults) == [2]
    assert (batches(folder)[1], batches(folder)[-1]) == (4, 8)


class TestStart:
    """An engine tries its largest batch as it starts."""

    @pytest.mark.parametrize("died", ["raised:std::bad_alloc", f"wrapped:{TORCH_CPU}", f"apart:{TORCH_CPU}"])
    def test_a_batch_that_is_too_large_is_halved_until_it_fits(
        self, died: str, opened: Callable[..., Pool], folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It starts with what fits, and the warnings say so."""
        monkeypatch.setenv("FAKE_MEMORY", died)
        (folder / "room").write_text("1500")
        pool = opened(max_num_batched_tokens=4_096)
        assert len(starts(folder)) == 3, "4,096 tokens, 2,048 and 1,024"
        assert [("batches of 2048" in pool.warnings[0]), ("batches of 1024" in pool.warnings[1])] == [True, True]
        assert "want of memory" in pool.warnings[0]
        ids = texts(100)
        assert np.array_equal(pool.embed(ids), expect(ids))

    def test_where_not_even_one_text_fits_it_is_over(self, opened: Callable[..., Pool], folder: Path) -> None:
        """No batch is smaller than the window; then the message says what there is to do."""
        (folder / "room").write_text("1")
        with pytest.raises(Terminal, match=rf"out of memory.*batches of {WINDOW} tokens.*lower max_model_len"):
            opened(max_num_batched_tokens=4 * WINDOW, max_num_seqs=64)
        assert len(starts(folder)) == 3

    def test_an_end_by_the_kernel_is_believed_once(self, opened: Callable[..., Pool], folder: Path) -> None:
        """SIGKILL that is not ours may be for memory: one more start, with half the batch."""
        (folder / "start-kill").touch()
        with pytest.raises(Terminal, match="SIGKILL, perhaps for want of memory"):
            opened(max_num_seqs=8)
        assert batches(folder) == [8, 4]

    def test_one_that_ran_is_first_started_as_it_was(self, opened: Callable[..., Pool], folder: Path) -> None:
        """What the dead one held may not be free yet; only if memory is short again, there are smaller batches."""
        pool = opened(max_num_batched_tokens=1_000, max_num_seqs=8)
        (folder / "room").write_text("600")
        (folder / "once-exit").touch()
        ids = texts(20)
        assert np.array_equal(pool.embed(ids), expect(ids))
        assert batches(folder) == [8, 8, 8, 4]


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("torch.OutOfMemoryError: HIP", Memory.YES),
        ("hipErrorOutOfMemory", Memory.YES),
        ("cudaErrorMemoryAllocation", Memory.YES),
        ("MemoryError", Memory.YES),
        ("Unable to allocate memory for the thing", Memory.YES),
        ("ValueError: No available memory for the cache blocks.", Memory.YES),
        ("EngineDeadError: EngineCore encountered an issue.", Memory.PERHAPS),
        ("Engine core initialization failed. See root cause above.", Memory.PERHAPS),
        ("CUDA error: an illegal memory access was encountered", Memory.NO),
        ("the memory of the device is of another kind", Memory.NO),
        ("", Memory.NO),
    ],
)
def test_the_words_for_it_are_told_from_others(text: str, memory: Memory) -> None:
    """An illegal access to memory is no want of it."""
    assert in_words(text) is memory
