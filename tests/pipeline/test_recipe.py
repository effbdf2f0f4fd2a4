"""A fingerprint a stage: what changes an output changes its name, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Engine, Limits, Recipe, Settings, load_settings
from pipeline.embed.model import Model, load_model
from pipeline.errors import UsageError
from pipeline.recipe import Fingerprints, resolve_recipe

STAGES = ("parse", "chunk", "embed", "collection", "whole")


def prints(**changes: object) -> Fingerprints:
    """The fingerprints of the default recipe with some changes."""
    recipe = Recipe(**changes)
    return resolve_recipe(recipe, load_model(recipe), "tokenizer").fingerprints


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"chunk_tokens": 64}, {"chunk", "whole"}),
        ({"overlap_tokens": 8}, {"chunk", "whole"}),
        ({"heading_context": False}, {"chunk", "whole"}),
        ({"dtype": "float32"}, {"embed", "collection", "whole"}),
        ({"document_prompt": "passage: "}, {"chunk", "collection", "whole"}),
        ({"language": "german"}, {"collection", "whole"}),
        ({"query_prompt": "query: "}, set()),
        ({"chunk_tokens": 256}, set()),
    ],
)
def test_only_what_depends_on_a_setting_changes_its_name(change: dict[str, object], stages: set[str]) -> None:
    """A new chunk size leaves parsing, a new dtype leaves chunks, a query's prompt leaves everything stored."""
    before, after = prints(), prints(**change)
    assert {stage for stage in STAGES if getattr(before, stage) != getattr(after, stage)} == stages


def test_another_model_leaves_parsing(tiny: Model) -> None:
    """Documents are parsed once, whatever model comes."""
    recipe = Recipe(model=str(tiny.path))
    assert resolve_recipe(recipe, tiny, "other").fingerprints.parse == prints().parse


def test_the_machine_is_no_part_of_a_recipe() -> None:
    """Engine settings and limits have no way into a fingerprint: they are sections of their own."""
    assert set(Settings.model_fields) == {
        "sources", "data", "store", "collection", "recipe", "embedder", "endpoint", "engine", "limits", "nightly",
        "metadata",
    }  # fmt: skip
    assert not set(Engine.model_fields) & set(Recipe.model_fields)
    assert not set(Limits.model_fields) & set(Recipe.model_fields)


def test_flags_beat_the_environment_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strongest last; sections are merged, not replaced; what is not given stays."""
    file = tmp_path / "c.toml"
    file.write_text(
        'data = "file"\nstore = "edge:file"\n[recipe]\nmodel = "a"\nlanguage = "german"\nchunk_tokens = 99\n'
    )
    monkeypatch.setenv("CORPUSVEC_STORE", "edge:environment")
    monkeypatch.setenv("CORPUSVEC_RECIPE__CHUNK_TOKENS", "window")
    found = load_settings(file, data=None, recipe={"model": "b"})
    assert (found.data, found.store, found.collection) == ("file", "edge:environment", "documents")
    assert (found.recipe.model, found.recipe.language, found.recipe.chunk_tokens) == ("b", "german", "window")


def test_a_secret_in_the_environment_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, which are printed and stored, hold no key."""
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
    monkeypatch.setenv("MILVUS_TOKEN", "s3cret")
    assert "s3cret" not in load_settings().model_dump_json()


@pytest.mark.parametrize(
    "flags",
    [
        {"endpoint": {"key": "s3cret"}},
        {"endpoint": {"api_key": "s3cret"}},
        {"endpoint": "s3cret"},
        {"endpoint": {"url": {"key": "s3cret"}}},
        {"QDRANT_API_KEY": "s3cret"},
        {"keyring": {"password": "s3cret"}},
        {"metadata": [{"match": "*", "set": {}, "token": "s3cret"}]},
    ],
)
def test_a_key_among_the_settings_is_not_repeated(flags: dict[str, Any]) -> None:
    """Where no setting belongs may stand a key: neither the message nor its cause shows it."""
    with pytest.raises(UsageError, match=r"the setting .* is wrong") as caught:
        load_settings(os.devnull, **flags)
    assert "s3cret" not in f"{caught.value}{caught.value.__cause__}"


def test_it_is_said_where_keys_go(tmp_path: Path) -> None:
    """In the environment; and a misspelt setting is told as such."""
    file = tmp_path / "c.toml"
    file.write_text('[endpoint]\nkey = "s3cret"\n')
    with pytest.raises(UsageError, match=r"endpoint\.key .*the environment only, as CORPUSVEC_ENDPOINT_KEY"):
        load_settings(file)
    with pytest.raises(UsageError, match="there is none of that name"):
        load_settings(os.devnull, recipe={"chunk_token": 64})
    with pytest.raises(UsageError, match="got 'int8'"):
        load_settings(os.devnull, recipe={"dtype": "int8"})


def test_an_unknown_setting_is_refused() -> None:
    """A misspelt setting would otherwise do nothing, in silence."""
    with pytest.raises(UsageError, match=r"recipe\.chunktokens"):
        load_settings(recipe={"chunktokens": 3})
