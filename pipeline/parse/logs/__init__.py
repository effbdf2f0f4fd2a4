"""Logs: lines in, events out, with the templates of their messages; and the passages that are searched.

cleaning    bytes' text → text without what was meant for terminals
times       what a time means; what is assumed where it is not complete
levels      names, letters and numbers → seven levels
words       what heads of lines are made of
heads       the head of a line: time, level, component, process, host
records     JSON and logfmt
rows        tables: CSV with times, levels and messages
wrappers    what container tools put around lines
stanzas     events of several lines of keys and values
traces      stack traces
shapes      what lines have in common that differ in digits only
events      all of these: text → events
templates   Drain: messages → templates
names       what events name: hosts, users, addresses, identifiers
passages    events → text to be searched, floods told in a few lines
"""

from pipeline.parse.logs.cleaning import clean
from pipeline.parse.logs.events import Event, begins_event, read_events
from pipeline.parse.logs.passages import Passage, read_passages
from pipeline.parse.logs.rows import columns_of
from pipeline.parse.logs.stanzas import is_telling
from pipeline.parse.logs.templates import Miner
from pipeline.parse.logs.times import date_in_name, is_dated
from pipeline.parse.logs.traces import is_frame

__all__ = [
    "Event",
    "Miner",
    "Passage",
    "clean",
    "columns_of",
    "date_in_name",
    "is_dated",
    "looks_like_log",
    "read_events",
    "read_passages",
]


def looks_like_log(sample: str) -> bool:
    """Whether of the first hundred lines half (and at least two) begin events, or rows are events.

    Lines that could only go on with an event count for nothing.
    """
    lines = [line for line in clean(sample).split("\n", 201)[:200] if line.strip()][:100]
    if sum(map(is_telling, lines)) >= 2 or columns_of(clean(sample)) is not None:
        return True
    begin = sum(map(begins_event, lines))
    return begin >= 2 and begin >= 0.5 * sum(not (line[0].isspace() or is_frame(line)) for line in lines)
