"""What Qdrant Edge and Qdrant's client share: the layout of a point, and filters. Their models have the same names, so
the functions here take the vendor's module as their first argument.

A point has a dense vector (cosine), a sparse one (BM25 term weights, to which the engine adds the IDF) and the payload
as it is, with up to two extra keys that no reader of the store gets to see: what BM25 saw, unless it is the payload's
text, and the booleans of the metadata as words, since Edge's binding turns a boolean in a filter into a number, which
then finds none. A fraction of sixteen digits or more may come back one off in the last of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from connectors.stores._common import check_condition
from pipeline.errors import Terminal, UsageError
from pipeline.types import Condition, Point

DENSE = "dense"
BM25 = "bm25"
DOCUMENT = "document_id"
_LEXICAL = "lexical_text"
_BOOLEANS = "booleans"
# Qdrant cannot read JSON of 128 levels, though it writes it: one such point would spoil every search that meets it.
_DEEPEST = 100
_BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def to_payload(point: Point) -> dict[str, Any]:
    """A point's payload as it is stored. Raises Terminal if its metadata are nested too deep to be read again."""
    payload = dict(point.payload)
    if _levels(payload["metadata"]) > _DEEPEST:
        raise Terminal(
            f"The metadata of {payload['uri']} are nested more than {_DEEPEST} deep, which Qdrant cannot hold: leave "
            f"that document out, or make its metadata flatter"
        )
    if point.lexical_text != payload.get("text"):
        payload[_LEXICAL] = point.lexical_text
    booleans = [
        _boolean(f"metadata.{key}", one)
        for key, value in payload["metadata"].items()
        for one in (value if isinstance(value, list) else [value])
        if isinstance(one, bool)
    ]
    if booleans:
        payload[_BOOLEANS] = booleans
    return payload


def _levels(value: Any) -> int:
    """How deep `value` is nested; no deeper than what matters is looked at."""
    levels, inner = 0, [value]
    while levels <= _DEEPEST and (
        inner := [
            one
            for outer in inner
            if isinstance(outer, dict | list)
            for one in (outer.values() if isinstance(outer, dict) else outer)
        ]
    ):
        levels += 1
    return levels


def _boolean(field: str, value: bool) -> str:
    return f"{field}={str(value).lower()}"


def to_point(record_id: object, stored: Mapping[str, Any] | None, vector: object) -> Point:
    """The point that was stored: the opposite of `to_payload`. `vector` is None, or the vectors by name."""
    payload = dict(stored or {})
    payload.pop(_BOOLEANS, None)
    lexical_text = payload.pop(_LEXICAL, payload.get("text") or "")
    dense = vector.get(DENSE, ()) if isinstance(vector, dict) else ()
    return Point(str(record_id), np.asarray(dense, dtype=np.float32), lexical_text, payload)


def to_ids(record_ids: Sequence[str]) -> list[str | int]:
    """Ids as Qdrant takes them: ours are uuids, but somebody else may have put in points with numbers for ids."""
    return [int(name) if name.isdigit() else name for name in record_ids]


def to_filter(models: Any, number_range: Any, conditions: Sequence[Condition]) -> Any:
    """The vendor's filter for points that meet every condition; None if there are none.

    `number_range` is the vendor's class for ranges, the one that the two name differently.
    """
    if not conditions:
        return None
    must: list[Any] = []
    must_not: list[Any] = []
    for condition in conditions:
        name, key = check_condition(condition)
        if key is not None and '"' in key:
            raise UsageError(f"{condition.field}: Qdrant cannot filter by a key with a quotation mark in it")
        path = name if key is None else f'{name}."{key}"'
        value = condition.value
        if condition.operator in _BOUNDS:
            test = models.FieldCondition(key=path, range=number_range(**{_BOUNDS[condition.operator]: value}))
        elif isinstance(value, bool):
            match = models.MatchValue(value=_boolean(condition.field, value))
            test = models.FieldCondition(key=_BOOLEANS, match=match)
        elif isinstance(value, str):
            test = models.FieldCondition(key=path, match=models.MatchValue(value=value))
        else:
            # A match would tell 3 from 3.0, a range does not.
            test = models.FieldCondition(key=path, range=number_range(gte=value, lte=value))
        (must_not if condition.operator == "!=" else must).append(test)
    return models.Filter(must=must, must_not=must_not)


def of_documents(models: Any, document_ids: list[str]) -> Any:
    """The vendor's filter for points of these documents."""
    return models.Filter(must=[models.FieldCondition(key=DOCUMENT, match=models.MatchAny(any=document_ids))])
