"""Everything a run needs, looked at before one begins: environment → dependencies → configuration → an embedding.

As a program it is the last of them: it reads settings (JSON) from stdin, embeds a text, holds the engine against the
vectors of before, and prints what came of it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from flows.corpus import Corpus
from flows.scheduler import check_prefect
from pipeline.config import Settings, load_settings
from pipeline.doctor import files, machine, memory, packages
from pipeline.doctor.diagnosis import Check, Diagnosis, Skipped, Unwell, examine, run_apart
from pipeline.doctor.ports import reach, shown
from pipeline.embed.canary import Canary
from pipeline.embed.model import Model
from pipeline.embed.openai import OpenAIEmbedder
from pipeline.errors import CorpusvecError, Terminal, Transient
from pipeline.ports import Embedder

_TEXT = "Is anybody there?"


def examined(
    config: str | None, flags: Mapping[str, Any], documents: int | None = None, engine: bool = True
) -> Iterator[Diagnosis]:
    """What each check comes to, as it ends. Writes nothing but what it removes at once.

    `documents` is how many there should be room for. Without `engine` nothing is embedded.
    """
    patient = _Patient(config, flags, documents)
    try:
        yield from examine(
            [*patient.checks(), *([Check("embedding", patient.embedding, ("model",))] if engine else [])]
        )
    finally:
        patient.close()


class _Patient:
    """The settings, and what the checks share of what they found."""

    def __init__(self, config: str | None, flags: Mapping[str, Any], documents: int | None) -> None:
        self._config, self._flags, self._documents = config, flags, documents

    def checks(self) -> list[Check]:
        """All but the embedding, in order: later ones build on earlier ones."""
        return [
            Check("python", packages.check_python),
            Check("settings", self._settings),
            Check("engine", self._engine, ("settings",)),
            Check("driver", self._driver, ("settings", "engine")),
            Check("companions", lambda: packages.check_companions(self.packages)),
            Check("scheduler", lambda: packages.check_scheduler(self.packages)),
            Check("prefect", check_prefect),
            Check("model", self._model, ("settings",)),
            Check("transformers", self._transformers, ("settings", "model")),
            Check("memory", self._memory, ("driver", "model")),
            Check("data", lambda: machine.check_data(self.settings.data), ("settings",)),
            Check("store", self._store, ("settings",)),
            Check("recipe", self._recipe, ("model", "store")),
            Check("space", self._space, ("data", "model")),
        ]

    @cached_property
    def settings(self) -> Settings:
        """Those of the configuration, the environment and the flags."""
        return load_settings(self._config, **self._flags)

    @cached_property
    def corpus(self) -> Corpus:
        """Opens what the settings name."""
        return Corpus(self.settings)

    @cached_property
    def packages(self) -> packages.Packages:
        """What is installed."""
        return packages.installed()

    @cached_property
    def torch(self) -> machine.Torch:
        """What torch says."""
        return machine.look_at_torch()

    @property
    def remote(self) -> bool:
        """Whether a server embeds, and needs no engine here."""
        return self.settings.embedder == "openai"

    def close(self) -> None:
        """Close what was opened."""
        if "corpus" in self.__dict__:
            self.corpus.close()

    def _settings(self) -> str:
        settings = self.settings
        store, data = shown(settings.store), shown(settings.data)
        return f"{settings.collection} in {store}, Parquet in {data}, embedder {settings.embedder}"

    def _engine(self) -> str:
        if self.remote:
            raise Skipped("a server embeds: no engine is needed here")
        return packages.check_engine(self.packages)

    def _driver(self) -> str:
        if self.remote:
            raise Skipped("no engine is needed here")
        return machine.check_driver(self.torch, self.settings.engine)

    def _model(self) -> str:
        model = self.corpus.model
        return files.check_model(model, weights=not self.remote)

    def _transformers(self) -> str:
        if self.remote:
            raise Skipped("no engine is needed here")
        config = json.loads((self.corpus.model.path / "config.json").read_text(encoding="utf-8"))
        return packages.check_transformers(self.packages, config.get("model_type", ""))

    def _memory(self) -> str:
        if self.remote:
            raise Skipped("no engine is needed here")
        return memory.check_memory(self.corpus.model, self.settings.engine, self.torch)

    def _store(self) -> str:
        store = self.corpus.store
        address = reach_store(self.settings.store)
        try:
            spec = store.open()
        except Transient as error:
            if not address:
                raise
            remedy = f"{address} takes connections: unless its server is starting or busy, something else listens there"
            raise Unwell(str(error), remedy) from error
        if spec is None:
            return f"{store.url} answers; the first ingest makes the collection {store.collection}"
        return f"{store.url} answers; {store.collection} has {store.count():,} points"

    def _recipe(self) -> str:
        spec = self.corpus.store.open()
        recipe = self.corpus.recipe
        if spec is not None and spec.recipe != recipe.fingerprints.collection:
            raise Unwell(
                f"the collection {self.settings.collection} was made with {json.dumps(dict(spec.description))}, the "
                f"settings say {json.dumps(dict(recipe.description))}",
                "correct the recipe, or name another collection",
            )
        return f"{recipe.fingerprints.collection}, chunks of {recipe.rules.limit} tokens"

    def _space(self) -> str:
        from pipeline.runs import measured

        settings, corpus = self.settings, self.corpus
        reports = measured(corpus.checkpoints.runs(), corpus.store)
        places = [machine.local_folder(settings.data)]
        scheme, _, path = settings.store.partition(":")
        if scheme == "edge" or path.endswith(".db"):
            places.append(machine.local_folder(path))
        folders = [place for place in places if place is not None]
        return machine.check_space(folders, corpus.model.dimensions, self._documents, reports)

    def embedding(self) -> str:
        """One text, embedded as a run would."""
        if self.remote:
            url, limit = self.settings.endpoint.url, self.corpus.recipe.rules.limit
            embedder = OpenAIEmbedder(self.corpus.model, self.corpus.tokenizer, self.settings.endpoint, limit)
            try:
                usual = 443 if url.startswith("https:") else 80
                reach("endpoint.url", url, usual, "start it as docs/embedding-servers.md says, or correct [endpoint]")
                found = embedder.check()
                return f"{found}{as_before(self.corpus, embedder)}"
            finally:
                embedder.close()
        return check_embedding(self.settings, self.corpus.model)


def reach_store(url: str) -> str:
    """HOST:PORT of the server that a store's URL names, which takes connections; "" if it names files."""
    scheme, _, address = url.partition(":")
    if "://" not in address:
        return ""
    # As their clients have it: Qdrant's takes its own port for https too.
    usual = 6333 if scheme == "qdrant" else 443 if address.startswith("https:") else 19530
    return reach("the store", address, usual, "start it, or correct 'store'")


def as_before(corpus: Corpus, embedder: Embedder) -> str:
    """That the embedder gives the vectors that are stored, in words; "" if none are. Raises Terminal if it does not."""
    try:
        cosine = Canary(corpus.checkpoints, corpus.model, corpus.tokenizer).compare(embedder)
    except CorpusvecError:
        raise
    except Exception as error:  # each file system has its own, and what is stored is not what is looked at here
        return f"; what is stored cannot be read, to be compared ({type(error).__name__})"
    return "" if cosine is None else f", the same vectors as are stored (cosine {cosine:.5f} or more)"


def check_embedding(settings: Settings, model: Model) -> str:
    """The engine starts and gives a sound vector; in a process of its own, which it may take with it."""
    remedy = (
        "what failed above is the likely reason; CORPUSVEC_ENGINE_LOG=FILE keeps all that the engine says, or with "
        "several FILE.0, FILE.1, …"
    )
    try:
        found = json.loads(run_apart(["-m", "flows.doctor"], settings.model_dump_json()).splitlines()[-1])
    except Unwell as unwell:
        raise Unwell(f"{model.name} embeds nothing here: {unwell}", remedy) from unwell
    if "error" in found:
        raise Unwell(found["error"], remedy)
    if "changed" in found:
        raise Terminal(found["changed"])
    return (
        f"{found['dimensions']} dimensions, {found['start']:.1f} s to start the engine, {found['seconds']:.2f} s"
        f"{found['before']}"
    )


def _embed(settings: Settings) -> dict[str, Any]:
    with Corpus(settings) as corpus:
        try:
            engine = corpus.embedder_for(math.inf)  # as a large run has it, in which most can go wrong
            started = time.perf_counter()
            corpus.embed_queries([_TEXT])
            seconds = time.perf_counter() - started
        except CorpusvecError as error:
            return {"error": str(error)}
        try:
            before = as_before(corpus, engine)
        except CorpusvecError as error:
            return {"changed": str(error)}
        start = corpus.engine_start_seconds
        return {"dimensions": engine.dimensions, "start": start, "seconds": seconds, "before": before}


if __name__ == "__main__":
    # Engines print what they like: it goes to stderr, and the answer to the real stdout.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)
        print(json.dumps(_embed(Settings.model_validate_json(sys.stdin.read()))), file=answer)
