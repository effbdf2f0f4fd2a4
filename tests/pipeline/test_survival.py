"""A run over what a careless or hostile world may put into a folder: a reason each, no harm, and all else ingested."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import psutil
import pytest

from flows import Corpus
from tests.faults import audit_of, open_corpus, points_of
from tests.pipeline.misbehaviour import BALLOONS, HANGS, tempted_maker

ROOT = Path(__file__).resolve().parents[2]
SOON = 120.0


@pytest.fixture
def docs(workplace: Path) -> Path:
    """Five innocent documents, before, between and after what a test adds."""
    docs = workplace / "docs"
    docs.mkdir()
    for name in ("a", "f", "k", "p", "z"):
        (docs / f"{name}.md").write_text(f"# The pump {name}\n\nPrime pump {name} before the first start.\n")
    return docs


@pytest.fixture
def corpus(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    """Two workers, whose documents may misbehave, and limits that they meet soon."""
    monkeypatch.setattr("pipeline.prepare.Maker", tempted_maker)
    monkeypatch.setattr("pipeline.workers.pool._TOGETHER_SECONDS", 1.0)
    limits = {"parse_workers": 2, "parse_seconds": 8, "parse_memory_mb": 400, "max_document_bytes": 10**8}
    with open_corpus(limits=limits) as corpus:
        yield corpus


def innocent_in(corpus: Corpus) -> set[str]:
    """The names of the innocent documents that can be found."""
    return {Path(hit.uri).stem for hit in corpus.search("pump", k=50, mode="bm25")} & set("afkpz")


def reasons_of(report: Any) -> dict[str, tuple[str, str]]:
    """Name → stage and reason of what was rejected."""
    return {Path(each.uri).name: (each.stage, each.reason) for each in report.rejected}


def test_parsers_that_hang_balloon_and_crash(docs: Path, corpus: Corpus) -> None:
    """Every way of taking a process down costs that document only; the report says how, at the stage parse."""
    kinds = ["hang in C", "balloon", "segfault"]  # the others are the pool's tests
    for number, kind in enumerate(kinds):
        (docs / f"g{number}.txt").write_text(f"MISBEHAVE: {kind}\n")
    report = corpus.ingest(str(docs))
    reasons = reasons_of(report)
    assert (report.documents["new"], report.documents["rejected"]) == (5, len(kinds))
    assert innocent_in(corpus) == set("afkpz")
    for number, kind in enumerate(kinds):
        stage, reason = reasons[f"g{number}.txt"]
        expected = "parse_seconds" if kind in HANGS else "parse_memory_mb" if kind in BALLOONS else "process"
        assert stage == "parse" and expected in reason, kind
    assert {"parse", "chunk"} <= set(report.as_dict()["seconds"])
    assert audit_of(corpus, str(docs)) == []
    assert corpus.ingest(str(docs)).documents["rejected"] == len(kinds), "settled: not tried again"


def test_an_older_version_outlives_a_newer_one_that_crashes(docs: Path, corpus: Corpus) -> None:
    """What was searchable stays so when the new version of a document takes its process down."""
    corpus.ingest(str(docs))
    (docs / "k.md").write_text("MISBEHAVE: segfault\n")
    report = corpus.ingest(str(docs))
    assert reasons_of(report)["k.md"][0] == "parse"
    assert innocent_in(corpus) == set("afkpz")


def test_with_processes_as_without(docs: Path, workplace: Path) -> None:
    """Points are the same, to the byte, whether documents are parsed in other processes or in this one."""
    (docs / "long.md").write_text("\n\n".join(f"## Step {n}\n\nCheck seal {n} of the pump." for n in range(400)))
    (docs / "blank.md").write_text(" \n")
    found = []
    for count in (0, 2):
        with open_corpus(limits={"parse_workers": count}, data=f"d{count}", store=f"edge:i{count}") as corpus:
            corpus.ingest(str(docs))
            found.append(points_of(corpus))
            if count:
                changed = {"recipe": {"chunk_tokens": 40}, "limits": {"parse_workers": count}}
                with open_corpus(data=f"d{count}", store=f"edge:j{count}", **changed) as other:
                    report = other.ingest(str(docs))
                assert (report.documents["new"], report.documents["rejected"]) == (6, 1)
    assert len(found[0]) > 6
    assert found[0] == found[1]


def test_what_is_no_file(docs: Path, corpus: Corpus) -> None:
    """Pipes, sockets, devices, links in circles and to nowhere: listed, rejected unopened, each for what it is."""
    os.mkfifo(docs / "b-pipe")
    (docs / "g-device").symlink_to("/dev/zero")
    (docs / "l-self").symlink_to("l-self")
    (docs / "l-nowhere").symlink_to("gone")
    (docs / "deep").mkdir()
    (docs / "deep" / "up").symlink_to("..")
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(docs)  # a socket's path may be 107 bytes long
    try:
        listener.bind("m-socket")
    finally:
        os.chdir(here)
    report = corpus.ingest(str(docs))
    listener.close()
    reasons = {name: reason for name, (stage, reason) in reasons_of(report).items() if stage == "read"}
    assert set(reasons) == {"b-pipe", "g-device", "l-self", "l-nowhere", "m-socket"}
    for name, words in (("b-pipe", "named pipe"), ("g-device", "device"), ("m-socket", "socket"), ("l-self", "link")):
        assert words in reasons[name]
    assert innocent_in(corpus) == set("afkpz")


def test_a_sparse_file_of_four_gigabytes(docs: Path, corpus: Corpus) -> None:
    """It is rejected for its size, unread."""
    with (docs / "g.txt").open("wb") as file:
        file.truncate(4 << 30)
    report = corpus.ingest(str(docs))
    assert report.bytes_read < 10_000
    assert reasons_of(report) == {
        "g.txt": ("read", "it has 4,294,967,296 bytes; max_document_bytes allows 100,000,000")
    }


def test_names_in_any_encoding(docs: Path, corpus: Corpus) -> None:
    """A name that is no UTF-8 is ingested, found under a URI that spells its bytes, and erased by it."""
    names = [b"caf\xe9.md", b"\xff\xfe.md", b"new\nline.md", "日本語.md".encode("euc-jp"), b"100%.md", b"a#b?c.md"]
    for name in names:
        (docs / os.fsdecode(name)).write_text("# The anchor\n\nHeave the anchor.\n")
    corpus.ingest(str(docs))
    uris = {hit.uri for hit in corpus.search("anchor", k=50, mode="bm25")}
    assert {unquote_to_bytes(uri.rpartition("/")[2]) for uri in uris} == set(names)
    corpus.erase(*uris)
    assert corpus.search("anchor", mode="bm25") == []
    assert corpus.ingest(str(docs)).documents["new"] == len(names)


def test_files_that_may_not_be_read(docs: Path, corpus: Corpus) -> None:
    """A file without permission is rejected with the system's words."""
    (docs / "g.md").write_text("# Secret\n")
    (docs / "g.md").chmod(0)
    if os.geteuid() == 0:  # root may read all: somebody else looks
        script = (
            "import os, sys\nfrom connectors.sources import open_source\nfrom pipeline.errors import Rejected\n"
            "os.setgid(65534); os.setuid(65534)\n"
            "for item in open_source(sys.argv[1]).list():\n"
            "    try:\n        open_source(sys.argv[1]).read(item)\n"
            "    except Rejected as error:\n        print(error)\n"
        )
        for folder in [docs, *docs.parents]:
            if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o005)
        done = subprocess.run([sys.executable, "-c", script, docs], cwd=ROOT, capture_output=True, text=True)
        said = done.stdout
    else:
        said = "\n".join(reason for _, reason in reasons_of(corpus.ingest(str(docs))).values())
    assert said.count("\n") <= 1
    assert "g.md: Permission denied" in said


def bomb(path: Path, kind: str) -> None:
    """A small file that is large."""
    if kind == "gzip":
        path.write_bytes(gzip.compress(bytes(10**7)) * 400)
    elif kind == "xml":
        entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
        path.write_text(f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "ha">{entities}]><x>&e11;</x>')
    elif kind == "external":
        path.write_text('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>')
    elif kind == "docx":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("[Content_Types].xml", "<Types/>")
            with archive.open("word/document.xml", "w", force_zip64=True) as part:
                part.write(b"<w:document xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'>")
                for _ in range(8):
                    part.write(b"<w:p/>" * 10**6)
    elif kind == "json":
        path.write_text("[" * 10**6)
    elif kind == "html":
        path.write_text("<div>" * 10**6 + "deep")
    elif kind == "pdf":
        path.write_bytes(deep_pdf())
    elif kind == "stream":
        path.write_bytes(pdf_of(zlib.compress(zlib.compress(b"(a) Tj " * 10**7)), b"[/FlateDecode /FlateDecode]"))


def pdf_of(content: bytes, filters: bytes) -> bytes:
    """A PDF of one page with this content stream, and no cross-reference table."""
    return b"".join(
        [
            b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n",
            b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n",
            b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>endobj\n",
            b"4 0 obj<</Length %d/Filter %s>>stream\n" % (len(content), filters),
            content,
            b"\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
        ]
    )


def deep_pdf() -> bytes:
    """A PDF whose page tree and whose arrays are a hundred thousand levels deep, and whose outline is a circle."""
    levels = 100_000
    parts = [b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 4 0 R/Outlines 2 0 R>>endobj\n"]
    parts.append(b"2 0 obj<</First 3 0 R/Last 3 0 R>>endobj\n3 0 obj<</Title(x)/Next 3 0 R/First 2 0 R>>endobj\n")
    for number in range(4, levels):
        parts.append(b"%d 0 obj<</Type/Pages/Count 1/Kids[%d 0 R]>>endobj\n" % (number, number + 1))
    parts.append(b"%d 0 obj%s%sendobj\n" % (levels, b"[" * levels, b"]" * levels))
    parts.append(b"trailer<</Root 1 0 R>>\n%%EOF\n")
    return b"".join(parts)


BOMBS = {
    "gzip": "log.gz", "xml": "xml", "external": "xml", "docx": "docx", "json": "json", "html": "html", "pdf": "pdf",
    "stream": "pdf",
}  # fmt: skip


def test_bombs(docs: Path, workplace: Path) -> None:
    """Bombs of every kind that we know are defused or rejected; none reaches the run, and none tells what is here."""
    for kind, suffix in BOMBS.items():
        bomb(docs / f"g-{kind}.{suffix}", kind)
    with open_corpus(limits={"parse_workers": 2, "parse_seconds": 30, "parse_memory_mb": 300}) as corpus:
        report = corpus.ingest(str(docs))
        assert report.documents["seen"] == 5 + len(BOMBS)
        assert innocent_in(corpus) == set("afkpz")
        assert corpus.search("root", mode="bm25") == []
        for name, (stage, reason) in reasons_of(report).items():
            assert stage in ("parse", "chunk") and len(reason.split()) > 3, name


class TestTheEnd:
    def test_a_run_is_stopped_amid_a_document_that_hangs(
        self, docs: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run with several units that is told to stop does so although a document of one never ends."""
        monkeypatch.setattr("pipeline.prepare.Maker", tempted_maker)
        (docs / "g.txt").write_text("MISBEHAVE: hang\n")
        limits = {"parse_workers": 2, "unit_documents": 2, "units_in_flight": 3}
        with open_corpus(limits=limits) as corpus:

            def interrupt(report: Any) -> None:
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                corpus.ingest(str(docs), progress=interrupt)
        with open_corpus(limits={**limits, "parse_seconds": 8}) as corpus:
            assert corpus.ingest(str(docs)).documents["rejected"] == 1
            assert innocent_in(corpus) == set("afkpz")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_signals(self, number: signal.Signals, docs: Path, workplace: Path) -> None:
        """Ctrl-C and SIGTERM end a run amid documents that hang, in a sentence; kill -9 too; all leave no process."""
        for name in "gh":
            (docs / f"{name}.txt").write_text("MISBEHAVE: hang in C\n")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CORPUSVEC_LIMITS__PARSE_WORKERS": "2"}
        code = "import sys; from tests.pipeline.misbehaviour import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "ingest", str(docs)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            run = psutil.Process(process.pid)
            while len(workers := run.children()) < 2 or any(each.cpu_times().user < 2.0 for each in workers):
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(number)
            _, said = process.communicate(timeout=SOON)
        assert not psutil.wait_procs(workers, SOON)[1]
        if number != signal.SIGKILL:
            assert process.returncode == 130
            assert said.strip().splitlines()[-1].startswith("corpusvec: stopped;")
            assert "Traceback" not in said
