"""Engine settings against each other, on a GPU: `python -m tests.benchmarks.engines --shape qwen3-0.6b '{}' '{…}'`.

Each argument is JSON of `[engine]` settings, and `"fp8": true` for 8-bit matrices; one JSON line is printed for each,
with the pool's tokens/s over texts of `--tokens` tokens, the GPUs' idle share and the share of the arithmetic roof. The
first has bare `LLM.embed` beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np

from flows.bench import IdleMeter
from pipeline.config import Engine
from pipeline.embed.model import Model
from pipeline.embed.shapes import REACHED_FLOPS, SHAPES, VOCABULARY, dummy_model
from pipeline.embed.vllm import open_dummy, start_dummies


def main() -> None:
    """Run them one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="+", metavar="JSON")
    parser.add_argument("--shape", choices=list(SHAPES), required=True)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long each is measured")
    parser.add_argument("--gpus", default="1", help="such as 1,2,4: each setting on so many")
    options = parser.parse_args()
    model = dummy_model(options.shape)
    if options.settings[0] == "{}":
        bare = open_dummy(model, Engine())
        texts = _texts(bare.settings["max_num_batched_tokens"], options.tokens)
        prompts = [{"prompt_token_ids": row.tolist()} for row in texts]
        bare.llm.embed(prompts, use_tqdm=False)
        started = time.perf_counter()
        bare.llm.embed(prompts, use_tqdm=False)
        prompts *= max(1, round(options.seconds / (time.perf_counter() - started)))
        with IdleMeter(Engine(gpus=1)) as meter:
            started = time.perf_counter()
            bare.llm.embed(prompts, use_tqdm=False)
            _tell("bare LLM.embed", options, len(prompts) * options.tokens, time.perf_counter() - started, 1, meter)
        bare.close()
        del bare
    for text in options.settings:
        for gpus in map(int, options.gpus.split(",")):
            try:
                _measure(text, gpus, options, model)
            except Exception as error:  # the others are still worth measuring
                print(json.dumps({"setting": text, "gpus": gpus, "error": str(error)[:800]}), flush=True)


def _measure(text: str, gpus: int, options: argparse.Namespace, model: Model) -> None:
    settings = {**json.loads(text), "gpus": gpus}
    quantization = "fp8" if settings.pop("fp8", False) else None
    engine = Engine.model_validate(settings)
    pool = start_dummies(replace(model, quantization=quantization), engine)
    try:
        pool.wait()
        texts = _texts(4 * pool.settings["max_num_batched_tokens"] * pool.engines, options.tokens)
        pool.embed(texts)
        started = time.perf_counter()
        pool.embed(texts)
        texts *= max(1, round(options.seconds / (time.perf_counter() - started)))
        with IdleMeter(engine) as meter:
            started = time.perf_counter()
            pool.embed(texts)
            seconds = time.perf_counter() - started
        _tell(text, options, len(texts) * options.tokens, seconds, gpus, meter, start=round(pool.start_seconds, 1))
    finally:
        pool.close()


def _texts(tokens: int, length: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(1, VOCABULARY, (max(tokens // length, 8), length), np.int32))


def _tell(
    name: str, options: argparse.Namespace, tokens: int, seconds: float, gpus: int, meter: IdleMeter, **more: float
) -> None:
    flops = SHAPES[options.shape].flops([options.tokens]) / options.tokens * tokens
    print(json.dumps({
        "setting": name, "shape": options.shape, "gpus": gpus, "tokens_per_second": round(tokens / seconds),
        "roof_share_of_790": round(flops / seconds / REACHED_FLOPS / gpus, 4),
        "idle": [round(share, 4) for share in meter.share], "seconds": round(seconds, 2), **more,
    }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
