"""Document → chunks: exact in tokens, cut where the text allows it. Pure; the tokenizer is injected.

A chunk ends at the best boundary within reach: before the outermost heading (or the start of a log's run) in the last
quarter of the token budget; else, in its second half, between blocks, between lines, or after a sentence; else between
words, and only then inside a word (never inside a grapheme if that can be helped). So chunks are filled, and yet cut
where the author did; and after an insertion they soon end in the same places again. Rows of a table are whole wherever
one fits the budget.

Laws, each tested: `chunk.text == document.text[start:end]`; every non-blank character is in some chunk; what the
engine gets, `len(chunk.token_ids)`, is never above the limit; the same input gives the same chunks.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import Rejected
from pipeline.outline import Outline
from pipeline.ports import Encoding, Tokenizer
from pipeline.ruler import Ruler
from pipeline.types import Chunk, Document, record_id

SEPARATOR = " > "

# Counts as a change of how documents are chunked; part of the chunk fingerprint.
CHUNK_VERSION = 3

_SENTENCE_END = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s)|[。！？｡।۔]+[」』”’）]*)")
_LINE_END = re.compile(r"\n+")
_SPACE = re.compile(r"\s+")
# A rest of so few characters a token may well fit: it is tried before anything is measured.
_LIKELY = 4
# Joins what stands before it to what comes after it: zero width joiner.
_JOINER = "\u200d"
# The combining class of the sign that joins two consonants of an Indic script into one cluster.
_VIRAMA = 9


@dataclass(frozen=True, slots=True)
class ChunkRules:
    """How to cut. `limit` counts every token the engine gets: prompt, heading path, text and special tokens."""

    limit: int
    overlap: int = 0
    heading_context: bool = True
    prompt: str = ""


def chunk_document(document: Document, tokenizer: Tokenizer, rules: ChunkRules) -> list[Chunk]:
    """Every chunk of `document`, in order; an empty list for a text without a non-blank character.

    Raises Rejected if a single character needs more tokens than the limit allows.
    """
    outline = Outline(document)
    occurrences: Counter[str] = Counter()
    chunks: list[Chunk] = []
    for start, end, context, ids in _spans(document.text, outline, tokenizer, rules):
        text = document.text[start:end]
        content_hash = hashlib.sha256(f"{context}\0{text}".encode()).hexdigest()[:32]
        first, last = outline.pages(start, end)
        chunks.append(
            Chunk(
                record_id=record_id(document.document_id, content_hash, occurrences[content_hash]),
                document_id=document.document_id,
                position=len(chunks),
                start=start,
                end=end,
                text=text,
                context=context,
                section=outline.section(start),
                page=first,
                page_to=last,
                content_hash=content_hash,
                token_ids=ids,
                details=outline.details(start, end),
            )
        )
        occurrences[content_hash] += 1
    return chunks


def engine_text(prompt: str, context: str, text: str) -> str:
    """The characters that are tokenized for the engine: the model's document prompt, the heading path, the text."""
    return f"{prompt}{context}\n{text}" if context else f"{prompt}{text}"


def _spans(
    text: str, outline: Outline, tokenizer: Tokenizer, rules: ChunkRules
) -> Iterator[tuple[int, int, str, Sequence[int]]]:
    start = _skip_space(text, 0)
    covered = start  # everything before this is in some chunk
    ruler = Ruler(text, tokenizer)
    prefixes = _Prefixes(tokenizer, rules)
    while start < len(text):
        context, prefix, taken = prefixes.under(outline.context(start))
        fitted = _fit(text, start, covered, prefix, taken, outline, ruler, tokenizer, rules.limit)
        if fitted is None:  # what it would repeat leaves no room for anything new
            start = covered
            continue
        end, encoding = fitted
        yield start, end, context, encoding.ids
        covered = _skip_space(text, end)
        if covered >= len(text):
            return
        start = _overlap_start(text, start, covered, encoding, len(prefix), rules.overlap) if rules.overlap else covered


def _fit(
    text: str,
    start: int,
    covered: int,
    prefix: str,
    taken: int,
    outline: Outline,
    ruler: Ruler,
    tokenizer: Tokenizer,
    limit: int,
) -> tuple[int, Encoding] | None:
    """The end of the chunk that starts at `start`, and its encoding of at most `limit` tokens, `taken` by the prefix.

    None if all that fits is `covered` by the chunk before.
    """
    if len(text) - start <= _LIKELY * limit:
        exact = tokenizer.encode(prefix + text[start:].rstrip())
        if len(exact.ids) <= limit:
            return len(text.rstrip()), exact
    room = limit - taken
    reach = ruler.reach(start, room)
    while True:
        if start < covered >= reach:
            return None
        end = _best_cut(text, start, max(start, covered), reach, outline)
        end = start + len(text[start:end].rstrip())
        exact = tokenizer.encode(prefix + text[start:end])
        if len(exact.ids) <= limit:
            return end, exact
        # Tokens at the cut merged differently than in the longer text: give up as many as it is over.
        if reach <= start + 1:
            raise Rejected(
                f"the character {text[start]!r} at offset {start} needs {len(exact.ids)} tokens with its prompt and "
                f"headings, above the limit of {limit}: raise chunk_tokens"
            )
        room -= max(1, len(exact.ids) - limit)
        reach = max(start + 1, min(reach - 1, ruler.reach(start, room)))


def _best_cut(text: str, start: int, after: int, reach: int, outline: Outline) -> int:
    """The best place to end a chunk in (after, reach]."""
    if reach >= len(text):
        return len(text)
    # A cut must move on: past what is covered already, and past the start.
    lowest = max(after, start) + 1
    cut = _best_boundary(text, lowest, start, reach, outline)
    before_heading = outline.heading_ending_at(cut)
    return cut if before_heading is None or before_heading < lowest else before_heading


def _best_boundary(text: str, lowest: int, start: int, reach: int, outline: Outline) -> int:
    quarter = max(lowest, start + 3 * (reach - start) // 4)
    half = max(lowest, start + (reach - start) // 2)
    early = max(lowest, start + 2 * (reach - start) // 5)  # a whole paragraph is worth a shorter chunk
    for found in (outline.division_in(quarter, reach), outline.block_in(early, reach)):
        if found is not None:
            return found
    table = outline.table_at(reach)
    if table is not None:
        row = _last_end(_LINE_END, text, max(lowest, table + 1), reach)
        if row is not None or table >= lowest:
            return table if row is None else row
    for boundary in (_LINE_END, _SENTENCE_END):
        end = _last_end(boundary, text, half, reach)
        if end is not None:
            return end
    end = _last_end(_SPACE, text, lowest, reach)
    if end is not None:
        return end
    cut = max(lowest, reach)
    while cut > lowest and not _between_graphemes(text, cut):
        cut -= 1
    return cut if _between_graphemes(text, cut) else max(lowest, reach)


def _last_end(boundary: re.Pattern[str], text: str, low: int, high: int) -> int | None:
    """The end of the last match that ends in [low, high]; the character at `high` may serve as look-ahead."""
    # Nearest first: most boundaries lie close to the end.
    step = 256
    top = high
    while top >= low:
        bottom = max(low - 1, top - step, 0)
        ends = [match.end() for match in boundary.finditer(text, bottom, min(len(text), high + 1))]
        ends = [end for end in ends if low <= end <= high]
        if ends:
            return ends[-1]
        if bottom <= low - 1 or bottom == 0:
            return None
        top, step = bottom, step * 4
    return None


def _between_graphemes(text: str, cut: int) -> bool:
    """Whether a cut before `text[cut]` separates no accent, joiner, selector, modifier or half flag from its base."""
    if cut <= 0 or cut >= len(text):
        return True
    here, before = text[cut], text[cut - 1]
    if here == _JOINER or before == _JOINER or unicodedata.category(here) in ("Mn", "Me", "Mc"):
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return False
    if "\U0001f3fb" <= here <= "\U0001f3ff":  # skin tones
        return False
    if _is_flag(here) and _is_flag(before):
        run = 0
        while cut - 1 - run >= 0 and _is_flag(text[cut - 1 - run]):
            run += 1
        return run % 2 == 0
    return True


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _overlap_start(text: str, start: int, covered: int, encoding: Encoding, prefix: int, overlap: int) -> int:
    """Where the chunk after the one at `start` begins, to repeat at most `overlap` tokens: a sentence, else a word."""
    starts = encoding.starts
    repeatable = starts[starts >= prefix][-overlap:]
    if not len(repeatable):  # the one token of the text began in the prompt
        return covered
    low = max(start + 1, start - prefix + int(repeatable[0]))
    for boundary in (_SENTENCE_END, _SPACE):
        match = boundary.search(text, low, covered)
        if match is not None:
            at = _skip_space(text, match.end())
            if at < covered:
                return at
    return covered


class _Prefixes:
    """What stands before the text of a chunk, and how many tokens it takes; most chunks share theirs with another."""

    def __init__(self, tokenizer: Tokenizer, rules: ChunkRules) -> None:
        self._tokenizer, self._rules = tokenizer, rules
        self._known: dict[tuple[str, ...], tuple[str, str, int]] = {}

    def under(self, path: tuple[str, ...]) -> tuple[str, str, int]:
        """The heading path that is shown, the prefix with it, and its tokens, special ones included.

        Outermost headings are left out where the path would take over half of the budget.
        """
        if not self._rules.heading_context:
            path = ()
        known = self._known.get(path)
        if known is None:
            context = SEPARATOR.join(path)
            prefix = engine_text(self._rules.prompt, context, "")
            taken = len(self._tokenizer.encode(prefix).ids)
            fits = not path or taken <= self._rules.limit // 2
            known = self._known[path] = (context, prefix, taken) if fits else self.under(path[1:])
        return known


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
