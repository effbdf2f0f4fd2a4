"""The memory of the machine, of its control groups and of its GPUs against what a model takes."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

from pipeline.config import Engine
from pipeline.doctor.diagnosis import Skipped, Unwell
from pipeline.doctor.files import parameters
from pipeline.doctor.machine import GIB, Torch, in_gib
from pipeline.embed.model import Model
from pipeline.embed.settings import computed_dtype, cpu_cache_gib, longest_input

# What an engine holds besides weights and a batch: libraries, kernels, CUDA's context, the process itself.
_ENGINE_BYTES = 1.5 * GIB
_BATCHED_TOKENS = {"cuda": 32_768, "cpu": 4_096}
_ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
# Of free memory, where nobody has said how many engines there are to be: parsers and a store want some as well.
_MOST_FOR_ENGINES = 0.75
# The part of a GPU that an engine takes if nothing else is said.
_GPU_PART = 0.9


def check_memory(model: Model, engine: Engine, torch: Torch, system: Path = Path("/")) -> str:
    """Weights, one batch and the engine itself fit, for each engine of a GPU; an estimate, see `needed_memory`.

    `system` is where `proc` and `sys` are.
    """
    gpus = torch.gpus[: engine.gpus] if engine.device != "cpu" else ()
    engines = engine.engines_per_gpu if gpus else engine.cpu_engines or 1
    needed = needed_memory(model, engine, bool(gpus)) * engines
    if gpus:
        part = engine.gpu_memory_utilization or _GPU_PART
        free = torch.free[: len(gpus)] or gpus
        there = min(min(total * part, left) for total, left in zip(gpus, free, strict=True))
        what = "of GPU memory free for it"
        remedy = "end what else uses the GPU, lower engine.max_num_batched_tokens, or take a smaller model"
    else:
        there, what = _available(system)
        remedy = "end what else runs here, allow more, or take a smaller model or window"
    if needed > there:
        several = ""
        if engines > 1:
            several = f" for {engines} engines" + (" a GPU" if gpus else "")
            remedy = f"lower engine.{'engines_per_gpu' if gpus else 'cpu_engines'}, {remedy}"
        raise Unwell(
            f"{model.name} needs about {in_gib(needed)}{several} with a window of {longest_input(model, engine):,} "
            f"tokens; there are {in_gib(there)} {what}",
            remedy,
        )
    for number, (total, left) in enumerate(zip(gpus, torch.free, strict=False)):
        # vLLM takes its part of the whole at once, whatever the model needs, and does not start without.
        if total * part > left:
            most = math.floor(100 * left / total) / 100
            raise Unwell(
                f"GPU {number} has {in_gib(left)} of {in_gib(total)} free, and an engine asks for {part:.0%} of the "
                "whole as it starts",
                f"end what else uses the GPU, or say engine.gpu_memory_utilization = {most}",
            )
    return f"about {in_gib(needed)} needed of {in_gib(there)} {what}"


def needed_memory(model: Model, engine: Engine, gpu: bool) -> float:
    """Bytes of one engine: weights in what is computed in, a batch's activations, its own, and a CPU's cache.

    Of a batch's n tokens a layer holds at once about n x (6 hidden + 2 intermediate) numbers: the residual, the
    normalized input, queries, keys, values and attention's output, and two of the feed-forward network.
    """
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    hidden, inner = model.native_dimensions, config.get("intermediate_size")
    inner = inner if isinstance(inner, int) else 4 * hidden
    usual = _BATCHED_TOKENS["cuda" if gpu else "cpu"]
    tokens = max(engine.max_num_batched_tokens or usual, longest_input(model, engine))
    item = _ITEM_BYTES[computed_dtype(model, engine, "cuda" if gpu else "cpu")]
    activations = tokens * (6 * hidden + 2 * inner) * item
    cache = 0 if gpu else float(os.environ.get("VLLM_CPU_KVCACHE_SPACE") or cpu_cache_gib(model, engine)) * GIB
    return parameters(model.path) * item + activations + cache + _ENGINE_BYTES


def engines_with_room(model: Model, engine: Engine, system: Path = Path("/")) -> int:
    """How many engines on this machine's CPU three quarters of the free memory take; 1 if it cannot be told."""
    try:
        return max(1, int(_MOST_FOR_ENGINES * _available(system)[0] / needed_memory(model, engine, False)))
    except (Skipped, Unwell, OSError, ValueError, OverflowError):
        return 1  # whoever starts an engine is told what is wrong


def _available(system: Path) -> tuple[float, str]:
    """Bytes, and of what: the machine's free memory, or less where a control group (a container's, say) allows less."""
    try:
        said = (system / "proc/meminfo").read_text(encoding="utf-8")
    except OSError as error:
        raise Skipped("this system does not say how much memory is free") from error
    found = re.search(r"MemAvailable:\s+(\d+) kB", said)
    if found is None:
        raise Skipped("this system does not say how much memory is free")
    machine, group = int(found[1]) * 1024.0, _left_by_groups(system)
    if group < machine:
        return group, "of memory left by the limit of this process's control group (its container's, say)"
    return machine, "of memory free"


def _left_by_groups(system: Path) -> float:
    """What the control groups of this process leave it, in bytes; infinite where none has a limit.

    A limit holds for all below it. Inside a container, the path that the kernel names may be the host's: what can be
    seen of it is then the root, which is the container's own group.
    """
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    left = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2 has one tree for everything
            root = system / "sys/fs/cgroup"
            names = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = system / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        inner = root.joinpath(*(part for part in path.split("/") if part not in ("", "..")))
        for group in (inner, *inner.parents):
            left = min(left, _left_by(group, *names))
            if group == root:
                break
    return left


def _left_by(group: Path, limit: str, used: str, idle: str) -> float:
    """What a group's limit leaves: files that nobody reads any more are let go of when memory is wanted."""
    try:
        most = (group / limit).read_text(encoding="utf-8").strip()
        if most == "max":
            return math.inf
        spent = int((group / used).read_text(encoding="utf-8"))
        found = re.search(rf"^{idle} (\d+)$", (group / "memory.stat").read_text(encoding="utf-8"), re.MULTILINE)
        return max(0.0, int(most) - spent + int(found[1] if found else 0))
    except (OSError, ValueError):
        return math.inf
