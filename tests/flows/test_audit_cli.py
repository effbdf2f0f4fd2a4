"""`corpusvec audit`: names and an exit code for what is not as it should be; `--repair` mends it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from connectors.stores import open_store
from flows import Corpus
from flows.cli import main
from tests.pipeline.test_audit import Hashes, stranger

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def docs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two documents, ingested; whoever starts an engine from now on fails."""
    folder = workplace / "docs"
    folder.mkdir()
    (folder / "pump.md").write_text("# Pumps\n\nPrime the pump before the first start of the season.\n")
    (folder / "lamp.md").write_text("# Lamps\n\nThe lamp at the pier burns from dusk until the last ferry.\n")
    with Corpus(embedder=Hashes()) as corpus:
        corpus.ingest(str(folder))
    monkeypatch.setattr("pipeline.embed.vllm.start_engine", lambda *_: pytest.fail("the engine was started"))
    return folder


def audit(capfd: Capture, *arguments: str, code: int) -> Any:
    """The JSON of an audit that ends with this exit code."""
    assert main(["audit", "--json", *arguments]) == code, capfd.readouterr().err
    return json.loads(capfd.readouterr().out)


def meddle(delete: Sequence[str] = (), add: Sequence[Any] = ()) -> None:
    """Change the collection behind our back; documents to delete by the end of their URI."""
    store = open_store("edge:data/index", "documents")
    store.open()
    store.delete([p.record_id for p in store.scroll() if p.payload["uri"].endswith(tuple(delete) or "\0")])
    store.upsert(list(add))
    store.close()


def test_an_audit_says_clean_or_names_what_is_not(docs: Path, capfd: Capture) -> None:
    """0 and clean; else 1 and the names. Without sources, those that the documents came from are listed again."""
    found = audit(capfd, code=0)
    assert (found["clean"], found["documents"], found["sources"]) == (True, 2, [docs.as_uri()])
    meddle(delete=["lamp.md"])
    (docs / "new.md").write_text("Not ingested yet.")
    found = audit(capfd, code=1)
    names = {(one["kind"], one["place"], Path(one["uri"]).name) for one in found["findings"]}
    assert names == {("missing", "store", "lamp.md"), ("missing", "source", "new.md")}
    assert main(["audit"]) == 1
    text = capfd.readouterr().out
    assert "missing        docs/lamp.md (store), 1 point: not in the store" in text
    assert "missing        docs/new.md (source): listed, and not ingested" in text


def test_a_repair_prints_its_plan_asks_and_mends(docs: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a yes nothing is changed; with one, the plan is done and the audit after it is clean."""
    meddle(delete=["lamp.md"], add=[stranger(1)])
    assert main(["audit", "--repair"]) == 2
    assert "--yes" in capfd.readouterr().err
    monkeypatch.setattr("sys.stdin", Answer("n\n"))
    assert main(["audit", "--repair"]) == 1
    said = capfd.readouterr()
    assert "would      write 1 point of 1 document, from the checkpoints" in said.out
    assert "would      remove 1 point\n" in said.out
    assert "Do it?" in said.err
    assert "nothing was changed" in said.out
    monkeypatch.setattr("sys.stdin", Answer("y\n"))
    assert main(["audit", "--repair"]) == 0
    said = capfd.readouterr()
    assert "repaired   wrote 1 point, removed 1" in said.out
    assert said.out.rstrip().endswith("clean: everything is as it should be")
    audit(capfd, code=0)


class Answer(io.StringIO):
    """A person at a terminal."""

    def isatty(self) -> bool:
        """A terminal."""
        return True


def test_a_lost_collection_comes_back_with_one_command(docs: Path, capfd: Capture, workplace: Path) -> None:
    """The whole index deleted: `audit --repair --yes` loads it from Parquet; searching finds it all again."""
    shutil.rmtree(workplace / "data" / "index")
    result = audit(capfd, "--repair", "--yes", code=0)
    assert result["repair"]["plan"]["create"] is True
    assert result["repair"]["done"] == {"written": 2, "removed": 0}
    assert main(["search", "ferry", "--mode", "bm25"]) == 0
    assert "lamp.md" in capfd.readouterr().out


def test_a_source_that_is_away_is_unknown(docs: Path, capfd: Capture) -> None:
    """A folder that is not there proves nothing of its documents: no finding, but no clean audit either."""
    docs.rename("elsewhere")
    found = audit(capfd, code=1)
    assert found["findings"] == []
    assert [one["what"] for one in found["unknown"]] == [docs.as_uri()]
    assert main(["audit"]) == 1
    assert "unknown        docs: there is no file or folder" in capfd.readouterr().out
    assert main(["audit", "nowhere"]) == 2


def test_other_settings_than_the_collections_are_told(docs: Path, capfd: Capture) -> None:
    """The settings' recipe is compared too: what an ingest would make otherwise is of another recipe."""
    Path("corpusvec.toml").write_text("[recipe]\nchunk_tokens = 64\n")
    found = audit(capfd, code=1)
    assert {(one["kind"], one["detail"]) for one in found["findings"]} == {
        ("other_recipe", "made by another recipe: chunk")
    }


def test_an_audit_does_without_the_model(docs: Path, capfd: Capture) -> None:
    """Where the model's files are not at hand, everything but the settings' recipe is audited all the same."""
    found = audit(capfd, "--model", "./no-such-model", code=0)
    assert found["clean"]
