"""The Cranfield collection in BEIR's layout."""

from __future__ import annotations

import json
import re
from pathlib import Path


def to_beir(source: Path, folder: Path) -> Path:
    """Write `corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv` from Cranfield's own files; returns `folder`.

    Judgements name queries by their place in the file. Code g, 1 (best) to 4, is a gain of 5 - g; -1 is a gain of 1.
    """
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as out:
        for number, fields in _records(source / "cran.all.1400"):
            row = {"_id": number, "title": fields["T"], "text": fields["W"], "metadata": {"author": fields["A"]}}
            out.write(json.dumps(row) + "\n")
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as out:
        for place, (_, fields) in enumerate(_records(source / "cran.qry"), start=1):
            out.write(json.dumps({"_id": str(place), "text": fields["W"]}) + "\n")
    with (folder / "qrels" / "test.tsv").open("w", encoding="utf-8") as out:
        out.write("query-id\tcorpus-id\tscore\n")
        for line in (source / "cranqrel").read_text().splitlines():
            query, document, code = line.split()
            out.write(f"{query}\t{document}\t{1 if code == '-1' else 5 - int(code)}\n")
    return folder


def to_files(source: Path, folder: Path) -> Path:
    """One text file an abstract, title first; empty abstracts stay empty files. Returns `folder`."""
    folder.mkdir(parents=True)
    for number, fields in _records(source / "cran.all.1400"):
        text = f"{fields['T']}\n\n{fields['W']}\n" if fields["W"] else ""
        (folder / f"{int(number):04}.txt").write_text(text, encoding="utf-8")
    return folder


def _records(path: Path) -> list[tuple[str, dict[str, str]]]:
    records = []
    for record in re.split(r"^\.I +", path.read_text(), flags=re.MULTILINE)[1:]:
        number, rest = record.split("\n", 1)
        fields = dict.fromkeys("TABW", "")
        for part in re.split(r"^\.(?=[TABW]$)", rest, flags=re.MULTILINE)[1:]:
            fields[part[0]] = " ".join(part[1:].split())
        records.append((number.strip(), fields))
    return records
