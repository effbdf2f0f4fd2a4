"""`corpusvec parse`: what the parser sees, on stdout, for people and for programs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.cli import main
from tests.pipeline.parse.packed import tarred, zipped

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"
PAGE = b"<html lang=en><title>Tides</title><h1>Tides</h1><h2>Spring</h2><p>High water comes at noon.</p>"
LOG = b"2024-05-01 10:00:00 INFO pump: started\n2024-05-01 10:00:01 ERROR pump: no water\n  at intake\n" * 3


@pytest.fixture
def folder(workplace: Path) -> Path:
    """Files of several kinds, some of them inside others."""
    (workplace / "tides.html").write_bytes(PAGE)
    (workplace / "pump.log").write_bytes(LOG)
    inner = zipped({"notes/tides.html": PAGE, "empty.txt": b""})
    (workplace / "box.zip").write_bytes(zipped({"inner.zip": inner, "what!.txt": b"words in a file"}))
    return workplace


def run(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What the command prints on stdout; nothing else may go there."""
    assert main(["parse", *arguments]) == code
    return capfd.readouterr().out


def run_json(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    return json.loads(run(capfd, *arguments, "--json", code=code))


def test_blocks_come_in_order_with_their_place(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Kind, text, page, box, level and the headings above: as JSON, and to read; and nothing is stored."""
    found = run_json(capfd, "tides.html")
    assert list(found) == [
        "file", "uri", "media_type", "title", "language", "metadata", "warnings", "blocks", "members",
    ]  # fmt: skip
    assert (found["media_type"], found["title"], found["language"]) == ("text/html", "Tides", "en")
    assert [(block["kind"], block["level"], block["heading_path"], block["text"]) for block in found["blocks"]] == [
        ("heading", 1, [], "Tides"),
        ("heading", 2, ["Tides"], "Spring"),
        ("paragraph", 0, ["Tides", "Spring"], "High water comes at noon."),
    ]
    text = run(capfd, "tides.html")
    assert "text/html, language en" in text and "2 paragraph · Tides > Spring\n    High water comes at noon." in text
    assert sorted(path.name for path in folder.iterdir()) == ["box.zip", "pump.log", "tides.html"]


def test_pages_and_boxes_are_shown(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of a PDF each block has its page and its box."""
    report = str(SAMPLE / "annual-report.pdf")
    blocks = run_json(capfd, report)["blocks"]
    assert {block["page"] for block in blocks} == {1, 2}
    assert all(len(block["box"]) == 4 for block in blocks)
    assert " · page 2 · box " in run(capfd, report)


def test_a_logs_events_are_shown(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each event with time, level, component, template and lines; compressed or not."""
    import gzip

    (folder / "old.gz").write_bytes(gzip.compress(LOG))
    for file in ("pump.log", "old.gz"):
        events = run_json(capfd, file)["events"]
        assert len(events) == 6
        assert {"timestamp", "level", "component", "template", "line_from", "line_to", "text"} <= set(events[0])
        assert (events[1]["level"], events[1]["line_from"], events[1]["line_to"]) == ("error", 2, 3)
        assert events[0]["timestamp"].startswith("2024-05-01T10:00:00")
    assert "2–3  2024-05-01T10:00:01+00:00 · error" in run(capfd, "pump.log")


def test_chunks_are_those_of_the_recipe(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Chunks count tokens as the configured model does, within the configured limit, with section and pages."""
    (folder / "corpusvec.toml").write_text("[recipe]\nchunk_tokens = 64\n")
    chunks = run_json(capfd, str(SAMPLE / "annual-report.pdf"), "--chunks")["chunks"]
    assert [chunk["position"] for chunk in chunks] == list(range(len(chunks)))
    assert len(chunks) > 10 and max(chunk["tokens"] for chunk in chunks) <= 64
    assert chunks[0]["section"] and chunks[-1]["page_to"] == 2
    assert "chunk 0 · " in run(capfd, str(SAMPLE / "annual-report.pdf"), "--chunks")


def test_members_are_listed_and_looked_into(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is inside of an archive is listed, and shown as FILE!/NAME, however deep, by its plain name or its URI's."""
    members = run_json(capfd, "box.zip")["members"]
    assert [(member["name"], member["refused"]) for member in members] == [("inner.zip", ""), ("what!.txt", "")]
    assert members[1]["uri"].endswith("box.zip!/what%21.txt")
    assert "box.zip!/inner.zip  (" in run(capfd, "box.zip")
    for name in ("box.zip!/what!.txt", "box.zip!/what%21.txt"):
        assert run_json(capfd, name)["blocks"][0]["text"] == "words in a file"
    deep = run_json(capfd, "box.zip!/inner.zip!/notes/tides.html")
    assert (deep["title"], deep["uri"].count("!/")) == ("Tides", 2)


def test_a_rejected_file_has_its_reason(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What cannot be used is told with the reason and exit code 1; other files are shown all the same."""
    (folder / "nothing.txt").touch()
    assert run_json(capfd, "nothing.txt", code=1)["rejected"] == "the file is empty"
    both = run_json(capfd, "nothing.txt", "tides.html", "box.zip!/inner.zip!/empty.txt", code=1)
    assert [one.get("rejected") for one in both] == ["the file is empty", None, "the file is empty"]
    assert "rejected   the file is empty" in run(capfd, "nothing.txt", code=1)
    link = tarred({}, "w", _link("away"))
    (folder / "links.tar").write_bytes(link)
    assert "link" in run_json(capfd, "links.tar!/away", code=1)["rejected"]


def test_large_files_are_not_read(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The limit on a document's size holds here as well."""
    (folder / "corpusvec.toml").write_text("[limits]\nmax_document_bytes = 10\n")
    assert "max_document_bytes" in run_json(capfd, "tides.html", code=1)["rejected"]


def test_stdin_is_a_file(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    """A dash reads what is piped in, and looks into it."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(zipped({"a.txt": b"words"}))))
    assert [one["media_type"] for one in json.loads(run(capfd, "--json", "--", "-", "-!/a.txt"))] == [
        "application/zip",
        "text/plain",
    ]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("none.pdf", "there is no file or folder none.pdf"),
        (".", "is a folder"),
        ("box.zip!/none", "there is no 'none' inside of box.zip: it holds inner.zip, what!.txt"),
        ("tides.html!/none", "it holds no documents"),
        ("none.zip!/a", "there is no file or folder none.zip"),
    ],
)
def test_what_is_not_there_is_wrong_usage(
    folder: Path, file: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file, or a member of one, that is not there: one sentence, exit code 2, nothing on stdout."""
    assert main(["parse", file]) == 2
    captured = capfd.readouterr()
    assert captured.out == "" and words in captured.err and len(captured.err.strip().splitlines()) == 1


def _link(name: str) -> Any:
    import tarfile

    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, "elsewhere"
    return entry


@pytest.mark.parametrize("arguments", [[], ["--chunks"]])
def test_it_is_parsed_as_a_run_would(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """In a process of its own, the same is seen; what takes longer than a document may is rejected, and it ends."""
    files = ["tides.html", "pump.log", "box.zip!/inner.zip!/notes/tides.html"]
    here = run_json(capfd, *files, *arguments)
    monkeypatch.setenv("CORPUSVEC_LIMITS__PARSE_WORKERS", "1")
    assert run_json(capfd, *files, *arguments) == here
    (folder / "long.html").write_bytes(PAGE + b"<p>High water comes at noon.</p>" * 50_000)
    monkeypatch.setenv("CORPUSVEC_LIMITS__PARSE_SECONDS", "0.01")
    assert "longer than the 0.01 seconds" in run_json(capfd, "long.html", *arguments, code=1)["rejected"]
