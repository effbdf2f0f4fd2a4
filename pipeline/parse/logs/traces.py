"""Lines that go on with what stands above them, whatever they look like: stack traces and their kin."""

from __future__ import annotations

import re

from pipeline.parse.logs.words import MORE

# A line of a stack trace that could be nothing else, without its indentation.
_FRAME = re.compile(
    r"at (?:async |new |java\.base/)?[\w$.<>\[\]/@`|:-]+ ?\(.*\)?$|at \S+:\d+:\d+\)?$"
    r"|at [\w.`<>\[\],]+\(.*\) in .*:line \d+"
    r"|\.\.\. \d+ (?:more|common frames omitted|lines matching)|Caused by: |Suppressed: |Wrapped by: "
    r"|File \".*\", line \d+|During handling of the above exception|The above exception was the direct cause"
    r"|--- End of (?:stack trace|inner exception)|from \S+:\d+:in [`']|#\d+ +(?:0x[0-9a-f]+ |\S+\(\d+\): |\{main\})"
    r"|goroutine \d+ \[|created by [\w./*()-]+|\S+\.go:\d+(?: \+0x[0-9a-f]+)?$|exit status \d+$|\[signal SIG"
    r"|Stack trace:$|thrown in |stack backtrace:$|note: (?:run with|[Ss]ome details) "
    r"|\d+: +(?:0x[0-9a-f]+ - )?[\w<]+(?:::|$)|" + MORE
)
# How those begin that stand behind heads of their own.
_BEGINNINGS = set(
    "at .. Ca Su Wr Fi Du Th -- fr go cr ex [s St th st no Tr + Ex DE HI CO ST QU LO BA "
    "#0 #1 #2 #3 #4 #5 #6 #7 #8 #9".split()
)
_PYTHON = re.compile(r"\s*(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\)")
_RAISED = re.compile(r"[A-Za-z_][\w.]*(?::\s|$)|\s*[|+]")
_GO = re.compile(r"panic: |fatal error: |goroutine \d+ \[")
_GO_CALL = re.compile(r"[\w./*()\[\]-]+\(.*\)$|\s|goroutine |created by |exit status |\[signal ")
# Opens or closes an indented passage: JSON laid out, code.
_CLOSES = re.compile(r"[\])}]+[,;]?$")


def is_frame(line: str) -> bool:
    """Whether a line could be nothing but a part of a stack trace."""
    return bool(_FRAME.match(line.lstrip()))


class Trace:
    """Follows the stack trace that an event may hold, line by line."""

    def __init__(self) -> None:
        self._within = ""

    @property
    def is_within(self) -> bool:
        """Whether there is one."""
        return bool(self._within)

    def start(self, line: str) -> None:
        """Begin with the first line of an event, without its head."""
        self._within = ""
        if line[:1] in "TE+ pfg":
            self._within = "python" if _PYTHON.match(line) else "go" if _GO.match(line) else ""

    def restart(self, line: str) -> bool:
        """Begin with the first line of another event, unless it may go on with this one; whether it did."""
        if self._within or line[:2] in _BEGINNINGS or line[:1] == "\t":
            return False
        if line[:1] in "TE+ pfg":
            self.start(line)
        return True

    def may_go_on(self, line: str) -> bool:
        """Whether `goes_on` could be true: quick, and rarely true for other lines."""
        return bool(self._within) or line[:2] in _BEGINNINGS or line[:1] == "\t"

    def goes_on(self, line: str, indented: bool) -> bool:
        """Whether a line belongs to the trace, or could be nothing but a part of one."""
        if _PYTHON.match(line):
            held = self._within in ("python", "raised")
            self._within = "python"
            return held
        if self._within == "python" and (indented or _RAISED.match(line)):
            # What was raised is the first line that is not indented; more may follow, "during handling of" it.
            self._within = "python" if indented else "raised"
            return True
        if is_frame(line):
            if _GO.match(line):
                self._within = "go"
            return True
        return self._within == "go" and bool(_GO_CALL.match(line))

    def closes(self, line: str) -> bool:
        """Whether a line only closes brackets that lines above it opened."""
        return bool(_CLOSES.match(line))
