"""The README does not drift: its Python runs, its commands and settings exist."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from flows.cli import build_parser
from pipeline.config import Settings

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.usefixtures("one_engine")
def test_its_python_runs_as_it_stands(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A notebook user opens a corpus, ingests, searches and reads vectors and Parquet in the README's own lines."""
    (workplace / "docs").mkdir()
    (workplace / "docs" / "bell.md").write_text("# The bell\n\nThe mate rings the bell at every landing.\n")
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert "The mate rings the bell" in capsys.readouterr().out
    assert names["table"].num_rows == len(names["chunks"]) == 1  # type: ignore[attr-defined,arg-type]
    assert names["report"].documents["new"] == 1  # type: ignore[attr-defined]


def test_its_commands_parse() -> None:
    """Every `corpusvec …` line of the README is one that the command line takes; every command is in its table."""
    parser = build_parser()
    lines = re.findall(r"^(?:\$ )?corpusvec ([^#\n]+)", "\n".join(blocks("console") + blocks("bash")), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        words = [part[0] or part[1] or part[2] for part in re.findall(r"\"([^\"]*)\"|'([^']*)'|(\S+)", line)]
        parser.parse_args(words)
    commands = set(parser._subparsers._group_actions[0].choices)  # type: ignore[union-attr,arg-type]
    assert set(re.findall(r"^\| `corpusvec (\w+)", README, re.MULTILINE)) == commands


def test_its_configuration_is_valid() -> None:
    """The example `corpusvec.toml` has only settings that exist, with values they take."""
    (example,) = re.findall(r"<<'TOML'\n(.*?)\nTOML", README, re.DOTALL)
    settings = Settings.model_validate(tomllib.loads(example))
    assert settings.recipe.model.startswith("Qwen/Qwen3-Embedding")


def test_its_extras_exist() -> None:
    """Every extra that the README names, and no other, is in pyproject.toml."""
    project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    section = README.split("## Optional parts")[1].split("##")[0]
    named = set(re.findall(r"`(\w+)`", section.split("Whatever is missing")[0])) - {"unstructured"}
    assert named == set(project["project"]["optional-dependencies"])
    assert sys.version_info >= (3, 11)
