"""A server of OpenAI's `/v1/embeddings` as an embedder: vLLM serve, SGLang, TEI, llama.cpp, Ollama, or OpenAI itself.

A server is not ours to trust. What it answers is held against what was asked: how many vectors, how long, in which
order, of how many tokens. What it refuses is halved until one text is left that it alone refuses.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.config import Endpoint
from pipeline.embed.connection import ATTEMPTS, START, Connection, Refused, closed
from pipeline.embed.gate import faults, unfit
from pipeline.embed.model import Model
from pipeline.embed.tokenizer import ModelTokenizer, Spelling
from pipeline.errors import Poisoned, Terminal, Transient
from pipeline.types import TokenIds, Vectors

# A request smaller than this costs more on the way than in the engine.
_LEAST_TOKENS = 2_048
# A 500 may pass, or be a text that the server stumbles over: so many for the same texts, and they are parted.
_STUMBLES = 2
_TRIAL = "Is anybody there?"


class OpenAIEmbedder:
    """An `Embedder` that asks a server. Thread-safe; nothing is sent before the first `embed`.

    Several texts are embedded only after a trial of one has shown that the server is there and serves the model, with a
    window of `chunk_tokens` or more if it says; a single one (a query) is its own trial. Raises what `Connection` does.
    """

    def __init__(self, model: Model, tokenizer: ModelTokenizer, endpoint: Endpoint, chunk_tokens: int) -> None:
        self.dimensions = model.dimensions
        self._native = model.native_dimensions
        self._longest = model.window
        self._chunk_tokens = chunk_tokens
        self._endpoint = endpoint
        self._name = model.name
        self._trial: Sequence[int] = tokenizer.encode(model.document_prompt + _TRIAL).ids
        self._spelling = Spelling(tokenizer)
        self._connection = Connection(endpoint, model.native_dimensions)
        self._url = self._connection.url
        self._workers = ThreadPoolExecutor(endpoint.in_flight, thread_name_prefix="endpoint")
        self._settling = threading.Lock()
        #: What is said besides the input, once the server has been found to take it …
        self._manner: Mapping[str, Any] | None = None
        #: … how many tokens of each text it does not count, which are the special ones that it adds itself …
        self._uncounted = 0
        #: … and whether the trial has been made.
        self._tried = False
        self._most_inputs = endpoint.batch_inputs

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """What the vectors are computed by, as far as the server says: its name for the model, and vLLM's version."""
        found = {"device": "a server", "served model": self._endpoint.model or ""}
        response = self._connection.get("/version", below="/v1")
        if response is not None:
            found["vllm"] = str(response.get("version", ""))
        return found

    def check(self) -> str:
        """One live embedding; returns what the server serves, for people. Raises Terminal or Transient, saying why."""
        with self._settling:
            windows = self._try()
        window = f", windows of {', '.join(map(str, windows))} tokens" if windows else ""
        return f"{self._url} gives vectors of {self.dimensions}{window}"

    def embed(self, token_ids: Sequence[TokenIds]) -> Vectors:
        """One vector a row, in order: float32, shape (len(token_ids), dimensions).

        Raises Poisoned for rows that cannot be sent or that the server refuses, Transient if it does not answer,
        Terminal if it cannot be right. Blocks until every row is there: whoever calls is held back by the requests in
        flight.
        """
        vectors = np.empty((len(token_ids), self.dimensions), np.float32)
        sizes = [len(ids) for ids in token_ids]
        found = {row: why for row, size in enumerate(sizes) if (why := unfit(size, self._longest)) is not None}
        inputs = self._inputs(token_ids)
        unspelt = "it cannot be sent as text, which spells a control token: the server would read other tokens"
        for row, one in enumerate(inputs):
            if one is None:
                found.setdefault(row, unspelt)
        rows = [row for row in range(len(inputs)) if row not in found]
        if rows and not self._tried:
            with self._settling:
                if len(rows) == 1 and self._manner is None:
                    with suppress(Refused):  # which may be the text's fault or the server's
                        vectors[rows[0]] = self._settle([inputs[rows[0]]], sizes[rows[0]], (0,), _STUMBLES)[0]
                        rows = []
                if rows and not self._tried and (len(rows) > 1 or self._manner is None):
                    self._try()
        _finish([self._submit(batch, inputs, sizes, vectors, found) for batch in self._batches(rows, sizes)])
        if found:
            vectors[list(found)] = np.nan
            raise Poisoned(dict(sorted(found.items())), vectors)
        return vectors

    def close(self) -> None:
        """Close the connections; whoever waits for the server stops. Idempotent."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._connection.close()

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

    def _submit(
        self, rows: list[int], inputs: Sequence[Any], sizes: Sequence[int], vectors: Vectors, found: dict[int, str]
    ) -> Future[None]:
        try:
            return self._workers.submit(self._fill, rows, inputs, sizes, vectors, found, _STUMBLES)
        except RuntimeError:  # what a pool says that was shut down
            raise closed() from None

    def _fill(
        self, rows: list[int], inputs: Sequence[Any], sizes: Sequence[int], vectors: Vectors, found: dict[int, str],
        stumbles: int,
    ) -> None:  # fmt: skip
        """Put the vectors of `rows` where they belong, or into `found` why there is none."""
        some, tokens = [inputs[row] for row in rows], sum(sizes[row] for row in rows)
        try:
            vectors[rows] = self._ask_for(some, tokens, stumbles)
        except Refused as refused:
            self._blame(refused)
            if len(rows) == 1:
                # The trial may have waited for a bad minute to pass, which was not this text's fault.
                if refused.status != 500 or not self._again(rows, some, tokens, vectors):
                    found[rows[0]] = f"the embedding server does not embed it: {refused}"
                return
            half = (len(rows) + 1) // 2
            if refused.status == 413:  # too much at once, for this server: TEI takes 32 texts if nobody tells it else
                self._most_inputs = min(self._most_inputs, half)
            # One of these is at fault, and that is soon told.
            self._fill(rows[:half], inputs, sizes, vectors, found, 1)
            self._fill(rows[half:], inputs, sizes, vectors, found, 1)

    def _again(self, rows: list[int], inputs: Sequence[Any], tokens: int, vectors: Vectors) -> bool:
        with suppress(Refused):
            vectors[rows] = self._ask_for(inputs, tokens, 1)
            return True
        return False

    def _blame(self, refused: Refused) -> None:
        """Return if it is the texts that were refused: if the server still embeds the trial. Raises otherwise."""
        try:
            self._ask_for(self._inputs([self._trial]), len(self._trial), ATTEMPTS)
        except Refused as again:
            kind = Transient if again.status >= 500 else Terminal
            raise kind(f"the embedding server {self._url} embeds nothing any more: {again}") from refused

    # -- Questions -----------------------------------------------------------------------------------------------------

    def _try(self) -> list[int]:
        """The windows that the server says it has, if it does, once it has embedded the trial."""
        # Of a text, not every server counts the special tokens that it adds. The trial, which nobody cuts, shows it.
        uncounted = (0, self._spelling.special_tokens) if self._endpoint.input == "text" else (0,)
        try:
            self._settle(self._inputs([self._trial]), len(self._trial), uncounted, ATTEMPTS)
        except Refused as refused:
            kind = Transient if refused.status >= 500 else Terminal
            raise kind(
                f"the embedding server {self._url} does not embed for {self._name}: {refused}; {START}"
            ) from refused
        windows = self._connection.windows(self._endpoint.model)
        if windows and max(windows) < self._chunk_tokens:
            raise Terminal(
                f"the embedding server {self._url} takes texts of {max(windows)} tokens, and chunks have up to "
                f"{self._chunk_tokens}: start it with a longer window, as docs/embedding-servers.md says, or set "
                f"recipe.chunk_tokens to {max(windows)} or less"
            )
        self._tried = True
        return windows

    def _settle(self, inputs: Sequence[Any], tokens: int, uncounted: Sequence[int], stumbles: int) -> Vectors:
        """Find out what the server takes, by asking for this one vector, which is returned; and that it is sound.

        `uncounted` are the numbers of tokens that it may leave out when it counts. Raises Refused if it takes nothing,
        Terminal or Transient.
        """
        manners: list[dict[str, Any]] = [{"encoding_format": "base64"}, {"encoding_format": "float"}, {}]
        if self.dimensions != self._native:
            # Where the server cannot cut, its whole vectors are cut here; that comes to the same.
            manners = [{"encoding_format": "base64", "dimensions": self.dimensions}, *manners]
        first: Refused | None = None
        for manner in manners:
            try:
                vectors, left_out = self._ask(inputs, tokens, manner, uncounted, stumbles)
            except Refused as refused:
                first = first or refused
                if not refused.status:  # however it is asked, it reads what it reads
                    break
                continue
            if wrong := faults(vectors, self.dimensions):
                raise Terminal(f"the embedding server {self._url} is not to be used: {wrong[0]}; {START}")
            self._manner, self._uncounted = manner, left_out
            return vectors
        assert first is not None
        raise first

    def _ask_for(self, inputs: Sequence[Any], tokens: int, stumbles: int) -> Vectors:
        return self._ask(inputs, tokens, self._manner or {}, (self._uncounted,), stumbles)[0]

    def _ask(
        self, inputs: Sequence[Any], tokens: int, manner: Mapping[str, Any], uncounted: Sequence[int], stumbles: int
    ) -> tuple[Vectors, int]:
        """Float32, shape (len(inputs), dimensions), and which of `uncounted` it was. Raises as `embeddings` does.

        Of all tokens the server must have read the very number: among many texts, one that was cut is a small part.
        """
        named = {"model": self._endpoint.model} if self._endpoint.model else {}
        answer = self._connection.embeddings({**named, **manner, "input": inputs}, len(inputs), stumbles)
        vectors = answer.vectors
        if vectors.shape[1] not in (self.dimensions, self._native):
            raise Terminal(
                f"the embedding server {self._url} gives vectors of {vectors.shape[1]}, but {self._name} has "
                f"{self._native}: it serves another model; correct [endpoint] or the recipe's model"
            )
        left_out = [one for one in uncounted if answer.tokens in (None, tokens - one * len(inputs))]
        if not left_out:
            raise Refused(
                0, f"it says that it read {answer.tokens} tokens of {tokens}, so it cuts texts, or counts otherwise"
            )
        if vectors.shape[1] != self.dimensions:
            vectors = vectors[:, : self.dimensions]
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors, left_out[0]


def _finish(jobs: Sequence[Future[None]]) -> None:
    """Wait for all; the first error is raised, and ends those that have not begun."""
    try:
        done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
    finally:
        for job in jobs:
            job.cancel()
    for job in sorted(done, key=Future.cancelled):  # what was cancelled says nothing of why
        try:
            job.result()
        except CancelledError:
            raise closed() from None
