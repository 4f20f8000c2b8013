"""A 20-step job from POST to callback against the stock diffusers pipeline called directly, in turns."""

import asyncio
import io
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.client import PROMPT, open_client
from cli.stack import Stack

REPEATS = 9
STEPS = 20


def compare_with_stock(stack: Stack, model: Path) -> str:
    pipeline = _stock_pipeline(model)
    ours, stock = asyncio.run(_in_turns(stack, pipeline))
    ratios = [a / b for a, b in zip(ours, stock, strict=True)]
    return (
        f"{STEPS}-step 512×512 job, {REPEATS} pairs in turns\n"
        f"  Darkroom, POST to callback    {statistics.median(ours):.3f} s\n"
        f"  stock pipeline to PNG bytes   {statistics.median(stock):.3f} s\n"
        f"  ratio, median of pairs        {statistics.median(ratios):.3f}  (goal ≤ 1.10)"
        f"  [{min(ratios):.2f} … {max(ratios):.2f}]\n"
    )


async def _in_turns(stack: Stack, pipeline: Any) -> tuple[list[float], list[float]]:
    ours, stock = [], []
    async with open_client(stack) as client:
        for turn in range(REPEATS + 1):
            mine = (await client.run(STEPS))[1]
            theirs = _seconds(pipeline)
            if turn:  # the first pair warms both up
                ours.append(mine)
                stock.append(theirs)
    return ours, stock


def _stock_pipeline(model: Path) -> Any:
    # Late and here only: it takes seconds, and the other benchmarks need none of it.
    import diffusers
    import torch

    untyped: Any = diffusers
    pipeline = untyped.StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32, local_files_only=True)
    config = pipeline.scheduler.config
    pipeline.scheduler = untyped.DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _seconds(pipeline: Any) -> float:
    import torch

    began = time.perf_counter()
    generator = torch.Generator().manual_seed(1)
    picture = pipeline(
        PROMPT, width=512, height=512, num_inference_steps=STEPS, guidance_scale=7.0, generator=generator
    ).images[0]
    picture.save(io.BytesIO(), "PNG", compress_level=1)
    return time.perf_counter() - began
