"""Work units run side by side, in bounded number, and what fails for a moment is tried again."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipeline.errors import Terminal, Transient
from pipeline.schedule import LOOK_AHEAD, run_all, with_retries


def test_results_come_in_order_whatever_finishes_first() -> None:
    """Units are worked on side by side; their results come as the units did."""
    both = threading.Barrier(2, timeout=30)

    def work(unit: int) -> int:
        if unit < 2:
            both.wait()  # passes only if two units are in flight at once
        return unit * 10

    assert list(run_all(work, range(5), 2)) == [0, 10, 20, 30, 40]


def test_a_listing_is_read_a_bounded_number_of_units_ahead() -> None:
    """Memory does not grow with the listing: units are taken as they are needed."""
    taken: list[int] = []

    def listing() -> Iterator[int]:
        for number in range(1_000):
            taken.append(number)
            yield number

    results = run_all(lambda unit: unit, listing(), 3)
    next(results)
    assert len(taken) <= LOOK_AHEAD + 3 + 1
    results.close()


def test_only_what_is_transient_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time-out gets its tries and then stands; a mistake stands at once."""
    calls: list[str] = []

    def fail(error: type[Exception]) -> None:
        calls.append(error.__name__)
        raise error("no")

    monkeypatch.setattr("pipeline.schedule.RETRY_PAUSES", (0.0, 0.0))
    with pytest.raises(Transient):
        with_retries(fail, Transient)
    with pytest.raises(Terminal):
        with_retries(fail, Terminal)
    assert calls == ["Transient"] * 3 + ["Terminal"]


def test_an_error_ends_the_run() -> None:
    """The first error is raised; units that were not begun are not begun."""
    begun: list[int] = []

    def work(unit: int) -> None:
        begun.append(unit)
        if unit == 2:
            raise Terminal("no")

    with pytest.raises(Terminal):
        list(run_all(work, range(100), 2))
    assert max(begun) <= 4
