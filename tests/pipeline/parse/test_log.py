"""Logs as documents: blocks and what is known of them, floods told in a few lines, logs that grow."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.parse.log import events_of, looks_like_log, parse
from pipeline.types import Parsed
from tests.pipeline.parse.law import blocks, obeys_the_law

STARTS = st.sampled_from(
    ["2024-05-01 09:30:00,123 INFO ", "[Sun Dec 04 04:47:44 2005] [error] ", "Jun 31 15:16:01 host ",
     "03-17 16:13:38.811 ", '{"time":"2024-05-01T09:30:00Z","level":"warn","msg":"', "Event[0]:", "__CURSOR=s",
     "2024-02-31T25:00:00Z ", "20171223-22:15:29:606|", "081109 203615 148 WARN ", "", "\tat x.y", "I0314 12:00:00.1 "]
)  # fmt: skip
#: Minutes since the event before, level, message.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 45]),
        st.sampled_from(["INFO", "ERROR", ""]),
        st.sampled_from(["job done in 3 s", "job done in 4 s", "user ann came", "user bo came", "lost\n\tat a.b(C:1)"])
        | st.text(max_size=8),
    ),
    max_size=40,
)


def log_of(events: list[tuple[int, str, str]]) -> bytes:
    at = datetime(2024, 5, 1, 9, 30)
    lines = []
    for minutes, level, message in events:
        at += timedelta(minutes=minutes)
        lines.append(f"{at} {level} {message}\n")
    return "".join(lines).encode("utf-8", "replace")


def but_the_last_run(parsed: Parsed) -> list[tuple[str, str]]:
    """Text and details of the blocks of all runs but the last."""
    begins = [number for number, block in enumerate(parsed.blocks) if block.details.get("begins")]
    kept = parsed.blocks[: begins[-1]] if begins else []
    return [(parsed.text[block.start : block.end], json.dumps(block.details)) for block in kept]


@settings(deadline=None)
@given(st.lists(st.tuples(STARTS, st.text(max_size=30))))
def test_any_text_obeys_the_law(lines: list[tuple[str, str]]) -> None:
    """Whatever a log holds, impossible dates too, blocks cover the text, and each event is told of in one of them."""
    data = "\n".join(start + text for start, text in lines).encode("utf-8", "replace")
    parsed = parse(data, "a.log")
    obeys_the_law(parsed)
    assert sum(block.details["events"] for block in parsed.blocks) == parsed.metadata["log"]["events"]
    assert sum(parsed.metadata["log"].get("levels", {}).values()) <= parsed.metadata["log"]["events"]
    assert len(list(events_of(data, "a.log"))) == parsed.metadata["log"]["events"]
    json.dumps([dict(block.details) for block in parsed.blocks])


@settings(deadline=None)
@given(EVENTS, EVENTS)
def test_a_log_that_grows_keeps_all_but_its_last_run(first: list[tuple[int, str, str]], second: list) -> None:
    """When lines are appended, texts and details of all blocks stay what they were, but for those of the last run."""
    before, after = parse(log_of(first), "a.log"), parse(log_of(first + second), "a.log")
    kept = but_the_last_run(before)
    assert but_the_last_run(after)[: len(kept)] == kept


def test_a_stack_trace_stays_with_its_event() -> None:
    """Lines without a time belong to the event above; events stand on lines of their own."""
    log = b"2024-05-01T09:30:00Z ERROR it broke\nTraceback:\n  File x\nKeyError\n2024-05-01T09:31:00Z INFO on\n"
    parsed = parse(log, "a.log")
    assert [text.count("\n") for _, text in blocks(parsed)] == [3, 0]
    assert parsed.text == log.decode().strip()
    assert parsed.metadata["log"] == {
        "events": 2,
        "templates": 2,
        "levels": {"error": 1, "info": 1},
        "time_from": "2024-05-01T09:30:00+00:00",
        "time_to": "2024-05-01T09:31:00+00:00",
    }


def test_a_block_says_what_is_known_of_its_event() -> None:
    """Details of an event: time in UTC, level, template, lines, component, host, process; and where a run begins."""
    log = b"2024-05-01T11:30:00+02:00 web1 sshd[812]: error: no key for ann\n  and more\n"
    first, second = parse(log + b"2024-05-01T11:31:00+02:00 web1 x[1]: on\n", "a.log").blocks
    assert first.details == {
        "time_from": "2024-05-01T09:30:00+00:00",
        "time_to": "2024-05-01T09:30:00+00:00",
        "levels": ["error"],
        "templates": ["error: no key for ann"],
        "events": 1,
        "line_from": 1,
        "line_to": 2,
        "begins": True,
        "component": "sshd",
        "host": "web1",
        "pid": 812,
    }
    assert (second.details["line_from"], "begins" in second.details) == (3, False)


def test_ten_thousand_equal_lines_are_one_short_text() -> None:
    """Equal events are shown three times and counted, with the first and the last time; all are accounted for."""
    at = datetime(2024, 5, 1)
    log = "".join(f"{at + timedelta(seconds=n)} WARN pool: connection reset by peer\n" for n in range(10_000))
    parsed = parse(log.encode(), "a.log")
    assert parsed.text.split("\n") == [
        "2024-05-01 00:00:00 WARN pool: connection reset by peer",
        "2024-05-01 00:00:01 WARN pool: connection reset by peer",
        "2024-05-01 00:00:02 WARN pool: connection reset by peer",
        "… 10,000 in all like: connection reset by peer, from 2024-05-01 00:00:00 to 2024-05-01 02:46:39",
    ]
    assert parsed.metadata["log"]["counted"] == 9_997
    told = parsed.blocks[-1].details
    assert (told["events"], told["line_from"], told["line_to"]) == (9_997, 4, 10_000)
    assert (told["time_to"], told["levels"]) == ("2024-05-01T02:46:39+00:00", ["warning"])
    assert told["templates"] == ["connection reset by peer"]


def test_what_sets_counted_events_apart_is_named() -> None:
    """The names in events that are only counted can be searched for, and rare events in a flood are shown whole."""
    names = ["ann", "bo", "cy", "dee", "eve", "flo", "gus"]
    lines = [f"2024-05-01 09:30:{n % 60:02} INFO auth: user {names[n % 7]} came from 10.0.0.{n}" for n in range(200)]
    lines[150] = "2024-05-01 09:30:30 ERROR disk: full"
    parsed = parse("\n".join(lines).encode(), "a.log")
    assert len(parsed.blocks) < 10
    assert all(name in parsed.text for name in names)
    assert lines[150] in parsed.text


def test_a_pause_begins_another_run() -> None:
    """After a pause that is long for this log a run begins, also among equal events; a steady pace is no pause."""
    busy = "".join(f"2024-05-01 {hour}:00:0{n} INFO up\n" for hour in ("09", "12") for n in range(5))
    begins = [block.details.get("begins", False) for block in parse(busy.encode(), "a.log").blocks]
    assert begins == [True, False, False, False, True, False]
    hourly = "".join(f"2024-05-{n // 24 + 1:02} {n % 24:02}:00:00 INFO backup {n} done\n" for n in range(240))
    assert len(parse(hourly.encode(), "a.log").blocks) < 10


def test_times_without_a_year_are_no_times_in_details() -> None:
    """Where a log names no year and its file no date, nothing is claimed; a date in the file's name settles it."""
    log = b"Dec 31 23:59:59 web1 cron[1]: a\nJan  1 00:00:01 web1 cron[2]: b\n"
    parsed = parse(log, "syslog.1")
    assert "time_from" not in parsed.metadata["log"]
    assert "time_from" not in parsed.blocks[0].details
    parsed = parse(log, "logs/syslog-20240101")
    assert parsed.metadata["log"]["time_from"] == "2023-12-31T23:59:59+00:00"
    assert parsed.blocks[1].details["time_to"] == "2024-01-01T00:00:01+00:00"


def test_times_of_day_run_on_past_midnight() -> None:
    """A log that has no dates is read as one night after the other, never back in time."""
    log = b"23:59:58.100 INFO a\n23:59:59.100 INFO b\n00:00:01.100 INFO c\n00:00:02.100 INFO d\n"
    times = [datetime.fromisoformat(event["timestamp"]) for event in events_of(log, "a.log")]
    assert times == sorted(times)
    assert times[-1] - times[0] == timedelta(seconds=4)


def test_blocks_are_bounded() -> None:
    """An event that goes on for thousands of lines is parted at line ends, and is still one event."""
    parsed = parse(b"2024-05-01 09:30:00 INFO dump\n" + b"  line of it\n" * 5000, "a.log")
    assert max(len(text) for _, text in blocks(parsed)) <= 8192
    assert parsed.metadata["log"]["events"] == sum(block.details["events"] for block in parsed.blocks) == 1
    assert [block.details.get("begins", False) for block in parsed.blocks].count(True) == 1


def test_a_log_without_times_is_read_line_by_line() -> None:
    """Where no time is recognised, each line is an event, and nothing is claimed about times and levels."""
    parsed = parse(b"started\nstopped\n", "a.log")
    assert blocks(parsed) == [("log", "started"), ("log", "stopped")]
    assert parsed.metadata["log"] == {"events": 2, "templates": 2}


def test_events_say_all_that_is_known() -> None:
    """Of an event: time with its zone and what of it was assumed, level, component, host, process, template, lines."""
    log = "2024-05-01 09:30:00 INFO db: 3 rows\n2024-05-01T09:30:01+02:00 ERROR db: 14 rows\n  too many\n"
    first, second = events_of(log.encode("utf-16"), "a.log")
    assert first == {
        "timestamp": "2024-05-01T09:30:00+00:00",
        "assumed": "zone",
        "level": "info",
        "component": "db",
        "host": None,
        "pid": None,
        "template": "<*> rows",
        "line_from": 1,
        "line_to": 1,
        "text": "2024-05-01 09:30:00 INFO db: 3 rows",
    }
    assert (second["timestamp"], second["assumed"]) == ("2024-05-01T09:30:01+02:00", None)
    assert (second["line_from"], second["line_to"], second["template"]) == (2, 3, "<*> rows")
    assert second["text"].endswith("rows\n  too many")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_logs_in_any_encoding_say_the_same(encoding: str, end: str) -> None:
    """Line ends, encodings, colours and a hole of zeros at the start change nothing that is said."""
    log = f"2024-05-01 09:30:00 INFO Tür offen{end}2024-05-01 09:30:01 \x1b[31mERROR\x1b[0m Tür zu{end}"
    parsed = parse(log.encode(encoding), "a.log")
    assert parsed.text == "2024-05-01 09:30:00 INFO Tür offen\n2024-05-01 09:30:01 ERROR Tür zu"
    assert parsed.metadata["log"]["levels"] == {"info": 1, "error": 1}
    assert parse(bytes(4096) + log.encode(), "a.log").text == parsed.text


def test_prose_is_no_log() -> None:
    """Text that mentions times and levels is not taken for a log; two lines that begin as those of logs do are one."""
    assert not looks_like_log("On 2024-05-01 the ferry left.\nERROR is human.\nIt came back at 10:00:00.\n")
    assert not looks_like_log("name,age\nann,3\n")
    assert not looks_like_log('{"id": 1, "name": "ann"}\n{"id": 2, "name": "bo"}\n')
    assert looks_like_log("2024-05-01 09:30:00 up\n2024-05-01 09:30:01 on\n")
    assert looks_like_log("2024-05-01 09:30:00 ERROR x\n#0 /a.php(12): f()\n#1 {main}\n" * 2)


_WORDS = st.sampled_from(["ann", "bob", "10.0.0.1", "10.0.0.2", "blk_-77a", "a.b@c.org", "up", "down", "0x1f", "12ms"])


@settings(deadline=None)
@given(st.lists(st.tuples(_WORDS, _WORDS, st.integers(0, 9)), min_size=1, max_size=60))
def test_whatever_a_log_names_can_be_searched(events: list[tuple[str, str, int]]) -> None:
    """Of events that are only counted every name is told, too: users, addresses, identifiers; not numbers and times."""
    lines = [f"2024-05-01T09:30:0{n}Z INFO login of {who} from {where} took {n}\n" for who, where, n in events]
    text = parse("".join(lines).encode(), "a.log").text
    named = {word for who, where, _ in events for word in (who, where)} - {"0x1f", "12ms"}
    assert named <= set(re.split(r"[\s:,]+", text))
