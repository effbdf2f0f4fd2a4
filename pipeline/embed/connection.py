"""Asking an embedding server: every request has an end, and is made again where that may help.

Threads ask and wait; the talking is done by one event loop, since only there a request can be ended as a whole. A
client of threads bounds each read, and an answer that comes byte by byte never ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.config import Endpoint
from pipeline.embed.wire import Answer, address, is_here, read_answer, retry_after
from pipeline.errors import Terminal, Transient, UsageError

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 5
# Pauses between attempts, in seconds: 0.5, 1, 2, 4, each more or less by half, unless the server asks for longer ones.
_FIRST_PAUSE = 0.5
# A server that asks for more patience than this gets none: the work unit is tried again later.
_LONGEST_PAUSE = 120.0
_CONNECT_SECONDS = 10.0
# For what not every server has, and nobody waits for.
_ASIDE_SECONDS = 10.0
# What a server answers to a request that it will never take as it is …
_REFUSALS = (400, 413, 422)
# … and to one that it may take later …
_PASSING = (408, 409, 425, 429, 500, 502, 503, 504, 529)
# … where these are about everything that is sent, and the others about the one request.
_BUSY = (429, 503)
# What llama.cpp says with a 500 of a text beyond its batch.
_TOO_LARGE = "too large to process"
# No JSON needs more bytes for a number (24 in full, and room to indent it), nor for all that is said besides them.
_NUMBER_BYTES = 64
_OTHER_BYTES = 2**20

#: What to do about a server that is not as it should be.
START = "start it as docs/embedding-servers.md says, or correct [endpoint]"


class Refused(Exception):
    """The server will not take this request; `status` is what that comes to, 0 if it took it and did something else."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def closed() -> Transient:
    """What whoever asks is told after `close`."""
    return Transient("the connection to the embedding server was closed")


class _Unanswered(Exception):
    """There is no answer, or none that was waited for; in words."""


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    retry_after: str | None
    content: bytes


class Connection:
    """To one server, for as many requests at once as `endpoint.in_flight`. Thread-safe; sends nothing by itself.

    `dimensions` is the length of the longest vectors that are to be expected. Raises UsageError for a URL that is none,
    a key that cannot be sent, or a proxy in the environment that cannot be used.
    """

    def __init__(self, endpoint: Endpoint, dimensions: int) -> None:
        self.url, self._key = address(endpoint.url)
        self._seconds = endpoint.timeout
        self._dimensions = dimensions
        self._client = _client(self.url, self._key, endpoint.in_flight)
        self._resume_at = 0.0
        self._closed = threading.Event()
        self._closing = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint-wire", daemon=True)
        self._thread.start()

    def embeddings(self, body: Mapping[str, Any], count: int, stumbles: int = ATTEMPTS) -> Answer:
        """The answer to `count` inputs; asked for again where that may help, with pauses.

        Raises Refused (for a 500 too, after so many `stumbles`), Terminal, or Transient after the last attempt.
        """
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        most = _OTHER_BYTES + count * self._dimensions * _NUMBER_BYTES
        problem, status, not_before = "", 0, 0.0
        for attempt in range(ATTEMPTS):
            self._hold(not_before)
            pause = _FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1.5)
            status = 0
            try:
                reply = self._exchange("POST", f"{self.url}/embeddings", content, most, self._seconds)
                status = reply.status
                if status == 200:
                    return read_answer(reply.content, count)
                problem = f"it answers {status}: {self._words(reply.content)}"
                if status in _REFUSALS:
                    raise Refused(status, problem)
                if _TOO_LARGE in problem:
                    raise Refused(400, problem)
                if status == 500:
                    stumbles -= 1
                    if not stumbles:
                        break
                if status not in _PASSING:
                    raise Terminal(self._why_not(status, problem))
                pause = retry_after(reply.retry_after, pause)
            except _Unanswered as error:
                problem = str(error)
            except ValueError as error:
                problem = f"its answer makes no sense ({self._hide(str(error))[:300]})"
            if pause > _LONGEST_PAUSE:
                problem += f", and asks for {pause:.6g} s of patience"
                break
            not_before = time.monotonic() + pause
            if status in _BUSY and attempt + 1 < ATTEMPTS:
                # What one request is told holds for all of them.
                self._resume_at = max(self._resume_at, not_before)
        if status == 500:
            raise Refused(500, problem)
        raise Transient(f"the embedding server {self.url} does not embed: {problem}")

    def windows(self, name: str | None) -> list[int]:
        """The longest inputs in tokens that the server says it takes, of the model `name` if it knows one of that name.

        Empty if it does not say: vLLM and SGLang do in their list of models, Text Embeddings Inference in `/info`.
        """
        models = self._models()
        named = [one for one in models if one.get("id") == name] or models
        found = [one.get("max_model_len") for one in named]
        if not any(found):
            found = [(self.get("/info", below="/v1") or {}).get("max_input_length")]
        return [window for window in found if type(window) is int and window > 0]

    def get(self, path: str, below: str = "") -> dict[str, Any] | None:
        """A JSON object that not every server has; None from those that have it not."""
        try:
            reply = self._exchange("GET", self.url.removesuffix(below) + path, b"", _OTHER_BYTES, _ASIDE_SECONDS)
            found = json.loads(reply.content) if reply.status == 200 else None
        except (_Unanswered, Transient, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def close(self) -> None:
        """Whoever waits for the server stops, with Transient. Idempotent."""
        with self._closing:
            if self._closed.is_set():
                return
            self._closed.set()
            ended = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        ended.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- One exchange --------------------------------------------------------------------------------------------------

    def _exchange(self, method: str, url: str, content: bytes, most: int, seconds: float) -> _Reply:
        """Raises _Unanswered, or Transient if the connection is closed."""
        with self._closing:
            if self._closed.is_set():
                raise closed()
            talk = asyncio.run_coroutine_threadsafe(self._talk(method, url, content, most, seconds), self._loop)
        try:
            return talk.result()
        except CancelledError:
            raise closed() from None
        finally:
            talk.cancel()  # for an interrupt that ends the waiting

    async def _talk(self, method: str, url: str, content: bytes, most: int, seconds: float) -> _Reply:
        import httpx

        response: httpx.Response | None = None
        found = bytearray()
        sending = self._client.stream(method, url, content=content, headers={"Content-Type": "application/json"})
        try:
            async with asyncio.timeout(seconds), sending as response:
                async for some in response.aiter_bytes():
                    found += some
                    if len(found) > most:
                        if response.status_code == 200:
                            raise _Unanswered(f"its answer is longer than the {most:,} bytes that these vectors take")
                        break  # of what went wrong, the start is enough
        except httpx.ConnectTimeout:
            raise _Unanswered(f"there is no connection within {_CONNECT_SECONDS:g} s") from None
        except TimeoutError:
            late = "it does not answer" if response is None else "its answer does not end"
            raise _Unanswered(f"{late} within {seconds:g} s") from None
        except httpx.HTTPError as error:
            raise _Unanswered(f"the connection fails ({self._hide(str(error)) or type(error).__name__})") from error
        assert response is not None
        return _Reply(response.status_code, response.headers.get("Retry-After"), bytes(found))

    async def _end(self) -> None:
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await self._client.aclose()

    def _hold(self, not_before: float) -> None:
        """Wait until then, and as long as the server wants to be left alone."""
        while (left := max(self._resume_at, not_before) - time.monotonic()) > 0 and not self._closed.is_set():
            self._closed.wait(left)
        if self._closed.is_set():
            raise closed()

    # -- Words ---------------------------------------------------------------------------------------------------------

    def _why_not(self, status: int, problem: str) -> str:
        where = f"the embedding server {self.url} does not let us in or is none: {problem}"
        if status in (401, 403):
            return f"{where}; set its key in CORPUSVEC_ENDPOINT_KEY"
        served = [str(one.get("id")) for one in self._models()]
        return f"{where}; {'it serves ' + ', '.join(served) + ': name one in endpoint.model' if served else START}"

    def _models(self) -> list[dict[str, Any]]:
        found = (self.get("/models") or {}).get("data")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def _words(self, content: bytes) -> str:
        """What a server says of an error, the key left out, which some repeat."""
        try:
            said = json.loads(content)
            error = said.get("error", said)
            text = error if isinstance(error, str) else error.get("message") or error.get("detail") or said
        except (ValueError, AttributeError, RecursionError):
            text = content.decode(errors="replace")
        return self._hide(" ".join(str(text).split()))[:300] or "nothing"

    def _hide(self, text: str) -> str:
        """Without the key, as it stands or as JSON and Python write it."""
        for spelt in (self._key, json.dumps(self._key)[1:-1], repr(self._key)[1:-1]) if self._key else ():
            text = text.replace(spelt, "…")
        return text


def _client(url: str, key: str, in_flight: int) -> httpx.AsyncClient:
    """Raises UsageError if the environment, or what is left of the URL, does not make one."""
    import httpx

    try:
        host = httpx.URL(url).host
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"endpoint.url is no address of a server: {url!r}; write http://HOST:PORT/v1") from error
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    try:
        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),  # the rest is bounded as a whole
            limits=limits,
            # With a transport of its own it asks no proxy, which could not reach this machine, and would see the key.
            transport=httpx.AsyncHTTPTransport(limits=limits) if is_here(host) else None,
        )
    except ImportError as error:
        raise UsageError(f"the environment names a proxy that cannot be used: {error}") from error
    except (httpx.InvalidURL, ValueError, OSError) as error:
        # Whose words may have the password of the proxy.
        raise UsageError(
            "the environment's proxy (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) or certificates (SSL_CERT_FILE) cannot be "
            f"used for {url}: correct them, or name its host in NO_PROXY"
        ) from error
