"""A server is asked well, believed little, and never lets one bad text or one bad minute cost a night."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.config import Endpoint, Recipe, Settings
from pipeline.embed import connection
from pipeline.embed.gate import faults
from pipeline.embed.model import Model, load_model
from pipeline.embed.openai import OpenAIEmbedder
from pipeline.embed.tokenizer import ModelTokenizer, Spelling
from pipeline.embed.wire import address, retry_after
from pipeline.errors import Poisoned, Terminal, Transient, UsageError
from tests.embedding_server import RIGHT, FaultyServer, embedding_server

Connect = Callable[..., OpenAIEmbedder]


@pytest.fixture
def server(minilm: Model) -> Iterator[FaultyServer]:
    """A server that is well until a test says otherwise, and that is tried again without long pauses."""
    with embedding_server(minilm.native_dimensions) as server:
        yield server


@pytest.fixture
def connect(
    server: FaultyServer, minilm: Model, minilm_tokenizer: ModelTokenizer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Connect]:
    """Makes embedders that ask the server."""
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("CORPUSVEC_ENDPOINT_KEY", raising=False)
    made: list[OpenAIEmbedder] = []

    def make(model: Model = minilm, tokenizer: ModelTokenizer = minilm_tokenizer, /, **settings: Any) -> OpenAIEmbedder:
        made.append(OpenAIEmbedder(model, tokenizer, Endpoint(**{"url": server.url, **settings}), 256))
        return made[-1]

    yield make
    for embedder in made:
        embedder.close()


def some_ids(count: int, length: int = 12) -> list[list[int]]:
    """Texts of tokens, each another."""
    return [[101, *(2000 + (row * 7 + place) % 20_000 for place in range(length)), 102] for row in range(count)]


def once(*faults: Any) -> Callable[[Mapping[str, Any]], Any]:
    """These answers first, right ones after."""
    rest = list(faults)
    lock = threading.Lock()

    def fault(body: Mapping[str, Any]) -> Any:
        with lock:
            return rest.pop(0) if rest else RIGHT

    return fault


class TestAsking:
    """Requests are as large, as many and as compact as the server and the settings allow."""

    def test_every_vector_is_its_texts(self, server: FaultyServer, connect: Connect) -> None:
        """However texts are spread over requests, and however long each, row i is the vector of text i."""
        ids = [row[: 3 + number % 40] for number, row in enumerate(some_ids(700, 60))]
        vectors = connect(batch_inputs=50, batch_tokens=500).embed(ids)
        assert (vectors.dtype, vectors.shape) == (np.float32, (700, 384))
        np.testing.assert_array_equal(vectors, server.vectors(ids))
        assert connect().embed([]).shape == (0, 384)

    def test_a_request_keeps_to_both_budgets(self, server: FaultyServer, connect: Connect, minilm: Model) -> None:
        """No request has more texts or tokens than allowed, but for a text that is longer alone."""
        embedder = connect(replace(minilm, window=8_192), batch_inputs=30, batch_tokens=2_048, in_flight=1)
        embedder.embed([*some_ids(200), *some_ids(1, 4_000)])
        sizes = [[len(one) for one in body["input"]] for body in server.requests]
        assert max(map(len, sizes)) == 30
        assert [sum(size) for size in sizes if sum(size) > 2_048] == [4_002]
        connect(in_flight=1).embed(some_ids(2_049, 3))
        assert max(len(body["input"]) for body in server.requests) == 2_048

    def test_many_requests_are_under_way_and_no_more(self, server: FaultyServer, connect: Connect) -> None:
        """Slow answers are waited for side by side, never more of them than `in_flight`, whoever asks."""
        together = threading.Barrier(5, timeout=30)

        def slow(body: Mapping[str, Any]) -> Any:
            if len(body["input"]) > 1:  # not the trial
                together.wait()
            return RIGHT

        server.fault = slow
        embedder = connect(in_flight=5, batch_inputs=2)
        callers = [threading.Thread(target=embedder.embed, args=(some_ids(20),)) for _ in range(2)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert server.most_at_once == 5

    def test_floats_come_as_base64(self, server: FaultyServer, connect: Connect) -> None:
        """Four bytes a number where the server can, and a list of numbers where it cannot or will not."""
        ids = some_ids(3)
        connect().embed(ids)
        assert server.requests[-1]["encoding_format"] == "base64"
        server.base64 = False
        np.testing.assert_allclose(connect().embed(ids), server.vectors(ids))
        server.fault = lambda body: (400, {"message": "no"}) if body.get("encoding_format") == "base64" else RIGHT
        np.testing.assert_allclose(connect().embed(ids), server.vectors(ids))
        server.fault = lambda body: (422, {"message": "no"}) if "encoding_format" in body else RIGHT
        np.testing.assert_allclose(connect().embed(ids), server.vectors(ids))

    @pytest.mark.parametrize("cuts", ["server cuts", "server ignores it", "server refuses it"])
    def test_shorter_vectors_are_the_first_numbers_normalized(
        self, cuts: str, connect: Connect, tiny_folder: Any, tiny_tokenizer: ModelTokenizer
    ) -> None:
        """Whoever does it: the server, if it knows `dimensions`, or this side."""
        model = load_model(Recipe(model=str(tiny_folder), dimensions=64))
        ids = [[5, 6, 7, tiny_tokenizer.encode("").ids[0]], [8, 9, tiny_tokenizer.encode("").ids[0]]]
        with embedding_server(model.native_dimensions) as server:
            server.cuts = cuts == "server cuts"
            if cuts == "server refuses it":
                server.fault = lambda body: (400, {"message": "no Matryoshka"}) if "dimensions" in body else RIGHT
            vectors = connect(model, tiny_tokenizer, url=server.url).embed(ids)
            whole = server.vectors(ids)[:, :64]
        assert vectors.shape == (2, 64)
        np.testing.assert_allclose(vectors, whole / np.linalg.norm(whole, axis=1, keepdims=True), rtol=1e-5)

    def test_a_query_is_one_request(self, server: FaultyServer, connect: Connect) -> None:
        """Searching asks the server once, and nothing before."""
        embedder = connect()
        assert server.requests == []
        embedder.embed(some_ids(1))
        assert len(server.requests) == 1

    def test_the_models_name_is_sent_if_it_is_set(self, server: FaultyServer, connect: Connect) -> None:
        """A server with one model needs no name."""
        connect(model="served-model").embed(some_ids(1))
        connect().embed(some_ids(1))
        assert [body.get("model") for body in server.requests] == ["served-model", None]


class TestText:
    """A server that takes no tokens gets texts of which it makes the very tokens that were counted."""

    def test_the_text_has_the_chunks_tokens(
        self, server: FaultyServer, connect: Connect, minilm_tokenizer: ModelTokenizer
    ) -> None:
        """What is sent encodes to the chunk's ids, special tokens included."""
        texts = ["Größe matters, don't it?", "日本語 and 👍🏽", "  spaced \n out "]
        ids = [minilm_tokenizer.encode(text).ids for text in texts]
        special = Spelling(minilm_tokenizer)._tokenizer
        server.count = lambda text: len(special.encode(text).ids)
        connect(input="text").embed(ids)
        sent = server.requests[-1]["input"]
        assert [special.encode(text).ids for text in sent] == ids

    @given(st.text(max_size=200))
    @example("do n't  ##ing .")
    @example("<|endoftext|> spelled out")
    @pytest.mark.parametrize("which", ["minilm", "tiny"])
    def test_no_text_is_sent_that_has_other_tokens(self, which: str, spellings: Any, text: str) -> None:
        """Either there is a text with these tokens, or it is said that there is none: a control token, spelled out."""
        tokenizer, spelling = spellings[which]
        ids = tokenizer.encode(text).ids
        spelt = spelling.spell(ids)
        if spelt is None:
            assert "<|endoftext|>" in text or any(word in text for word in ("[CLS]", "[SEP]", "[PAD]", "[MASK]"))
        else:
            assert spelling._tokenizer.encode(spelt).ids == ids

    @pytest.mark.parametrize("counts_special", [True, False])
    def test_one_text_that_was_cut_is_found_among_many(
        self, counts_special: bool, server: FaultyServer, connect: Connect, minilm_tokenizer: ModelTokenizer
    ) -> None:
        """However many texts are in a request: the number of tokens must be exact, special ones counted or not."""
        ids = [minilm_tokenizer.encode(f"note {row} of the harbour master").ids for row in range(100)]
        ids[57] = minilm_tokenizer.encode("the pilot boat leaves at dawn " * 8).ids
        whole = Spelling(minilm_tokenizer)._tokenizer
        server.count = lambda text: min(len(whole.encode(text).ids), 40) - (0 if counts_special else 2)
        with pytest.raises(Poisoned, match="so it cuts texts") as caught:
            connect(input="text").embed(ids)
        assert list(caught.value.faults) == [57]
        assert set(faults(caught.value.vectors, 384)) == {57}

    @pytest.mark.parametrize("length", [10, 42])
    def test_a_single_text_says_nothing_of_how_tokens_are_counted(
        self, length: int, server: FaultyServer, connect: Connect, minilm_tokenizer: ModelTokenizer
    ) -> None:
        """Two tokens missing from a query may be special ones or cut ones; the trial tells."""
        whole = Spelling(minilm_tokenizer)._tokenizer
        ids = [[101, *[2000] * (length - 2), 102]]
        server.count = lambda text: len(whole.encode(text).ids) - 2
        np.testing.assert_array_equal(
            connect(input="text").embed(ids), server.vectors([Spelling(minilm_tokenizer).spell(ids[0])])
        )
        server.count = lambda text: min(len(whole.encode(text).ids), 40)
        if length > 40:
            with pytest.raises(Poisoned, match="it read 40 tokens of 42"):
                connect(input="text").embed(ids)

    def test_a_text_that_cannot_be_sent_is_named(
        self, connect: Connect, tiny: Model, tiny_tokenizer: ModelTokenizer
    ) -> None:
        """It is rejected with the reason; the others are embedded."""
        ids = [tiny_tokenizer.encode(text).ids for text in ("one", "the sign <|endoftext|> means", "two")]
        with embedding_server(tiny.native_dimensions) as server:
            server.count = lambda text: len(tiny_tokenizer.encode(text).ids)
            with pytest.raises(Poisoned, match="control token") as caught:
                connect(tiny, tiny_tokenizer, url=server.url, input="text").embed(ids)
            assert list(caught.value.faults) == [1]
            np.testing.assert_array_equal(caught.value.vectors[[0, 2]], server.vectors(["one", "two"]))


@pytest.fixture(scope="module")
def spellings(minilm_tokenizer: ModelTokenizer, tiny_tokenizer: ModelTokenizer) -> Any:
    """Both tokenizers with their spelling."""
    return {
        "minilm": (minilm_tokenizer, Spelling(minilm_tokenizer)),
        "tiny": (tiny_tokenizer, Spelling(tiny_tokenizer)),
    }


class TestBadMinutes:
    """What passes is waited for; what does not pass in a while is Transient, and never a wrong vector."""

    @pytest.mark.parametrize(
        "fault",
        [
            (429, {"error": {"message": "slow down"}}, {"Retry-After": "0"}),
            (500, {"error": "oops"}),
            (503, "not JSON at all"),
            None,
            (200, {"data": []}),
            (200, {"data": [{"index": 0, "embedding": [[1.0]]}]}),
            (200, {"object": "error", "message": "upstream"}),
        ],
    )
    def test_it_is_tried_again(self, fault: Any, server: FaultyServer, connect: Connect) -> None:
        """A busy or broken answer, a hang-up, a wrong number of vectors: asked again, and then right."""
        ids = some_ids(3)
        server.fault = once(RIGHT, fault, fault)
        np.testing.assert_array_equal(connect().embed(ids), server.vectors(ids))

    @pytest.mark.parametrize(
        ("fault", "told"),
        [
            ((429, {"error": {"message": "quota"}}), "429: quota"),
            ((503, {"message": "loading"}), "503: loading"),
            ((500, {"error": "CUDA is gone"}), "CUDA is gone"),
            (None, "the connection fails"),
            ((200, {"data": []}), "0 vectors for"),
        ],
    )
    def test_in_the_end_it_is_transient(self, fault: Any, told: str, server: FaultyServer, connect: Connect) -> None:
        """After the last attempt the work unit may be tried again later; the message has the server's own words."""
        embedder = connect()
        embedder.check()
        server.fault = lambda body: fault
        with pytest.raises(Transient, match=told):
            embedder.embed(some_ids(3))

    def test_a_server_that_is_not_there_is_transient(self, connect: Connect) -> None:
        """Nobody listens: told with the address."""
        with pytest.raises(Transient, match=r"127\.0\.0\.1:9/v1"):
            connect(url="http://127.0.0.1:9").embed(some_ids(2))

    def test_a_silent_server_is_transient(self, server: FaultyServer, connect: Connect) -> None:
        """An answer that does not come within `timeout` is told as that."""
        release = threading.Event()
        server.fault = lambda body: release.wait(30) and RIGHT
        try:
            with pytest.raises(Transient, match=r"does not answer within 0\.05 s"):
                connect(timeout=0.05).embed(some_ids(2))
        finally:
            release.set()

    @pytest.mark.parametrize(
        ("begun", "told"),
        [(b"HTTP/1.1 200 OK\r\nX-Slow: ", "does not answer"), (b"HTTP/1.1 200 OK\r\n\r\n", "its answer does not end")],
    )
    def test_an_answer_has_an_end(self, begun: bytes, told: str, server: FaultyServer, connect: Connect) -> None:
        """`timeout` bounds the whole of it: one that comes byte by byte, in its headers or after, is given up."""

        def drip(write: Callable[[bytes], Any]) -> None:
            write(begun)
            for _ in range(250):
                write(b" ")
                time.sleep(0.02)

        server.fault = lambda body: drip
        embedder = connect(timeout=0.2, in_flight=1)
        with pytest.raises(Transient, match=rf"{told} within 0\.2 s"):
            embedder.embed(some_ids(2))
        server.fault = lambda body: RIGHT
        assert embedder.embed(some_ids(2)).shape == (2, 384), "and its connection is free again"

    def test_an_answer_has_a_size(self, server: FaultyServer, connect: Connect) -> None:
        """More than these vectors can take is not read."""
        read: list[int] = []

        def flood(write: Callable[[bytes], Any]) -> None:
            write(b"HTTP/1.1 200 OK\r\n\r\n")
            read.append(0)
            for _ in range(1_000):
                write(b" " * 2**16)
                read[-1] += 2**16

        embedder = connect(in_flight=1)
        embedder.check()
        server.fault = lambda body: flood
        with pytest.raises(Transient, match="longer than the"):
            embedder.embed(some_ids(3))
        # What is on its way when it hangs up is in the buffers of the two sockets.
        assert max(read) < 32 * 2**20

    @pytest.mark.parametrize(
        "header",
        [
            "0",
            "-5",
            "nan",
            "inf",
            "soon",
            "Sat, 01 Jan 2000 00:00:00 GMT",
            "Mon, 01 Jan 2024 00:00:00 +99999999999999",
            "Sat, 01 Jan 0001 00:00:00 +2359",
        ],
    )
    def test_no_pause_is_shorter_than_our_own(self, header: str, server: FaultyServer, connect: Connect) -> None:
        """A server that is busy, and says that it is not, is given the time it would have had anyway."""
        assert retry_after(header, 0.5) == 0.5
        server.fault = once(RIGHT, (429, {}, {"Retry-After": header}), (503, {}, {"Retry-After": header}))
        assert connect().embed(some_ids(2)).shape == (2, 384)

    def test_the_pauses_of_a_busy_server_grow(
        self, server: FaultyServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`Retry-After: 0` does not spend all attempts within a moment."""
        embedder = connect(in_flight=1)
        embedder.check()
        arrivals: list[float] = []

        def busy(body: Mapping[str, Any]) -> Any:
            arrivals.append(time.monotonic())
            return 429, {}, {"Retry-After": "0"}

        server.fault = busy
        monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.1)
        with pytest.raises(Transient, match="429"):
            embedder.embed(some_ids(2))
        assert len(arrivals) == 5
        assert all(gap >= 0.05 * 2**at for at, gap in enumerate(np.diff(arrivals)))

    def test_a_date_without_an_offset_is_utc(self) -> None:
        """Whatever this machine's time zone is."""
        later = (datetime.now(UTC) + timedelta(seconds=60)).strftime("%a, %d %b %Y %H:%M:%S -0000")
        assert 55 < retry_after(later, 0.5) <= 60

    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_retry_after_is_obeyed_by_all(self, form: str, server: FaultyServer, connect: Connect) -> None:
        """Told to wait, no request of ours is sent before the time is over."""
        arrivals: list[float] = []
        told: list[float] = []

        def fault(body: Mapping[str, Any]) -> Any:
            arrivals.append(time.monotonic())
            if len(arrivals) == 2:
                told.append(time.monotonic())
                later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
                return 429, {}, {"Retry-After": "1" if form == "seconds" else later}
            return RIGHT

        server.fault = fault
        connect(in_flight=1, batch_inputs=2).embed(some_ids(6))
        assert len(arrivals) == 5
        # A date has whole seconds: two from now are at least one.
        assert arrivals[2] - told[0] >= 0.95

    def test_more_patience_than_a_minute_or_two_is_left_to_the_schedule(
        self, server: FaultyServer, connect: Connect
    ) -> None:
        """A server that wants an hour gets a Transient that says so, at once."""
        server.fault = lambda body: (429, {}, {"Retry-After": "3600"})
        with pytest.raises(Transient, match="3600 s of patience"):
            connect().embed(some_ids(2))
        assert len(server.requests) == 1

    def test_closing_ends_the_waiting(self, server: FaultyServer, connect: Connect) -> None:
        """Whoever waits for a server's pause to pass is told when the embedder is closed."""
        server.fault = lambda body: (503, {}, {"Retry-After": "100"})
        embedder = connect()
        ended: list[BaseException] = []

        def ask() -> None:
            try:
                embedder.embed(some_ids(1))
            except Transient as error:
                ended.append(error)

        caller = threading.Thread(target=ask)
        caller.start()
        while not server.requests:
            time.sleep(0.005)
        embedder.close()
        embedder.close()
        caller.join(10)
        assert "closed" in str(ended[0])

    def test_what_is_closed_embeds_nothing(self, connect: Connect) -> None:
        """It is told as that, before the first request and after it, for one text and for many."""
        for asked_before in (False, True):
            embedder = connect()
            if asked_before:
                embedder.embed(some_ids(3))
            embedder.close()
            for count in (1, 3):
                with pytest.raises(Transient, match="was closed"):
                    embedder.embed(some_ids(count))
            with pytest.raises(Transient, match="was closed"):
                embedder.check()
            assert "vllm" not in embedder.versions

    def test_closing_ends_what_is_under_way(self, server: FaultyServer, connect: Connect) -> None:
        """Requests that the server has, and batches that wait for their turn: all of them are told."""
        embedder = connect(in_flight=2, batch_inputs=1)
        embedder.check()
        release = threading.Event()
        server.fault = lambda body: release.wait(30) and RIGHT
        ended: list[BaseException] = []

        def ask() -> None:
            try:
                embedder.embed(some_ids(20))
            except BaseException as error:
                ended.append(error)

        caller = threading.Thread(target=ask)
        caller.start()
        before = len(server.requests)
        while len(server.requests) < before + 2:
            time.sleep(0.005)
        embedder.close()
        caller.join(10)
        release.set()
        assert [type(error) for error in ended] == [Transient]
        assert "was closed" in str(ended[0])


class TestBadTexts:
    """One text that a server refuses costs itself only."""

    @pytest.mark.parametrize("status", [400, 413, 422, 500])
    def test_a_refused_text_is_found(self, status: int, server: FaultyServer, connect: Connect) -> None:
        """The guilty are named with the server's words, whatever it calls it; all others have their vectors."""
        ids = some_ids(40)
        guilty = {7, 31}

        def fault(body: Mapping[str, Any]) -> Any:
            poisoned = any(ids[row] in body["input"] for row in guilty)
            return (status, {"error": {"message": "too long for me"}}) if poisoned else RIGHT

        server.fault = fault
        with pytest.raises(Poisoned, match="too long for me") as caught:
            connect(in_flight=2).embed(ids)
        assert set(caught.value.faults) == guilty
        fine = [row for row in range(40) if row not in guilty]
        np.testing.assert_array_equal(caught.value.vectors[fine], server.vectors([ids[row] for row in fine]))
        assert set(faults(caught.value.vectors, 384)) == guilty, "what was not embedded is no vector"

    def test_a_refused_text_may_be_the_only_one(self, server: FaultyServer, connect: Connect) -> None:
        """Of one text and the trial, only the text is refused: it is named, and the server goes on being used."""
        server.fault = lambda body: (400, {"message": "too long"}) if len(body["input"][0]) > 100 else RIGHT
        embedder = connect()
        with pytest.raises(Poisoned, match="too long") as caught:
            embedder.embed(some_ids(1, 200))
        assert list(caught.value.faults) == [0]
        assert embedder.embed(some_ids(2)).shape == (2, 384)

    def test_a_text_beyond_llama_cpps_batch_is_not_asked_for_again(
        self, server: FaultyServer, connect: Connect, minilm: Model
    ) -> None:
        """Its 500 says so in words: nothing is gained by waiting."""
        embedder = connect(replace(minilm, window=8_192), in_flight=1)
        embedder.check()
        told = (500, {"error": {"message": "input (300 tokens) is too large to process. increase the physical batch"}})
        server.fault = lambda body: told if any(len(ids) > 100 for ids in body["input"]) else RIGHT
        before = len(server.requests)
        with pytest.raises(Poisoned, match="physical batch"):
            embedder.embed([*some_ids(1), *some_ids(1, 300)])
        # Both, then each alone; and after each refusal the trial.
        assert len(server.requests) - before == 5

    def test_a_500_is_soon_narrowed_down(self, server: FaultyServer, connect: Connect) -> None:
        """Two for all of the texts, one for each half with the guilty one, and one more after the trial."""
        ids = some_ids(512)
        embedder = connect(in_flight=1, batch_inputs=512, batch_tokens=100_000)
        embedder.check()
        answers: list[int] = []

        def fault(body: Mapping[str, Any]) -> Any:
            answers.append(500 if ids[300] in body["input"] else 200)
            return RIGHT if answers[-1] == 200 else (500, {"error": "oops"})

        server.fault = fault
        with pytest.raises(Poisoned, match="oops") as caught:
            embedder.embed(ids)
        assert list(caught.value.faults) == [300]
        assert answers.count(500) == 2 + 9 + 1

    def test_a_500_holds_nobody_else(
        self, server: FaultyServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While the request that was answered so pauses, the others go on."""
        embedder = connect(in_flight=2, batch_inputs=10)
        embedder.check()
        ids = some_ids(100)
        guilty: list[bool] = []

        def fault(body: Mapping[str, Any]) -> Any:
            guilty.append(ids[0] in body["input"])
            return (500, {"error": "oops"}) if guilty[-1] and guilty.count(True) == 1 else RIGHT

        server.fault = fault
        monkeypatch.setattr(connection, "_FIRST_PAUSE", 2.0)
        np.testing.assert_array_equal(embedder.embed(ids), server.vectors(ids))
        assert (len(guilty), guilty.count(True)) == (11, 2)
        assert guilty[-1], "all others were asked for meanwhile"

    def test_a_text_is_not_blamed_for_a_bad_minute(self, server: FaultyServer, connect: Connect) -> None:
        """A server that answers 500 to everything for a while, and is waited for: nothing is rejected."""
        embedder = connect(in_flight=1)
        embedder.check()
        server.fault = once(*[(500, {"error": "restarting"})] * 5)
        ids = some_ids(1)
        np.testing.assert_array_equal(embedder.embed(ids), server.vectors(ids))

    def test_what_is_no_input_is_not_sent(self, server: FaultyServer, connect: Connect) -> None:
        """A text without tokens, or beyond the model's window, is named with the reason; the server never sees it."""
        ids = [[], *some_ids(2), [101, *[2000] * 300, 102]]
        with pytest.raises(Poisoned) as caught:
            connect().embed(ids)
        assert list(caught.value.faults) == [0, 3]
        assert "no tokens" in caught.value.faults[0]
        assert "302 tokens; the engine takes 256" in caught.value.faults[3]
        np.testing.assert_array_equal(caught.value.vectors[1:3], server.vectors(ids[1:3]))
        assert all(0 < len(one) <= 256 for body in server.requests for one in body["input"])
        with pytest.raises(Poisoned, match="no tokens"):
            connect(input="text").embed([[]])

    def test_a_server_that_takes_few_texts_is_given_few(self, server: FaultyServer, connect: Connect) -> None:
        """A 413 for many texts at once is learnt from: the next call asks for fewer."""
        server.fault = lambda body: (413, {"error": "batch size"}) if len(body["input"]) > 32 else RIGHT
        embedder = connect(in_flight=1)
        ids = some_ids(100)
        np.testing.assert_array_equal(embedder.embed(ids), server.vectors(ids))
        before = len(server.requests)
        np.testing.assert_array_equal(embedder.embed(ids), server.vectors(ids))
        assert {len(body["input"]) for body in server.requests[before:]} <= set(range(1, 33))

    def test_a_text_that_was_cut_is_refused(self, server: FaultyServer, connect: Connect) -> None:
        """A server that says it read fewer tokens than it was sent has cut a text: that one is rejected."""
        server.count = lambda one: min(len(one), 20)
        ids = [*some_ids(5), *some_ids(1, 50), *some_ids(2, 8)]
        with pytest.raises(Poisoned, match="it read 20 tokens of 52") as caught:
            connect().embed(ids)
        assert list(caught.value.faults) == [5]

    def test_if_everything_is_refused_nobody_is_blamed(self, server: FaultyServer, connect: Connect) -> None:
        """A server that has changed its mind about everything ends the run; no text is rejected for it."""
        embedder = connect()
        embedder.check()
        server.fault = lambda body: (400, {"message": "the model was unloaded"})
        with pytest.raises(Terminal, match=r"embeds nothing any more.*the model was unloaded"):
            embedder.embed(some_ids(3))


class TestBelief:
    """An answer is used only if it is one to the question."""

    def test_the_order_is_by_index(self, server: FaultyServer, connect: Connect) -> None:
        """A server may answer in any order."""
        server.spoil = lambda answer: {**answer, "data": answer["data"][::-1]}
        ids = some_ids(9)
        np.testing.assert_array_equal(connect().embed(ids), server.vectors(ids))

    @pytest.mark.parametrize("numbers", [[0, 0], [0, 2], [1, 2], [0, "1"]])
    def test_numbers_that_are_not_the_texts_are_no_answer(
        self, numbers: list[Any], server: FaultyServer, connect: Connect
    ) -> None:
        """Twice the same index, or one that was not asked for: nothing is guessed."""
        embedder = connect(in_flight=1)
        embedder.check()
        server.spoil = lambda answer: {
            "data": [{**row, "index": number} for row, number in zip(answer["data"], numbers, strict=True)]
        }
        with pytest.raises(Transient, match="makes no sense"):
            embedder.embed(some_ids(2))

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda answer: {"data": [{**row, "index": float(row["index"])} for row in answer["data"]]},
            lambda answer: {"data": [{**row, "index": bool(row["index"])} for row in answer["data"]]},
            lambda answer: {"data": [{**row, "index": 10**400} for row in answer["data"]]},
            lambda answer: {"data": [{**row, "embedding": [10**400] * 384} for row in answer["data"]]},
            lambda answer: {"data": [{**row, "embedding": {"x": 1}} for row in answer["data"]]},
            lambda answer: {"data": [{**row, "embedding": "no base64!"} for row in answer["data"]]},
            lambda answer: {**answer, "usage": [1]},
            lambda answer: {**answer, "usage": {"prompt_tokens": "28"}},
            lambda answer: {**answer, "usage": {"prompt_tokens": True}},
            lambda answer: {**answer, "usage": {"prompt_tokens": -28}},
            lambda answer: {**answer, "usage": {"prompt_tokens": 10**400}},
        ],
    )
    def test_a_broken_answer_is_told(self, spoil: Any, server: FaultyServer, connect: Connect) -> None:
        """Numbers of another kind than they should be: Transient, in words, and in few."""
        embedder = connect(in_flight=1)
        embedder.check()
        server.spoil = spoil
        with pytest.raises(Transient, match="makes no sense") as caught:
            embedder.embed(some_ids(2))
        assert len(str(caught.value)) < 500

    def test_nested_beyond_reason_is_no_answer(self, server: FaultyServer, connect: Connect) -> None:
        """Neither as an answer nor as the words of an error."""
        deep = b"[" * 200_000

        def say(status: bytes) -> Callable[[Callable[[bytes], Any]], None]:
            return lambda write: write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 200000\r\n\r\n" + deep)

        server.fault = lambda body: say(b"200 OK")
        with pytest.raises(Transient, match="makes no sense"):
            connect().embed(some_ids(2))
        server.fault = lambda body: say(b"503 Busy")
        with pytest.raises(Transient, match=r"503: \[\["):
            connect().embed(some_ids(2))

    @pytest.mark.parametrize("says", ["vLLM", "Text Embeddings Inference"])
    def test_a_window_shorter_than_the_chunks_is_told_at_once(
        self, says: str, server: FaultyServer, connect: Connect
    ) -> None:
        """Before a text is sent, queries before it or not: with both numbers and what to do."""
        server.window = 128 if says == "vLLM" else None
        server.info = {"max_input_length": 128}
        told = r"takes texts of 128 tokens.* up to 256: start it .* recipe\.chunk_tokens to 128"
        embedder = connect()
        with pytest.raises(Terminal, match=told):
            embedder.check()
        embedder.embed(some_ids(1))
        before = len(server.requests)
        for _ in range(2):
            with pytest.raises(Terminal, match=told):
                embedder.embed(some_ids(3))
        assert [len(body["input"]) for body in server.requests[before:]] == [1, 1], "but for the trial"

    def test_a_window_is_that_of_the_model_that_is_named(self, server: FaultyServer, connect: Connect) -> None:
        """Others of the same server may be shorter; and one that says nothing is taken as it is."""
        others = {"data": [{"id": "short", "max_model_len": 128}, {"id": "long", "max_model_len": 512}]}
        server.models = others
        assert connect(model="long").check().endswith("windows of 512 tokens")
        with pytest.raises(Terminal, match="takes texts of 128 tokens"):
            connect(model="short").check()
        server.models = {"data": [{"id": "x", "max_model_len": "long"}, "y", None]}
        assert connect().check().endswith("vectors of 384")

    def test_another_models_vectors_are_refused(self, connect: Connect) -> None:
        """Vectors of another length are another model's: the message names both lengths."""
        with embedding_server(768) as other, pytest.raises(Terminal, match="vectors of 768, but minilm has 384"):
            connect(url=other.url).embed(some_ids(2))

    @pytest.mark.parametrize("value", [math.nan, math.inf, 1e300, None])
    def test_what_is_no_number_reaches_the_gate(self, value: Any, server: FaultyServer, connect: Connect) -> None:
        """NaN, infinity or nothing in one vector is that row's fault, for the admission gate to name."""
        embedder = connect(in_flight=1)
        embedder.check()
        server.base64 = False

        def spoil(answer: dict[str, Any]) -> dict[str, Any]:
            answer["data"][1]["embedding"][3] = value
            return answer

        server.spoil = spoil
        assert list(faults(embedder.embed(some_ids(3)), 384)) == [1]

    @pytest.mark.parametrize("count", [1, 3])
    def test_vectors_that_are_not_normalized_are_told_at_once(
        self, count: int, server: FaultyServer, connect: Connect
    ) -> None:
        """The trial (or the query, which is one) shows it, before anything is stored or searched."""
        server.base64 = False
        server.spoil = lambda answer: {
            "data": [{**row, "embedding": [3 * x for x in row["embedding"]]} for row in answer["data"]]
        }
        with pytest.raises(Terminal, match=r"length 3\.0.* docs/embedding-servers\.md"):
            connect().embed(some_ids(count))

    def test_a_wrong_model_is_told_with_those_there_are(self, server: FaultyServer, connect: Connect) -> None:
        """A 404 names the models that the server has."""
        server.fault = lambda body: (404, {"message": "The model `x` does not exist."})
        with pytest.raises(Terminal, match=r"serves served-model: name one in endpoint\.model"):
            connect(model="x").embed(some_ids(1))


class TestKey:
    """A key comes from the environment, goes to the server, and nowhere else."""

    SECRET = "sk-very-secret-0123456789"

    def test_it_is_sent(
        self, server: FaultyServer, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        """With every request, and in no log."""
        server.key = self.SECRET
        monkeypatch.setenv("CORPUSVEC_ENDPOINT_KEY", self.SECRET)
        with caplog.at_level(logging.DEBUG):
            embedder = connect()
            embedder.embed(some_ids(3))
            embedder.check()
        assert set(server.keys) == {f"Bearer {self.SECRET}"}
        assert self.SECRET not in caplog.text
        assert self.SECRET not in str(dict(embedder.versions)) + repr(embedder) + repr(Endpoint())

    def test_a_wrong_one_is_told_without_it(
        self, server: FaultyServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server may repeat the key in its answer; the message does not."""
        server.key = "another"
        monkeypatch.setenv("CORPUSVEC_ENDPOINT_KEY", self.SECRET)
        with pytest.raises(Terminal, match=r"401.*CORPUSVEC_ENDPOINT_KEY") as caught:
            connect().embed(some_ids(1))
        assert "Incorrect API key" in str(caught.value)
        assert self.SECRET not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "sent"),
        [("http://localhost:1/v1", True), ("https://api.openai.com/v1", True), ("http://elsewhere.example/v1", False)],
    )
    def test_openais_is_not_sent_in_the_clear(self, url: str, sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """OPENAI_API_KEY serves too, but not to a host that is neither here nor reached by https."""
        monkeypatch.delenv("CORPUSVEC_ENDPOINT_KEY", raising=False)
        monkeypatch.setenv("OPENAI_API_KEY", self.SECRET)
        assert bool(address(url)[1]) is sent

    @pytest.mark.parametrize("name", ["CORPUSVEC_ENDPOINT_KEY", "OPENAI_API_KEY"])
    @pytest.mark.parametrize("key", ["sk-very\nsecret", "sk-very secret", "sk-vëry-secret", "sk-very\x7fsecret"])
    def test_what_no_header_can_carry_is_no_key(
        self, key: str, name: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A line break inside, white space, what is not ASCII: wrong usage, told by the variable's name alone."""
        monkeypatch.setenv(name, key)
        with pytest.raises(UsageError, match=name) as caught:
            connect()
        assert "secret" not in str(caught.value)

    def test_a_line_break_after_it_is_not_of_it(
        self, server: FaultyServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As files of secrets end with one."""
        monkeypatch.setenv("CORPUSVEC_ENDPOINT_KEY", f" {self.SECRET}\n")
        connect().embed(some_ids(1))
        assert server.keys == [f"Bearer {self.SECRET}"]

    def test_it_is_left_out_however_it_is_written(
        self, server: FaultyServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An answer may have it as JSON writes it."""
        monkeypatch.setenv("CORPUSVEC_ENDPOINT_KEY", 'sk-"secret\\')
        for said in (["no", 'sk-"secret\\'], {"error": {"text": 'sk-"secret\\'}}, {"message": 'sk-"secret\\'}):
            server.fault = lambda body, said=said: (401, said)
            with pytest.raises(Terminal, match="401") as caught:
                connect().embed(some_ids(1))
            assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_this_machine_is_asked_directly(
        self, host: str, server: FaultyServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever proxy the environment names, which would see texts and key, and could not reach this machine."""
        monkeypatch.setenv("OPENAI_API_KEY", self.SECRET)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with embedding_server(384) as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
            connect(url=server.url.replace("127.0.0.1", host)).embed(some_ids(3))
            assert (proxy.requests, set(server.keys)) == ([], {f"Bearer {self.SECRET}"})
            connect(url="http://elsewhere.example/v1").embed(some_ids(3))
            assert set(proxy.keys) == {None}, "another is asked by way of it, and OpenAI's key stays here"

    def test_a_proxy_that_is_none_is_told(
        self, server: FaultyServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without its password; and it is nothing to a server on this machine."""
        monkeypatch.setenv("HTTP_PROXY", "ftp://me:secret@proxy")
        monkeypatch.setenv("http_proxy", "ftp://me:secret@proxy")
        with pytest.raises(UsageError, match="HTTP_PROXY") as caught:
            connect(url="http://elsewhere.example/v1")
        assert "secret" not in str(caught.value)
        connect().embed(some_ids(1))

    @pytest.mark.parametrize(
        "url",
        [
            "http://bücher..example/v1",
            "http://xn--a/v1",
            "http://a..b/v1",
            f"http://{'a' * 64}.example/v1",
            "http://ho st/v1",
            "http://h:99999/v1",
            "http://host/\udcff",
            "localhost:8000",
            "ftp://host/v1",
            "http://me:secret@host/v1",
            "secret@host",
            "http://host/v1?k=secret",
            "http://[::1",
            "http://h:x",
        ],
    )
    def test_an_address_is_no_place_for_it(self, url: str, connect: Connect) -> None:
        """A URL that is none, or that carries a user's name and key, is wrong usage, told without the key."""
        with pytest.raises(UsageError, match=r"endpoint\.url") as caught:
            connect(url=url)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1/", "http://h:1/v1/embeddings"])
    def test_an_address_may_be_written_in_many_ways(self, url: str) -> None:
        """With or without `/v1`, with a slash too many, or whole."""
        assert address(url)[0] == "http://h:1/v1"


def test_weights_that_only_a_server_has_are_another_recipe(tiny_folder: Any, tmp_path: Any) -> None:
    """The folder's own weights name the vectors, unless the setting names others; without either there is no name."""
    import shutil

    recipe = Recipe(model=str(tiny_folder))
    here = load_model(recipe)
    assert load_model(recipe, Endpoint()).fingerprint == here.fingerprint
    quantized = load_model(recipe, Endpoint(weights="tiny-Q8_0.gguf"))
    assert quantized.fingerprint != here.fingerprint
    bare = tmp_path / "bare"
    shutil.copytree(tiny_folder, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    named = Endpoint(weights="tiny-Q8_0.gguf")
    assert load_model(Recipe(model=str(bare)), named).fingerprint == quantized.fingerprint
    with pytest.raises(UsageError, match=r"endpoint\.weights"):
        load_model(Recipe(model=str(bare)), Endpoint())


class TestDocs:
    """docs/embedding-servers.md does not drift."""

    PAGE = (Path(__file__).resolve().parents[3] / "docs" / "embedding-servers.md").read_text(encoding="utf-8")

    def test_its_configuration_is_valid(self) -> None:
        """The example has only settings that exist, with values they take."""
        (example,) = re.findall(r"```toml\n(.*?)```", self.PAGE, re.DOTALL)
        assert Settings.model_validate(tomllib.loads(example)).embedder == "openai"

    def test_its_settings_are_those_there_are(self) -> None:
        """Every setting of the section is in the table, with its default."""
        table = self.PAGE.split("## Settings")[1].split("##")[0]
        named = [
            name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
        ]
        assert named == list(Endpoint.model_fields)
        for field in Endpoint.model_fields.values():
            assert field.default is None or str(field.default).removesuffix(".0") in table
