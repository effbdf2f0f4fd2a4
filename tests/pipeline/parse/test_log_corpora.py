"""Logs of eight systems that people marked line by line, read without a setting for any of them."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.parse import detect_media_type
from pipeline.parse.log import events_of, parse

SYSTEMS = ("Android", "Apache", "BGL", "HDFS", "Hadoop", "HealthApp", "Linux", "OpenSSH")
# How a system's marks spell the time: the columns, and the format they have then; without a year that is 1972's.
TIMES = {
    "Android": ("Date Time", "%m-%d %H:%M:%S.%f"),
    "Apache": ("Time", "%a %b %d %H:%M:%S %Y"),
    "BGL": ("Time", "%Y-%m-%d-%H.%M.%S.%f"),
    "HDFS": ("Date Time", "%y%m%d %H%M%S"),
    "Hadoop": ("Date Time", "%Y-%m-%d %H:%M:%S,%f"),
    "Linux": ("Month Date Time", "%b %d %H:%M:%S"),
    "OpenSSH": ("Date Day Time", "%b %d %H:%M:%S"),
}
LEVELS = {
    "d": "debug", "i": "info", "v": "trace", "w": "warning", "warn": "warning", "e": "error", "severe": "error",
    "failure": "error",
}  # fmt: skip

Row = Mapping[str, str]


def marked(corpora: Path, system: str) -> tuple[bytes, list[Row]]:
    """A log, and what people marked of each line."""
    path = corpora / "logs" / f"{system}_2k.log"
    with path.with_name(f"{path.name}_structured.csv").open(encoding="utf-8") as file:
        return path.read_bytes(), list(csv.DictReader(file))


def is_timed_right(system: str, row: Row, timestamp: str) -> bool:
    told = datetime.fromisoformat(timestamp).replace(tzinfo=None)
    if system == "HealthApp":  # 20171223-22:16:1:27, numbers not filled up
        date, hour, minute, second, millisecond = re.findall(r"\d+", row["Time"])
        expected = datetime.strptime(f"{date} {hour}:{minute}:{second}", "%Y%m%d %H:%M:%S")
        return told == expected.replace(microsecond=int(millisecond) * 1000)
    columns, form = TIMES[system]
    written = " ".join(row[column] for column in columns.split())
    if "%Y" in form or "%y" in form:
        return told == datetime.strptime(written, form)
    return told == datetime.strptime(f"1972 {written}", f"%Y {form}")


def is_level_right(system: str, row: Row, level: str | None) -> bool:
    # The column that is called Level holds the host in Linux's marks; three systems have none.
    if system not in ("Android", "Apache", "BGL", "HDFS", "Hadoop"):
        return True
    name = row["Level"].lower()
    return level == LEVELS.get(name, name)


def is_component_right(system: str, row: Row, event: Mapping[str, Any]) -> bool:
    # In OpenSSH's marks it is the host; Apache's have none.
    if system == "OpenSSH":
        return bool((event["component"], event["host"]) == ("sshd", row["Component"]))
    return "Component" not in row or bool(event["component"] == row["Component"])


def grouping_accuracy(expected: Iterable[str], found: Iterable[str]) -> float:
    """The share of lines whose group holds the very lines that the true group holds (Zhu et al., ICSE-SEIP 2019)."""
    true: dict[str, set[int]] = defaultdict(set)
    ours: dict[str, set[int]] = defaultdict(set)
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        true[one].add(number)
        ours[other].add(number)
    sets = set(map(frozenset, ours.values()))
    return sum(len(lines) for lines in true.values() if frozenset(lines) in sets) / sum(map(len, true.values()))


@pytest.mark.parametrize("system", SYSTEMS)
def test_fields_are_right(corpora: Path, system: str) -> None:
    """Each line is one event; time, level and component are right for at least 95 % of the lines of each system."""
    data, rows = marked(corpora, system)
    assert detect_media_type(data, "renamed.txt") == "text/x-log"
    events = list(events_of(data, "a.log"))
    assert [event["line_from"] for event in events] == [*range(1, 2001)]
    right = [
        is_timed_right(system, row, event["timestamp"])
        and is_level_right(system, row, event["level"])
        and is_component_right(system, row, event)
        for row, event in zip(rows, events, strict=True)
    ]
    assert sum(right) >= 0.95 * len(rows)


def test_templates_group_lines_as_people_do(corpora: Path) -> None:
    """Grouping accuracy of templates is at least 0.9, averaged over the eight systems."""
    accuracies = []
    for system in SYSTEMS:
        data, rows = marked(corpora, system)
        events = events_of(data, "a.log")
        accuracies.append(grouping_accuracy((row["EventId"] for row in rows), (event["template"] for event in events)))
    assert sum(accuracies) / len(accuracies) >= 0.9


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_real_log_that_grows_keeps_all_but_its_last_run(corpora: Path, system: str) -> None:
    """When a log has grown from two thirds to the whole, only blocks of the last run have changed."""
    data, _ = marked(corpora, system)
    lines = (data * 3).splitlines(keepends=True)
    before, after = (parse(b"".join(lines[:count]), "a.log") for count in (4000, 6000))
    last = max(number for number, block in enumerate(before.blocks) if block.details.get("begins"))
    assert before.blocks[:last] == after.blocks[:last]
    assert before.text[: before.blocks[last].start] == after.text[: before.blocks[last].start]


@pytest.mark.parametrize("system", SYSTEMS)
def test_events_are_told_once(corpora: Path, system: str) -> None:
    """Blocks account for every event of a log, and tell it in less text than it has."""
    data, _ = marked(corpora, system)
    parsed = parse(data, "a.log")
    assert sum(block.details["events"] for block in parsed.blocks) == parsed.metadata["log"]["events"] == 2000
    assert len(parsed.text) < 0.5 * len(data)
