"""`corpusvec doctor`: one line a check, exit code 1 if one failed, and what to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from connectors.stores import open_store
from flows.cli import main
from flows.doctor import check_embedding, check_prefect
from pipeline.config import Settings
from pipeline.doctor.diagnosis import Skipped, Unwell
from pipeline.doctor.machine import Torch
from pipeline.embed.model import Model
from pipeline.types import CollectionSpec
from tests.embedding_server import embedding_server

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
    assert "127.0.0.1:9" in found["store"]["found"]
    assert found["recipe"]["state"] == "skipped"


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

    def test_it_is_away(self, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Nobody listens on its port."""
        (workplace / "corpusvec.toml").write_text('embedder = "openai"\nendpoint.url = "http://127.0.0.1:9"\n')
        found = examine(capfd, code=1)
        assert [name for name, one in found.items() if one["state"] == "failed"] == ["embedding"]
        assert "127.0.0.1:9" in found["embedding"]["found"]

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


class TestPrefect:
    """A schedule needs a Prefect server; nothing else does."""

    @pytest.fixture
    def port(self) -> Iterator[int]:
        """A server that says `true` at /api/health, and a page everywhere else."""

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: Any) -> None:
                """Nothing on stderr."""

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"true" if self.path == "/api/health" else b"<html>")

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        server.server_close()
        thread.join()

    def test_it_answers(self, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """At the address of PREFECT_API_URL, with or without a slash."""
        for slash in ("", "/"):
            monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api{slash}")
            assert check_prefect().endswith("answers")

    def test_it_is_something_else(self, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """A web page is no Prefect server; the usual mistake is named."""
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}")
        with pytest.raises(Unwell, match="is no Prefect server") as caught:
            check_prefect()
        assert "/api" in caught.value.remedy

    def test_nobody_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Told with the address, and with what starts one."""
        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        with pytest.raises(Unwell, match=r"127\.0\.0\.1:9/api.*refused") as caught:
            check_prefect()
        assert "prefect server start" in caught.value.remedy

    def test_none_is_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without an address there is nothing to look at."""
        monkeypatch.setattr("prefect.settings.PREFECT_API_URL.value", lambda: None)
        with pytest.raises(Skipped):
            check_prefect()
