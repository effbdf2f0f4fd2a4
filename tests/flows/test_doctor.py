"""`corpusvec doctor`: one line a check, exit code 1 if one failed, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connectors.stores import open_store
from flows import Corpus
from flows.cli import main
from flows.doctor import check_embedding
from pipeline.config import Settings
from pipeline.doctor.diagnosis import Unwell
from pipeline.doctor.machine import Torch
from pipeline.embed.canary import Canary
from pipeline.embed.model import Model
from pipeline.errors import Terminal
from pipeline.types import CollectionSpec
from tests.connectors.stores.servers import answering
from tests.embedding_server import embedding_server
from tests.faults import FakeEngine, bundled

NAMES = [
    "python", "settings", "engine", "driver", "companions", "scheduler", "prefect", "model", "transformers", "memory",
    "data", "store", "recipe", "space",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever server the machine has, these tests do not ask it."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch has been asked before: its import takes seconds, and each test would wait for it."""
    monkeypatch.setattr("pipeline.doctor.machine.look_at_torch", lambda: Torch("2.13.0+cpu", "", False, ()))


def examine(capfd: pytest.CaptureFixture[str], *arguments: str, code: int) -> dict[str, Any]:
    """What each check found, by its name."""
    assert main(["doctor", "--json", *arguments]) == code
    found = json.loads(capfd.readouterr().out)
    assert found["healthy"] is (code == 0)
    assert [one["name"] for one in found["checks"]][: len(NAMES)] == NAMES
    return {one["name"]: one for one in found["checks"]}


def test_all_is_well(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line a check; nothing is left behind; `--no-engine` leaves out the live embedding."""
    assert main(["doctor", "--no-engine", "--documents", "100"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == NAMES
    assert {line.split()[0] for line in lines} <= {"ok", "skipped"}
    assert "for 100 documents" in lines[-1]
    assert list(workplace.iterdir()) == []


def test_a_live_embedding(workplace: Path, minilm: Model) -> None:
    """The real engine, started in a process of its own, embeds a text."""
    assert check_embedding(Settings(), minilm).startswith("384 dimensions, ")


def test_a_live_embedding_unlike_those_that_are_stored(workplace: Path, minilm: Model) -> None:
    """Vectors of before that this engine does not give again: told with what has changed; nothing is stored."""
    before = FakeEngine(minilm.dimensions)
    before.versions = {"vllm": "0.1"}
    with Corpus() as corpus:
        corpus.model, corpus.tokenizer = bundled()
        Canary(corpus.checkpoints, corpus.model, corpus.tokenizer).check(before)
    stored = {path: path.read_bytes() for path in workplace.rglob("*.parquet")}
    with pytest.raises(Terminal, match=r"no longer makes the vectors that are stored.*vllm was 0\.1 and is \d"):
        check_embedding(Settings(), minilm)
    assert {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()} == stored


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("import os; os.abort()", "its process was ended by SIGABRT"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision::nms"),
        ("", "corpusvec[cpu' or 'gpu]"),
    ],
)
def test_an_engine_that_does_not_import(
    content: str, told: str, workplace: Path, minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it raises, is not what it should be, or takes the interpreter with it: told, with a remedy."""
    (workplace / "fake").mkdir()
    (workplace / "fake" / "vllm.py").write_text(content)
    monkeypatch.syspath_prepend(str(workplace / "fake"))
    with pytest.raises(Unwell) as caught:
        check_embedding(Settings(), minilm)
    assert told in str(caught.value)
    assert "CORPUSVEC_ENGINE_LOG" in caught.value.remedy


@pytest.mark.usefixtures("seen")
def test_settings_that_are_wrong(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They are one line; what does not need them is looked at all the same."""
    (workplace / "corpusvec.toml").write_text("[recipe]\nchunk_token = 5\n")
    found = examine(capfd, code=1)
    assert "recipe.chunk_token" in found["settings"]["found"]
    assert found["companions"]["state"] == "ok"
    assert (found["model"]["state"], found["embedding"]["state"]) == ("skipped", "skipped")


@pytest.mark.usefixtures("seen")
def test_a_model_that_is_not_there(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What needs it is skipped, the live embedding too."""
    found = examine(capfd, "--model", "./nowhere", code=1)
    assert "there is no model folder" in found["model"]["found"]
    assert {found[name]["state"] for name in ("transformers", "memory", "recipe", "space", "embedding")} == {"skipped"}
    assert found["store"]["state"] == "ok"


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("store", ["qdrant:http://127.0.0.1:9", "milvus:http://127.0.0.1:9"])
def test_a_store_that_does_not_answer(store: str, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody listens on its port: told with its address."""
    found = examine(capfd, "--no-engine", "--store", store, code=1)
    assert "connection to 127.0.0.1:9 is refused: nothing listens on port 9" in found["store"]["found"]
    assert found["recipe"]["state"] == "skipped"


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("store", ["qdrant", "milvus"])
def test_a_store_whose_port_is_somebody_elses(
    store: str, workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What listens there does not speak the store's language: told as something else than a closed port."""
    monkeypatch.setattr("connectors.stores.milvus._CONNECT_SECONDS", 1.0)
    with answering(b"220 mail.example ESMTP\r\n") as port:
        found = examine(capfd, "--no-engine", "--store", f"{store}:http://127.0.0.1:{port}", code=1)
    assert f"127.0.0.1:{port}" in found["store"]["found"]
    assert "refused" not in found["store"]["found"]
    assert f"127.0.0.1:{port} takes connections" in found["store"]["remedy"]
    assert "something else listens there" in found["store"]["remedy"]


@pytest.mark.usefixtures("seen")
def test_secrets_in_addresses(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A store's URL with a password is refused, and no line has the password in it."""
    (workplace / "corpusvec.toml").write_text('data = "nosuch://me:pass1@host/data"\n')
    assert main(["doctor", "--no-engine", "--store", "qdrant:http://me:pass2@127.0.0.1:9"]) == 1
    said = capfd.readouterr()
    assert "QDRANT_API_KEY" in said.out
    assert "pass1" not in said.out + said.err
    assert "pass2" not in said.out + said.err


@pytest.mark.usefixtures("seen")
def test_a_collection_of_another_recipe(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its vectors are another model's: both recipes are named."""
    with_other = open_store("edge:data/index", "documents")
    with_other.open(CollectionSpec("another", 384, {"model": "another-model"}))
    with_other.close()
    found = examine(capfd, "--no-engine", code=1)
    assert found["store"]["state"] == "ok"
    assert "another-model" in found["recipe"]["found"]
    assert "minilm" in found["recipe"]["found"]
    assert "another collection" in found["recipe"]["remedy"]


@pytest.mark.usefixtures("seen")
def test_a_disk_that_is_too_small(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """For more documents than could ever fit."""
    found = examine(capfd, "--no-engine", "--documents", str(10**12), code=1)
    assert [name for name, one in found.items() if one["state"] == "failed"] == ["space"]


class TestServer:
    """With `embedder = "openai"` a server stands in for the engine, its driver and its memory."""

    def test_it_embeds(self, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """What an engine would need is skipped, and the server is asked for a vector."""
        with embedding_server(384) as server:
            (workplace / "corpusvec.toml").write_text(f'embedder = "openai"\nendpoint.url = "{server.url}"\n')
            found = examine(capfd, code=0)
        assert {found[name]["state"] for name in ("engine", "driver", "transformers", "memory")} == {"skipped"}
        assert found["embedding"]["found"] == f"{server.url} gives vectors of 384, windows of 256 tokens"

    def test_its_vectors_of_before(self, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """The same as are stored; or others, which is told with what has changed, and nothing is stored."""
        (workplace / "docs").mkdir()
        (workplace / "docs" / "a.md").write_text("The lamp burns.")
        with embedding_server(384) as server:
            (workplace / "corpusvec.toml").write_text(f'embedder = "openai"\nendpoint.url = "{server.url}"\n')
            with Corpus() as corpus:
                corpus.ingest("docs")
            stored = sorted(workplace.rglob("*.parquet"))
            assert "the same vectors as are stored (cosine 1.0" in examine(capfd, code=0)["embedding"]["found"]
            right = server.vector
            server.vector = lambda given, length=None: right([1, *given], length)
            with (workplace / "corpusvec.toml").open("a") as file:
                file.write('endpoint.model = "another"\n')
            found = examine(capfd, code=1)["embedding"]
        assert "no longer makes the vectors that are stored" in found["found"]
        assert "served model was unknown and is another" in found["found"]
        assert found["remedy"] == ""
        assert sorted(workplace.rglob("*.parquet")) == stored

    def test_it_is_away(self, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Nobody listens on its port."""
        (workplace / "corpusvec.toml").write_text('embedder = "openai"\nendpoint.url = "http://127.0.0.1:9"\n')
        found = examine(capfd, code=1)
        assert [name for name, one in found.items() if one["state"] == "failed"] == ["embedding"]
        assert "connection to 127.0.0.1:9 is refused" in found["embedding"]["found"]

    def test_it_serves_another_model(self, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Its vectors have another length than the recipe's model's."""
        with embedding_server(768) as server:
            (workplace / "corpusvec.toml").write_text(f'embedder = "openai"\nendpoint.url = "{server.url}"\n')
            assert "serves another model" in examine(capfd, code=1)["embedding"]["found"]

    def test_its_window_is_too_short(
        self, workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Chunks of the recipe would not fit: told with both numbers, as a run would tell it."""
        with embedding_server(384) as server:
            server.window = 128
            (workplace / "corpusvec.toml").write_text(f'embedder = "openai"\nendpoint.url = "{server.url}"\n')
            found = examine(capfd, code=1)["embedding"]["found"]
            assert "takes texts of 128 tokens, and chunks have up to 256" in found
            monkeypatch.setenv("CORPUSVEC_RECIPE__CHUNK_TOKENS", "128")
            examine(capfd, code=0)
