"""One typed Settings, and the Recipe: everything that changes an output.

Settings come, weakest first, from the defaults below, `corpusvec.toml`, the environment (`CORPUSVEC_COLLECTION`,
`CORPUSVEC_RECIPE__CHUNK_TOKENS`, …) and flags. Secrets are no settings: connectors read them from the environment, so
that they reach no flow parameter, no fingerprint and no file of ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UsageError

DEFAULT_CONFIG = "corpusvec.toml"
ENV_PREFIX = "CORPUSVEC_"

#: A shorter budget leaves no room for a heading path, or for one character that normalizes to many tokens.
MIN_CHUNK_TOKENS = 32

# What a key might be called by who puts one among the settings.
_KEY = re.compile(r"(^|[._]|api)key$|(^|[._])(secret|password)$|(^|\.|api_|auth_|access_|milvus_)token$", re.IGNORECASE)


class _Section(BaseModel):
    # What stands where no setting belongs may be a key.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Recipe(_Section):
    """What decides the content of chunks and vectors. Change a field and exactly what depends on it is made again."""

    #: `minilm` (comes in a package, for trying things out), a folder, or a name on the Hugging Face hub.
    model: str = "minilm"
    #: Pins a hub model; None takes what the hub calls main.
    revision: str | None = None
    #: Length of a vector; None is the model's own. Shorter ones need a Matryoshka model.
    dimensions: int | None = Field(default=None, ge=32)
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    #: "fp8": matrices and their products in 8-bit floats, on GPUs that have them (from 2022 on). About 1.4 times as
    #: fast; the first run compares a sample's vectors with unquantized ones, and goes no further if they differ.
    quantization: Literal["fp8"] | None = None
    #: Most tokens in a chunk, special tokens and heading path included; None is 512 or the model's window, whichever
    #: is less; "window" is the model's window.
    chunk_tokens: int | Literal["window"] | None = None
    #: How many tokens of a chunk the next one repeats, at most.
    overlap_tokens: int = Field(default=0, ge=0)
    #: Whether the model and BM25 see a chunk's heading path before its text.
    heading_context: bool = True
    #: What a query is prefixed with; None takes the model's own prompt.
    query_prompt: str | None = None
    #: What a document is prefixed with; None takes the model's own prompt.
    document_prompt: str | None = None
    #: BM25's stemmer and stop words.
    language: str = "english"


class Engine(_Section):
    """How vectors are computed. Changes speed, and vectors by less than a cosine of 0.999 shows. None: chosen from the
    hardware."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    #: What is computed in, never less exact than the recipe's dtype. None is that; or float32 for bfloat16, on a CPU
    #: that has no instructions for it and is twice as fast so.
    compute_dtype: Literal["bfloat16", "float16", "float32"] | None = None
    #: How many of the visible GPUs; None is all of them.
    gpus: int | None = Field(default=None, ge=1)
    #: Engines side by side on one GPU: for small models, where the host and not the chip is the limit.
    engines_per_gpu: int = Field(default=1, ge=1, le=8)
    #: Engines side by side on a CPU, among which its cores are shared out; None: one for a small run, and for a large
    #: one as many as there are cores, 8 at most, as far as the memory goes.
    cpu_engines: int | None = Field(default=None, ge=1, le=64)
    #: The longest text that is taken, in tokens; None is the model's window.
    max_model_len: int | None = Field(default=None, ge=MIN_CHUNK_TOKENS)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    max_num_seqs: int | None = Field(default=None, ge=1)
    #: Of one GPU, for all of its engines together.
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    #: Compile the model's graph: slower to start, faster to run.
    compile: bool | None = None
    #: Give vLLM's core a process of its own, beside the one that feeds it.
    core_process: bool = False
    #: Let vLLM prepare a batch while the one before it runs; if left out, on a GPU.
    async_scheduling: bool | None = None
    #: The shortest silence, in seconds, after which an engine at work is taken for hung.
    silence_seconds: float = Field(default=60.0, gt=0)


class Endpoint(_Section):
    """A server of OpenAI's `/v1/embeddings`, for `embedder = "openai"`; docs/embedding-servers.md says what to start.

    Its key, if it wants one, is CORPUSVEC_ENDPOINT_KEY or OPENAI_API_KEY in the environment.
    """

    #: What `/embeddings` is below; `/v1` if it names no path.
    url: str = "http://localhost:8000/v1"
    #: The name that the server has for the model; None leaves it to the server.
    model: str | None = None
    #: Names the server's weights where they are not those of the recipe's model, such as a quantized copy: they make
    #: other vectors, and so another recipe. With it the model's folder needs no weights.
    weights: str | None = Field(default=None, min_length=1)
    #: What is sent: a chunk's exact tokens, or (to a server that takes no tokens) a text that gives these tokens.
    input: Literal["tokens", "text"] = "tokens"
    #: Most texts in a request …
    batch_inputs: int = Field(default=2048, ge=1, le=2048)
    #: … and most tokens, unless one text alone has more.
    batch_tokens: int = Field(default=32_768, ge=1)
    #: Requests under way at once.
    in_flight: int = Field(default=16, ge=1, le=256)
    #: How long an answer may take, in seconds.
    timeout: float = Field(default=300.0, gt=0)


class Limits(_Section):
    """Where a run stops or refuses, rather than do harm."""

    max_document_bytes: int = Field(default=256 * 2**20, ge=1)
    #: A document that takes longer to parse, chunk and tokenize, or more memory, is rejected, and its process ended.
    #: Reading scanned pages does not count: there a call of Tesseract has two minutes, and a document three hours.
    parse_seconds: float = Field(default=300.0, gt=0)
    #: Resident memory in MB (10**6 bytes) of the process that does it and of what it runs; with small documents 120.
    parse_memory_mb: int = Field(default=4096, ge=256)
    #: How many processes do it; None is one a core, but two fewer with a GPU, and 16 at most. 0: none, it is done in
    #: the main process and without these two limits, to look into something.
    parse_workers: int | None = Field(default=None, ge=0)
    #: A run that would delete more than this part of a source's documents stops and says so.
    max_delete_fraction: float = Field(default=0.2, ge=0, le=1)
    #: A work unit closes at about this many tokens (estimated from sizes before anything is read), a run's first ones
    #: at fewer …
    unit_tokens: int = Field(default=250_000, ge=1)
    #: … or this many documents.
    unit_documents: int = Field(default=512, ge=1)
    #: Work units in flight: 8 with one GPU (some are parsed and some loaded while two are embedded), one more for each
    #: other engine; 1 on a CPU, where the engine has every core and anything beside it slows it (more helps if a source
    #: or store is slow).
    units_in_flight: int | None = Field(default=None, ge=1)
    #: Write to the store, and Parquet, from processes of their own; if left out, where a GPU computes, which waits for
    #: nobody then.
    store_process: bool | None = None


class MetadataRule(_Section):
    """Metadata (access rights, owners, …) for the payloads of documents whose URI fits a shell pattern."""

    match: str
    set: dict[str, Any]


class Nightly(_Section):
    """When the deployment `reindex/nightly` runs."""

    cron: str = "0 2 * * *"
    #: A name of the IANA database.
    timezone: str = "UTC"


class Settings(_Section):
    """Everything a run needs to know."""

    #: What `ingest`, `plan`, `audit` and the nightly deployment take if they are given no source.
    sources: tuple[str, ...] = ()
    #: Where Parquet checkpoints live: a folder or an fsspec URL.
    data: str = "data"
    #: `edge:PATH`, `qdrant:URL`, `milvus:PATH.db` or `milvus:URL`.
    store: str = "edge:data/index"
    collection: str = Field(default="documents", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")
    recipe: Recipe = Recipe()
    #: What computes vectors: an engine of this machine's, or a server that runs somewhere (`[endpoint]`).
    embedder: Literal["vllm", "openai"] = "vllm"
    engine: Engine = Engine()
    endpoint: Endpoint = Endpoint()
    limits: Limits = Limits()
    nightly: Nightly = Nightly()
    metadata: tuple[MetadataRule, ...] = ()


def load_settings(config: str | os.PathLike[str] | None = None, **flags: Any) -> Settings:
    """Settings from `config` (default: `corpusvec.toml` here, if there is one), the environment and `flags`.

    A flag that is None is not given; a section's flag (`recipe`, `engine`, …) is a dict merged into it. Raises
    UsageError naming the field, for an unknown or wrong value, a missing file or broken TOML.
    """
    values: dict[str, Any] = {}
    path = Path(config or DEFAULT_CONFIG)
    if config is not None or path.exists():
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"the configuration {path} is not TOML: {error}") from error
    _merge(values, _from_environment())
    _merge(values, {name: value for name, value in flags.items() if value is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise UsageError(_what_is_wrong(error)) from error


def _what_is_wrong(error: ValidationError) -> str:
    """The first of it. Of what is no setting, or no plain value of one, the value is not repeated: it may be a key."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        if _KEY.search(where):
            return (
                f"the setting {where} is wrong: keys are no settings, and come from the environment only, as "
                "CORPUSVEC_ENDPOINT_KEY, QDRANT_API_KEY or MILVUS_TOKEN"
            )
        return f"the setting {where} is wrong: there is none of that name"
    section = first["type"] in ("model_type", "model_attributes_type")
    plain = isinstance(first["input"], str | int | float) and not section
    return f"the setting {where} is wrong: {first['msg']}" + (f"; got {first['input']!r}" if plain else "")


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _from_environment() -> dict[str, Any]:
    """`CORPUSVEC_RECIPE__MODEL=x` as {"recipe": {"model": "x"}}; only names of settings, so other tools may share the
    prefix."""
    values: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, _Section):
            for inner in type(field.default).model_fields:
                found = os.environ.get(f"{ENV_PREFIX}{name}__{inner}".upper())
                if found is not None:
                    values.setdefault(name, {})[inner] = found
        elif (found := os.environ.get(f"{ENV_PREFIX}{name}".upper())) is not None:
            values[name] = found if field.annotation is str else _json(found)
    return values


def _json(text: str) -> Any:
    """What is no plain text is written as JSON in the environment; what is not JSON is left for the check to name."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def fingerprint(*parts: Any) -> str:
    """A short name for JSON-serialisable `parts`: the first 16 hex digits of the sha256 of their canonical JSON."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
