"""What goes over the wire to an embedding server and back: addresses and keys, answers, `Retry-After`."""

from __future__ import annotations

import base64
import email.utils
import json
import math
import os
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from pipeline.errors import UsageError
from pipeline.types import Vectors


def address(url: str) -> tuple[str, str]:
    """What `/embeddings` is below, and the key to send there, "" if there is none. Raises UsageError."""
    if "@" in url or "?" in url:
        # It would be kept in reports and logs.
        raise UsageError(
            "endpoint.url carries a user name, a key or a question mark: leave it out, and set CORPUSVEC_ENDPOINT_KEY"
        )
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.fragment
    except ValueError:
        right = False
    if not right:
        raise UsageError(f"endpoint.url is no address of a server: {url!r}; write http://HOST:PORT/v1")
    key = os.environ.get("CORPUSVEC_ENDPOINT_KEY", "")
    if not key and (parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")):
        # A key that was made for another server is not sent in the clear to whatever a URL names.
        key = os.environ.get("OPENAI_API_KEY", "")
    path = parts.path.rstrip("/").removesuffix("/embeddings")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}", key.strip()


def read_answer(content: bytes, count: int) -> tuple[dict[str, Any], Vectors]:
    """An answer, and its vectors in the inputs' order: float32, (count, length). Raises ValueError or TypeError."""
    answer = json.loads(content)
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("there are no data in it")
    if sorted(row.get("index", at) for at, row in enumerate(rows)) != list(range(count)):
        raise ValueError(f"{len(rows)} vectors for {count} texts, or numbered otherwise than the texts")
    vectors: Vectors | None = None
    for at, row in enumerate(rows):
        given = row.get("embedding")
        with np.errstate(over="ignore"):  # infinity is for the gate to name
            one = np.array(given if not isinstance(given, str) else _floats(given), np.float32)
        if vectors is None:
            vectors = np.empty((count, len(one) if one.ndim == 1 else 0), np.float32)
        if one.shape != vectors.shape[1:] or not one.size:
            raise ValueError("its vectors are not of one length")
        vectors[row.get("index", at)] = one
    assert vectors is not None
    return answer, vectors


def _floats(text: str) -> Vectors:
    return np.frombuffer(base64.b64decode(text), "<f4")


def retry_after(header: str | None, otherwise: float) -> float:
    """Seconds to wait, from a Retry-After header: a number of seconds, or a date (RFC 9110, 10.2.3)."""
    if not header:
        return otherwise
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return otherwise
    return max(seconds, 0.0) if math.isfinite(seconds) else otherwise
