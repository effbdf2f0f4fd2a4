"""Programs that a user may have installed, themselves: what Tesseract and LibreOffice make of our own documents."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.errors import Rejected
from pipeline.parse import parse
from pipeline.types import Parsed
from pipeline.workers import Pool
from pipeline.workers.cores import core, cores
from tests.pipeline.parse.law import blocks, obeys_the_law
from tests.pipeline.parse.pages import Mark, paragraph, pdf

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not installed")
needs_libreoffice = pytest.mark.skipif(shutil.which("soffice") is None, reason="the program soffice is not installed")

GUIDE = Path(__file__).resolve().parents[3] / "data/sample/ferry-crew-guide.docx"
_SLIDES = (
    """<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" office:version="1.2"
 xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:presentation="urn:oasis:names:tc:opendocument:xmlns:presentation:1.0"
 xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"
 office:mimetype="application/vnd.oasis.opendocument.presentation"><office:body><office:presentation>
"""
    + "".join(
        f"""<draw:page><draw:frame presentation:class="title" svg:x="1cm" svg:y="1cm" svg:width="20cm" svg:height="2cm">
<draw:text-box><text:p>{title}</text:p></draw:text-box></draw:frame>
<draw:frame svg:x="1cm" svg:y="5cm" svg:width="20cm" svg:height="5cm">
<draw:text-box><text:p>{text}</text:p></draw:text-box>
</draw:frame></draw:page>"""
        for title, text in (("The pier", "It is old."), ("The lamp", "It burns."))
    )
    + "</office:presentation></office:body></office:document>"
)
_DEED = ["The deed of the old mill by the river is", "kept by the parish, where every heir may", "read it."]


def scanned(*pages: list[Mark], rotate: int = 0) -> bytes:
    """A PDF of pictures of `pages`, each turned by `rotate` degrees clockwise."""
    import pypdfium2

    made, shown = pypdfium2.PdfDocument.new(), pypdfium2.PdfDocument(pdf(*pages, rotate=rotate))
    for sheet in shown:
        width, height = sheet.get_size()
        image = pypdfium2.PdfImage.new(made)
        image.set_bitmap(sheet.render(scale=150 / 72, grayscale=True))
        image.set_matrix(pypdfium2.PdfMatrix().scale(width, height))
        page = made.new_page(width, height)
        page.insert_obj(image)
        page.gen_content()
    target = io.BytesIO()
    made.save(target)
    return target.getvalue()


@needs_tesseract
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_a_scan_is_read_whichever_way_it_lies(rotate: int) -> None:
    """Words and their order are those of the page before it was a picture; boxes are where they are shown."""
    parsed = parse(scanned(paragraph(60, 700, _DEED), rotate=rotate), "a.pdf")
    obeys_the_law(parsed)
    assert [text for _, text in blocks(parsed)] == [" ".join(_DEED)]
    assert parsed.metadata["ocr_pages"] == [1]
    box = parsed.blocks[0].box
    assert box is not None
    width, height = (800, 600) if rotate in (90, 270) else (600, 800)
    # The top of the page is at its right once that is turned clockwise by a quarter, and so on.
    near = {0: height - box[3], 90: width - box[2], 180: box[1], 270: box[0]}[rotate]
    assert near == pytest.approx(93, abs=4)


@needs_tesseract
def test_a_scan_has_the_structure_of_its_page() -> None:
    """Columns, headings and paragraphs are found in a scan as they are in the same page of text."""
    left = ["The lamp at the pier burns", "from dusk until the ferry", "has left, in every night."] * 4
    right = ["Fog is told by the bell of", "the chapel, which is rung", "by hand and never early."] * 4
    page = [(60, 740, 22, "Rules of the pier"), *paragraph(60, 680, left), *paragraph(320, 680, right)]
    assert blocks(parse(scanned(page), "a.pdf")) == blocks(parse(pdf(page), "a.pdf"))


@needs_tesseract
def test_a_table_of_a_scan_has_rows() -> None:
    """What stands in columns is a table, row by row."""
    rows = [
        ("Station", "Lamps", "Keeper"),
        ("Harbour", "12", "Ines"),
        ("Chapel", "31", "Otto"),
        ("Ferry", "47", "Ruth"),
    ]
    marks: list[Mark] = [
        (60 + 160 * x, 700 - 24 * y, 12, word) for y, row in enumerate(rows) for x, word in enumerate(row)
    ]
    assert blocks(parse(scanned(marks), "a.pdf")) == [("table", "\n".join(map(" | ".join, rows)))]


@needs_tesseract
def test_scans_among_pages_with_text() -> None:
    """Only pages without text are read by OCR; all come in their order."""
    import pypdfium2

    mixed = pypdfium2.PdfDocument(pdf(paragraph(60, 740, ["First page."])))
    mixed.import_pages(pypdfium2.PdfDocument(scanned(paragraph(60, 700, _DEED))))
    mixed.import_pages(pypdfium2.PdfDocument(pdf(paragraph(60, 740, ["Last page."]))))
    target = io.BytesIO()
    mixed.save(target)
    parsed = parse(target.getvalue(), "a.pdf")
    assert [(block.page, text) for block, (_, text) in zip(parsed.blocks, blocks(parsed), strict=True)] == [
        (1, "First page."), (2, " ".join(_DEED)), (3, "Last page."),
    ]  # fmt: skip
    assert parsed.metadata["ocr_pages"] == [2]


@needs_tesseract
def test_a_language_that_tesseract_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of the language that it does not have is the reason."""
    monkeypatch.setenv("CORPUSVEC_OCR_LANGUAGES", "tlh")
    with pytest.raises(Rejected, match=r"page 1 shows a picture .*Tesseract failed: .*tlh"):
        parse(scanned(paragraph(60, 700, _DEED)), "a.pdf")


def test_cores_are_shared_by_all_who_run_programs() -> None:
    """As many hold one at once as there are, whoever they are; one that was held can be had again."""
    claims = [core() for _ in range(cores())]
    for claim in claims:
        claim.__enter__()
    waiting = subprocess.Popen(
        [sys.executable, "-c", "from pipeline.workers.cores import core\nwith core(): print('at last')"],
        stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    with waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
        for claim in claims:
            claim.__exit__(None, None, None)
        assert waiting.communicate(timeout=20)[0] == b"at last\n"


def _convert(data: bytes, old: str, new: str, folder: Path) -> bytes:
    source = folder / f"a.{old}"
    source.write_bytes(data)
    command = ["soffice", f"-env:UserInstallation={(folder / 'profile').as_uri()}", "--headless", "--convert-to", new]
    subprocess.run([*command, "--outdir", str(folder), str(source)], check=True, capture_output=True, timeout=120)
    return source.with_suffix(f".{new}").read_bytes()


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A guide of ours as Word 97 had it."""
    return _convert(GUIDE.read_bytes(), "docx", "doc", tmp_path_factory.mktemp("doc"))


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two slides as PowerPoint 97 had them."""
    return _convert(_SLIDES.encode(), "fodp", "ppt", tmp_path_factory.mktemp("ppt"))


@needs_libreoffice
def test_old_word_documents_say_what_new_ones_do(guide: bytes) -> None:
    """A document in its format of 1997 has the blocks that it has in today's."""
    parsed = parse(guide, "a.doc")
    obeys_the_law(parsed)
    assert blocks(parsed) == blocks(parse(GUIDE.read_bytes(), "a.docx"))


@needs_libreoffice
def test_old_slides_have_their_numbers(talk: bytes) -> None:
    """Slides of 1997 are read with their numbers and texts."""
    parsed = parse(talk, "a.ppt")
    obeys_the_law(parsed)
    assert [(block.page, text) for block, (_, text) in zip(parsed.blocks, blocks(parsed), strict=True)] == [
        (1, "The pier"), (1, "It is old."), (2, "The lamp"), (2, "It burns."),
    ]  # fmt: skip


@needs_libreoffice
def test_a_damaged_document_is_rejected(guide: bytes) -> None:
    """What LibreOffice cannot open is rejected as that."""
    with pytest.raises(Rejected, match=r"LibreOffice could not convert it|no text"):
        parse(guide[:1500] + bytes(len(guide) - 1500), "a.doc")


def _parse(order: tuple[bytes, str]) -> Parsed:
    return parse(*order)


def start() -> Any:
    """What a worker does."""
    return _parse


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that all temporary files are made in."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path


@needs_libreoffice
def test_several_at_once(guide: bytes, talk: bytes, scratch: Path) -> None:
    """Two workers convert side by side, each with a profile of its own, and leave no file behind."""
    pool: Pool[tuple[bytes, str], Parsed] = Pool(start, 2, 120.0, 2000)
    try:
        futures = [pool.submit(order) for order in ((guide, "a.doc"), (talk, "a.ppt"))]
        assert all(future.result().blocks for future in futures)
    finally:
        pool.close()
    assert list(scratch.iterdir()) == []


@needs_libreoffice
@pytest.mark.parametrize(("seconds", "megabytes", "limit"), [(1.5, 2000, "1.5 seconds"), (120.0, 256, "256 MB")])
def test_a_limit_is_one_of_libreoffice_too(
    guide: bytes, scratch: Path, seconds: float, megabytes: int, limit: str
) -> None:
    """Over its document's limit of time or memory it is ended, with all that it started, profile and files."""
    pool: Pool[tuple[bytes, str], Parsed] = Pool(start, 1, seconds, megabytes)
    try:
        with pytest.raises(Rejected, match=limit):
            pool.submit((guide, "a.doc")).result()
    finally:
        pool.close()
    left = [each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline", "status"])]
    assert not [each for each in left if any(str(scratch) in word for word in each)]
    assert list(scratch.iterdir()) == []
