"""A server of OpenAI's `/v1/embeddings` as an embedder: vLLM serve, SGLang, TEI, llama.cpp, Ollama, or OpenAI itself.

A server is not ours to trust. What it answers is held against what was asked: how many vectors, how long, in which
order, of how many tokens. What it refuses is halved until one text is left that it alone refuses.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config import Endpoint
from pipeline.embed.gate import faults
from pipeline.embed.model import Model
from pipeline.embed.tokenizer import ModelTokenizer, Spelling
from pipeline.embed.wire import address, read_answer, retry_after
from pipeline.errors import Poisoned, Terminal, Transient
from pipeline.types import TokenIds, Vectors

if TYPE_CHECKING:
    import httpx

_ATTEMPTS = 5
# Pauses between attempts, in seconds: 0.5, 1, 2, 4, each more or less by half, unless the server asks for another.
_FIRST_PAUSE = 0.5
# A server that asks for more patience than this gets none: the work unit is tried again later.
_LONGEST_PAUSE = 120.0
# A request smaller than this costs more on the way than in the engine.
_LEAST_TOKENS = 2_048
# What a server answers to a request that it will never take as it is …
_REFUSALS = (400, 413, 422)
# … and to one that it may take later. If a 500 stays, it may be a text that the server stumbles over.
_PASSING = (408, 409, 425, 429, 500, 502, 503, 504, 529)
# What llama.cpp says with a 500 of a text beyond its batch.
_TOO_LARGE = "too large to process"
_TRIAL = "Is anybody there?"

_START = "start it as docs/embedding-servers.md says, or correct [endpoint]"


class _Refused(Exception):
    """The server will not take this request; `status` is its answer's, 0 if it took it and did something else."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class OpenAIEmbedder:
    """An `Embedder` that asks a server. Thread-safe; nothing is sent before the first `embed`.

    Several texts are embedded only after a trial of one has shown that the server is there and serves the model; a
    single one (a query) is its own trial. Raises UsageError for a URL that is none.
    """

    def __init__(self, model: Model, tokenizer: ModelTokenizer, endpoint: Endpoint) -> None:
        import httpx

        self.dimensions = model.dimensions
        self._native = model.native_dimensions
        self._endpoint = endpoint
        self._url, key = address(endpoint.url)
        self._name = model.name
        self._trial: Sequence[int] = tokenizer.encode(model.document_prompt + _TRIAL).ids
        self._spelling = Spelling(tokenizer)
        self._secret = key
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(endpoint.timeout, connect=10.0),
            limits=httpx.Limits(max_connections=endpoint.in_flight, max_keepalive_connections=endpoint.in_flight),
        )
        self._workers = ThreadPoolExecutor(endpoint.in_flight, thread_name_prefix="endpoint")
        self._settling = threading.Lock()
        #: What is said besides the input, once the server has been found to take it.
        self._manner: Mapping[str, Any] | None = None
        self._most_inputs = endpoint.batch_inputs
        self._resume_at = 0.0
        self._closed = threading.Event()

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """What the vectors are computed by, as far as the server says: its name for the model, and vLLM's version."""
        found = {"device": "a server", "served model": self._endpoint.model or ""}
        response = self._try_get("/version", below="/v1")
        if response is not None:
            found["vllm"] = str(response.get("version", ""))
        return found

    def check(self) -> str:
        """One live embedding; returns what the server serves, for people. Raises Terminal or Transient, saying why."""
        with self._settling:
            self._try()
        windows = [str(one["max_model_len"]) for one in self._models() if one.get("max_model_len")]
        window = f", windows of {', '.join(windows)} tokens" if windows else ""
        return f"{self._url} gives vectors of {self.dimensions}{window}"

    def embed(self, token_ids: Sequence[TokenIds]) -> Vectors:
        """One vector a row, in order: float32, shape (len(token_ids), dimensions).

        Raises Poisoned for rows that the server refuses, Transient if it does not answer, Terminal if it cannot be
        right. Blocks until every row is there: whoever calls is held back by the requests in flight.
        """
        vectors = np.empty((len(token_ids), self.dimensions), np.float32)
        found: dict[int, str] = {}
        inputs = self._inputs(token_ids)
        unspelt = "it cannot be sent as text, which spells a control token: the server would read other tokens"
        found.update((row, unspelt) for row, one in enumerate(inputs) if one is None)
        rows = [row for row in range(len(inputs)) if row not in found]
        sizes = [len(ids) for ids in token_ids]
        if self._manner is None and rows:
            with self._settling:
                if self._manner is None and len(rows) == 1:
                    with suppress(_Refused):  # which may be the text's fault or the server's
                        vectors[rows[0]] = self._settle([inputs[rows[0]]], sizes[rows[0]])[0]
                        rows = []
                if self._manner is None:
                    self._try()
        jobs = [
            self._workers.submit(self._fill, batch, inputs, sizes, vectors, found)
            for batch in self._batches(rows, sizes)
        ]
        _finish(jobs)
        if found:
            vectors[list(found)] = np.nan
            raise Poisoned(dict(sorted(found.items())), vectors)
        return vectors

    def close(self) -> None:
        """Close the connections; whoever waits for the server stops. Idempotent."""
        self._closed.set()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    # -- Batches -------------------------------------------------------------------------------------------------------

    def _inputs(self, token_ids: Sequence[TokenIds]) -> list[Any]:
        texts = [np.asarray(ids).tolist() for ids in token_ids]
        return texts if self._endpoint.input == "tokens" else [self._spelling.spell(ids) for ids in texts]

    def _batches(self, rows: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
        """Neighbours together, in requests small enough that every connection has some."""
        share = sum(sizes[row] for row in rows) // self._endpoint.in_flight
        budget = min(self._endpoint.batch_tokens, max(share, _LEAST_TOKENS))
        batch: list[int] = []
        tokens = 0
        for row in rows:
            if batch and (tokens + sizes[row] > budget or len(batch) >= self._most_inputs):
                yield batch
                batch, tokens = [], 0
            batch.append(row)
            tokens += sizes[row]
        if batch:
            yield batch

    def _fill(
        self, rows: list[int], inputs: Sequence[Any], sizes: Sequence[int], vectors: Vectors, found: dict[int, str]
    ) -> None:
        """Put the vectors of `rows` where they belong, or into `found` why there is none."""
        try:
            tokens = sum(sizes[row] for row in rows)
            vectors[rows] = self._ask([inputs[row] for row in rows], tokens, self._manner or {})
        except _Refused as refused:
            self._blame(refused)
            if len(rows) == 1:
                found[rows[0]] = f"the embedding server does not embed it: {refused}"
                return
            half = (len(rows) + 1) // 2
            if refused.status == 413:  # too much at once, for this server: TEI takes 32 texts if nobody tells it else
                self._most_inputs = min(self._most_inputs, half)
            self._fill(rows[:half], inputs, sizes, vectors, found)
            self._fill(rows[half:], inputs, sizes, vectors, found)

    def _blame(self, refused: _Refused) -> None:
        """Return if it is the texts that were refused: if the server still embeds the trial. Raises otherwise."""
        try:
            self._ask(self._inputs([self._trial]), len(self._trial), self._manner or {})
        except _Refused as again:
            kind = Transient if again.status >= 500 else Terminal
            raise kind(f"the embedding server {self._url} embeds nothing any more: {again}") from refused

    # -- Questions -----------------------------------------------------------------------------------------------------

    def _try(self) -> None:
        try:
            self._settle(self._inputs([self._trial]), len(self._trial))
        except _Refused as refused:
            kind = Transient if refused.status >= 500 else Terminal
            raise kind(
                f"the embedding server {self._url} does not embed for {self._name}: {refused}; {_START}"
            ) from refused

    def _settle(self, inputs: Sequence[Any], tokens: int) -> Vectors:
        """Find out what the server takes, by asking for these vectors, which are returned; and that they are sound.

        Raises _Refused if it takes nothing, Terminal or Transient.
        """
        manners: list[dict[str, Any]] = [{"encoding_format": "base64"}, {"encoding_format": "float"}, {}]
        if self.dimensions != self._native:
            # Where the server cannot cut, its whole vectors are cut here; that comes to the same.
            manners = [{"encoding_format": "base64", "dimensions": self.dimensions}, *manners]
        first: _Refused | None = None
        for manner in manners:
            try:
                vectors = self._ask(inputs, tokens, manner)
            except _Refused as refused:
                first = first or refused
                continue
            if wrong := faults(vectors, self.dimensions):
                raise Terminal(f"the embedding server {self._url} is not to be used: {wrong[0]}; {_START}")
            self._manner = manner
            return vectors
        assert first is not None
        raise first

    def _ask(self, inputs: Sequence[Any], tokens: int, manner: Mapping[str, Any]) -> Vectors:
        """Float32, shape (len(inputs), dimensions). Raises _Refused, Terminal or Transient."""
        named = {"model": self._endpoint.model} if self._endpoint.model else {}
        answer, vectors = self._post({**named, **manner, "input": inputs}, len(inputs))
        if vectors.shape[1] not in (self.dimensions, self._native):
            raise Terminal(
                f"the embedding server {self._url} gives vectors of {vectors.shape[1]}, but {self._name} has "
                f"{self._native}: it serves another model; correct [endpoint] or the recipe's model"
            )
        read = (answer.get("usage") or {}).get("prompt_tokens") or tokens
        # Of a text, not every server counts the special tokens that it adds.
        tolerated = self._spelling.special_tokens * len(inputs) if self._endpoint.input == "text" else 0
        if abs(read - tokens) > tolerated:
            raise _Refused(0, f"it says that it read {read} tokens of {tokens}, so it cuts texts, or counts otherwise")
        if vectors.shape[1] != self.dimensions:
            vectors = vectors[:, : self.dimensions]
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def _post(self, body: Mapping[str, Any], count: int) -> tuple[dict[str, Any], Vectors]:
        """The answer and its vectors, in the order of the inputs; asked for again where that may help."""
        import httpx

        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        problem = status = None
        for attempt in range(_ATTEMPTS):
            self._hold()
            pause = _FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1.5)
            status = None
            try:
                response = self._client.post(
                    f"{self._url}/embeddings", content=content, headers={"Content-Type": "application/json"}
                )
                status = response.status_code
                if status == 200:
                    return read_answer(response.content, count)
                problem = f"it answers {status}: {self._words(response)}"
                if status in _REFUSALS or _TOO_LARGE in problem:
                    raise _Refused(status, problem)
                if status not in _PASSING:
                    raise Terminal(self._why_not(status, problem))
                pause = retry_after(response.headers.get("Retry-After"), pause)
            except httpx.TimeoutException:
                problem = f"it does not answer within {self._endpoint.timeout:g} s"
            except httpx.HTTPError as error:
                problem = f"the connection fails ({self._hide(str(error)) or type(error).__name__})"
            except (ValueError, TypeError) as error:
                problem = f"its answer makes no sense ({error})"
            if pause > _LONGEST_PAUSE:
                problem += f", and asks for {pause:.0f} s of patience"
                break
            if attempt + 1 < _ATTEMPTS:
                # What one request is told holds for all of them.
                self._resume_at = max(self._resume_at, time.monotonic() + pause)
        if status == 500:
            raise _Refused(500, str(problem))
        raise Transient(f"the embedding server {self._url} does not embed: {problem}")

    def _hold(self) -> None:
        """Wait as long as the server wants to be left alone."""
        while (left := self._resume_at - time.monotonic()) > 0 and not self._closed.is_set():
            self._closed.wait(left)
        if self._closed.is_set():
            raise Transient("the connection to the embedding server was closed")

    def _why_not(self, status: int, problem: str) -> str:
        where = f"the embedding server {self._url} does not let us in or is none: {problem}"
        if status in (401, 403):
            return f"{where}; set its key in CORPUSVEC_ENDPOINT_KEY"
        served = [str(one.get("id")) for one in self._models()]
        return f"{where}; {'it serves ' + ', '.join(served) + ': name one in endpoint.model' if served else _START}"

    def _words(self, response: httpx.Response) -> str:
        """What a server says of an error, the key left out, which some repeat."""
        try:
            said = response.json()
            error = said.get("error", said)
            text = error if isinstance(error, str) else error.get("message") or error.get("detail") or said
        except (ValueError, AttributeError):
            text = response.text
        return self._hide(" ".join(str(text).split()))[:300] or "nothing"

    def _hide(self, text: str) -> str:
        return text.replace(self._secret, "…") if self._secret else text

    def _models(self) -> list[dict[str, Any]]:
        found = (self._try_get("/models") or {}).get("data")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def _try_get(self, path: str, below: str = "") -> dict[str, Any] | None:
        """A JSON object that not every server has; None from those that have it not."""
        import httpx

        try:
            found = self._client.get(self._url.removesuffix(below) + path, timeout=10.0).json()
        except (httpx.HTTPError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def _finish(jobs: Sequence[Future[None]]) -> None:
    """Wait for all; the first error is raised, and ends those that have not begun."""
    try:
        done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
    finally:
        for job in jobs:
            job.cancel()
    for job in done:
        job.result()
