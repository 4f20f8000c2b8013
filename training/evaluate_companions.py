"""What each companion changes, against the same model without it: the figures of their cards.

`python -m training.evaluate_companions` prints them.
"""

import argparse
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AnimateDiffPipeline, ControlNetModel, MotionAdapter, StableDiffusionControlNetPipeline
from numpy.typing import NDArray
from PIL import Image

from gpu_worker.engine.motion import animated
from jobs.canny import edges
from training import embedding, lora
from training.drawing import draw
from training.evaluate import STEPS, Question, contact_sheet, open_pipeline, pictures, questions
from training.guide import kept_edges, only_colours
from training.judge import look
from training.motion import COLUMNS, FRAMES, gone, is_steady, new_adapter, slid_noise
from training.night import WORD, is_night
from training.scenes import PLACES, SHAPES, SIZES, Scene

SIDE = 512

Figures = dict[str, float]
Pictures = list[NDArray[np.uint8]]


def open_guided(folder: Path, guide: Path) -> StableDiffusionControlNetPipeline:
    components = open_pipeline(folder).components
    network = ControlNetModel.from_pretrained(guide, torch_dtype=torch.float32)
    pipeline = StableDiffusionControlNetPipeline(**components, controlnet=network, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def edge_questions(count: int) -> list[tuple[Question, NDArray[np.bool_]]]:
    """Held-out scenes in edges; their prompts name colours alone."""
    rng = random.Random(5)
    told = [replace(each, prompt=only_colours(each.scene, rng)) for each in questions(count)]
    return [(each, edges(draw(each.scene, rng, SIDE, SIDE))) for each in told]


@torch.inference_mode()
def guided(
    pipeline: StableDiffusionControlNetPipeline, asked: Question, hint: NDArray[np.bool_], guidance: float, scale: float
) -> NDArray[np.uint8]:
    picture = pipeline(
        asked.prompt,
        image=Image.fromarray(np.where(hint, 255, 0).astype(np.uint8)).convert("RGB"),
        width=hint.shape[1],
        height=hint.shape[0],
        guidance_scale=guidance,
        controlnet_conditioning_scale=scale,
        num_inference_steps=STEPS,
        generator=torch.Generator().manual_seed(asked.seed),
        output_type="np",
    ).images[0]
    return np.round(picture * 255).astype(np.uint8)


def evaluate_guide(folder: Path, count: int, guidance: float) -> tuple[Figures, Pictures]:
    pipeline = open_guided(folder, folder.with_name(f"{folder.name}-canny"))
    asked = edge_questions(count)
    told: Figures = {}
    shown: Pictures = []
    for scale in (0.0, 1.0):
        made = [guided(pipeline, each, hint, guidance, scale) for each, hint in asked]
        marks = [look(picture).right(each.scene) for picture, (each, _) in zip(made, asked, strict=True)]
        kept = [kept_edges(hint, picture) for picture, (_, hint) in zip(made, asked, strict=True)]
        told |= {f"{name} at {scale:g}": float(np.mean([mark[name] for mark in marks])) for name in marks[0]}
        told[f"shape and place at {scale:g}"] = float(np.mean([m["shape"] and m["place"] for m in marks]))
        told[f"edges kept at {scale:g}"] = float(np.mean(kept))
        shown = made
    hints = [np.where(hint, 255, 0).astype(np.uint8)[..., None].repeat(3, 2) for _, hint in asked]
    return told, [picture for pair in zip(hints, shown, strict=True) for picture in pair]


def evaluate_lora(folder: Path, count: int, guidance: float) -> tuple[Figures, Pictures]:
    pipeline, asked = open_pipeline(folder), questions(count)
    plain = pictures(pipeline, asked, width=SIDE, height=SIDE, guidance=guidance)
    lora.apply(pipeline, folder.with_name(f"{folder.name}-night") / "night.safetensors", 1.0)
    worded = [replace(each, prompt=f"{each.prompt}, {WORD}") for each in asked]
    silent = pictures(pipeline, asked, width=SIDE, height=SIDE, guidance=guidance)
    night = pictures(pipeline, worded, width=SIDE, height=SIDE, guidance=guidance)
    places = [look(picture).place == each.scene.place for picture, each in zip(night, asked, strict=True)]
    told = {
        "night without": float(np.mean([is_night(each) for each in plain])),
        "night without the word": float(np.mean([is_night(each) for each in silent])),
        "night": float(np.mean([is_night(each) for each in night])),
        "place still right": float(np.mean(places)),
    }
    return told, [picture for pair in zip(plain, night, strict=True) for picture in pair]


def evaluate_embedding(folder: Path, count: int, guidance: float) -> tuple[Figures, Pictures]:
    pipeline = open_pipeline(folder)
    pipeline.load_textual_inversion(folder.with_name(f"{folder.name}-dusk") / f"{embedding.TOKEN}.safetensors")
    asked = [replace(each, prompt=_colourless(each)) for each in questions(count)]
    worded = [replace(each, prompt=f"{each.prompt}, {embedding.TOKEN}") for each in asked]
    plain = pictures(pipeline, asked, width=SIDE, height=SIDE, guidance=guidance)
    dusk = pictures(pipeline, worded, width=SIDE, height=SIDE, guidance=guidance)
    marks = {
        name: [look(picture).right(each.scene) for picture, each in zip(made, asked, strict=True)]
        for name, made in (("without", plain), ("with", dusk))
    }
    told = {
        "dusk without": float(np.mean([_is_dusk(each) for each in plain])),
        "dusk": float(np.mean([_is_dusk(each) for each in dusk])),
    }
    told |= {
        f"{field} {name}": float(np.mean([mark[field] for mark in each]))
        for name, each in marks.items()
        for field in ("shape", "place")
    }
    return told, [picture for pair in zip(plain, dusk, strict=True) for picture in pair]


def _colourless(asked: Question) -> str:
    scene = asked.scene
    return f"a {SIZES[scene.size]} {SHAPES[scene.shape]} in the {PLACES[scene.place]}"


def _is_dusk(picture: NDArray[np.uint8]) -> bool:
    seen = look(picture)
    return (seen.colour, seen.background) == (embedding.FIGURE, embedding.GROUND)


def open_animated(folder: Path, adapter: Path | None) -> AnimateDiffPipeline:
    """Without an adapter every frame is a picture of its own."""
    still = open_pipeline(folder)
    names = ("vae", "text_encoder", "tokenizer", "scheduler")
    network = new_adapter(still.unet)
    if adapter is not None:
        network = MotionAdapter.from_pretrained(adapter, torch_dtype=torch.float32)
    parts = {name: each for name, each in still.components.items() if name in names}
    pipeline = AnimateDiffPipeline(**parts, unet=animated(still.unet, network), motion_adapter=network)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.inference_mode()
def frames(pipeline: AnimateDiffPipeline, asked: Question, guidance: float, *, of_one: bool = True) -> Pictures:
    """Out of one noise, slid, or out of another for each frame, as the pipeline does without being told."""
    chance = torch.Generator().manual_seed(asked.seed)
    # Twice as fast on processors that know the format.
    with torch.autocast("cpu", torch.bfloat16):
        (clip,) = pipeline(
            asked.prompt,
            num_frames=FRAMES,
            width=SIDE,
            height=SIDE,
            guidance_scale=guidance,
            num_inference_steps=STEPS,
            generator=chance,
            latents=slid_noise(torch.randn(8, COLUMNS, COLUMNS, generator=chance)) if of_one else None,
            output_type="np",
        ).frames
    return [np.round(each * 255).astype(np.uint8) for each in clip]


def evaluate_motion(folder: Path, count: int, guidance: float) -> tuple[Figures, Pictures]:
    asked = questions(count)
    pipeline = open_animated(folder, folder.with_name(f"{folder.name}-motion"))
    told: Figures = {}
    clips: list[Pictures] = []
    for name, of_one in (("of many noises", False), ("of one", True)):
        clips = [frames(pipeline, each, guidance, of_one=of_one) for each in asked]
        marks = [clip_marks(each.scene, clip) for each, clip in zip(asked, clips, strict=True)]
        told |= {f"{key} {name}": float(np.mean([mark[key] for mark in marks])) for key in marks[0]}
    return told, [frame for clip in clips for frame in clip[::2]]


def clip_marks(scene: Scene, clip: Pictures) -> dict[str, bool]:
    """The first three of all frames."""
    seen = [look(frame) for frame in clip]
    rights = [each.right(scene) for each in seen]
    marks = {name: all(right[name] for right in rights) for name in ("background", "colour", "shape")}
    way = gone(seen)
    return marks | {"the same": all(marks.values()), "moved": bool(way[-1] > 0.5), "steady": is_steady(way)}


EVALUATIONS: dict[str, Callable[[Path, int, float], tuple[Figures, Pictures]]] = {
    "canny": evaluate_guide,
    "night": evaluate_lora,
    "dusk": evaluate_embedding,
    "motion": evaluate_motion,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate_companions", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("models/darkroom-shapes"), help="companions lie beside it")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--guidance", type=float, nargs="+", default=[3.0, 7.0])
    parser.add_argument("--only", choices=EVALUATIONS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sheets", type=Path, help="a folder for the first pictures of each, with and without")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name, evaluate in EVALUATIONS.items():
        for guidance in arguments.guidance if arguments.only in (None, name) else []:
            told, made = evaluate(arguments.folder, arguments.count, guidance)
            print(
                f"{name}, guidance {guidance:g}: { {key: round(value, 3) for key, value in told.items()} }", flush=True
            )
            if arguments.sheets:
                contact_sheet(made[:16]).save(arguments.sheets / f"{name}-{guidance:g}.png")


if __name__ == "__main__":
    main()
