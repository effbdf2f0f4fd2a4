"""What goes over the wire to an embedding server and back: addresses and keys, answers, `Retry-After`."""

from __future__ import annotations

import base64
import email.utils
import ipaddress
import json
import math
import os
import time
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from pipeline.errors import UsageError
from pipeline.types import Vectors

# More than anybody reads at once, and as many as a JSON number can count.
_MOST_TOKENS = 2**53


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server gives for some inputs."""

    #: In the inputs' order: float32, shape (count, length).
    vectors: Vectors
    #: How many tokens it says it read of all of them; None if it does not say.
    tokens: int | None


def address(url: str) -> tuple[str, str]:
    """What `/embeddings` is below, and the key to send there, "" if there is none. Raises UsageError."""
    if "@" in url or "?" in url:
        # It would be kept in reports and logs.
        raise UsageError(
            "endpoint.url carries a user name, a key or a question mark: leave it out, and set CORPUSVEC_ENDPOINT_KEY"
        )
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host.isascii():
            host.encode("idna")  # looks at the lengths of its labels, as looking it up would
        right = host.split() == [host] and parts.scheme in ("http", "https") and parts.port != 0 and not parts.fragment
    except ValueError:
        right = False
    if not right:
        raise UsageError(f"endpoint.url is no address of a server: {url!r}; write http://HOST:PORT/v1")
    key = _key("CORPUSVEC_ENDPOINT_KEY")
    if not key and (parts.scheme == "https" or is_here(host)):
        # A key that was made for another server is not sent in the clear to whatever a URL names, nor to a proxy.
        key = _key("OPENAI_API_KEY")
    path = parts.path.rstrip("/").removesuffix("/embeddings")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}", key


def is_here(host: str) -> bool:
    """Whether a host is this machine, and reached without a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(name: str) -> str:
    """What the environment says, without white space around it. Raises UsageError for what no header can carry."""
    key = os.environ.get(name, "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise UsageError(
            f"{name} is no key: it has white space, a line break or a character beyond ASCII in it; set it anew"
        )
    return key


def read_answer(content: bytes, count: int) -> Answer:
    """What a server answers to `count` inputs. Raises ValueError, in words, if it is no answer to them."""
    try:
        answer = json.loads(content)
        rows = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("there are no data in it")
        numbers = [row.get("index", at) for at, row in enumerate(rows)]
        if not all(type(number) is int for number in numbers) or sorted(numbers) != list(range(count)):
            raise ValueError(f"{len(rows)} vectors for {count} texts, or numbered otherwise than the texts")
        numbered = dict(zip(numbers, rows, strict=True))
        vectors = [_vector(numbered[number].get("embedding")) for number in range(count)]
        if vectors[0].ndim != 1 or not vectors[0].size or any(one.shape != vectors[0].shape for one in vectors):
            raise ValueError("its vectors are not of one length")
        return Answer(np.stack(vectors), _tokens(answer.get("usage")))
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _vector(given: Any) -> Vectors:
    if isinstance(given, str):
        return np.frombuffer(base64.b64decode(given, validate=True), "<f4").astype(np.float32, copy=False)
    with np.errstate(over="ignore"):  # infinity is for the gate to name
        return np.array(given, np.float32)


def _tokens(usage: Any) -> int | None:
    """How many tokens it says it read; servers that do not count say nothing, or 0."""
    said = usage.get("prompt_tokens") if isinstance(usage, dict) else usage
    if said is None:
        return None
    if type(said) is not int or not 0 <= said <= _MOST_TOKENS:
        raise ValueError(f"it counts no tokens: {str(said)[:40]}")
    return said or None


def retry_after(header: str | None, least: float) -> float:
    """Seconds to wait, `least` or more; a Retry-After header has a number of them, or a date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(header or 0)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(str(header))
            # Of a time without an offset it is said to be UTC's (RFC 5322, 3.3), not this machine's.
            seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
        except (ValueError, OverflowError):
            return least
    return max(seconds, least) if math.isfinite(seconds) else least
