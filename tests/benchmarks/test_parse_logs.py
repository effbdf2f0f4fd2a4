"""Logs: how fast they are prepared, what of them is right, and what a flood costs; figures for docs/benchmarks.md.

`python -m pytest -s tests/benchmarks/test_parse_logs.py` prints them.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from pipeline.chunk import ChunkRules, chunk_document
from pipeline.config import Recipe
from pipeline.embed.model import load_model
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.parse.log import events_of, parse
from pipeline.types import Document
from tests.pipeline.parse.test_log_corpora import (
    SYSTEMS,
    grouping_accuracy,
    is_component_right,
    is_level_right,
    is_timed_right,
    marked,
)

ROUNDS = 3
# So many times the 2,000 lines of a system: what is learnt of a log once is then a small part, as in a real one.
TIMES = 10


def show(**figures: object) -> None:
    """Print figures past pytest's capture."""
    print(json.dumps(figures, indent=2), file=sys.__stdout__, flush=True)


def prepare(data: bytes, tokenizer: ModelTokenizer) -> tuple[float, float, int]:
    """Seconds (of the processor) to parse, and to chunk and tokenize; and tokens to be embedded."""
    started = time.process_time()
    parsed = parse(data, "a.log")
    read = time.process_time()
    document = Document("d", "a.log", "h", parsed.media_type, "", parsed.text, parsed.blocks, parsed.metadata)
    chunks = chunk_document(document, tokenizer, ChunkRules(256))
    return read - started, time.process_time() - read, sum(len(chunk.token_ids) for chunk in chunks)


def renumbered(data: bytes, copy: int) -> bytes:
    """The same lines with other long numbers, such as ids: no log says a thing of the same block ten times over."""
    chance = random.Random(copy)
    return re.sub(
        rb"\d{12,}", lambda found: b"%d" % chance.randrange(10 ** (len(found[0]) - 1), 10 ** len(found[0])), data
    )


def test_logs_are_prepared_faster_than_a_tokenizer_reads_them(corpora: Path) -> None:
    """On one core, lines/s parsed, chunked and tokenized are at least 1.5 times those that the tokenizer reads."""
    folder = load_model(Recipe()).path
    library = Tokenizer.from_str(ModelTokenizer(folder).serialized)
    rows = {}
    for system in SYSTEMS:
        data = marked(corpora, system)[0].rstrip(b"\n") + b"\n"
        log = b"".join(renumbered(data, copy) for copy in range(TIMES))
        lines = log.count(b"\n")
        # Each time a tokenizer that remembers nothing yet.
        rounds = [prepare(log, ModelTokenizer(folder)) for _ in range(ROUNDS)]
        text = data.decode("utf-8", "replace")
        bare = []
        for _ in range(ROUNDS):
            started = time.process_time()
            for at in range(0, len(text), 1000):
                library.encode(text[at : at + 1000])
            bare.append((time.process_time() - started) * TIMES)
        rows[system] = (lines, *map(min, zip(*rounds, strict=True)), min(bare))
    lines, parsing, chunking, tokens, bare_seconds = map(sum, zip(*rows.values(), strict=True))
    show(
        lines_per_second={name: round(row[0] / (row[1] + row[2])) for name, row in rows.items()},
        tokens_per_line={name: round(row[3] / row[0], 1) for name, row in rows.items()},
        overall={
            "lines_per_second": round(lines / (parsing + chunking)),
            "parse_us_per_line": round(parsing / lines * 1e6, 1),
            "chunk_and_tokenize_us_per_line": round(chunking / lines * 1e6, 1),
            "tokens_per_line": round(tokens / lines, 1),
            "bare_tokenizer_lines_per_second": round(lines / bare_seconds),
            "over_bare_tokenizer": round(bare_seconds / (parsing + chunking), 2),
        },
    )
    assert bare_seconds >= 1.5 * (parsing + chunking)


def test_what_is_read_is_right(corpora: Path) -> None:
    """Time, level and component of ≥ 95 % of lines; templates grouped with accuracy ≥ 0.85 on average."""
    right: dict[str, dict[str, float]] = {}
    for system in SYSTEMS:
        data, rows = marked(corpora, system)
        events = list(events_of(data, "a.log"))
        pairs = list(zip(rows, events, strict=True))
        right[system] = {
            "time": statistics.mean(is_timed_right(system, row, event["timestamp"]) for row, event in pairs),
            "level": statistics.mean(is_level_right(system, row, event["level"]) for row, event in pairs),
            "component": statistics.mean(is_component_right(system, row, event) for row, event in pairs),
            "grouping": grouping_accuracy((row["EventId"] for row in rows), (event["template"] for event in events)),
        }
    mean = {
        name: statistics.mean(row[name] for row in right.values())
        for name in ("time", "level", "component", "grouping")
    }
    show(right=right, mean=mean)
    assert min(row[name] for row in right.values() for name in ("time", "level", "component")) >= 0.95
    assert mean["grouping"] >= 0.85


def flood(lines: int) -> Iterator[str]:
    for number in range(lines):
        hour, minute, second = number // 3600 % 24, number // 60 % 60, number % 60
        yield f"2024-05-{number // 86_400 + 1:02} {hour:02}:{minute:02}:{second:02} WARN pool: connection reset\n"


def test_a_million_equal_lines_cost_little() -> None:
    """A million equal lines are four blocks, and take at most fifteen times as long as a tenth of them.

    Memory at its peak is at most three times the bytes: they, their text, and what it takes to make that.
    """
    seconds = []
    for lines in (100_000, 1_000_000):
        data = "".join(flood(lines)).encode()
        rounds = []
        for _ in range(2):
            started = time.process_time()
            parsed = parse(data, "a.log")
            rounds.append(time.process_time() - started)
        seconds.append(min(rounds))
        assert (parsed.metadata["log"]["events"], len(parsed.blocks)) == (lines, 4)
    data = data[: len(data) // 10]
    tracemalloc.start()
    parse(data, "a.log")
    peak = 1 + tracemalloc.get_traced_memory()[1] / len(data)
    tracemalloc.stop()
    show(
        flood_lines_per_second=round(1_000_000 / seconds[1]),
        ratio_of_ten_times_the_lines=round(seconds[1] / seconds[0], 2),
        memory_over_bytes=round(peak, 2),
    )
    assert seconds[1] <= 15 * seconds[0]
    assert peak <= 3
