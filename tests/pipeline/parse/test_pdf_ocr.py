"""Pages that are pictures, and the program that reads them: here a stand-in, which says what Tesseract would."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import Rejected
from pipeline.parse import parse
from tests.pipeline.parse.law import blocks, obeys_the_law
from tests.pipeline.parse.pages import Mark, paragraph, pdf, picture

# Answers with the lines of WORDS at the places given there, in dots, and writes down how it was called.
_STAND_IN = """#!{python}
import os, sys
image = sys.stdin.buffer.read()
head, size, dots = image[:2], image[3:].split(b" ", 2)[:2], len(image)
with open({log!r}, "a") as log:
    print(head.decode(), *(side.decode() for side in size), *sys.argv[1:], file=log)
{answer}
"""
_TABLE = """print("level page block par line word left top width height conf text".replace(" ", "\\t"))
for line, (left, top, height, words) in enumerate({lines!r}, 1):
    for number, word in enumerate(words.split(), 1):
        print(5, 1, 1, 1, line, number, left + 200 * number, top, 180, height, 95.5, word, sep="\\t")
print(5, 1, 2, 1, 1, 1, 10, 10, 4, 4, 3.0, "~", sep="\\t")"""
_LINES = [(200, 400, 42, "The deed of the"), (200, 460, 42, "old mill is kept"), (200, 520, 42, "by the parish.")]
_PICTURE: list[Mark] = [picture(0, 0, 600, 800)]


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> Path:
    """A program `tesseract` that does `answer`; the file in which it writes down its calls."""
    log = tmp_path / "calls"
    program = tmp_path / "tesseract"
    program.write_text(_STAND_IN.format(python=sys.executable, log=str(log), answer=answer), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return log


def test_pages_that_are_pictures_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their words are laid out, with page and box, between those of pages with text; the metadata name the pages."""
    log = stand_in(tmp_path, monkeypatch, _TABLE.format(lines=_LINES))
    monkeypatch.setenv("CORPUSVEC_OCR_LANGUAGES", "eng+deu")
    parsed = parse(pdf(paragraph(60, 740, ["Before it."]), _PICTURE, paragraph(60, 740, ["After it."])), "a.pdf")
    obeys_the_law(parsed)
    assert [text for _, text in blocks(parsed)] == [
        "Before it.", "The deed of the old mill is kept by the parish.", "After it.",
    ]  # fmt: skip
    block = parsed.blocks[1]
    # Dots of 1/300 inch from the top left corner, as points from the lower left one of a page 800 points high.
    assert block.page == 2
    assert block.box == pytest.approx((96, 665.1, 283.2, 704), abs=0.2)
    assert parsed.metadata == {"pages": 3, "ocr_pages": [2]}
    assert parsed.warnings == []
    assert log.read_text() == "P5 2500 3333 stdin stdout --dpi 300 -l eng+deu tsv\n"


def test_without_the_program_such_pages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document with some text is read without its scans, which a warning and the metadata name; else rejected."""
    monkeypatch.setenv("PATH", str(tmp_path))
    scanned = (
        "; OCR would read that, and there is no program `tesseract` on this machine: install Tesseract "
        "(Debian and Ubuntu: apt install tesseract-ocr)"
    )
    parsed = parse(pdf(paragraph(60, 740, ["Text."]), *[_PICTURE] * 3, [], _PICTURE), "a.pdf")
    assert parsed.warnings == [f"pages 2-4, 6 show pictures and no text (scans, perhaps){scanned}"]
    assert parsed.metadata == {"pages": 6, "unread_pages": [2, 3, 4, 6]}
    with pytest.raises(Rejected) as rejected:
        parse(pdf(_PICTURE, _PICTURE), "a.pdf")
    assert str(rejected.value) == (
        f"no text on any of its 2 pages: pages 1-2 show pictures and no text (scans, perhaps){scanned}"
    )


def test_a_scan_with_a_stamp_on_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What OCR sees beside a page's own words is added to them; the words themselves stay as the file has them."""
    stand_in(tmp_path, monkeypatch, _TABLE.format(lines=_LINES))
    monkeypatch.setenv("CORPUSVEC_OCR_LANGUAGES", "eng")
    parsed = parse(pdf([*_PICTURE, (60, 740, 10, "Received in May")]), "a.pdf")
    obeys_the_law(parsed)
    assert sorted(text for _, text in blocks(parsed)) == [
        "Received in May", "The deed of the old mill is kept by the parish.",
    ]  # fmt: skip
    assert parsed.metadata == {"pages": 1, "ocr_pages": [1]}
    assert parsed.warnings == []
    monkeypatch.delenv("CORPUSVEC_OCR_LANGUAGES")
    over = parse(pdf([*_PICTURE, (96, 692, 24, "THE DEED of the")]), "a.pdf")
    assert over.text.casefold().count("the deed") == over.text.count("THE DEED") == over.text.count("parish") == 1
    assert [warning.split(",")[0] for warning in over.warnings] == ["its scanned pages were read as English"]


def test_a_scan_with_a_stamp_on_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program a warning says so, since most of the page may be missing; a page whose words are hidden
    behind its picture has been read by another."""
    monkeypatch.setenv("PATH", str(tmp_path))
    stamped = parse(pdf([*_PICTURE, (60, 740, 10, "Received in May")]), "a.pdf")
    assert stamped.text == "Received in May"
    (warning,) = stamped.warnings
    assert warning.startswith("page 1 shows a picture all over and hardly any text (a scan with a stamp, perhaps); OCR")
    assert "unread_pages" not in stamped.metadata
    photo: list[Mark] = [picture(100, 100, 200, 300), (60, 740, 10, "A photo")]
    for fine in (photo, [*_PICTURE, "BT 3 Tr ET", (60, 740, 10, "Hidden words")]):
        assert parse(pdf(fine), "a.pdf").warnings == []


def test_a_picture_with_a_caption_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page on whose picture OCR finds nothing is no page that was not read."""
    stand_in(tmp_path, monkeypatch, "print('level')")
    parsed = parse(pdf([*_PICTURE, (60, 740, 10, "The harbour")]), "a.pdf")
    assert (parsed.text, parsed.warnings, parsed.metadata) == ("The harbour", [], {"pages": 1})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("sys.exit('cannot read the language tlh')", "and Tesseract failed: cannot read the language tlh"),
        ("print('level')", "and OCR finds no text there either"),
        ("os.kill(os.getpid(), 9)", "and Tesseract failed"),
        ("sys.stdout.buffer.write(bytes(range(256)) * 99)", "and OCR finds no text there either"),
        ("print('5', *['x'] * 11, sep='\\t')", "and Tesseract failed: its answer makes no sense"),
    ],
)
def test_a_page_that_ocr_cannot_read_costs_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, reason: str
) -> None:
    """Whatever the program does, the other pages are kept, and the warning says what it did."""
    stand_in(tmp_path, monkeypatch, answer)
    parsed = parse(pdf(paragraph(60, 740, ["Text."]), _PICTURE), "a.pdf")
    assert parsed.text == "Text."
    assert parsed.warnings == [f"page 2 shows a picture and no text (a scan, perhaps), {reason}"]
    assert parsed.metadata["unread_pages"] == [2]


def test_ocr_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that takes too long is given up."""
    monkeypatch.setattr("pipeline.parse.ocr._PAGE_SECONDS", 0.2)
    stand_in(tmp_path, monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(Rejected, match=r"page 1 shows a picture .* and Tesseract needed more than 0\.2 s for it"):
        parse(pdf(_PICTURE), "a.pdf")


def test_many_pages_are_read_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are read side by side, and come out in the order in which they are in the file, whichever is done first."""
    numbers = "import hashlib, time; mark = hashlib.sha256(image).hexdigest()[:6]; time.sleep(int(mark[0], 16) / 200)\n"
    shown = _TABLE.replace("{lines!r}", "[(200, 400, 42, f'Deed {dots} x')]")
    stand_in(tmp_path, monkeypatch, numbers + shown)
    pages: list[list[Mark]] = [[picture(0, 0, 600, 800), f"0 0 {at} {at} re f"] for at in range(1, 8)]
    parsed = parse(pdf(*pages), "a.pdf")
    assert [block.page for block in parsed.blocks] == list(range(1, 8))
    assert parsed.metadata["ocr_pages"] == list(range(1, 8))


def test_slow_pages_are_no_slow_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages have a limit of their own: that of the document does not count while they are read."""
    monkeypatch.setattr("pipeline.parse.ocr._TICK", 0.05)
    beats: list[float] = []
    monkeypatch.setattr("pipeline.parse.ocr.beat", lambda: beats.append(time.monotonic()))
    stand_in(tmp_path, monkeypatch, "import time; time.sleep(0.4)\n" + _TABLE.format(lines=_LINES))
    assert parse(pdf(_PICTURE), "a.pdf").metadata["ocr_pages"] == [1]
    assert len(beats) > 1


def test_no_document_is_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose pages take hours is rejected, saying what to do."""
    monkeypatch.setattr("pipeline.parse.ocr._TICK", 0.05)
    monkeypatch.setattr("pipeline.parse.ocr._ALL_SECONDS", 0.1)
    stand_in(tmp_path, monkeypatch, "import time; time.sleep(1)")
    with pytest.raises(Rejected, match="its pages are scans, and reading 0 of them took three hours: split it"):
        parse(pdf(*[_PICTURE] * 9), "a.pdf")
