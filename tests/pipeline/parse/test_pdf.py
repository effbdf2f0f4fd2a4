"""PDF: pages, paragraphs, headings, and what cannot be read."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.parse import parse
from pipeline.parse.pdf import parse as parse_pdf
from tests.pipeline.parse.law import blocks, obeys_the_law
from tests.pipeline.parse.pages import pdf
from tests.pipeline.parse.samples import SAMPLES

_WHOLE = [SAMPLES[name]() for name in sorted(SAMPLES) if name.endswith(".pdf")]


def test_lines_become_paragraphs_again() -> None:
    """Lines at the usual distance are one paragraph; a wider gap, a larger letter or an indentation starts another."""
    page = [
        (50, 700, 18, "A large line"),
        (50, 680, 10, "First paragraph goes"),
        (50, 668, 10, "on and on."),
        (50, 640, 10, "Second after a gap"),
        (50, 628, 10, "ends here."),
        (65, 616, 10, "Third is indented"),
        (50, 604, 10, "and goes on."),
    ]
    assert blocks(parse(pdf(page), "a.pdf")) == [
        ("heading", "A large line"),
        ("paragraph", "First paragraph goes on and on."),
        ("paragraph", "Second after a gap ends here."),
        ("paragraph", "Third is indented and goes on."),
    ]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_page_that_is_turned_has_the_same_paragraphs(turn: int) -> None:
    """A page turned on its side, as scanners and spreadsheets leave it, is laid out as it is shown."""
    # The text runs as the turned page shows it, since its own axes are turned the other way.
    matrix = {90: "0 1 -1 0 600 0", 180: "-1 0 0 -1 600 800", 270: "0 -1 1 0 0 800"}[turn]
    lines = [(50, 500, 10, "One line and"), (50, 488, 10, "its second."), (50, 450, 10, "Another paragraph.")]
    data = pdf(lines, rotate=turn).replace(b"stream\nBT", f"stream\n{matrix} cm BT".encode())
    assert [text for _, text in blocks(parse(data, "a.pdf"))] == ["One line and its second.", "Another paragraph."]


def test_words_parted_at_a_line_end_are_whole() -> None:
    """A hyphen at a line's end goes where a small letter follows; other hyphens stay."""
    page = [(50, 700, 10, "This is an exam-"), (50, 688, 10, "ple of a well-known"), (50, 676, 10, "kind.")]
    assert parse(pdf(page), "a.pdf").text == "This is an example of a well-known kind."


def test_bullets_are_list_items() -> None:
    """Lines that start with a bullet are items, with the lines that hang below them."""
    page = [
        (50, 700, 10, "Things to do:"),
        (60, 688, 10, "\u2022 wash the mirror;"),
        (70, 676, 10, "dry it"),
        (60, 664, 10, "\u2022 close the dome"),
    ]
    assert blocks(parse(pdf(page), "a.pdf")) == [
        ("paragraph", "Things to do:"),
        ("list_item", "wash the mirror; dry it"),
        ("list_item", "close the dome"),
    ]


def test_the_outline_names_headings_and_pages_are_counted() -> None:
    """A line that the outline points to is a heading, with or without its number; blocks know their page, from 1."""
    first = [(50, 700, 10, "1 Intro"), (50, 688, 10, "text of one"), (50, 676, 10, "more of it")]
    second = [(50, 700, 10, "Results"), (50, 688, 10, "text of two")]
    data = pdf(first, second, info="/Title(On tides)/Author(A. B.)/CreationDate(D:20240102030405+01'00')",
               outline=[("Intro", 0), ("2 Results", 1)])  # fmt: skip
    parsed = parse(data, "a.pdf")
    assert blocks(parsed) == [
        ("heading", "1 Intro"),
        ("paragraph", "text of one more of it"),
        ("heading", "Results"),
        ("paragraph", "text of two"),
    ]
    assert [block.page for block in parsed.blocks] == [1, 1, 2, 2]
    assert parsed.title == "On tides"
    assert parsed.metadata == {"author": "A. B.", "created": "2024-01-02T03:04:05+01:00", "pages": 2}


def test_pdfs_without_text_say_how_many_pages() -> None:
    """A PDF of blank pages is rejected with their number."""
    with pytest.raises(Rejected, match=r"no text on any of its 3 pages$"):
        parse(pdf([], [], []), "a.pdf")


def test_a_broken_pdf_is_rejected_in_words() -> None:
    """A PDF that is cut short says that its end is missing; one of rubbish says that it is damaged."""
    whole = pdf([(50, 700, 10, "text")])
    with pytest.raises(Rejected, match="its end is missing"):
        parse(whole[:60], "a.pdf")
    with pytest.raises(Rejected, match="damaged"):
        parse(b"%PDF-1.4\nrubbish\n%%EOF", "a.pdf")


def test_threads_take_turns() -> None:
    """PDFium is entered by one thread at a time: many threads that parse at once get what one gets."""
    data = pdf(*[[(50, 700 - 12 * n, 10, f"line {n} of a page") for n in range(30)]] * 5)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: parse(data, "a.pdf").text, range(40)))
    assert len(set(results)) == 1


def test_real_pdfs(corpora: Path) -> None:
    """Titles, outlines, columns and 600 pages of real PDFs come out whole and on their pages."""
    office = corpora / "office" / "pdf"
    paper = parse((office / "layout-parser-paper-fast.pdf").read_bytes(), "a.pdf")
    assert "complicate the easy reuse of important innovations by a wide audience" in paper.text
    assert {block.page for block in paper.blocks} == {1, 2}
    columns = parse((office / "multi-column-2p.pdf").read_bytes(), "a.pdf")
    assert "relies on efficient passage retrieval to select candidate contexts, where traditional" in columns.text
    outlined = parse((corpora / "pdf-samples/006-pdflatex-outline/pdflatex-outline.pdf").read_bytes(), "a.pdf")
    assert ("heading", "1 Foo") in blocks(outlined)
    book = parse((office / "DA-619p.pdf").read_bytes(), "a.pdf")
    obeys_the_law(book)
    assert book.metadata["pages"] == 619 and max(block.page or 0 for block in book.blocks) == 619


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("office/pdf/password.pdf", "encrypted: a password is needed"),
        (
            "pdf-samples/005-libreoffice-writer-password/libreoffice-writer-password.pdf",
            "encrypted: a password is needed",
        ),
        ("office/pdf/loremipsum-flat.pdf", "no text on its only page: page 1 shows a picture and no text"),
    ],
)
def test_locked_and_scanned_pdfs_are_rejected_as_such(
    corpora: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    """A PDF that needs a password or OCR says which; one that is only protected from copying is read."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Rejected) as rejected:
        parse((corpora / name).read_bytes(), name)
    assert str(rejected.value).startswith(reason)
    assert parse((corpora / "office/pdf/copy-protected.pdf").read_bytes(), "a.pdf").text


@pytest.mark.parametrize(
    "listed", ["openpassword", "wrong\nopenpassword\n", " wrong, openpassword", "openpassword,wrong"]
)
def test_configured_passwords_are_tried(corpora: Path, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    """Passwords from the environment, one a line or parted by commas, open what they open, and are said nowhere."""
    data = (corpora / "pdf-samples/005-libreoffice-writer-password/libreoffice-writer-password.pdf").read_bytes()
    monkeypatch.setenv("CORPUSVEC_PDF_PASSWORDS", listed)
    parsed = parse(data, "a.pdf")
    assert parsed.text
    assert "password" not in f"{parsed.metadata}{parsed.warnings}"
    monkeypatch.setenv("CORPUSVEC_PDF_PASSWORDS", "neither,nor")
    with pytest.raises(Rejected, match=r"^encrypted: none of the configured passwords opens it$"):
        parse(data, "a.pdf")


def test_embedded_files_are_members() -> None:
    """A file that is attached comes with its name, to be read as a document of its own; a PDF may hold nothing else."""
    files = [("notes.txt", b"On tides."), ("notes.txt", b"On moons.")]
    for page in ([(50, 700, 10, "text")], []):
        members = parse_pdf(pdf(page, files=files), "a.pdf").members
        assert [(member.name, member.data) for member in members] == [
            ("notes.txt", b"On tides."), ("notes (2).txt", b"On moons."),
        ]  # fmt: skip


def test_links_are_kept_up_to_a_number() -> None:
    """Where the links of a document lead is in its metadata, each once, and how many more there are."""
    links = [f"/Subtype/Link/A<</S/URI/URI(https://example.org/{at % 60})>>/Rect[60 618 220 632]" for at in range(90)]
    metadata = parse(pdf([(50, 700, 10, "text")], annotations=links), "a.pdf").metadata
    assert metadata["links"] == [f"https://example.org/{at}" for at in range(50)]
    assert metadata["more_links"] == 10


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damage_costs_at_most_the_file(data: st.DataObject) -> None:
    """Whatever bytes are changed, cut out or doubled, a PDF is parsed by the law, or rejected with a reason."""
    damaged = bytearray(data.draw(st.sampled_from(_WHOLE)))
    place = st.integers(0, len(damaged) - 1)
    for _ in range(data.draw(st.integers(1, 6))):
        start, end = sorted((data.draw(place), data.draw(place)))
        change = data.draw(st.sampled_from(["set", "cut", "double", "number"]))
        if change == "set":
            damaged[start : start + 1] = data.draw(st.binary(min_size=1, max_size=1))
        elif change == "cut":
            del damaged[start : min(end, start + 300)]
        elif change == "double":
            damaged[start:start] = damaged[start : min(end, start + 300)]
        elif number := re.search(rb"\d+", damaged[start:]):
            at, size = start + number.start(), len(number.group())
            damaged[at : at + size] = data.draw(st.sampled_from([b"0", b"-1", b"99999", b"2147483648", b"1e9"]))
    try:
        obeys_the_law(parse_pdf(bytes(damaged), "a.pdf"))
    except Rejected as reason:
        assert len(str(reason).split()) > 3
