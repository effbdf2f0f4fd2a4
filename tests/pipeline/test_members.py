"""Documents inside documents: found by their own words, and there exactly as long as what they are inside of."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from flows import Corpus
from pipeline.types import Point
from tests.pipeline.test_incremental import NoEngine, documents, points

NOTES = {name: f"The note about the {name} lies inside of something.".encode() for name in ("pump", "valve", "lamp")}


def zipped(files: dict[str, bytes]) -> bytes:
    """An archive of files; the same files make the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6)), data)
    return out.getvalue()


def mail(attachments: dict[str, bytes]) -> bytes:
    """A message with a body and attachments."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "Ferry timetable"
    message["Date"], message["Message-ID"] = "Mon, 05 Jan 2026 10:00:00 +0000", "<1@example.org>"
    message.set_content("The ferry leaves at nine.")
    for name, data in attachments.items():
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


@pytest.fixture
def folder(workplace: Path) -> Path:
    """A plain note, an archive that holds two notes and an archive of one, and a message with an attachment."""
    docs = workplace / "docs"
    docs.mkdir()
    (docs / "plain.txt").write_text("The plain note lies in the open.")
    inner = zipped({"lamp.txt": NOTES["lamp"]})
    (docs / "notes.zip").write_bytes(
        zipped({"pump.txt": NOTES["pump"], "sub/valve.txt": NOTES["valve"], "inner.zip": inner})
    )
    (docs / "mail.eml").write_bytes(mail({"rope.txt": b"The rope is coiled.", "blank.txt": b" \n"}))
    return docs


def names(held: dict[str, Point]) -> set[str]:
    """The URIs of the documents that a store holds points of, from the folder on."""
    return {point.payload["uri"].rpartition("/docs/")[2] for point in held.values()}


ALL = {
    "plain.txt", "notes.zip!/pump.txt", "notes.zip!/sub/valve.txt", "notes.zip!/inner.zip!/lamp.txt", "mail.eml",
    "mail.eml!/rope.txt",
}  # fmt: skip


def test_what_is_inside_is_a_document_of_its_own(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Members of archives (of archives, too) and attachments are found under their own names; each is counted once."""
    corpus = opened()
    report = corpus.ingest(str(folder))
    assert names(points(corpus)) == ALL
    counts = documents(report)
    assert counts == {"seen": 9, "new": 8, "rejected": 1}, "three files, six inside, of which one is blank"
    (blank,) = report.rejected
    assert blank.uri.endswith("mail.eml!/blank.txt")
    assert corpus.audit().clean


def test_a_quiet_night_takes_nothing_apart(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Nothing has changed: the same documents are counted, none is read, and all stay."""
    opened().ingest(str(folder))
    corpus = opened(embedder=NoEngine())
    report = corpus.ingest(str(folder))
    assert documents(report) == {"seen": 9, "unchanged": 8, "rejected": 1}
    assert report.bytes_read == 0
    assert [one.uri.rpartition("/")[2] for one in report.rejected] == ["blank.txt"]
    (folder / "notes.zip").touch()
    assert documents(corpus.ingest(str(folder))) == {"seen": 9, "unchanged": 8, "rejected": 1}
    assert names(points(corpus)) == ALL


def test_an_archive_that_changed_costs_what_changed_in_it(folder: Path, opened: Callable[..., Corpus]) -> None:
    """One member is edited, one is gone, one is new: the others keep their points, and nothing else is embedded."""
    corpus = opened(limits={"max_delete_fraction": 0.5})
    corpus.ingest(str(folder))
    before = points(corpus)
    inner = zipped({"lamp.txt": NOTES["lamp"]})
    files = {"pump.txt": b"Now about another pump.", "inner.zip": inner, "new.txt": b"A new note about an anchor."}
    (folder / "notes.zip").write_bytes(zipped(files))
    foreseen = documents(corpus.plan(str(folder)).planned)
    report = corpus.ingest(str(folder))
    expected = {"seen": 9, "new": 1, "changed": 2, "unchanged": 5, "rejected": 1, "deleted": 1}
    assert documents(report) == foreseen == expected
    assert report.embedded == 2
    after = points(corpus)
    assert names(after) == ALL - {"notes.zip!/sub/valve.txt"} | {"notes.zip!/new.txt"}
    assert len(after.keys() & before.keys()) == 4
    assert corpus.audit().clean


def test_what_is_inside_goes_with_it(folder: Path, opened: Callable[..., Corpus]) -> None:
    """A deleted archive takes everything inside of it along, at any depth; a moved one takes it to its new name."""
    corpus = opened(limits={"max_delete_fraction": 1.0})
    corpus.ingest(str(folder))
    (folder / "mail.eml").rename(folder / "letter.eml")
    report = corpus.ingest(str(folder))
    assert report.embedded == 0
    assert report.documents["moved"] >= 2
    (folder / "notes.zip").unlink()
    corpus.ingest(str(folder))
    assert names(points(corpus)) == {"plain.txt", "letter.eml", "letter.eml!/rope.txt"}
    assert corpus.audit().clean


def test_another_chunk_size_needs_no_archive(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Members are chunked anew from Parquet, so an archive of readable files is not even opened."""
    (folder / "mail.eml").write_bytes(mail({"rope.txt": b"The rope is coiled."}))
    opened().ingest(str(folder))
    report = opened(collection="smaller", recipe={"chunk_tokens": 48}).ingest(str(folder))
    assert report.bytes_read == 0
    assert documents(report) == {"seen": 8, "new": 8}


def test_rights_of_the_outer_are_rights_of_the_inner(folder: Path, opened: Callable[..., Corpus]) -> None:
    """What the settings say of an archive holds for all that is inside; changing it patches payloads, no more."""
    opened().ingest(str(folder))
    rights = [{"match": "**/notes.zip", "set": {"team": "pier"}}]
    corpus = opened(embedder=NoEngine(), metadata=rights)
    report = corpus.ingest(str(folder))
    teams = {
        point.payload["metadata"].get("team") for point in points(corpus).values() if "zip" in point.payload["uri"]
    }
    assert teams == {"pier"}
    assert report.patched == 3
    assert report.upserted == 0


def test_a_rejected_member_can_be_tried_again(folder: Path, opened: Callable[..., Corpus]) -> None:
    """`--retry-rejected` takes apart what something rejected is inside of, and nothing else."""
    corpus = opened()
    corpus.ingest(str(folder))
    report = corpus.ingest(str(folder), retry_rejected=True)
    assert documents(report) == {"seen": 9, "changed": 1, "unchanged": 7, "rejected": 1}
    assert report.bytes_read == (folder / "mail.eml").stat().st_size
    assert corpus.rejected()[0]["tries"] == 2


def test_a_lost_collection_comes_back_with_what_was_inside(folder: Path, opened: Callable[..., Corpus]) -> None:
    """From Parquet alone: no archive is opened and no engine started."""
    corpus = opened()
    corpus.ingest(str(folder))
    before = points(corpus)
    fresh = opened(store="edge:data/other", embedder=NoEngine())
    fresh.ingest(str(folder))
    assert points(fresh).keys() == before.keys()


def test_erasing_a_message_erases_its_attachments(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Nothing of it, nor of what was inside, is left in the store or in Parquet."""
    corpus = opened()
    corpus.ingest(str(folder))
    receipt = corpus.erase((folder / "mail.eml").as_uri())
    assert receipt.verified
    assert len(receipt.uris) == 3
    assert names(points(corpus)) == {name for name in ALL if "mail" not in name}


def test_traps_end(workplace: Path, opened: Callable[..., Corpus]) -> None:
    """Archives inside archives are opened to some depth; what lies deeper is rejected, with the reason."""
    docs = workplace / "deep"
    docs.mkdir()
    data = zipped({"core.txt": b"The core of it."})
    for _ in range(8):
        data = zipped({"next.zip": data})
    (docs / "deep.zip").write_bytes(data)
    report = opened().ingest(str(docs))
    (deepest,) = report.rejected
    assert "deep" in deepest.reason
    assert json.dumps(report.as_dict())
