"""How an engine is set up for a model on this machine: which devices, which arguments, which environment."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from itertools import takewhile
from pathlib import Path
from typing import Any

from pipeline.config import Engine
from pipeline.embed.model import Model
from pipeline.errors import MissingExtra, UsageError
from pipeline.workers.cores import cores

#: Where NVIDIA's driver says which it is.
DRIVER = Path("/proc/driver/nvidia/version")
_CPU = Path("/proc/cpuinfo")
# A batch wide enough to fill a GPU's arithmetic units; a CPU is full at a window or a few thousand tokens. Half as many
# where several engines share it: each takes longer over a batch, and in the end the others wait for the last.
_GPU_BATCHED_TOKENS = 32_768
_CPU_BATCHED_TOKENS = 4_096
_GPU_SEQUENCES = 256
_CPU_SEQUENCES = 64
_GPU_MEMORY = 0.9
_LEAST_CACHE_GIB = 2
# What compiling costs at the start of an engine, 9 s, over what it saves a token later, 0.4 µs (docs/benchmarks.md).
_WORTH_COMPILING = 25_000_000
# What one engine embeds in the 10 to 15 s that others would take to start (docs/benchmarks.md).
_WORTH_SPREADING = 5_000_000
# Several engines on a CPU take seconds longer to start beside each other than one, and then save a fifth.
_WORTH_DIVIDING = 500_000
_MOST_CPU_ENGINES = 8


def engine_settings(model: Model, engine: Engine, device: str | None = None) -> dict[str, Any]:
    """The keyword arguments of `vllm.LLM` for this model on this hardware, and `device`.

    Raises UsageError for what this hardware cannot do. `max_num_batched_tokens` is never below the window: a pooling
    prompt that is split into chunks can hang the engine or come out wrong (vllm-project/vllm#29496, #48901). Prefix
    caching is off: documents share no prefixes worth it.
    """
    device = device or (engine.device if engine.device != "auto" else _detect_device())
    gpu = device == "cuda"
    window = longest_input(model, engine)
    settings: dict[str, Any] = {
        "device": device,
        "model": str(model.path),
        "runner": "pooling",
        "convert": "embed",
        "dtype": computed_dtype(model, engine, device),
        "max_model_len": window,
        "max_num_batched_tokens": batched_tokens(model, engine, device),
        "max_num_seqs": engine.max_num_seqs or (_GPU_SEQUENCES if gpu else _CPU_SEQUENCES),
        "enable_prefix_caching": False,
        "enforce_eager": not (gpu if engine.compile is None else engine.compile),
        "disable_log_stats": True,
    }
    if gpu:
        memory = engine.gpu_memory_utilization or _GPU_MEMORY
        settings["gpu_memory_utilization"] = round(memory / engine.engines_per_gpu, 3)
    # On one H200, 0.6B with chunks of 512: 438,000 tokens/s as vLLM chooses, 472,000 so, and 482,000 with the core in
    # the worker's own process as well (docs/benchmarks.md).
    if gpu or engine.async_scheduling is not None:
        settings["async_scheduling"] = engine.async_scheduling is not False
    if model.quantization:
        if not gpu:
            raise UsageError(f"quantization is {model.quantization}, which takes a GPU: leave it out on a CPU")
        settings["quantization"] = model.quantization
    if model.dimensions != model.native_dimensions:
        settings["hf_overrides"] = {"is_matryoshka": True, "matryoshka_dimensions": [model.dimensions]}
    return settings


def computed_dtype(model: Model, engine: Engine, device: str) -> str:
    """What vectors are computed in: the recipe's dtype, or float32, which agrees with it to a cosine of 0.9999.

    Raises UsageError for a setting that is less exact than the recipe.
    """
    if engine.compute_dtype is None:
        slow = device == "cpu" and model.dtype == "bfloat16" and not _has_bfloat16(_CPU)
        return "float32" if slow else model.dtype
    if engine.compute_dtype not in ("float32", model.dtype):
        raise UsageError(
            f"engine.compute_dtype is {engine.compute_dtype}, and recipe.dtype {model.dtype}: leave out the former, or "
            f"make it float32"
        )
    return engine.compute_dtype


def for_work(engine: Engine, tokens: float, room: int = 1) -> Engine:
    """The settings for embedding about so many tokens; 0 is a few queries, for which one engine is enough.

    Where they do not say, `compile` and `cpu_engines` are chosen. On a GPU a compiled graph runs faster and starts
    later, which only a large run makes up for; on a CPU it never does. On a CPU the threads of one engine wait for each
    other after each step of a layer, and for whatever keeps one of them from its core; so a large run has several
    engines there, of fewer threads: as many as share out the cores evenly and memory has `room` for.
    """
    gpu = likely_device(engine) == "cuda"
    if not tokens:
        engine = engine.model_copy(update={"gpus": 1, "engines_per_gpu": 1, "cpu_engines": 1})
    if engine.cpu_engines is None and not gpu:
        most = min(room, _MOST_CPU_ENGINES) if tokens >= _WORTH_DIVIDING else 1
        even = [count for count in range(1, most + 1) if cores() % count == 0]
        engine = engine.model_copy(update={"cpu_engines": max(even, default=1)})
    if engine.compile is not None:
        return engine
    worth = gpu and tokens >= _WORTH_COMPILING * len(places(engine))
    return engine.model_copy(update={"compile": worth})


def outgrown(running: Engine, wanted: Engine, tokens: float) -> bool:
    """Whether what runs should make room for what is `wanted`: for a compiled graph, or for more engines, if they pay
    for the time that they take to start."""
    if wanted.compile and not running.compile:
        return True
    return tokens >= _WORTH_SPREADING and len(places(wanted)) > len(places(running))


def longest_input(model: Model, engine: Engine) -> int:
    """The most tokens a text may have. Raises UsageError if the setting is above the model's window."""
    if engine.max_model_len is not None and engine.max_model_len > model.window:
        raise UsageError(
            f"max_model_len is {engine.max_model_len}, but {model.name} takes {model.window} tokens: lower it"
        )
    return engine.max_model_len or model.window


def batched_tokens(model: Model, engine: Engine, device: str | None = None) -> int:
    """How many tokens an engine computes at once, at most."""
    if (device or likely_device(engine)) == "cuda":
        usual = _GPU_BATCHED_TOKENS
    else:
        usual = _CPU_BATCHED_TOKENS // min(engine.cpu_engines or 1, 2)
    return max(engine.max_num_batched_tokens or usual, longest_input(model, engine))


def smaller(engine: Engine, model: Model) -> Engine | None:
    """Settings that need less memory a batch; None if a batch is as small as a window allows.

    Half the tokens at a time, and half the sequences.
    """
    tokens, least = batched_tokens(model, engine), longest_input(model, engine)
    sequences = engine.max_num_seqs or (_GPU_SEQUENCES if likely_device(engine) == "cuda" else _CPU_SEQUENCES)
    if tokens <= least and sequences <= 1:
        return None
    return engine.model_copy(
        update={"max_num_batched_tokens": max(tokens // 2, least), "max_num_seqs": max(sequences // 2, 1)}
    )


def likely_device(engine: Engine) -> str:
    """ "cuda" or "cpu", without importing torch to be sure."""
    if engine.device != "auto":
        return engine.device
    return "cuda" if DRIVER.exists() and not gpus_hidden() else "cpu"


def gpus_hidden() -> bool:
    """Whether CUDA_VISIBLE_DEVICES is set and names no GPU."""
    return _named_gpus() == []


def driver_version(file: Path = DRIVER) -> str:
    """NVIDIA's driver, such as 580.95.05; "" without one, "unknown" if it does not say."""
    try:
        found = re.search(r"Kernel Module.*?(\d+\.[\d.]+)", file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found[1] if found else "unknown"


def places(engine: Engine) -> list[str]:
    """Where engines run, one entry an engine: a GPU as CUDA_VISIBLE_DEVICES names it, or "cpu".

    Raises UsageError if more GPUs are asked for than can be seen, or none can.
    """
    if likely_device(engine) == "cpu":
        return ["cpu"] * (engine.cpu_engines or 1)
    seen = _visible_gpus()
    if not seen:
        hiding = os.environ["CUDA_VISIBLE_DEVICES"]
        raise UsageError(
            f"engine.device is cuda, but CUDA_VISIBLE_DEVICES is {hiding!r} and hides every GPU: unset it, or say "
            'engine.device = "cpu"'
        )
    if engine.gpus is not None and engine.gpus > len(seen):
        raise UsageError(
            f"gpus is {engine.gpus}, but {len(seen)} can be seen: lower it, or see to CUDA_VISIBLE_DEVICES"
        )
    return [gpu for gpu in seen[: engine.gpus] for _ in range(engine.engines_per_gpu)]


def cpu_cache_gib(model: Model, engine: Engine) -> int:
    """GiB for the keys and values of one batch, which vLLM reserves on a CPU: no batch is ever larger.

    A token takes 2 · layers · key-value heads · head numbers of what is computed in; 2 GiB at least. Raises UsageError
    if the setting of the window is above the model's.
    """
    try:
        config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
        layers, heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
        head = int(config.get("head_dim") or config["hidden_size"] // heads)
        numbers = 2 * layers * int(config.get("num_key_value_heads") or heads) * head
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return _LEAST_CACHE_GIB  # loading the model says what is wrong with its files
    tokens = max(engine.max_num_batched_tokens or _CPU_BATCHED_TOKENS, longest_input(model, engine))
    item = 4 if computed_dtype(model, engine, "cpu") == "float32" else 2
    return max(_LEAST_CACHE_GIB, math.ceil(1.02 * tokens * numbers * item / 2**30))


def environment(model: Model, engine: Engine, place: str) -> dict[str, str]:
    """What vLLM reads from the environment only, for an engine at `place`; what the user has set stays."""
    chosen = {
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # A forked core inherits a CUDA that it cannot use, whenever anything here has looked at the GPU before.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }
    # The core is beside us in one process: no request is serialized on its way to a GPU, and a CPU's cores are shared
    # with whatever feeds it either way.
    separate = bool(engine.core_process)
    if place == "cpu":
        # Where there are several, the kernel knows better than we which cores are free for them.
        engines, own = engine.cpu_engines or 1, sorted(os.sched_getaffinity(0))
        chosen |= {
            "OMP_NUM_THREADS": str(max(1, len(own) // engines)),
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, own)) if engines == 1 else "nobind",
            # Every length of a batch makes a primitive of its own; a thousand, the default, hold 0.3 GiB for ever.
            "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
            "VLLM_CPU_KVCACHE_SPACE": str(cpu_cache_gib(model, engine)),
        }
    chosen["VLLM_ENABLE_V1_MULTIPROCESSING"] = str(int(separate))
    return {name: os.environ.get(name, value) for name, value in chosen.items()}


def _has_bfloat16(file: Path) -> bool:
    """Whether the CPU multiplies bfloat16 by itself; taken for granted where the system does not say."""
    try:
        said = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", said, re.MULTILINE)
    return found is None or re.search(r"\b(?:avx512_bf16|amx_bf16|bf16)\b", found[1]) is not None


def _named_gpus() -> list[str] | None:
    """Those that CUDA_VISIBLE_DEVICES names, up to the first that is none, as CUDA reads it; None if it is not set."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return None
    return list(takewhile(re.compile(r"\d+$|GPU-|MIG-").match, map(str.strip, named.split(","))))


def _visible_gpus() -> list[str]:
    named = _named_gpus()
    if named is not None:
        return named
    try:
        asked = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        listed = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return ["0"]  # a driver, and nothing to ask it with
    return listed or ["0"]


def _detect_device() -> str:
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("embedding", "cpu' or 'gpu") from error
    return "cuda" if torch.cuda.is_available() else "cpu"
