"""Of an engine that embeds nothing more, it is found out whether the texts are to blame or the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Engine
from pipeline.embed.pool import Pool
from pipeline.errors import Poisoned, Terminal
from tests.pipeline.embed.fake import FAKE, embedded, expect, fake_model, fault, starts, texts

#: Texts refused in a row, before the engine must show that it is not to blame; and some more.
MOST, MANY = 4, 7


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text that ends its engine takes two starts to find out."""
    monkeypatch.setattr("pipeline.embed.attendant._MOST_REFUSED", MOST)


def test_many_poisons_in_a_row_do_not_end_the_run(opened: Callable[..., Pool], folder: Path) -> None:
    """Alike texts come one after the other; each that ends its engine is refused alone, and all others embedded."""
    sound = [[5, number] for number in range(10)]
    poison = [[6, number, *[fault("exit", "add")] * 40] for number in range(MANY)]
    with pytest.raises(Poisoned) as caught:
        opened().embed([*sound, *poison])
    assert sorted(caught.value.faults) == list(range(10, 10 + MANY))
    assert np.array_equal(caught.value.vectors[:10], expect(sound))


@pytest.mark.parametrize(("what", "moment"), [("nan", "step"), ("shape", "step"), ("refuse", "add")])
def test_many_unsound_vectors_in_a_row_do_not_end_the_run(
    what: str, moment: str, opened: Callable[..., Pool], folder: Path
) -> None:
    """Nor do texts that have no vector without the engine's end, though there be nothing else."""
    poison = [[6, number, fault(what, moment)] for number in range(200)]
    pool = opened()
    with pytest.raises(Poisoned) as caught:
        pool.embed(poison)
    assert len(caught.value.faults) == 200
    assert len(starts(folder)) == 1
    assert np.array_equal(pool.embed(texts(5)), expect(texts(5)))


def test_an_engine_that_fails_at_every_text_of_a_length_ends_the_run(opened: Callable[..., Pool], folder: Path) -> None:
    """It still embeds a short text, as each start shows; but none as long as those that it was given."""
    (folder / "longest").write_text("20")
    ids = [[number, *range(1, 40)] for number in range(MANY)]
    with pytest.raises(Terminal, match=f"none of {MOST} texts in a row.*40 tokens that nothing is wrong with"):
        opened().embed(ids)
    assert embedded(folder) == []


def test_an_engine_that_makes_nothing_but_nan_ends_the_run(opened: Callable[..., Pool], folder: Path) -> None:
    """No text is told to have no vector by an engine that gives none to any: not one of several callers'."""
    pool = opened()
    assert np.array_equal(pool.embed(texts(30)), expect(texts(30)))
    (folder / "nan").touch()
    ended: list[type[BaseException]] = []

    def ask(seed: int) -> None:
        try:
            pool.embed(texts(300, seed))
        except (Poisoned, Terminal) as error:
            ended.append(type(error))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [Terminal] * 3
    with pytest.raises(Terminal, match="nothing is wrong with: the engine gave a vector with NaN"):
        pool.embed(texts(1))


def test_vectors_of_made_up_weights_need_not_be_sound(folder: Path) -> None:
    """Where vectors mean nothing, as for a measurement of speed, they come as the engine made them."""
    (folder / "nan").touch()
    pool = Pool(fake_model(folder), Engine(device="cpu"), FAKE, gated=False)
    try:
        assert np.isnan(pool.embed(texts(40))).all()
        assert pool.warnings == []
    finally:
        pool.close()
