"""PDF: tokens prepared a second on one core, and words found, beside an extractor of another make.

That is pdfminer.six, which the project does not need: where it is not installed, what compares with it is skipped. Each
prints its figures.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

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


def test_pdfs_are_prepared_fast(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one core, 100,000 tokens/s or more are parsed with layout, chunked and tokenized, over all files."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    tokenizer = ModelTokenizer(load_model(Recipe()).path)
    rules = ChunkRules(limit=256)
    files = documents(corpora)

    def chunked(parsed: Mapping[str, Parsed]) -> int:
        tokens = 0
        for name, one in parsed.items():
            document = Document(
                document_id(name), name, "", one.media_type, one.title, one.text, one.blocks, one.metadata
            )
            tokens += sum(len(chunk.token_ids) for chunk in chunk_document(document, tokenizer, rules))
        return tokens

    rounds = []
    for _ in range(ROUNDS):
        parsed: dict[str, Parsed] = {}
        parsing = seconds_of(lambda p=parsed: p.update((name, parse(data, name)) for name, data in files.items()))
        started = time.process_time()
        tokens = chunked(parsed)
        rounds.append((parsing + time.process_time() - started, parsing, tokens))
    seconds, parsing, tokens = min(rounds)
    show(
        pdf_files=len(files),
        pdf_tokens=tokens,
        pdf_prepared_tokens_per_cpu_second=round(tokens / seconds),
        pdf_parsed_tokens_per_cpu_second=round(tokens / parsing),
        pdf_share_of_parsing=round(parsing / seconds, 3),
    )
    assert tokens / seconds >= 100_000


def test_pdfs_beside_pdfminer(corpora: Path) -> None:
    """Of the words that pdfminer finds 98 % or more on average are found by us, ten times as fast or faster."""
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
    assert theirs / ours >= 10


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
