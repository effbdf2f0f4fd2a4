"""Logs: records, levels and times."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parse import detect_media_type
from pipeline.parse.log import parse
from tests.pipeline.parse.law import blocks, obeys_the_law

STARTS = st.sampled_from(
    ["2024-05-01 09:30:00,123 INFO ", "[Sun Dec 04 04:47:44 2005] [error] ", "Jun 31 15:16:01 host ",
     "03-17 16:13:38.811 ",
     "2024-02-31T25:00:00Z ", "20171223-22:15:29:606|", "081109 203615 148 WARN ", "", "\tat x.y", "I0314 12:00:00.1 "]
)  # fmt: skip


@given(st.lists(st.tuples(STARTS, st.text(max_size=30))))
def test_any_text_obeys_the_law(lines: list[tuple[str, str]]) -> None:
    """Whatever a log holds, impossible dates too, blocks cover the text."""
    data = "\n".join(start + text for start, text in lines).encode("utf-8", "replace")
    parsed = parse(data, "a.log")
    obeys_the_law(parsed)
    assert sum(parsed.metadata.get("levels", {}).values()) <= parsed.metadata.get("records", 0)


def test_a_stack_trace_stays_with_its_record() -> None:
    """Lines without a time belong to the record above; records stand on lines of their own."""
    log = b"2024-05-01T09:30:00Z ERROR it broke\nTraceback:\n  File x\nKeyError\n2024-05-01T09:31:00Z INFO on\n"
    parsed = parse(log, "a.log")
    assert [text.count("\n") for _, text in blocks(parsed)] == [3, 0]
    assert parsed.text == log.decode().strip()
    assert parsed.metadata == {
        "records": 2,
        "levels": {"error": 1, "info": 1},
        "time_from": "2024-05-01T09:30:00+00:00",
        "time_to": "2024-05-01T09:31:00+00:00",
    }


@pytest.mark.parametrize(
    ("line", "level", "time"),
    [
        ("2015-10-18 18:01:47,978 INFO [main] x", "info", "2015-10-18T18:01:47.978000"),
        ("2024-05-01T09:30:00.5+02:00 level=warn msg=x", "warning", "2024-05-01T09:30:00.500000+02:00"),
        ('{"time":"2024-05-01T09:30:00Z","level":"debug","msg":"x"}', "debug", "2024-05-01T09:30:00+00:00"),
        ("[Sun Dec 04 04:47:44 2005] [notice] x", "notice", "2005-12-04T04:47:44"),
        ('127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200', None, "2000-10-10T13:55:36-07:00"),
        ("081109 203615 148 INFO dfs.DataNode: x", "info", "2008-11-09T20:36:15"),
        ("20171223-22:16:1:27|Step|x", None, "2017-12-23T22:16:01.027000"),
        ("- 1117838570 R02 2005-06-03-15.42.50.67 RAS KERNEL FATAL x", "fatal", "2005-06-03T15:42:50.670000"),
        ("03-17 16:13:38.811  1702  2395 W WindowManager: x", "warning", None),
        ("Jun 14 15:16:01 combo sshd[19939]: failure", None, None),
        ("I0314 12:00:00.123456 1 main.cc:1] x", "info", None),
        ("17/06/09 20:10:40 ERROR executor.Backend: x", "error", "2017-06-09T20:10:40"),
    ],
)  # fmt: skip
def test_times_and_levels_of_many_formats(line: str, level: str | None, time: str | None) -> None:
    """Common ways to write time and level are read; a time without a year gives no date, which would be a guess."""
    metadata = parse(f"{line}\n".encode(), "a.log").metadata
    assert metadata["records"] == 1
    assert metadata.get("levels", {}) == ({level: 1} if level else {})
    assert metadata.get("time_from") == time


def test_blocks_are_bounded() -> None:
    """A record that goes on for thousands of lines is parted at line ends."""
    parsed = parse(b"2024-05-01 09:30:00 INFO dump\n" + b"  line of it\n" * 5000, "a.log")
    assert max(len(text) for _, text in blocks(parsed)) <= 8192
    assert parsed.metadata["records"] == 1


def test_a_log_without_times_is_read_line_by_line() -> None:
    """Where no time is recognised, each line is a record's worth, and nothing is claimed about levels."""
    parsed = parse(b"started\nstopped\n", "a.log")
    assert blocks(parsed) == [("log", "started"), ("log", "stopped")]
    assert parsed.metadata == {"records": 0}


# In Linux_2k.log_structured.csv the column called Level holds the host.
@pytest.mark.parametrize("system", ["Android", "Apache", "BGL", "HDFS", "Hadoop", "HealthApp", "Linux", "OpenSSH"])
def test_real_logs_are_known_and_counted(corpora: Path, system: str) -> None:
    """Of eight systems, every line is one record, and the levels are those that people marked."""
    path = corpora / "logs" / f"{system}_2k.log"
    data = path.read_bytes()
    assert detect_media_type(data, "renamed.txt") == "text/x-log"
    parsed = parse(data, path.name)
    with path.with_name(f"{path.name}_structured.csv").open(encoding="utf-8") as file:
        truth = [row.get("Level") for row in csv.DictReader(file)]
    assert parsed.metadata["records"] == len(parsed.blocks) == len(truth) == 2000
    if system in ("Android", "Apache", "BGL", "HDFS", "Hadoop"):
        names = {
            "d": "debug",
            "i": "info",
            "v": "trace",
            "w": "warning",
            "warn": "warning",
            "e": "error",
            "severe": "error",
        }
        expected = [names.get(level.lower(), level.lower()) for level in truth if level]
        expected = ["error" if level == "failure" else level for level in expected]
        assert parsed.metadata["levels"] == {level: expected.count(level) for level in expected}
