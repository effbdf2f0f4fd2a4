"""A check, what it found, and how several are gone through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.embed.process import import_path
from pipeline.errors import CorpusvecError

State = Literal["ok", "warning", "failed", "skipped"]


class Unwell(Exception):
    """A check found something: what, and what to do about it."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.remedy = remedy


class Doubtful(Unwell):
    """What it found may be meant: a warning, and what builds on it is looked at all the same."""


class Skipped(Exception):
    """A check does not apply; its text says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """`run` returns what it found in order, or raises Unwell, Doubtful, Skipped or a CorpusvecError.

    It is skipped if one of those that it `needs` has failed.
    """

    name: str
    run: Callable[[], str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What came of a check. `remedy` is "" where there is nothing to do, or `found` says it already."""

    name: str
    state: State
    found: str
    remedy: str = ""


def examine(checks: Sequence[Check]) -> Iterator[Diagnosis]:
    """Go through `checks` in order; whatever one does, the others are done too."""
    bad: set[str] = set()
    for check in checks:
        missing = [need for need in check.needs if need in bad]
        diagnosis = Diagnosis(check.name, "skipped", f"needs {', '.join(missing)}") if missing else _diagnose(check)
        if missing or diagnosis.state == "failed":
            bad.add(check.name)
        yield diagnosis


def _diagnose(check: Check) -> Diagnosis:
    try:
        return Diagnosis(check.name, "ok", check.run())
    except Skipped as skipped:
        return Diagnosis(check.name, "skipped", str(skipped))
    except Unwell as unwell:
        state: State = "warning" if isinstance(unwell, Doubtful) else "failed"
        return Diagnosis(check.name, state, str(unwell), unwell.remedy)
    except CorpusvecError as error:
        return Diagnosis(check.name, "failed", str(error))
    except Exception as error:  # what nobody foresaw must not hide what the others find
        return Diagnosis(check.name, "failed", f"the check itself failed: {type(error).__name__}: {error}")


def run_apart(arguments: Sequence[str], given: str = "", timeout: float = 600.0) -> str:
    """What Python prints for `arguments`, in a process of its own, which sees the packages that this one sees.

    For imports and engines that may take the interpreter with them. -P: a `torch.py` or a folder `flows` where the user
    happens to be is no package. Raises Unwell, without a remedy, with the last words and how it ended.
    """
    environment = {**os.environ, "PYTHONPATH": import_path()}
    try:
        done = subprocess.run(
            [sys.executable, "-P", *arguments], input=given, capture_output=True, text=True, errors="replace",
            timeout=timeout, env=environment, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unwell(f"it did not end within {timeout:g} s", "") from error
    if done.returncode:
        words = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        ended = f"{signal.Signals(-done.returncode).name} killed Python" if done.returncode < 0 else "it failed"
        raise Unwell(f"{ended}: {words[-1][:300] if words else 'no last words'}", "")
    return done.stdout
