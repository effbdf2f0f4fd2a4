"""Milvus's language and its errors, ours turned into the one and the other into ours. Imports no vendor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectors.stores._common import INTEGERS, check_condition
from pipeline.errors import CorpusvecError, Terminal, Transient
from pipeline.types import Condition

ID = "record_id"

#: Milvus's code for a collection that is not in memory.
NOT_LOADED = 101
# Its codes for: not available; out of memory, too many requests, internal, rate limit, lagging clock, not loaded,
# channel not available, late; and for those whom it does not let in. What else may pass says so itself (`retriable`),
# to newer clients.
_AWAY = 2
_BUSY = frozenset({3, 4, 5, 8, 11, NOT_LOADED, 503, 10001})
_FORBIDDEN = frozenset({1400, 1401, 1800})
# The same in gRPC's words, from what stands between Milvus and us.
_BUSY_RPC = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"})
_FORBIDDEN_RPC = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def to_error(error: Exception, url: str, collection: str) -> CorpusvecError:
    """What an error of the client means: Transient, or Terminal if the same call would end in the same way."""
    code = getattr(error, "code", None)
    # An error of gRPC, which has its code and text as methods, may come as it is, or as the cause of one of Milvus.
    rpc: Any = next((one for one in (error, error.__cause__) if callable(getattr(one, "code", None))), None)
    status = getattr(rpc.code() if rpc else code, "name", "")
    text = getattr(error, "message", None) or (rpc.details() if rpc else error)
    text = " ".join(str(text).split())
    if status in _FORBIDDEN_RPC or code in _FORBIDDEN:
        return Terminal(f"Milvus at {url} refuses us: {text}; set MILVUS_TOKEN (user:password) in the environment")
    if code == _AWAY:
        return Transient(f"No Milvus server answers at {url}: start it or correct --store")
    if code in _BUSY or status in _BUSY_RPC or getattr(error, "retriable", False) or " timeout" in text:
        return Transient(f"Milvus at {url} cannot answer now: {text}")
    return Terminal(f"Milvus at {url} failed on '{collection}': {text}")


def to_expression(conditions: Sequence[Condition]) -> str:
    """The conditions in Milvus's language, with the meaning that `_common` gives them."""
    return " and ".join(map(_test, conditions))


def _test(condition: Condition) -> str:
    name, key = check_condition(condition)
    value = condition.value
    if key is not None:
        path = f"{name}[{literal(key)}]"
        if condition.operator in ("=", "!="):
            # Lite takes a negative number in a list only.
            equal = f"({path} == {literal(value)} or json_contains_any({path}, [{literal(value)}]))"
            return equal if condition.operator == "=" else f"(not exists {path} or not {equal})"
        return f"{path} {condition.operator} {literal(value)}"
    if isinstance(value, bool) or isinstance(value, str) == (name in INTEGERS):
        # Comparing a field with a value of another type is an error to Milvus: it is never equal to it, so always !=.
        return f'{ID} {"!=" if condition.operator == "!=" else "=="} ""'
    if condition.operator == "!=":
        return f"({name} is null or {name} != {literal(value)})"
    return f"{name} {'==' if condition.operator == '=' else condition.operator} {literal(value)}"


def literal(value: str | float | bool) -> str:
    """A value in Milvus's language."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value.translate(_ESCAPES)}"' if isinstance(value, str) else repr(value)
