"""How right the tagger's words are: of held-out drawings, and of pictures that the model draws.

`python -m training.evaluate_tagger` prints the table of its card.
"""

import argparse
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import ResNetForImageClassification, ViTImageProcessorPil

from training.drawing import draw
from training.evaluate import open_pipeline, pictures, questions
from training.judge import look
from training.scenes import Scene, held_out_scene
from training.tagger import words, words_of
from training.wear import worn

GUIDANCE = 3.0
SEED = 2027
KINDS: dict[str, Callable[[Scene], bool]] = {
    "one figure": lambda scene: scene.pattern == 0 and scene.count == 1 and scene.other_shape is None,
    "a patterned ground": lambda scene: scene.pattern > 0,
    "two to four": lambda scene: scene.count > 1,
    "two that differ": lambda scene: scene.other_shape is not None,
}
Pixels = NDArray[np.uint8]


class Tagger:
    def __init__(self, folder: Path) -> None:
        self._model = ResNetForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
        self._preprocessor = ViTImageProcessorPil.from_pretrained(folder)

    def words(self, picture: Pixels) -> frozenset[str]:
        return frozenset(words(self._model, self._preprocessor, picture))


def agreement(told: list[frozenset[str]], true: list[frozenset[str]]) -> dict[str, float]:
    """Of words that hold, those that are told; of words that are told, those that hold; pictures without a fault."""
    pairs = list(zip(told, true, strict=True))
    both = sum(len(one & other) for one, other in pairs)
    return {
        "told": round(both / sum(map(len, true)), 3),
        "right": round(both / sum(map(len, told)), 3),
        "faultless": round(float(np.mean([one == other for one, other in pairs])), 3),
    }


def score_drawn(tagger: Tagger, scenes: Iterator[Scene], count: int, *, wear: bool = False) -> dict[str, float]:
    rng, asked = random.Random(SEED), list(itertools.islice(scenes, count))
    drawn = [draw(scene, rng, *rng.choice(((256, 256), (512, 512), (512, 384)))) for scene in asked]
    if wear:
        drawn = [np.asarray(worn(Image.fromarray(each), rng, blur=2.0, noise=12, quality=40)) for each in drawn]
    return agreement([tagger.words(each) for each in drawn], [words_of(scene) for scene in asked])


def held_out_scenes(seed: int, holds: Callable[[Scene], bool] = lambda _: True) -> Iterator[Scene]:
    """Of all kinds, as often as training saw them, or those only of which it holds."""
    rng = random.Random(seed)
    return filter(holds, (held_out_scene(rng, simple=False) for _ in itertools.count()))


def score_model(tagger: Tagger, folder: Path, count: int) -> dict[str, dict[str, float]]:
    """Against what the judge sees in the model's pictures, and against what it was asked for."""
    asked = questions(count)
    made = pictures(open_pipeline(folder), asked, width=512, height=512, guidance=GUIDANCE)
    told = [tagger.words(each) for each in made]
    judged = [(one, seen) for one, seen in zip(told, map(_judged, made), strict=True) if seen]
    return {
        "judge": agreement([one for one, _ in judged], [seen for _, seen in judged]),
        "prompt": agreement(told, [words_of(each.scene) for each in asked]),
    }


def _judged(picture: Pixels) -> frozenset[str] | None:
    seen = look(picture)
    if seen.shape < 0:
        return None
    scene = Scene(background=seen.background, shape=seen.shape, colour=seen.colour, size=seen.size, place=seen.place)
    return words_of(scene)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate_tagger", description=__doc__)
    parser.add_argument("--tagger", type=Path, default=Path("models/darkroom-shapes-tagger"))
    parser.add_argument("--model", type=Path, default=Path("models/darkroom-shapes"))
    parser.add_argument("--count", type=int, default=100, help="pictures that the model draws")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tagger = Tagger(arguments.tagger)
    for kind, holds in KINDS.items():
        print(f"{kind}:", score_drawn(tagger, held_out_scenes(SEED, holds), 300), flush=True)
    print("all kinds, worn:", score_drawn(tagger, held_out_scenes(SEED), 500, wear=True), flush=True)
    print("the model's:", score_model(tagger, arguments.model, arguments.count), flush=True)


if __name__ == "__main__":
    main()
