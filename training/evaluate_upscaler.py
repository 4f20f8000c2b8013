"""How near the upscaler's pixels are, beside bicubic and Lanczos, on held-out drawings.

`python -m training.evaluate_upscaler` prints the table of its card.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gpu_worker.engine.device import CPU
from gpu_worker.engine.upscaler import load_upscaler, upscale
from jobs.catalog import Family, Kind, Model
from training.reconstructions import Drawing, open_autoencoder, reconstructed
from training.scenes import held_out_scene
from training.upscaler import quarter
from training.wear import worn

COUNTS = {"box": 40, "bicubic": 40, "worn": 40, "autoencoder": 12}
Pixels = NDArray[np.uint8]
Enlarge = Callable[[Image.Image], Image.Image]


def psnr(one: Pixels, other: Pixels) -> float:
    return float(-10 * np.log10(np.mean((one.astype(float) - other) ** 2) / 255**2 + 1e-10))


def sharpness(picture: Pixels, truth: Pixels) -> float:
    """The energy of differences between neighbours, of the truth's: an edge spread over n pixels keeps 1/n of it."""
    return _edges(picture) / _edges(truth)


def _edges(picture: Pixels) -> float:
    pixels = picture.astype(float)
    return float((np.diff(pixels, axis=0) ** 2).sum() + (np.diff(pixels, axis=1) ** 2).sum())


def quarters(kind: str, count: int, autoencoder: Path) -> list[tuple[Pixels, Image.Image]]:
    """Held-out drawings with their quarter, which is 128×128, or 256×256 through the autoencoder."""
    rng = random.Random(2028)
    side = 256 if kind == "autoencoder" else 128
    drawings = [Drawing(held_out_scene(rng, simple=False), rng.randrange(2**31), side, side) for _ in range(count)]
    vae = open_autoencoder(autoencoder) if kind == "autoencoder" else None
    pairs = []
    for drawing in drawings:
        high = drawing.large()
        low = quarter(high, Image.Resampling.BICUBIC if kind == "bicubic" else Image.Resampling.BOX)
        if kind == "worn":
            low = worn(low, rng, blur=0.8, noise=4, quality=60)
        if vae is not None:
            low = Image.fromarray(reconstructed(vae, [np.asarray(low)])[0])
        pairs.append((high, low))
    return pairs


def score_upscaler(enlarge: Enlarge, pairs: list[tuple[Pixels, Image.Image]]) -> dict[str, tuple[float, float]]:
    """PSNR and sharpness, the means over the pictures, of each way."""
    ways: dict[str, Enlarge] = {
        "bicubic": lambda low: low.resize((4 * low.width, 4 * low.height), Image.Resampling.BICUBIC),
        "lanczos": lambda low: low.resize((4 * low.width, 4 * low.height), Image.Resampling.LANCZOS),
        "network": enlarge,
    }
    table = {}
    for name, way in ways.items():
        made = [(np.asarray(way(low)), high) for high, low in pairs]
        near, sharp = (float(np.mean([measure(*pair) for pair in made])) for measure in (psnr, sharpness))
        table[name] = (round(near, 2), round(sharp, 2))
    return table


def open_upscaler(file: Path) -> Enlarge:
    model = Model(id="0", name=file.stem, kind=Kind.UPSCALER, family=Family.ANY, path=file)
    loaded = load_upscaler(model, CPU)
    return lambda low: upscale(loaded, low)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate_upscaler", description=__doc__)
    parser.add_argument("--file", type=Path, default=Path("models/darkroom-shapes-4x/darkroom-shapes-4x.safetensors"))
    parser.add_argument("--autoencoder", type=Path, default=Path("models/darkroom-shapes/vae"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    enlarge = open_upscaler(arguments.file)
    for kind, count in COUNTS.items():
        print(f"{kind}:", score_upscaler(enlarge, quarters(kind, count, arguments.autoencoder)), flush=True)


if __name__ == "__main__":
    main()
