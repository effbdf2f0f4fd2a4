"""CORPUSVEC_ENGINE_LOG keeps what engines say; whose words they are is never mixed up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import Engine
from pipeline.embed.pool import Pool
from pipeline.errors import Poisoned, Terminal, UsageError
from tests.pipeline.embed.fake import FAKE, fake_model, fault


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the environment names."""
    monkeypatch.setenv("CORPUSVEC_ENGINE_LOG", str(tmp_path / "engine.log"))
    return tmp_path / "engine.log"


def test_it_keeps_what_every_engine_said(log: Path, opened: Callable[..., Pool]) -> None:
    """Behind what was in it, of each engine that was started."""
    log.write_text("an older run\n")
    with pytest.raises(Poisoned):
        opened().embed([[1, fault("exit")]])
    assert log.read_text() == "an older run\nabout to exit\nabout to exit\n"


def test_last_words_are_the_engines_own(log: Path, opened: Callable[..., Pool], folder: Path) -> None:
    """An engine that dies without a word has none, whatever is in the file: nor did an older one run out of memory."""
    log.write_text("RuntimeError: CUDA out of memory\n" * 50)
    with pytest.raises(Poisoned, match=r"its last words: about to exit$"):
        opened().embed([[1, fault("exit")]])
    with pytest.raises(Poisoned, match=r"its last words: none$") as caught:
        opened().embed([[1, fault("mute")]])
    assert "memory" not in str(caught.value)


def test_several_engines_have_a_file_each(log: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FILE.0 and FILE.1, also if both are on one GPU; the last words of one are not another's."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    (folder / "start-exit").touch()
    with pytest.raises(Terminal, match=r"its last words: about to exit$"):
        Pool(fake_model(folder), Engine(device="cuda", engines_per_gpu=2), FAKE)
    assert [log.with_name(f"engine.log.{number}").read_text() for number in (0, 1)] == ["about to exit\n"] * 2
    assert not log.exists()


@pytest.mark.parametrize("named", ["", "nowhere/engine.log"])
def test_a_file_that_cannot_be_written_is_told_at_once(
    named: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder, or a place that does not exist: a wrong setting, told before any engine is started, without a trace."""
    monkeypatch.setenv("CORPUSVEC_ENGINE_LOG", os.fspath(folder / named))
    with pytest.raises(UsageError, match=r"CORPUSVEC_ENGINE_LOG: .* cannot be written \(.*\): name another file"):
        Pool(fake_model(folder), Engine(device="cpu"), FAKE)
    assert not (folder / "starts").exists()
    assert caplog.text == ""
