"""The tagger: a small ResNet that tells a picture in the words of captions, several at once.

A figure's word is its colour and shape together, so that of two figures each keeps its own colour. Words stand in the
order in which a prompt says them: those that hold, joined by commas, are a prompt.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor, nn
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

from training.drawing import draw
from training.loop import Schedule, checkpointed
from training.reconstructions import Reconstructions
from training.scenes import COLOURS, PATTERNS, PLACES, SHAPES, SIZES, Scene, random_scene
from training.wear import FILTERS, resized_and_back, worn

NUMBERS = {2: "two", 3: "three", 4: "four"}
WORDS = (
    *NUMBERS.values(),
    *SIZES,
    *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES),
    *PLACES,
    *(f"{colour} background" for colour in COLOURS),
    *(f"{pattern} background" for pattern in PATTERNS if pattern != "plain"),
)
SIDE = 128
BATCH = 32
RECONSTRUCTED = 0.3
# The logarithm of the odds of a word before anything is seen: about four of all hold.
FIRST_GUESS = -3.5
THRESHOLD = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pass:
    """A run of the optimizer. Patterns, groups and pairs are `rare` of its pictures, and a quarter of the others."""

    rate: float
    steps: int
    hold: float
    rare: float


# One figure teaches what words mean; then those of two, of which each is half as large, and of groups.
FIRST_PASS = Pass(3e-3, 3000, 0.3, 0.0)
SECOND_PASS = Pass(1.5e-3, 1500, 0.2, 0.6)


def words_of(scene: Scene) -> frozenset[str]:
    """What a caption would say. Size and place are told of single figures only, of two figures not which is where."""
    colours = list(COLOURS)
    words = {f"{colours[scene.colour]} {SHAPES[scene.shape]}", f"{colours[scene.background]} background"}
    if PATTERNS[scene.pattern] != "plain":
        words.add(f"{PATTERNS[scene.pattern]} background")
    if scene.other_shape is not None and scene.other_colour is not None:
        words.add(f"{colours[scene.other_colour]} {SHAPES[scene.other_shape]}")
    elif scene.count > 1:
        words.add(NUMBERS[scene.count])
    else:
        words |= {SIZES[scene.size], PLACES[scene.place]}
    return frozenset(words)


def new_tagger() -> ResNetForImageClassification:
    config = ResNetConfig(
        embedding_size=24,
        hidden_sizes=[24, 48, 96, 160],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        problem_type="multi_label_classification",
        id2label=dict(enumerate(WORDS)),
        label2id={word: i for i, word in enumerate(WORDS)},
    )
    model = ResNetForImageClassification(config)
    nn.init.constant_(model.classifier[-1].bias, FIRST_GUESS)
    return model.to(memory_format=torch.channels_last)


def new_preprocessor() -> ViTImageProcessorPil:
    return ViTImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        resample=Image.Resampling.BILINEAR,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def train_tagger(pool: Path, folder: Path, work: Path) -> None:
    model, reconstructions = new_tagger().train(), Reconstructions(pool)
    _train(model, FIRST_PASS, reconstructions, work / "tagger.pt")
    _train(model, SECOND_PASS, reconstructions, work / "tagger_2.pt")
    model.eval().half().save_pretrained(folder)
    new_preprocessor().save_pretrained(folder)


def _train(model: ResNetForImageClassification, course: Pass, reconstructions: Reconstructions, file: Path) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=course.rate, betas=(0.9, 0.98), weight_decay=1e-2)
    schedule = Schedule(course.rate, course.steps, hold=course.hold)
    smooth = right = 0.0
    for step in checkpointed(file, {"model": model, "optimizer": optimizer}, course.steps):
        schedule.apply(optimizer, step)
        pictures, answers = _batch(random.Random(f"{file.stem} {step}"), reconstructions, course.rare)
        guess = model(pictures).logits
        loss = functional.binary_cross_entropy_with_logits(guess, answers, reduction="sum") / BATCH
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        smooth = 0.98 * smooth + 0.02 * loss.item() if smooth else loss.item()
        right = 0.98 * right + 0.02 * _all_right(guess, answers)
        if step % 100 == 0:
            log.info("tagger", step=step, loss=round(smooth, 4), all_right=round(right, 3))


def _all_right(guess: Tensor, answers: Tensor) -> float:
    return float(((guess > 0) == (answers > 0)).all(1).float().mean())


def _batch(rng: random.Random, reconstructions: Reconstructions, rare: float) -> tuple[Tensor, Tensor]:
    """(n, 3, SIDE, SIDE), −1 to 1, and (n, words)."""
    pictures, answers = [], torch.zeros(BATCH, len(WORDS))
    for row in answers:
        scene, pixels = _example(rng, reconstructions, only_rare=rng.random() < rare)
        picture = _altered(_shrunk(pixels, rng), rng)
        pictures.append(np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
        row[[WORDS.index(word) for word in words_of(scene)]] = 1
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last), answers


def _example(
    rng: random.Random, reconstructions: Reconstructions, *, only_rare: bool
) -> tuple[Scene, NDArray[np.uint8]]:
    if rng.random() < RECONSTRUCTED:
        drawing, picture = reconstructions.any(rng)
        while only_rare and not _is_rare(drawing.scene):
            drawing, picture = reconstructions.any(rng)
        return drawing.scene, picture
    scene = random_scene(rng)
    while only_rare and not _is_rare(scene):
        scene = random_scene(rng)
    return scene, draw(scene, rng, *_size(rng))


def _is_rare(scene: Scene) -> bool:
    return scene.pattern > 0 or scene.count > 1 or scene.side is not None


def _size(rng: random.Random) -> tuple[int, int]:
    side = rng.randint(256, 512)
    return rng.choice(((side, side), (side, side), (side, 256), (256, side)))


def _shrunk(pixels: NDArray[np.uint8], rng: random.Random) -> Image.Image:
    """To about what the network sees: what alters a picture costs by the pixel."""
    picture = Image.fromarray(pixels)
    share = rng.uniform(1.0, 1.7) * SIDE / min(picture.size)
    return picture.resize((round(picture.width * share), round(picture.height * share)), rng.choice(FILTERS))


def _altered(picture: Image.Image, rng: random.Random) -> Image.Image:
    if rng.random() < 0.15:
        picture = resized_and_back(picture, rng)
    picture = worn(picture, rng, blur=1.5, noise=12, quality=30)
    if rng.random() < 0.3:
        kind = rng.choice((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color))
        picture = kind(picture).enhance(rng.uniform(0.88, 1.12))
    return picture


@torch.inference_mode()
def words(
    model: ResNetForImageClassification, preprocessor: ViTImageProcessorPil, picture: NDArray[np.uint8]
) -> list[str]:
    """Those that hold, in the order of a prompt."""
    pixels = preprocessor(Image.fromarray(picture), return_tensors="pt").pixel_values.to(model.dtype)
    likely = model(pixels).logits[0].sigmoid()
    return [model.config.id2label[i] for i in range(len(likely)) if likely[i] > THRESHOLD]
