"""Driving a run to its end: units in flight, progress, a record of how it ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pipeline.errors import CorpusvecError, Transient
from pipeline.lock import held
from pipeline.report import Report
from pipeline.schedule import run_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.checkpoint import Checkpoints
    from pipeline.config import Settings
    from pipeline.ingest import Ingest
    from pipeline.plan import Unit
    from pipeline.schedule import Submit

Progress = Callable[[Report], None]


def drive(
    run: Ingest, settings: Settings, progress: Progress | None, submit: Submit[Unit, Report] | None,
    go_on: Callable[[], bool],
) -> bool:  # fmt: skip
    """Do the run's units; an error ends it, is recorded and raised. False if `go_on` said so before the last."""
    from pipeline.embed.settings import likely_device, places

    in_flight = settings.limits.units_in_flight
    if in_flight is None:
        # While two are embedded, as many are parsed and loaded, each of which takes an engine's time for one, and two
        # more for those that take longer; one more for every other engine. Where the engine has every core of this
        # machine, one after the other.
        if settings.embedder == "openai":
            in_flight = 4
        else:
            in_flight = 7 + len(places(settings.engine)) if likely_device(settings.engine) == "cuda" else 1
    with _recorded(run):
        run.start()
        reports = run_all(run.work, run.units(), in_flight, submit, run.stopping)
        for _ in reports:
            if progress is not None:
                progress(run.tally.report)
            if not go_on():
                reports.close()
                return False
        return True


def finish(run: Ingest, checkpoints: Checkpoints) -> Report:
    """End a run whose units are done, and merge the record of runs where it has many small parts."""
    with _recorded(run):
        report = run.finish()
    # The record is all collections': whoever comes second leaves its parts to be merged the next time.
    with suppress(Transient), held(checkpoints.root, {"runs": "exclusive"}, "merging the record of runs"):
        checkpoints.runs().settle()
    return report


@contextmanager
def _recorded(run: Ingest) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        run.stopping.set()
        with suppress(CorpusvecError):  # a full disk, say, and then the first error is the one to tell
            run.fail(str(error) or type(error).__name__)
        raise
