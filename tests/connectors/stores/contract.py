"""The contract of a vector store: the tests that every implementation of `pipeline.ports.VectorStore` passes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.stores import open_store
from pipeline.errors import RecipeMismatch, Transient, UsageError
from pipeline.ports import VectorStore
from pipeline.types import CollectionSpec, Condition, Point, document_id, record_id

DIMENSIONS = 8
SPEC = CollectionSpec("r1", DIMENSIONS, {"model": "small", "dimensions": DIMENSIONS}, "english", 20.0)


def unit(*values: float) -> np.ndarray:
    """A unit vector that begins with these values."""
    vector = np.zeros(DIMENSIONS, np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


def point(
    text: str, *, uri: str = "file:///a.txt", n: int = 0, vector: np.ndarray | None = None, lexical: str | None = None,
    **payload: Any,
) -> Point:  # fmt: skip
    """A point of the document at `uri`; `n` tells equal texts apart."""
    document = document_id(uri)
    whole = {
        "document_id": document, "uri": uri, "source": "file:///", "title": "A title",
        "section": "One > Two", "page": None, "page_to": None, "position": n, "media_type": "text/plain",
        "text": text, "metadata": {}, **payload,
    }  # fmt: skip
    found = unit(1.0) if vector is None else vector
    return Point(record_id(document, text, n), found, text if lexical is None else lexical, whole)


def patched(one: Point, **payload: Any) -> Point:
    """`one` with other payload fields, and nothing else that a patch may look at."""
    return Point(one.record_id, np.empty(0, np.float32), "", {**one.payload, **payload})


def ids(points: Iterable[Any]) -> list[str]:
    """The record ids of points or hits."""
    return [one.record_id for one in points]


def holds(condition: Condition, payload: Mapping[str, Any]) -> bool:
    """What a filter means, in plain Python."""
    name, _, key = condition.field.partition(".")
    found = payload[name].get(key) if key else payload[name]
    value = condition.value

    def same(one: Any) -> bool:
        return isinstance(one, bool) == isinstance(value, bool) and one == value

    equal = any(map(same, found)) if isinstance(found, list) else same(found)
    if condition.operator in ("=", "!="):
        return equal == (condition.operator == "=")
    if isinstance(found, (bool, str, list)) or found is None:
        return False
    return bool(
        {"<": found < value, "<=": found <= value, ">": found > value, ">=": found >= value}[condition.operator]
    )


# Awkward for query languages: quotation marks, backslashes, line breaks, right-to-left, outside the basic plane.
WORDS = ("plain", "it's", 'a "quote"', "back\\slash", "two\nlines\tand", "שלום", "مرحبا", "🎉", "", "%_*", "3", "true")
KEYS = ("kind", "two words", "dotted.key", "ключ")


class VectorStoreContract:
    """Inherit, name the class Test…, and say by `url` which store to test. Every test gets collections of its own."""

    #: Whether BM25 knows that "houses" is "house".
    stems: ClassVar[bool] = True
    #: Whether another store object finds what one has closed.
    persists: ClassVar[bool] = True
    #: Whether the store bakes an average length into its vectors.
    takes_average_length: ClassVar[bool] = True
    #: Whether true and 1 are told apart in metadata.
    tells_booleans: ClassVar[bool] = True
    #: Whether each call of the vendor's is a request over the network.
    remote: ClassVar[bool] = True
    #: How many points are many: more than one batch of any kind.
    many: ClassVar[int] = 1_203
    #: How many random filters to try.
    filters: ClassVar[int] = 150

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def collection(self) -> str:
        return f"c{uuid4().hex}"

    @pytest.fixture
    def store(self, url: str, collection: str) -> Iterable[VectorStore]:
        store = open_store(url, collection)
        assert store.open(SPEC) == SPEC
        yield store
        store.close()

    def reopen(self, store: VectorStore) -> VectorStore:
        """Close, and open again as another object; the same object for a store that forgets."""
        if not self.persists:
            return store
        store.close()
        again = open_store(store.url, store.collection)
        assert again.open() is not None
        return again

    # Opening

    def test_absent(self, url: str) -> None:
        """A collection that does not exist opens as None, and is not made by that."""
        store = open_store(url, "nobody")
        assert store.open() is None
        assert store.open() is None
        with pytest.raises(UsageError, match="nobody"):
            store.count()
        store.close()

    def test_stamp_is_kept(self, store: VectorStore) -> None:
        """A collection is stamped when it is made, and whoever opens it later reads that stamp."""
        again = self.reopen(store)
        assert again.open() == SPEC
        assert again.open(replace(SPEC, average_length=99.0)) == SPEC
        again.close()

    def test_recipe_mismatch(self, store: VectorStore) -> None:
        """Another recipe is refused, in a sentence that names both, and nothing is touched."""
        store.upsert([point("kept")])
        again = self.reopen(store)
        other = replace(SPEC, recipe="r2", description={"model": "large", "dimensions": 16}, dimensions=16)
        with pytest.raises(RecipeMismatch, match=r"model small.*r1.*model large.*r2"):
            again.open(other)
        assert again.open(SPEC) == SPEC
        assert again.count() == 1
        again.close()

    def test_close_twice(self, store: VectorStore) -> None:
        """Closing is idempotent; a closed store says so when used."""
        store.close()
        store.close()
        with pytest.raises(UsageError, match=store.collection):
            store.count()

    def test_two_collections(self, store: VectorStore) -> None:
        """Two collections of one database can be open at once, and do not see each other."""
        other = open_store(store.url, f"{store.collection}_b")
        other.open(SPEC)
        store.upsert([point("one")])
        assert other.count() == 0
        other.close()
        assert store.count() == 1

    # Writing and reading

    def test_payload_is_exact(self, store: VectorStore) -> None:
        """A payload comes back equal: every field, None, nested metadata, numbers of either kind, any script."""
        metadata: dict[str, Any] = {
            "list": ["a", 1, 2.5, None, {"deep": [True, {}]}], "empty": {}, "none": None, "float": 1.0, "int": 1,
            "big": 2**53 + 1, "ключ": "значение", "emoji 🎉": "שלום", 'quo"te': "it's", "text": "x", "": "nameless",
        }  # fmt: skip
        full = point("Ünïcode\n\tשלום 🎉 'q' \"q\"", page=3, page_to=4, metadata=metadata, lexical="Head\nBody")
        bare = point("other", n=1, title=None, section=None)
        store.upsert([full, bare])
        found = {one.record_id: one for one in self.reopen(store).fetch([full.record_id, bare.record_id])}
        for one in (full, bare):
            assert found[one.record_id].payload == one.payload
            assert found[one.record_id].lexical_text == one.lexical_text
            assert json.dumps(found[one.record_id].payload["metadata"]) == json.dumps(one.payload["metadata"])
            assert found[one.record_id].vector.shape == (0,)

    def test_vectors_come_back(self, store: VectorStore) -> None:
        """Vectors are fetched and scrolled as float32, equal to what was sent to five decimals."""
        rng = np.random.default_rng(0)
        sent = [point("t", n=n, vector=unit(*rng.standard_normal(DIMENSIONS))) for n in range(5)]
        store.upsert(sent)
        for found in (store.fetch(ids(sent), vectors=True), list(store.scroll(vectors=True))):
            vectors = {one.record_id: one.vector for one in found}
            for one in sent:
                assert vectors[one.record_id].dtype == np.float32
                np.testing.assert_allclose(vectors[one.record_id], one.vector, atol=1e-5)

    def test_upsert_overwrites(self, store: VectorStore) -> None:
        """The same id written again replaces the point whole: payload, vector and words."""
        first = point("zebra", vector=unit(1.0), metadata={"old": 1})
        second = replace(
            first, vector=unit(0.0, 1.0), lexical_text="lion", payload={**first.payload, "text": "lion", "metadata": {}}
        )
        filler = [point("tiger", n=n) for n in range(1, 5)]
        store.upsert([first, *filler])
        store.upsert([first])
        store.upsert([second, second])
        assert store.count() == 5
        assert store.fetch([first.record_id])[0].payload == second.payload
        assert store.search_bm25("zebra", 3) == []
        assert ids(store.search_bm25("lion", 3)) == [first.record_id]
        assert store.search_dense(unit(0.0, 1.0), 1)[0].score == pytest.approx(1.0, abs=1e-5)

    def test_nothing_to_do(self, store: VectorStore) -> None:
        """Empty batches are fine, and so is an empty collection."""
        store.upsert([])
        store.delete([])
        assert store.fetch([]) == []
        assert store.ids_of([]) == {}
        assert list(store.scroll()) == []
        assert store.count() == 0
        assert store.search_dense(unit(1.0), 3) == []
        assert store.search_bm25("anything", 3) == []
        store.flush()

    def test_fetch_skips_unknown_ids(self, store: VectorStore) -> None:
        """Ids that do not exist are left out of a fetch."""
        one = point("here")
        store.upsert([one])
        assert ids(store.fetch([str(uuid4()), one.record_id])) == [one.record_id]

    def test_delete(self, store: VectorStore) -> None:
        """Points are removed by id, from searches as well; ids that do not exist are fine, and so is doing it twice."""
        one, two = point("house", n=0), point("house", n=1)
        store.upsert([one, two])
        for _ in range(2):
            store.delete([one.record_id, str(uuid4())])
            assert store.count() == 1
            assert ids(store.search_dense(unit(1.0), 5)) == [two.record_id]
            assert ids(store.search_bm25("house", 5)) == [two.record_id]
        again = self.reopen(store)
        assert ids(again.scroll()) == [two.record_id]
        again.close()

    # Patching

    def test_patch_replaces_payloads(self, store: VectorStore) -> None:
        """A patch replaces payloads whole, so that old metadata are gone; the point is found by vector and words as
        before, those of its headings too, and other points are as they were."""
        one = point("a zebra", vector=unit(1.0, 2.0), lexical="Stripes\na zebra", metadata={"old": 1, "both": "x"})
        other = point("a lion", n=1, metadata={"old": 1})
        store.upsert([one, other, *(point("filler", n=n) for n in range(2, 8))])
        before = [store.search_dense(one.vector, 1), store.search_bm25("zebra", 5), store.search_bm25("stripes", 5)]
        changed = patched(one, title=None, page=7, text="A zebra", metadata={"new": [1, {"a": None}], "both": "y"})
        store.patch([patched(one, page=1), changed])
        again = self.reopen(store)
        found = {point.record_id: point for point in again.fetch(ids([one, other]), vectors=True)}
        assert found[one.record_id].payload == changed.payload
        assert found[one.record_id].lexical_text == one.lexical_text
        np.testing.assert_allclose(found[one.record_id].vector, one.vector, atol=1e-5)
        assert found[other.record_id].payload == other.payload
        after = [again.search_dense(one.vector, 1), again.search_bm25("zebra", 5), again.search_bm25("stripes", 5)]
        for old, new in zip(before, after, strict=True):
            assert ids(new) == ids(old) == [one.record_id]
            assert new[0].score == pytest.approx(old[0].score)
            assert (new[0].text, new[0].metadata) == ("A zebra", changed.payload["metadata"])
        assert again.count([Condition("metadata.old", "=", 1)]) == 1
        assert again.count([Condition("metadata.both", "=", "y"), Condition("metadata.new", "=", 1)]) == 1
        again.close()

    def test_words_survive_a_patch_of_the_text(self, store: VectorStore) -> None:
        """What BM25 saw stays what it was, also where it was the payload's text and that is patched."""
        one = point("a zebra")
        store.upsert([one, point("filler", n=1), point("more", n=2)])
        store.patch([patched(one, text="A lion")])
        store.set_average_length(30.0)
        assert store.fetch([one.record_id])[0].lexical_text == "a zebra"
        assert [hit.text for hit in store.search_bm25("zebra", 5)] == ["A lion"]
        assert store.search_bm25("lion", 5) == []

    def test_patch_makes_nothing(self, store: VectorStore) -> None:
        """An id that does not exist stays absent, alone or among others, and nothing at all may be patched."""
        one, absent = point("here"), point("gone", n=1)
        store.upsert([one, absent])
        store.delete([absent.record_id])
        store.patch([])
        store.patch([absent])
        store.patch([absent, patched(one, page=5), point("never")])
        assert [point.payload["page"] for point in store.scroll()] == [5]
        assert store.count() == 1

    def test_booleans_are_found_after_a_patch(self, store: VectorStore) -> None:
        """A filter on a boolean holds for what the metadata are now: another one, one that is new, none any more."""
        before = [{"flag": True}, {"flag": False}, {}, {"flag": True}]
        after = [{"flag": False}, {}, {"flag": True}]
        points = [point("t", n=n, metadata=metadata) for n, metadata in enumerate(before)]
        store.upsert(points)
        store.patch([patched(one, metadata=metadata) for one, metadata in zip(points, after, strict=False)])
        expected = {"true": points[2:], "false": points[:1]}
        for value, of in expected.items():
            condition = Condition("metadata.flag", "=", value == "true")
            assert sorted(ids(store.search_dense(unit(1.0), 9, [condition]))) == sorted(ids(of))
            assert store.count([condition]) == len(of)
        assert all(set(one.payload["metadata"]) <= {"flag"} for one in store.scroll())

    def test_many_patches(self, store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """Many points are patched in one go, each with its own payload, in few requests, and as well twice."""
        requests: list[str] = []
        if self.remote:
            call = store._call  # type: ignore[attr-defined]
            monkeypatch.setattr(store, "_call", lambda verb, **rest: requests.append(verb) or call(verb, **rest))
        points = [point("text", n=n, metadata={"n": n}) for n in range(self.many)]
        store.upsert(points)
        changed = [patched(one, page=one.payload["position"], metadata={"m": 1}) for one in points]
        for _ in range(2):
            requests.clear()
            store.patch(changed)
            assert len(requests) <= self.many / 50
            assert {one.record_id: one.payload for one in store.scroll()} == {
                one.record_id: one.payload for one in changed
            }

    def test_patch_is_upsert_of_the_payload(self, store: VectorStore) -> None:
        """Whatever metadata a point had and gets, a patch leaves the payload that writing the point anew would."""
        numbers = st.floats(-1e9, 1e9).map(lambda x: round(x, 3))  # Qdrant's JSON is a bit off in the 17th digit
        json_values = st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | st.text(max_size=9),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=6,
        )
        metadata = st.dictionaries(st.text(max_size=3), json_values, max_size=3)

        @settings(max_examples=self.filters // 5, deadline=None, database=None)
        @given(metadata, metadata)
        def check(first: dict[str, Any], second: dict[str, Any]) -> None:
            one, two = point("one", metadata=first), point("two", metadata=second)
            store.upsert([one, two])
            store.patch([patched(one, metadata=second)])
            found = {point.record_id: point.payload["metadata"] for point in store.fetch(ids([one, two]))}
            assert found == {one.record_id: second, two.record_id: second}
            assert list(found[one.record_id]) == list(found[two.record_id])

        check()

    def test_ids_of(self, store: VectorStore) -> None:
        """The ids of documents are those that the store holds; a document without points is absent."""
        points = [point(f"t{n}", uri=f"file:///{n % 3}.txt", n=n) for n in range(30)]
        store.upsert(points)
        asked = [document_id("file:///0.txt"), document_id("file:///1.txt"), document_id("file:///none.txt")]
        expected: dict[str, set[str]] = {}
        for one in points:
            expected.setdefault(one.payload["document_id"], set()).add(one.record_id)
        assert store.ids_of(asked) == {name: expected[name] for name in asked[:2]}

    def test_scroll(self, store: VectorStore) -> None:
        """A scroll gives each of many points once, and again after reopening."""
        points = [point("text", n=n) for n in range(self.many)]
        store.upsert(points)
        store.flush()
        again = self.reopen(store)
        assert sorted(ids(again.scroll())) == sorted(ids(points))
        assert again.count() == len(points)
        assert len(again.fetch(ids(points))) == len(points)
        again.close()

    def test_long_text(self, store: VectorStore) -> None:
        """A text of 32,000 characters is stored and found, in any script that fits `max_text_bytes`."""
        texts = ["lorem ipsum " * 2_700 + "needle", "ё" * 29_000 + " needle"]
        assert store.max_text_bytes is None or max(len(text.encode()) for text in texts) <= store.max_text_bytes
        points = [point(text, n=n) for n, text in enumerate(texts)]
        store.upsert([*points, point("short", n=9)])
        assert sorted(one.payload["text"] for one in store.fetch(ids(points))) == sorted(texts)
        assert sorted(ids(store.search_bm25("needle", 5))) == sorted(ids(points))

    # Searching

    def test_dense_is_cosine(self, store: VectorStore) -> None:
        """Dense search orders by cosine similarity, which is its score, and the hit carries the payload."""
        rng = np.random.default_rng(1)
        vectors = rng.standard_normal((300, DIMENSIONS)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        points = [point(f"t{n}", n=n, vector=vector, page=n, metadata={"n": n}) for n, vector in enumerate(vectors)]
        store.upsert(points)
        query = unit(*rng.standard_normal(DIMENSIONS))
        cosines = vectors @ query
        best = np.argsort(-cosines)[:10]
        hits = store.search_dense(query, 10)
        assert ids(hits) == [points[n].record_id for n in best]
        np.testing.assert_allclose([hit.score for hit in hits], cosines[best], atol=1e-5)
        first = points[best[0]].payload
        for field in ("document_id", "uri", "title", "section", "page", "text", "metadata"):
            assert getattr(hits[0], field) == first[field]

    def test_ties(self, store: VectorStore) -> None:
        """Equal scores come in order of record id, also where they are cut off, whatever the order of writing."""
        points = [point("same words", n=n) for n in range(60)]
        store.upsert(points[30:])
        store.upsert(points[:30])
        expected = sorted(ids(points))[:7]
        assert ids(store.search_dense(unit(1.0), 7)) == expected
        assert ids(store.search_bm25("words", 7)) == expected

    def test_fewer_than_asked(self, store: VectorStore) -> None:
        """A search finds all there is if that is fewer than asked for, and nothing if none are asked for."""
        store.upsert([point("house")])
        assert len(store.search_dense(unit(1.0), 50)) == 1
        assert store.search_dense(unit(1.0), 0) == []

    def test_bm25_shares_a_word(self, store: VectorStore) -> None:
        """BM25 finds texts that share a word with the query and no others, whatever the case, with positive scores."""
        one, two = point("The Zebra sleeps", n=0), point("a lion sleeps", n=1)
        store.upsert([one, two, *(point("filler words", n=n) for n in range(2, 8))])
        assert ids(store.search_bm25("zebra", 5)) == [one.record_id]
        assert sorted(ids(store.search_bm25("LION zebra", 5))) == sorted([one.record_id, two.record_id])
        assert all(hit.score > 0 for hit in store.search_bm25("lion zebra sleeps", 5))
        assert store.search_bm25("giraffe", 5) == []
        assert store.search_bm25("", 5) == []
        assert store.search_bm25("?! 🎉", 5) == []

    def test_bm25_stems(self, store: VectorStore) -> None:
        """Where the store stems, a query finds other forms of its words."""
        store.upsert([point("many houses running", n=0), point("filler", n=1), point("more", n=2)])
        assert bool(store.search_bm25("house", 5)) == self.stems

    def test_bm25_rare_words_count_more(self, store: VectorStore) -> None:
        """Of two texts that differ in one word, the one whose word is rarer scores higher."""
        rare, common = point("rare fox", n=0), point("common fox", n=1)
        store.upsert([rare, common, *(point("common cat", n=n) for n in range(2, 20))])
        hits = store.search_bm25("rare common", 5)
        assert hits[0].record_id == rare.record_id
        assert hits[0].score > hits[1].score

    def test_bm25_long_texts_count_less(self, store: VectorStore) -> None:
        """Of two texts with the word once, the longer scores lower."""
        short, long = point("fox " + "pad " * 5, n=0), point("fox " + "pad " * 200, n=1)
        store.upsert([long, short, *(point("pad " * 20, n=n) for n in range(2, 10))])
        assert ids(store.search_bm25("fox", 5)) == [short.record_id, long.record_id]

    def test_average_length(self, store: VectorStore) -> None:
        """A new average length changes what length costs, is in the stamp, survives reopening, and may be set again."""
        texts = [point("fox " + "pad " * length, n=length) for length in (5, 100)]
        wordless = point("", n=7)
        store.upsert([*texts, wordless, *(point("cat", n=n) for n in range(200, 210))])

        def gap(store: VectorStore) -> float:
            high, low = (hit.score for hit in store.search_bm25("fox", 5))
            return high / low

        before = gap(store)
        for _ in range(2):
            store.set_average_length(1_000.0)
        again = self.reopen(store)
        if not self.takes_average_length:
            assert gap(again) == pytest.approx(before)
            return
        assert gap(again) < before / 1.5
        stamp = again.open()
        assert stamp is not None
        assert stamp.average_length == 1_000.0
        moved = replace(texts[0], record_id=record_id("other", "text", 0))
        again.upsert([moved])
        scores = {hit.record_id: hit.score for hit in again.search_bm25("fox", 5)}
        assert scores[moved.record_id] == pytest.approx(scores[texts[0].record_id])
        assert again.fetch([texts[0].record_id])[0].payload == texts[0].payload
        again.close()

    def test_average_length_cut_short(self, store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A change of the average length that broke off can be told from the stamp, whatever the corpus's mean is by
        now, until one has come to its end; then all vectors are of that one, those written in between as well."""
        if not self.takes_average_length:
            return
        points = [point("fox " + "pad " * 9, n=n) for n in range(self.many)]
        store.upsert([*points, *(point("cat", n=n) for n in range(2_000, 2_010))])
        scroll = store.scroll

        def broken() -> Iterator[Point]:
            for number, one in enumerate(scroll()):
                if number == self.many - 20:
                    raise Transient("the server went away in the middle")
                yield one

        monkeypatch.setattr(store, "scroll", broken)
        with pytest.raises(Transient):
            store.set_average_length(1_000.0)
        monkeypatch.setattr(store, "scroll", scroll)
        again = self.reopen(store)
        found = again.open(SPEC)
        assert found is not None
        assert all(abs(mean / found.average_length - 1) > 1 for mean in (1.0, 20.0, 999.0, 1_000.0))
        again.upsert([point("fox " + "pad " * 9, n=3_000)])
        assert len({round(hit.score, 5) for hit in again.search_bm25("fox", 5_000)}) == 2
        again.set_average_length(20.0)
        again = self.reopen(again)
        assert again.open(SPEC) == SPEC
        assert len({round(hit.score, 5) for hit in again.search_bm25("fox", 5_000)}) == 1
        again.close()

    # Filters

    def test_filters_narrow_searches(self, store: VectorStore) -> None:
        """Conditions hold together, in both searches and in the count."""
        points = [point(f"house {'big' if n % 2 else 'small'}", n=n, page=n, metadata={"n": n}) for n in range(20)]
        store.upsert(points)
        conditions = [Condition("page", ">=", 5), Condition("metadata.n", "<", 10), Condition("position", "!=", 7)]
        expected = sorted(one.record_id for one in points if one.payload["page"] in (5, 6, 8, 9))
        assert sorted(ids(store.search_dense(unit(1.0), 20, conditions))) == expected
        assert sorted(ids(store.search_bm25("house", 20, conditions))) == expected
        assert store.count(conditions) == 4

    def test_filters_match_the_model(self, store: VectorStore) -> None:
        """Any conditions, on any field, with any value, select what plain Python does, in every verb."""
        rng = np.random.default_rng(2)

        def metadata(n: int) -> dict[str, Any]:
            values: list[Any] = [*WORDS, 0, 3, 3.0, -1.5, None, [], ["it's", "plain"], [3, -1.5, "שלום"], True, False]
            if not self.tells_booleans:
                values = [value for value in values if not isinstance(value, bool)]
            found = {key: values[rng.integers(len(values))] for key in KEYS if rng.random() < 0.7}
            return found | ({"flag": bool(n % 2)} if n % 3 else {})

        points = [
            point(
                "common", n=n, uri=f"file:///{n % 4}.txt", title=WORDS[n % len(WORDS)], source=WORDS[-n % len(WORDS)],
                page=None if n % 5 == 0 else n, metadata=metadata(n),
            )
            for n in range(60)
        ]  # fmt: skip
        store.upsert(points)
        numbers = st.one_of(st.integers(-2, 62), st.floats(-2, 62).map(lambda x: round(x * 2) / 2), st.just(1e12))
        plain = st.one_of(st.sampled_from([*WORDS, "file:///1.txt", "text/plain"]), numbers)
        values = st.one_of(plain, st.booleans()) if self.tells_booleans else plain
        scalars = ("uri", "source", "title", "media_type", "page", "position", "page_to")
        fields = st.sampled_from([*scalars, *(f"metadata.{key}" for key in KEYS)])
        condition = st.one_of(
            st.builds(Condition, fields, st.sampled_from(["=", "!="]), values),
            st.builds(Condition, fields.filter(self.ordered), st.sampled_from(["<", "<=", ">", ">="]), numbers),
            st.builds(Condition, st.just("metadata.flag"), st.sampled_from(["=", "!="]), st.booleans()),
        )

        @settings(max_examples=self.filters, deadline=None, database=None)
        @given(st.lists(condition, min_size=1, max_size=3))
        @example([Condition("metadata.kind", "=", -1.5)])
        @example([Condition("metadata.kind", "!=", -1)])
        def check(conditions: Sequence[Condition]) -> None:
            expected = sorted(one.record_id for one in points if all(holds(c, one.payload) for c in conditions))
            assert store.count(conditions) == len(expected)
            assert sorted(ids(store.search_dense(unit(1.0), 60, conditions))) == expected
            assert sorted(ids(store.search_bm25("common", 60, conditions))) == expected

        check()

    @staticmethod
    def ordered(field: str) -> bool:
        """Whether an order of the field is defined (over the lists among these metadata it is not)."""
        return not field.startswith("metadata.")

    @pytest.mark.parametrize(
        ("condition", "reason"),
        [
            (Condition("nothing", "=", 1), "nothing"),
            (Condition("metadata", "=", 1), r"metadata\.KEY"),
            (Condition("uri.x", "=", 1), r"uri\.x"),
            (Condition("uri", "~", "x"), "~"),
            (Condition("uri", "<", "x"), "only numbers"),
            (Condition("page", ">", True), "only numbers"),
            (Condition("page", "=", float("nan")), "finite"),
        ],
    )
    def test_senseless_filters(self, store: VectorStore, condition: Condition, reason: str) -> None:
        """A condition that makes no sense is a usage error that names what is wrong."""
        with pytest.raises(UsageError, match=reason):
            store.count([condition])

    def test_numbers_in_metadata_have_an_order(self, store: VectorStore) -> None:
        """<, <=, > and >= hold for numbers of metadata and for nothing else."""
        values = [None, "5", 4, 5, 5.5, 6.0, {"x": 5}]
        store.upsert([point("t", n=n, metadata={"v": value}) for n, value in enumerate(values)])
        counts = {operator: store.count([Condition("metadata.v", operator, 5)]) for operator in ("<", "<=", ">", ">=")}
        assert counts == {"<": 1, "<=": 2, ">": 2, ">=": 3}


def sentence(error: BaseException) -> str:
    """The text of an error, which must be words for a person: no traceback, no class name, one line."""
    text = str(error)
    assert re.match(r"^[A-Z'].{20,}$", text), text
    assert "Traceback" not in text
    return text
