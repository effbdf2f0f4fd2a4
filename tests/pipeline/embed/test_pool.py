"""A pool of engines gives every text its vector, whatever befalls an engine, and blames the text that kills it.

Real processes and shared memory; the engine inside is `fake.FakeEngine`, which does what the texts tell it to.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.config import Engine
from pipeline.embed.pool import Pool
from pipeline.errors import Poisoned, Terminal
from tests.pipeline.embed.fake import (
    DIMENSIONS,
    FAKE,
    FAULTS,
    MOMENTS,
    SHORT_SILENCE,
    SILENCE,
    WINDOW,
    embedded,
    expect,
    fake_model,
    fault,
    starts,
    texts,
)

#: What ends an engine; the rest is the matter of one text.
DEADLY = ("hang", "exit", "kill", "raise")


def test_every_row_gets_its_own_vector_in_order(opened: Callable[..., Pool], folder: Path) -> None:
    """A thousand texts of mixed lengths come back in the order given, each embedded once."""
    ids = texts(1_000)
    vectors = opened().embed(ids)
    assert (vectors.dtype, vectors.shape) == (np.float32, (1_000, DIMENSIONS))
    assert np.array_equal(vectors, expect(ids))
    assert sorted(embedded(folder)) == sorted(" ".join(map(str, row)) for row in ids)


def test_many_threads_may_ask_at_once(opened: Callable[..., Pool]) -> None:
    """Calls that overlap share the engine, and each gets what is its own; an empty one gets nothing."""
    pool = opened()
    results: dict[int, np.ndarray] = {}
    asked = {seed: texts(50, seed) for seed in range(1, 7)}
    threads = [threading.Thread(target=lambda s=seed: results.update({s: pool.embed(asked[s])})) for seed in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[seed], expect(ids)) for seed, ids in asked.items())
    assert pool.embed([]).shape == (0, DIMENSIONS)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("what", DEADLY)
def test_a_text_that_kills_the_engine_is_refused_alone(
    what: str, moment: str, opened: Callable[..., Pool], folder: Path
) -> None:
    """Hang, exit, SIGKILL or exception, at any point: that text is refused with the engine's last words; no other."""
    ids = texts(4)
    ids[1] = [7, fault(what, moment)]
    with pytest.raises(Poisoned) as caught:
        opened(silence_seconds=SHORT_SILENCE if what == "hang" else SILENCE).embed(ids)
    assert list(caught.value.faults) == [1]
    assert ("on fire" if what == "raise" else f"about to {what}") in caught.value.faults[1]
    rest = [0, 2, 3]
    assert np.array_equal(caught.value.vectors[rest], expect([ids[row] for row in rest]))
    assert sorted(embedded(folder)) == sorted(" ".join(map(str, ids[row])) for row in rest), "none lost, none twice"


@pytest.mark.parametrize("what", DEADLY)
def test_an_engine_that_dies_once_costs_no_text(what: str, opened: Callable[..., Pool], folder: Path) -> None:
    """What was nobody's fault is nobody's loss: a new engine embeds what the old one had not finished."""
    ids = texts(40)
    pool = opened(silence_seconds=SHORT_SILENCE if what == "hang" else SILENCE)
    (folder / f"once-{what}").touch()
    assert np.array_equal(pool.embed(ids), expect(ids))
    assert len(starts(folder)) == 2
    assert len(embedded(folder)) == 40
    assert ("on fire" if what == "raise" else f"about to {what}") in pool.warnings[0]


def test_two_poisons_are_both_found(opened: Callable[..., Pool]) -> None:
    """Each text that kills is found, and everything between them embedded."""
    ids = texts(20)
    ids[3], ids[16] = [1, fault("exit")], [2, fault("raise")]
    with pytest.raises(Poisoned) as caught:
        opened().embed(ids)
    assert sorted(caught.value.faults) == [3, 16]
    assert np.isfinite(caught.value.vectors).all(axis=1).sum() == 18


@pytest.mark.parametrize(
    ("what", "moment", "said"),
    [("shape", "step", "shape"), ("nan", "step", "NaN"), ("refuse", "add", "does not like")],
)
def test_what_is_wrong_with_one_text_costs_no_engine(
    what: str, moment: str, said: str, opened: Callable[..., Pool], folder: Path
) -> None:
    """A vector of the wrong shape or of NaN, or a text that the engine refuses, is told of that text, also of a lone
    one; nothing is restarted."""
    ids = texts(9)
    ids[4] = [1, fault(what, moment)]
    pool = opened()
    for some, row in ((ids, 4), (ids[4:5], 0)):
        with pytest.raises(Poisoned, match=said) as caught:
            pool.embed(some)
        assert list(caught.value.faults) == [row]
    assert len(starts(folder)) == 1


def test_a_stopped_engine_is_replaced(opened: Callable[..., Pool], folder: Path) -> None:
    """SIGSTOP leaves a process that neither answers nor ends: its silence is noticed, and it is gone afterwards."""
    pool = opened(silence_seconds=SHORT_SILENCE)
    pid = int(starts(folder)[0][1])
    os.kill(pid, signal.SIGSTOP)
    ids = texts(20)
    assert np.array_equal(pool.embed(ids), expect(ids))
    assert len(starts(folder)) == 2
    assert "hung" in pool.warnings[0]
    assert not psutil.pid_exists(pid)


def test_an_engine_that_stops_within_a_message_is_replaced(
    opened: Callable[..., Pool], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a message is not waited for longer than a message takes."""
    monkeypatch.setattr("pipeline.embed.process._MESSAGE_SECONDS", 1)
    pool = opened()
    (folder / "once-stutter").touch()
    ids = texts(20)
    assert np.array_equal(pool.embed(ids), expect(ids))
    assert len(starts(folder)) == 2


def test_an_engine_that_dies_with_nothing_to_do_is_replaced_at_once(opened: Callable[..., Pool], folder: Path) -> None:
    """No text is needed to notice it, so none can be blamed."""
    pool = opened()
    os.kill(int(starts(folder)[0][1]), signal.SIGKILL)
    end = time.monotonic() + 30
    while len(starts(folder)) == 1 and time.monotonic() < end:
        time.sleep(0.05)
    assert len(starts(folder)) == 2
    assert "with 0 texts on its hands" in pool.warnings[0]
    assert np.array_equal(pool.embed(texts(3)), expect(texts(3)))


class TestSlow:
    """An engine that is slow is left alone, however its parcels are finished."""

    @pytest.fixture(autouse=True)
    def slow(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """2,000 tokens a second, as far as anybody knows perhaps 20."""
        monkeypatch.setattr("pipeline.embed.watchdog._SLOWEST", {"cpu": 20.0})
        (folder / "speed").write_text("2000")

    @pytest.mark.parametrize(("count", "tokens"), [(64, 64), (160, 25)])
    def test_several_parcels_in_one_step_make_it_no_faster(
        self, count: int, tokens: int, opened: Callable[..., Pool], folder: Path
    ) -> None:
        """A step that finishes several parcels tells them in one breath; a longer step after it is no hang."""
        pool = opened(silence_seconds=0.5, max_num_seqs=256)
        for seed, (texts_of, length) in enumerate([(64, 30), (count, tokens)]):
            ids = [[seed, number, *([9] * (length - 2))] for number in range(texts_of)]
            assert np.array_equal(pool.embed(ids), expect(ids))
        assert len(starts(folder)) == 1
        assert pool.warnings == []

    def test_a_hang_of_a_slow_engine_is_noticed_all_the_same(self, opened: Callable[..., Pool], folder: Path) -> None:
        """Once its speed is known, a silence of many times what its texts take is one."""
        pool = opened(silence_seconds=0.5, max_num_seqs=256)
        ids = [[0, number, *([9] * 28)] for number in range(80)]
        assert np.array_equal(pool.embed(ids), expect(ids))
        (folder / "once-hang").touch()
        assert np.array_equal(pool.embed(ids[:5]), expect(ids[:5]))
        assert "hung" in pool.warnings[0]


def test_the_window_is_kept_to_the_token(opened: Callable[..., Pool], folder: Path) -> None:
    """One token less than the window and the window itself are embedded; one more, or none at all, is refused."""
    ids = [[1] * (WINDOW - 1), [1] * WINDOW, [1] * (WINDOW + 1), [], [2]]
    with pytest.raises(Poisoned) as caught:
        opened().embed(ids)
    assert sorted(caught.value.faults) == [2, 3]
    assert str(WINDOW + 1) in caught.value.faults[2]
    assert "no tokens" in caught.value.faults[3]
    sound = [0, 1, 4]
    assert np.array_equal(caught.value.vectors[sound], expect([ids[row] for row in sound]))
    assert len(starts(folder)) == 1


@pytest.mark.parametrize("what", ["exit", "raise", "kill"])
def test_an_engine_that_does_not_start_says_why(what: str, opened: Callable[..., Pool], folder: Path) -> None:
    """A first start that fails ends at once, in the engine's own words."""
    (folder / f"start-{what}").touch()
    with pytest.raises(Terminal, match=f"did not start for fake: .*about to {what}"):
        opened()


def test_an_engine_that_hangs_at_its_start_is_given_up(
    opened: Callable[..., Pool], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start has a limit, the first and each later one; then the run ends with the engine's last words."""
    pool = opened()
    monkeypatch.setattr("pipeline.embed.attendant._START_SECONDS", 4.0)
    monkeypatch.setattr("pipeline.embed.attendant._START_TRIES", 2)
    (folder / "start-hang").touch()
    (folder / "once-exit").touch()
    with pytest.raises(Terminal, match=r"started again: it did not answer within 4 seconds.*about to hang"):
        pool.embed(texts(20))
    with pytest.raises(Terminal, match=r"did not start for fake: it did not answer within 4 seconds.*about to hang"):
        opened()
    assert not any(psutil.pid_exists(int(pid)) for _, pid, _ in starts(folder))


def test_an_engine_that_fails_at_everything_ends_the_run(opened: Callable[..., Pool], folder: Path) -> None:
    """When nothing can be embedded any more, whoever waits is told; a corpus is not rejected text by text."""
    pool = opened()
    (folder / "start-exit").touch()
    (folder / "once-exit").touch()
    with pytest.raises(Terminal, match="cannot be started again"):
        pool.embed(texts(20))
    with pytest.raises(Terminal):
        pool.embed(texts(1))


class TestGpus:
    """Several engines: as many processes, each with a device of its own."""

    @pytest.fixture
    def two(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
        """A pool over what it takes for two GPUs."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
        pool = Pool(
            fake_model(folder), Engine(device="cuda", silence_seconds=SILENCE, max_num_batched_tokens=128), FAKE
        )
        pool.wait()
        yield pool
        pool.close()

    def test_each_visible_gpu_gets_one_engine(self, two: Pool, folder: Path) -> None:
        """One process a GPU, which sees only that; together they do the work once."""
        ids = texts(600)
        assert np.array_equal(two.embed(ids), expect(ids))
        assert sorted(place for place, _, _ in starts(folder)) == ["4", "7"]
        assert len(embedded(folder)) == 600

    def test_a_lost_gpu_leaves_its_work_to_the_others(self, two: Pool, folder: Path) -> None:
        """A device whose engine cannot be started again is given up; the run goes on, complete, and says so."""
        (folder / "start-exit-4").touch()
        pids = {place: int(pid) for place, pid, _ in starts(folder)}
        os.kill(pids["4"], signal.SIGKILL)
        for seed in range(1, 6):
            ids = texts(100, seed)
            assert np.array_equal(two.embed(ids), expect(ids))
        end = time.monotonic() + 30
        while two.engines == 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert two.engines == 1
        assert any("GPU 4 is lost" in text for text in two.warnings)
        assert np.array_equal(two.embed(ids), expect(ids))


def test_engines_share_a_cpu(opened: Callable[..., Pool], folder: Path) -> None:
    """As many processes as are asked for do the work once; one that dies is replaced, and nothing is lost."""
    pool = opened(cpu_engines=3, max_num_batched_tokens=128)
    pool.wait()
    ids = texts(600)
    assert np.array_equal(pool.embed(ids), expect(ids))
    assert len({pid for _, pid, _ in starts(folder)}) == 3
    assert len(embedded(folder)) == 600
    os.kill(int(starts(folder)[0][1]), signal.SIGKILL)
    for seed in range(1, 4):
        ids = texts(200, seed)
        assert np.array_equal(pool.embed(ids), expect(ids))
    assert pool.engines == 3


def test_a_gpu_whose_vectors_are_of_another_kind_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines must agree on a text before one of them gets a document: vectors of two kinds say nothing together. The
    others do the work, and the run says so."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    (folder / "strange-7").touch()
    (folder / "slow-7").write_text("1")
    pool = Pool(fake_model(folder), Engine(device="cuda", silence_seconds=SILENCE), FAKE)
    try:
        pool.wait()
        ids = texts(200)
        assert np.array_equal(pool.embed(ids), expect(ids))
        assert pool.engines == 1
        assert any("GPU 7 is lost" in text and "of another kind" in text for text in pool.warnings)
    finally:
        pool.close()


def test_nothing_is_left_behind(folder: Path) -> None:
    """A closed pool has no process left, and asking it again is an error, not a wait."""
    pool = Pool(fake_model(folder), Engine(device="cpu"), FAKE)
    pids = [int(pid) for _, pid, _ in starts(folder)]
    pool.embed(texts(3))
    pool.close()
    pool.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(Terminal):
        pool.embed(texts(3))


def test_faults_are_all_tried() -> None:
    """Every fault that the fake engine knows is the matter of a test."""
    assert set(FAULTS) == {*DEADLY, "memory", "shape", "nan", "refuse", "stutter", "mute"}
