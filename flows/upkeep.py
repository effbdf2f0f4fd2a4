"""Keeping a collection right: audit and repair, of what a Corpus has open and locked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.audit import audit as compare
from pipeline.audit import sources_of
from pipeline.errors import CorpusvecError
from pipeline.findings import Audit, Unknown
from pipeline.ports import Source
from pipeline.repair import Plan, Repaired, plan_repair
from pipeline.repair import repair as mend

if TYPE_CHECKING:
    from flows.corpus import Corpus


def audit(corpus: Corpus, sources: Sequence[str]) -> Audit:
    """Of `sources`, or else of those in the settings, or else of those that the documents came from."""
    named = sources or corpus.settings.sources
    opened: list[Source] = corpus.open_sources(named) if named else []
    unopened: list[Unknown] = []
    for name in () if named else sources_of(corpus.checkpoints, corpus.store):
        try:
            opened += corpus.open_sources([name])
        except CorpusvecError as error:
            unopened.append(Unknown(name, str(error)))
    recipe = None
    with suppress(CorpusvecError):  # a model that is not at hand is not needed
        recipe = corpus.recipe.fingerprints
    return compare(corpus.checkpoints, corpus.store, opened, unopened, recipe)


def repair(
    corpus: Corpus, sources: Sequence[str], agree: Callable[[Audit, Plan], bool], check: Callable[[], None]
) -> Repaired:
    """Audit, mend if there is something to mend and `agree` is for it, and audit again."""
    before = audit(corpus, sources)
    plan = plan_repair(before, corpus.settings.limits.max_delete_fraction)
    if plan.empty or not agree(before, plan):
        return Repaired(before, plan, None, before)
    done = mend(plan, corpus.checkpoints, corpus.store, [corpus.settings.recipe.language], check)
    return Repaired(before, plan, done, audit(corpus, sources))
