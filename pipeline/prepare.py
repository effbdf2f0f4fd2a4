"""Listed items → documents and chunks: read, parse and chunk, each only where Parquet does not have it yet."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

from pipeline import chunk as chunking
from pipeline.checkpoint import Checkpoints, Table
from pipeline.config import Settings
from pipeline.documents import Made, Maker, Order, Row, make
from pipeline.embed.settings import likely_device
from pipeline.errors import Rejected
from pipeline.ledger import LOADED, Listed, Renewal, hash_bytes, hash_metadata, is_forced, same_bytes
from pipeline.members import MOST_INSIDE, Inside, member_uri, trap
from pipeline.ports import Source, Tokenizer
from pipeline.recipe import ResolvedRecipe
from pipeline.report import Report
from pipeline.types import Item, TokenIds, document_id, version_id
from pipeline.workers import Inline, Pool, Work, default_workers

#: Tells the ledger what is inside of a document, and gets the rows that it has of that.
OpenMembers = Callable[[Listed, Sequence[Inside]], Sequence[Listed]]


@dataclass(slots=True)
class Prepared:
    """A document version: its row, and its chunks' rows. `token_ids` holds what was tokenized just now, by row, and
    `words` how many all chunks have, if that was counted.

    With `refused` it is the older version that the collection holds of a document whose newer one cannot be used: it
    stays, under the recipe and the metadata of today.
    """

    listed: Listed
    document_id: str
    version_id: str
    content_hash: str
    document: Row
    chunks: list[Row]
    token_ids: Sequence[TokenIds] | None = None
    words: int | None = None
    refused: Refused | None = None


class Refused(Exception):
    """A document is rejected: at which stage, why (the text), and the hash of what was looked at, "" if unread."""

    def __init__(self, stage: str, reason: str, content_hash: str = "") -> None:
        super().__init__(reason)
        self.stage = stage
        self.content_hash = content_hash


@dataclass(slots=True)
class Preparation:
    """What became of some listed items, and of what is `inside` of them (how many): each is in one of the four lists.

    What is `settled` has a ledger row that says all there is to say; of what is `untouched`, only the time has changed.
    `documents` and `chunks` are the rows that Parquet does not have yet.
    """

    prepared: list[Prepared] = field(default_factory=list)
    untouched: list[Listed] = field(default_factory=list)
    refused: list[tuple[Listed, Refused]] = field(default_factory=list)
    settled: list[Listed] = field(default_factory=list)
    inside: int = 0
    documents: list[Row] = field(default_factory=list)
    chunks: list[Row] = field(default_factory=list)

    @property
    def text_bytes(self) -> int:
        """The size of the new chunks' texts, in UTF-8."""
        return sum(len(row["text"].encode()) for row in self.chunks)


@dataclass(slots=True)
class _Task:
    """A listed item on its way: which version of it ("" if there is none to use), and what is there of that already.

    `made` is what was made of its bytes just now, `making` what is being made.
    """

    listed: Listed
    #: When its batch came: parsing is done for one batch after the other, as far as there is enough to do.
    turn: int
    #: How many bytes may still come out of the outermost document that this one is, or is inside of.
    room: list[int] = field(default_factory=lambda: [MOST_INSIDE])
    version: str = ""
    content_hash: str = ""
    untouched: bool = False
    refused: Refused | None = None
    making: Future[Made] | None = None
    made: Made | None = None
    document: Row | None = None
    chunks: list[Row] = field(default_factory=list)


class Preparer:
    """The stages before the engine, for one recipe; parsing, chunking and tokenizing are `work`'s. Thread-safe."""

    def __init__(
        self,
        sources: Sequence[Source],
        recipe: ResolvedRecipe,
        tokenizer: Tokenizer,
        work: Work[Order, Made],
        checkpoints: Checkpoints,
        max_document_bytes: int,
        renewal: Renewal,
        stopping: threading.Event,
        open_members: OpenMembers,
    ) -> None:
        self._documents = table_of_documents(checkpoints, recipe)
        self._chunks = table_of_chunks(checkpoints, recipe)
        self._sources = {source.name: source for source in sources}
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._work = work
        self._max_bytes = max_document_bytes
        self._renewal = renewal
        self._stopping = stopping
        self._open_members = open_members
        self._turns = count()

    def prepare(self, batch: Sequence[Listed], report: Report) -> Preparation:
        """Every item's document and chunks; writes nothing. Raises Transient if a source does not answer, or Stopped.

        Documents are made side by side, the first while later ones are read; the order of `batch` is kept, and what is
        inside of one comes after it.
        """
        result, clock, turn = Preparation(), _Clock(), next(self._turns)
        self._prepare([_Task(listed, turn) for listed in batch], result, report, clock)
        clock.tell(report)
        return result

    def _prepare(self, tasks: Sequence[_Task], result: Preparation, report: Report, clock: _Clock) -> None:
        for task in tasks:
            self._begin(task, report, clock)
        for task in tasks:
            self._await_parsing(task, clock)
        with report.timed("checkpoint"):
            known = [task.version for task in tasks if task.version and task.made is None]
            stored = _by_version(self._documents, known)
            chunked = _by_version(self._chunks, [task.version for task in tasks if task.version])
        for task in tasks:
            task.chunks = chunked.get(task.version, [])
            if task.made is not None:
                task.document = task.made.document
            elif task.version:
                task.document = stored[task.version][-1]
                if task.refused is None and not self._is_whole(task.document):
                    self._take_apart(task, report, clock)
                elif not task.chunks and task.document["text"]:
                    self._submit(task, clock, document=task.document)
        for task in tasks:
            self._finish(task, result, report, clock)
            # One after the other, so that the bytes of what is inside of one are held at a time.
            inside = self._inside(task)
            result.inside += len(inside)
            result.settled += [listed for listed in inside if listed.settled]
            unsettled = [_Task(listed, task.turn, task.room) for listed in inside if not listed.settled]
            if unsettled:
                self._prepare(unsettled, result, report, clock)

    def _inside(self, task: _Task) -> Sequence[Listed]:
        """What is inside of a document; asked of every one that was looked at, since there may have been something."""
        if task.document is None or task.untouched:
            return []
        item = task.listed.item
        content = {member_uri(item.uri, one.name): one.data for one in task.made.members} if task.made else {}
        task.made = None
        inside = []
        for row in task.document["members"] or ():
            fault = row["refused"] or trap(item.uri, row["size"], task.room)
            data = None if fault else content.get(row["uri"])
            one = Item(row["uri"], row["size"], row["mtime"], None, row["media_type"], item.metadata, data)
            inside.append(Inside(one, row["content_hash"], fault))
        return self._open_members(task.listed, inside)

    def _is_whole(self, document: Row) -> bool:
        """Whether Parquet has everything that is inside of a document, so that its bytes are not needed again."""
        inside = [row for row in document["members"] or () if not row["refused"]]
        versions = [version_id(document_id(row["uri"]), row["content_hash"]) for row in inside]
        if not versions:
            return True
        if self._documents.missing(versions):
            return False
        found = self._documents.lookup(versions, ["version_id", "members"]).to_pylist()
        return all(map(self._is_whole, found))

    def _take_apart(self, task: _Task, report: Report, clock: _Clock) -> None:
        """Make a document again whose text Parquet has, for what is inside of it."""
        try:
            with report.timed("read"):
                data = self._read(task.listed)
        except Refused as refused:
            self._refuse(task, refused)
            return
        report.bytes_read += len(data)
        self._submit(task, clock, data=data)
        self._await_parsing(task, clock)
        if task.made is not None:
            task.document = task.made.document

    def commit(self, preparation: Preparation, report: Report) -> None:
        """Put what is new into Parquet."""
        with report.timed("checkpoint"):
            self._documents.append(preparation.documents)
            self._chunks.append(preparation.chunks)
        report.bytes_written += preparation.text_bytes

    def token_ids(self, one: Prepared, number: int) -> TokenIds:
        """What the engine gets for chunk `number`: exactly what was counted when it was cut."""
        if one.token_ids is not None:
            return one.token_ids[number]
        row = one.chunks[number]
        return self._tokenizer.encode(chunking.engine_text(self._recipe.rules.prompt, row["context"], row["text"])).ids

    def _begin(self, task: _Task, report: Report, clock: _Clock) -> None:
        """Find out which version it is, and have it parsed if Parquet does not have that."""
        item = task.listed.item
        try:
            if task.listed.fault:
                raise Refused("parse", task.listed.fault, task.listed.content_hash or "")
            task.content_hash, data = self._look(task.listed, report)
        except Refused as refused:
            self._refuse(task, refused)
            return
        if self._only_touched(task.listed, task.content_hash):
            task.untouched = True
            return
        task.version = version_id(document_id(item.uri), task.content_hash)
        if data is not None and self._documents.missing([task.version]):
            self._submit(task, clock, data=data)

    def _submit(self, task: _Task, clock: _Clock, data: bytes | None = None, document: Row | None = None) -> None:
        item = task.listed.item
        order = Order(item.uri, task.version, task.content_hash, item.media_type, data, document)
        with clock.waiting():
            task.making = self._work.submit(order, self._stopping, task.turn)

    def _await_parsing(self, task: _Task, clock: _Clock) -> None:
        if task.making is None:
            return
        made = clock.result_of(task.making, "parse")
        task.making = None
        if made.document is None:
            assert made.refused is not None
            self._refuse(task, Refused(*made.refused, task.content_hash))
        else:
            task.made = made

    def _refuse(self, task: _Task, refused: Refused) -> None:
        """The older version that the collection holds stays, if Parquet has its text."""
        task.refused, task.content_hash = refused, refused.content_hash
        held = str(task.listed.previous["version_id"]) if task.listed.previous is not None else ""
        task.version = held if held and not self._documents.missing([held]) else ""

    def _finish(self, task: _Task, result: Preparation, report: Report, clock: _Clock) -> None:
        listed, refused, document = task.listed, task.refused, task.document
        if task.untouched:
            result.untouched.append(listed)
            return
        if document is None:
            assert refused is not None
            result.refused.append((listed, refused))
            return
        if task.made is not None:
            result.documents.append(document)
        if refused is None:
            report.warnings += [(listed.item.uri, warning) for warning in document["warnings"]]
        made = clock.result_of(task.making, "chunk") if task.making is not None else task.made
        if listed.parent is not None:  # its bytes have served their purpose
            listed = replace(listed, item=replace(listed.item, content=None))
        one = Prepared(
            listed, document["document_id"], task.version, task.content_hash, document, task.chunks, refused=refused
        )
        if made is not None and not task.chunks:
            if made.refused is not None:
                result.refused.append((listed, refused or Refused(*made.refused, task.content_hash)))
                return
            one.chunks, one.token_ids, one.words = made.chunks, made.ids_by_chunk(), made.words
            result.chunks += one.chunks
        result.prepared.append(one)

    def _look(self, listed: Listed, report: Report) -> tuple[str, bytes | None]:
        """The content's hash, and its bytes unless the listing and Parquet together make reading needless."""
        item, known = listed.item, listed.known
        if listed.content_hash is not None:  # inside of a document that was taken apart
            if not self._documents.missing([version_id(document_id(item.uri), listed.content_hash)]):
                return listed.content_hash, item.content
            if item.content is None:
                reason = "what it is inside of cannot be taken apart now, and it was not kept"
                raise Refused("read", reason, listed.content_hash)
            return listed.content_hash, item.content
        if known is not None and known["content_hash"] and same_bytes(item, known):
            content_hash = str(known["content_hash"])
            if not self._documents.missing([version_id(document_id(item.uri), content_hash)]):
                return content_hash, None
        with report.timed("read"):
            data = self._read(listed)
        report.bytes_read += len(data)
        return hash_bytes(data), data

    def _only_touched(self, listed: Listed, content_hash: str) -> bool:
        """Whether nothing but the time of its file has changed."""
        row = listed.previous
        return (
            row is not None
            and row["status"] == LOADED
            and row["content_hash"] == content_hash
            and row["recipe"] == self._recipe.fingerprints.whole
            and row["metadata_hash"] == hash_metadata(listed.item.metadata)
            and not is_forced(row, self._renewal)
            and not listed.retry
        )

    def _read(self, listed: Listed) -> bytes:
        item = listed.item
        if item.size is not None and item.size > self._max_bytes:
            raise Refused("read", f"it has {item.size:,} bytes; max_document_bytes allows {self._max_bytes:,}")
        if item.content is not None:
            return item.content
        try:
            return self._sources[listed.source].read(item, self._max_bytes)
        except Rejected as rejected:
            raise Refused("read", str(rejected)) from rejected


class _Clock:
    """How long a run waits for its documents, split between the stages as they kept the workers busy."""

    def __init__(self) -> None:
        self._waited = 0.0
        self._busy: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent inside counts."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - started

    def result_of(self, making: Future[Made], stage: str) -> Made:
        """What was made; a document that took its process down, or too much, is refused at `stage`."""
        with self.waiting():
            try:
                made = making.result()
            except Rejected as rejected:
                made = Made(refused=(stage, str(rejected)))
        for name, seconds in made.seconds.items():
            self._busy[name] += seconds
        return made

    def tell(self, report: Report) -> None:
        """Add it to the report."""
        busy = self._busy or ({"parse": 1.0} if self._waited else {})
        total = sum(busy.values())
        for stage, seconds in busy.items():
            report.seconds[stage] += self._waited * seconds / total


def open_workers(settings: Settings, recipe: ResolvedRecipe, tokenizer: Tokenizer) -> Work[Order, Made]:
    """What makes documents: processes of their own, unless the settings want none."""
    limits = settings.limits
    count = limits.parse_workers
    if count is None:
        count = default_workers(likely_device(settings.engine))
    if count == 0:
        return Inline(partial(make, tokenizer=tokenizer, rules=recipe.rules))
    return Pool(Maker(recipe.model.path, recipe.rules), count, limits.parse_seconds, limits.parse_memory_mb)


def table_of_documents(checkpoints: Checkpoints, recipe: ResolvedRecipe) -> Table:
    """The parsed documents that this recipe makes and reuses."""
    name = recipe.fingerprints.parse
    return checkpoints.documents(name, {"stage": "parse", "fingerprint": name})


def table_of_chunks(checkpoints: Checkpoints, recipe: ResolvedRecipe) -> Table:
    """The chunks that this recipe makes and reuses."""
    stamp = {"stage": "chunk", "fingerprint": recipe.fingerprints.chunk, **recipe.description}
    return checkpoints.chunks(recipe.fingerprints.chunk, stamp)


def _by_version(table: Table, versions: Sequence[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in table.lookup(versions).to_pylist():
        found.setdefault(row["version_id"], []).append(row)
    return found
