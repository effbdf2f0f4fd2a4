"""PDF: tokens prepared a second on one core, and words found, beside extractors of another make.

Those are pdfminer.six and `unstructured`, which the project does not need: where they are not installed, what compares
with them is skipped. Each test prints its figures.

How many tokens a second are prepared depends on the machine as much as on the code. 100,000 was set as the aim on one
where the bare tokenizer does 900,000 tokens a second and PDFium 830 pages. So what is asserted is a ratio in one run:
to PDFium alone for the plain text of the same files, and the tokenizer alone for that text. Nobody can be faster
than that with them, who does nothing about layout and cuts nothing into chunks.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pipeline.chunk import ChunkRules, chunk_document
from pipeline.config import Recipe
from pipeline.embed.model import load_model
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.errors import Rejected
from pipeline.parse import parse
from pipeline.types import Document, Parsed, document_id
from tests.benchmarks.test_speed import show

ROUNDS = 3
WORST = 10

# What no two extractors spell alike: hyphens, also those at a line's end, and letters of fonts that do not name them.
_HYPHENS = re.compile("[-\u2010\u2011\u00ad\ufffe\x02]\\s*")
_NAMELESS = re.compile(r"\(cid:\d+\)|[\ue000-\uf8ff\ufffd]")
_WIDE = re.compile("([\u2e80-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff])")
_RTL = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_WORD = re.compile(r"[^\W_]+")


def documents(corpora: Path) -> dict[str, bytes]:
    """Every PDF of the corpora that we can read, by its path in there."""
    found = {}
    for path in sorted([*(corpora / "office").rglob("*.pdf"), *(corpora / "pdf-samples").rglob("*.pdf")]):
        data = path.read_bytes()
        try:
            parse(data, path.name)
        except Rejected:
            continue
        found[path.relative_to(corpora).as_posix()] = data
    return found


def seconds_of(call: Callable[[], object]) -> float:
    """CPU time, since others may be at work on the machine."""
    started = time.process_time()
    call()
    return time.process_time() - started


def words(text: str) -> Counter[str]:
    """The words of a text, so spelt that two extractors can agree.

    A lone letter or digit is none, since fonts and formulas part their glyphs anyhow; an ideogram is. The letters of a
    word that is read from the right are sorted.
    """
    plain = unicodedata.normalize("NFKC", _HYPHENS.sub("", _NAMELESS.sub(" ", text))).casefold()
    found = [word for word in _WORD.findall(_WIDE.sub(r" \1 ", plain)) if len(word) > 1 or _WIDE.match(word)]
    return Counter("".join(sorted(word)) if _RTL.search(word) else word for word in found)


def without_running(text: str, parsed: Parsed) -> str:
    """`text` without the lines of nothing but running headers and footers that our metadata name, one each a page."""
    named = {_shape(line) for name in ("headers", "footers") for line in parsed.metadata.get(name, ())}
    left = Counter(dict.fromkeys(named, parsed.metadata["pages"]))
    alone = re.compile("|".join(re.escape(shape) for shape in sorted(named, key=len, reverse=True)) or r"(?!)")
    kept = []
    for line in text.splitlines():
        shape = _shape(line)
        said = alone.findall(shape)
        if said and not alone.sub("", shape).strip() and all(left[one] > 0 for one in said):
            left -= Counter(said)
        else:
            kept.append(line)
    return "\n".join(kept)


def _shape(line: str) -> str:
    return " ".join(re.sub(r"\d+|\b[ivxlc]+\b", "0", line.casefold()).split())


def recall(parsed: Parsed, reference: str) -> tuple[float, Counter[str]]:
    """The share of the reference's words that we have as well, and those that we have not."""
    theirs = words(without_running(reference, parsed))
    missing = theirs - words(parsed.text)
    return 1 - missing.total() / max(1, theirs.total()), missing


def plain_text(data: bytes) -> list[str]:
    """What PDFium alone finds on the pages of a file; nothing if it does not open it."""
    import pypdfium2

    texts = []
    try:
        with closing(pypdfium2.PdfDocument(data)) as document:
            for page in document:
                text = page.get_textpage()
                texts.append(text.get_text_range())
                text.close()
                page.close()
    except pypdfium2.PdfiumError:
        pass
    return texts


def test_pdfs_are_prepared_fast(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed with layout, chunked and tokenized, at 0.22 or more of the speed of bare PDFium and tokenizer."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("PATH", "")  # no Tesseract: what is measured here has a text layer
    folder = load_model(Recipe()).path
    library = Tokenizer.from_str(ModelTokenizer(folder).serialized)
    rules = ChunkRules(limit=256)
    files = documents(corpora)

    def chunked(parsed: Mapping[str, Parsed]) -> int:
        tokenizer = ModelTokenizer(folder)  # one that remembers nothing yet
        tokens = 0
        for name, one in parsed.items():
            document = Document(
                document_id(name), name, "", one.media_type, one.title, one.text, one.blocks, one.metadata
            )
            tokens += sum(len(chunk.token_ids) for chunk in chunk_document(document, tokenizer, rules))
        return tokens

    parsing, chunking, reading, tokenizing = [], [], [], []
    for _ in range(ROUNDS):  # of each the fastest, in turns, since the machine may be busy at any time
        parsed: dict[str, Parsed] = {}
        texts: list[str] = []
        counts: list[int] = []
        parsing.append(seconds_of(lambda p=parsed: p.update((name, parse(data, name)) for name, data in files.items())))
        reading.append(
            seconds_of(lambda t=texts: t.extend(text for data in files.values() for text in plain_text(data)))
        )
        chunking.append(seconds_of(lambda p=parsed, c=counts: c.append(chunked(p))))
        tokenizing.append(seconds_of(lambda t=texts, c=counts: c.append(sum(len(library.encode(x).ids) for x in t))))
    tokens, bare_tokens = counts
    ours = tokens / (min(parsing) + min(chunking))
    bare = bare_tokens / (min(reading) + min(tokenizing))
    show(
        pdf_files=len(files),
        pdf_tokens=tokens,
        pdf_prepared_tokens_per_cpu_second=round(ours),
        pdf_bare_tokens_per_cpu_second=round(bare),
        pdf_prepared_beside_bare=round(ours / bare, 3),
        pdf_cpu_seconds={
            "parsed": round(min(parsing), 2),
            "chunked": round(min(chunking), 2),
            "PDFium alone": round(min(reading), 2),
            "tokenizer alone": round(min(tokenizing), 2),
        },
    )
    assert ours / bare >= 0.22


def test_pdfs_beside_unstructured(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six times as fast as `unstructured` with its strategy "fast", or faster, over the files that both read.

    It is spared the language model that it downloads to tell a title from a sentence: one without rules stands in.
    """
    partition_pdf = pytest.importorskip("unstructured.partition.pdf", exc_type=ImportError).partition_pdf
    spacy = pytest.importorskip("spacy")
    pytest.importorskip("pikepdf")  # without it, it says of every file that there is nothing in it
    language = spacy.blank("en")
    language.add_pipe("sentencizer")
    monkeypatch.setattr("unstructured.nlp.tokenize._load_spacy_model", lambda: language)
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    for name, data in documents(corpora).items():
        found: list[object] = []
        try:
            seconds = seconds_of(
                lambda p=corpora / name, f=found: f.extend(partition_pdf(p, strategy="fast", languages=["eng"]))
            )
        except Exception:  # it gives up on files that we can read, or wants a model of layout for scans
            continue
        if found:
            theirs[name] = seconds
            ours[name] = seconds_of(lambda d=data, n=name: parse(d, n))
    show(
        pdf_files=len(ours),
        pdf_cpu_seconds={"ours": round(sum(ours.values()), 2), "unstructured": round(sum(theirs.values()), 2)},
        pdf_times_as_fast_as_unstructured=round(sum(theirs.values()) / sum(ours.values()), 1),
    )
    assert ours, "unstructured read none of the files: see what it needs for PDF"
    assert sum(theirs.values()) >= 6 * sum(ours.values())


def test_pdfs_beside_pdfminer(corpora: Path) -> None:
    """Of the words that pdfminer finds 98 % or more on average are found by us, six times as fast or faster."""
    pytest.importorskip("pdfminer")
    ours = theirs = 0.0
    recalls: dict[str, tuple[float, Counter[str]]] = {}
    for name, data in documents(corpora).items():
        said: list[str] = []
        try:
            theirs += seconds_of(lambda p=corpora / name, s=said: s.append(reference(p)))
        except Exception:  # it gives up on files that we can read
            continue
        read: list[Parsed] = []
        ours += seconds_of(lambda d=data, n=name, r=read: r.append(parse(d, n)))
        if said[0].strip():
            recalls[name] = recall(read[0], said[0])
    worst = sorted(recalls, key=lambda name: recalls[name][0])[:WORST]
    mean = sum(share for share, _ in recalls.values()) / len(recalls)
    show(
        pdf_files=len(recalls),
        pdf_word_recall=round(mean, 4),
        pdf_times_as_fast_as_pdfminer=round(theirs / ours, 1),
        pdf_worst={name: [round(recalls[name][0], 3), *recalls[name][1]][:8] for name in worst},
    )
    assert mean >= 0.98
    assert theirs / ours >= 6


def reference(path: Path) -> str:
    """What pdfminer reads in the lines that are on a page (it also finds those beside it), figures' text included."""
    from pdfminer.high_level import extract_pages
    from pdfminer.layout import LAParams, LTContainer, LTTextLine

    def lines(part: object, page: tuple[float, float, float, float]) -> Iterator[str]:
        if isinstance(part, LTTextLine):
            left, low, right, high = part.bbox
            if right > page[0] and left < page[2] and high > page[1] and low < page[3]:
                yield part.get_text()
        elif isinstance(part, LTContainer):
            for inner in part:
                yield from lines(inner, page)

    return "".join(
        text for page in extract_pages(path, laparams=LAParams(all_texts=True)) for text in lines(page, page.bbox)
    )
