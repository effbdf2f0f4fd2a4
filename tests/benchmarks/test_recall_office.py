"""Word documents: how many of the words that LibreOffice writes as plain text ours finds too.

LibreOffice is a program, and where it is not installed this is skipped.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from pipeline.parse import parse
from tests.benchmarks.test_speed import show

WORD = re.compile(r"\w+")
WORST = 10


def words_of(text: str) -> Counter[str]:
    return Counter(word.lower() for word in WORD.findall(text))


@pytest.mark.skipif(shutil.which("soffice") is None, reason="the program soffice is not installed")
def test_no_words_are_lost_that_libreoffice_finds(corpora: Path, tmp_path: Path) -> None:
    """Of the words of LibreOffice's text, 98 % or more are in ours, on average over the documents."""
    copies: dict[str, Path] = {}
    for number, path in enumerate(sorted((corpora / "office").rglob("*.docx"))):
        copies[path.name] = tmp_path / f"{number}.docx"
        shutil.copyfile(path, copies[path.name])
    profile = f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}"
    subprocess.run(
        ["soffice", profile, "--headless", "--convert-to", "txt:Text (encoded):UTF8", "--outdir", str(tmp_path)]
        + [str(copy) for copy in copies.values()],
        check=True, capture_output=True, timeout=500,
    )  # fmt: skip
    recall: dict[str, float] = {}
    lost: dict[str, list[str]] = {}
    for name, copy in copies.items():
        theirs = words_of(copy.with_suffix(".txt").read_text(encoding="utf-8-sig"))
        ours = words_of(parse(copy.read_bytes(), name).text)
        if theirs:
            recall[name] = (theirs & ours).total() / theirs.total()
            lost[name] = list(theirs - ours)
    average = sum(recall.values()) / len(recall)
    worst = sorted(recall, key=lambda name: recall[name])[:WORST]
    show(
        documents=len(recall), average=round(average, 4),
        worst={name: {"recall": round(recall[name], 4), "lost": lost[name][:8]} for name in worst},
    )  # fmt: skip
    assert average >= 0.98
