"""Asks the model for held-out scenes, in its stock pipeline, and lets the judge mark the pictures.

`python -m training.evaluate` prints the table of the model card.
"""

import argparse
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

from training.captions import full_caption
from training.judge import FIELDS, look
from training.scenes import Scene, held_out_scene

STEPS = 20
BATCH = 10


@dataclass(frozen=True, slots=True)
class Question:
    """One held-out scene in words; sentences and tags by turns."""

    scene: Scene
    prompt: str
    seed: int


def questions(count: int, seed: int = 2026) -> list[Question]:
    rng = random.Random(seed)
    scenes = [held_out_scene(rng) for _ in range(count)]
    return [Question(scene, full_caption(scene, as_tags=i % 2 == 1), i) for i, scene in enumerate(scenes)]


def open_pipeline(folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, use_karras_sigmas=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.inference_mode()
def pictures(
    pipeline: StableDiffusionPipeline,
    asked: list[Question],
    *,
    width: int,
    height: int,
    guidance: float,
    rescale: float = 0.0,
) -> list[NDArray[np.uint8]]:
    made = []
    for first in range(0, len(asked), BATCH):
        batch = asked[first : first + BATCH]
        images = pipeline(
            [each.prompt for each in batch],
            width=width,
            height=height,
            guidance_scale=guidance,
            guidance_rescale=rescale,
            num_inference_steps=STEPS,
            generator=[torch.Generator().manual_seed(each.seed) for each in batch],
            output_type="np",
        ).images
        made += [np.round(each * 255).astype(np.uint8) for each in images]
    return made


def scores(asked: list[Question], made: list[NDArray[np.uint8]]) -> dict[str, float]:
    """The share of right answers by field, of all fields at once, and the mean likeness of the shapes."""
    seen = [look(picture) for picture in made]
    marks = [each.right(question.scene) for each, question in zip(seen, asked, strict=True)]
    table = {name: float(np.mean([mark[name] for mark in marks])) for name in FIELDS}
    table["all"] = float(np.mean([all(mark.values()) for mark in marks]))
    table["likeness"] = float(np.mean([each.likeness for each in seen]))
    return {name: round(value, 3) for name, value in table.items()}


def evaluate(
    folder: Path, count: int, side: int, guidance: float, rescale: float = 0.0
) -> tuple[dict[str, float], list[NDArray[np.uint8]]]:
    asked = questions(count)
    started = time.monotonic()
    made = pictures(open_pipeline(folder), asked, width=side, height=side, guidance=guidance, rescale=rescale)
    seconds = time.monotonic() - started
    return scores(asked, made) | {"seconds_per_picture": round(seconds / count, 2)}, made


def contact_sheet(made: list[NDArray[np.uint8]], columns: int = 4, side: int = 192) -> Image.Image:
    """The first pictures as they came, row by row."""
    rows = -(-len(made) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side), "white")
    for i, picture in enumerate(made):
        small = Image.fromarray(picture).resize((side - 4, side - 4), Image.Resampling.LANCZOS)
        sheet.paste(small, (i % columns * side + 2, i // columns * side + 2))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("models/darkroom-shapes"))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--guidance", type=float, nargs="+", default=[3.0, 7.0])
    parser.add_argument("--rescale", type=float, default=0.0, help="guidance rescale, 0 to 1")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sheet", type=Path, help="where to write the first 16 pictures of the last guidance")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for guidance in arguments.guidance:
        table, made = evaluate(arguments.folder, arguments.count, arguments.side, guidance, arguments.rescale)
        print(f"guidance {guidance:g}: {table}", flush=True)
    if arguments.sheet:
        contact_sheet(made[:16]).save(arguments.sheet)
        print("\n".join(question.prompt for question in questions(16)))


if __name__ == "__main__":
    main()
