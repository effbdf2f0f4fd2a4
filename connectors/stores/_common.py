"""What all stores share: the stamp of a collection, the meaning of a filter, the order of hits. Knows no vendor.

**Filters.** A condition names a payload field or `metadata.KEY`, KEY being one key of the metadata, whatever characters
it has. `=` and `!=` compare with a string, a number or a boolean; types never mix (`"3"` is not `3`), though `3` is
`3.0`. A list is equal to a value if one of its elements is. `!=` is the exact opposite of `=`, so it also holds for
points without the field. `<`, `<=`, `>`, `>=` take numbers, and hold for numbers only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any, TypeVar

from pipeline.errors import RecipeMismatch, Terminal, UsageError
from pipeline.types import PAYLOAD_FIELDS, CollectionSpec, Condition, Hit, Point

_T = TypeVar("_T")

#: The key under which a database keeps the stamp, where it has a place for such things.
STAMP = "corpusvec"

#: Payload fields that hold integers; the others, but for `metadata`, hold strings.
INTEGERS = frozenset({"page", "page_to", "position"})

#: Payload fields that filters are expected on: stores index these.
INDEXED = ("document_id", "uri", "source", "media_type", "page", "position")

#: Where a payload names the language of its document.
LANGUAGE = "metadata.language"

#: The fields of a payload that a Hit carries (record_id and score come beside it).
HIT_FIELDS = ("document_id", "uri", "title", "section", "page", "text", "metadata")

_OPERATORS = frozenset({"=", "!=", "<", "<=", ">", ">="})

# How many hits beyond those asked for may be fetched to settle a tie at the end.
_TIES = 1_000


def batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """`items` in lists of `size`, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def patched(
    points: Iterable[Point], size: int, fetch: Callable[[Sequence[str]], Iterable[Point]]
) -> Iterator[list[Point]]:
    """Those of `points` that exist, as `fetch` finds them but with their new payloads, `size` looked for at a time."""
    payloads = {point.record_id: point.payload for point in points}
    for ids in batched(payloads, size):
        yield [replace(found, payload=payloads[found.record_id]) for found in fetch(ids)]


def under_way(spec: CollectionSpec) -> CollectionSpec:
    """The stamp of a collection whose BM25 vectors are being recomputed for `spec`: its average length is negative.

    Whoever finds it knows that the vectors are of two average lengths, since that is no length a corpus can have, and
    that the sign's opposite is the one that new vectors should have.
    """
    return replace(spec, average_length=-abs(spec.average_length))


def to_stamp(spec: CollectionSpec) -> str:
    """The stamp that says what a collection is made for: JSON."""
    return json.dumps(asdict(spec), ensure_ascii=False)


def settle(stamp: str | None, wanted: CollectionSpec | None, url: str, collection: str) -> CollectionSpec:
    """What a collection's stamp says it is made for. RecipeMismatch, with both recipes in words, if that is another
    than the wanted one; Terminal if the stamp is missing or none of ours."""
    try:
        found = CollectionSpec(**json.loads(stamp or ""))
    except (TypeError, ValueError) as error:
        raise Terminal(
            f"The collection '{collection}' at {url} was not made by corpusvec (no stamp says for which recipe it is): "
            f"name another collection, or drop that one"
        ) from error
    if wanted is not None and wanted.recipe != found.recipe:
        raise RecipeMismatch(
            f"The collection '{collection}' at {url} was made for another recipe: it holds {_words(found)}, and this "
            f"run makes {_words(wanted)}. Name a new collection (or drop this one) to change the recipe"
        )
    return found


def absent(url: str, collection: str) -> UsageError:
    """The error for using a collection that does not exist, or was not opened."""
    return UsageError(f"There is no open collection '{collection}' at {url}: load it first, or correct its name")


def _words(spec: CollectionSpec) -> str:
    return ", ".join(f"{name} {value}" for name, value in spec.description.items()) + f" (recipe {spec.recipe})"


def check_condition(condition: Condition) -> tuple[str, str | None]:
    """A condition's field, and the key in it if that field is `metadata`. Raises UsageError if it makes no sense."""
    name, dot, key = condition.field.partition(".")
    if condition.operator not in _OPERATORS:
        raise UsageError(f"'{condition.operator}' is no comparison: use =, !=, <, <=, > or >=")
    if name not in PAYLOAD_FIELDS or (name == "metadata") != bool(dot and key):
        known = ", ".join(field for field in PAYLOAD_FIELDS if field != "metadata")
        raise UsageError(f"'{condition.field}' is nothing to filter by: use {known}, or metadata.KEY")
    value = condition.value
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{condition.field} {condition.operator} {value}: compare with a finite number")
    if condition.operator not in ("=", "!=") and isinstance(value, (str, bool)):
        raise UsageError(f"{condition.field} {condition.operator} {value!r}: only numbers have an order; use = or !=")
    return name, key or None


def to_hit(score: float, record_id: str, payload: Mapping[str, Any]) -> Hit:
    """The hit that a point's payload makes; title and section are "" where the payload has None."""
    return Hit(
        score=score,
        record_id=record_id,
        document_id=payload["document_id"],
        uri=payload["uri"],
        title=payload["title"] or "",
        section=payload["section"] or "",
        page=payload["page"],
        text=payload["text"],
        metadata=payload["metadata"],
    )


def ranked(k: int, ask: Callable[[int], Sequence[Hit]]) -> list[Hit]:
    """The best `k` of what `ask(limit)` finds, equal scores in order of record id.

    Databases order equal scores as they like, so that which of them make it into the `k` would be chance (and equal
    chunks are common: boilerplate). So one more is asked for, and more again as long as the last is equal to the
    `k`-th. Scores are compared to six decimals: the same cosine comes out a bit different in another segment.
    """
    if k < 1:
        return []
    limit = k + 1
    while True:
        hits = sorted(ask(limit), key=lambda hit: (-round(hit.score, 6), hit.record_id))
        settled = len(hits) < limit or round(hits[k - 1].score, 6) != round(hits[-1].score, 6)
        if settled or limit >= k + _TIES:
            return hits[:k]
        limit = min(limit * 4, k + _TIES)
