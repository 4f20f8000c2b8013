"""`python -m training`: the whole recipe of the bundled model and of its companions, stage after stage; each goes on
where it was cut.

About six hours on one core. `--work` keeps checkpoints and cached latents, `--folder` becomes the model; companions
lie beside it and learn against what lies there.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from training import embedding, guide, lora, motion
from training.autoencoder import train_autoencoder, train_decoder
from training.denoiser import FIRST_PASS, SCHEDULER, SECOND_PASS, Pass, Pool, new_denoiser, train_denoiser
from training.latents import Encoders, make_shard, shards
from training.lessons import Artist, Lessons, make_lessons
from training.night import night_example
from training.reconstructions import make_reconstructions
from training.tagger import train_tagger
from training.text_encoder import train_text_encoder
from training.tokenizer import make_tokenizer
from training.upscaler import train_upscaler

TEXT_STEPS = 700
AUTOENCODER_STEPS = 3200
DECODER_STEPS = 6000
UPSCALER_STEPS = 4000


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where each part lies while the model is made. `folder` becomes the model."""

    work: Path
    folder: Path

    @property
    def tokenizer(self) -> Path:
        return self.work / "tokenizer"

    @property
    def text_encoder(self) -> Path:
        return self.work / "text_encoder"

    @property
    def autoencoder(self) -> Path:
        return self.work / "vae_a"

    @property
    def finished_autoencoder(self) -> Path:
        return self.work / "vae"

    @property
    def denoiser(self) -> Path:
        return self.work / "unet"

    @property
    def finished_denoiser(self) -> Path:
        return self.work / "unet_2"

    @property
    def pool(self) -> Path:
        return self.work / "pool"

    @property
    def reconstructions(self) -> Path:
        return self.work / "reconstructions"

    def encoders(self) -> Encoders:
        return Encoders(self.tokenizer, self.text_encoder, self.autoencoder)

    def companion(self, name: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}-{name}")

    def finished_encoders(self) -> Encoders:
        return Encoders(self.folder / "tokenizer", self.folder / "text_encoder", self.folder / "vae")

    def finished_unet(self) -> UNet2DConditionModel:
        return UNet2DConditionModel.from_pretrained(self.folder / "unet", torch_dtype=torch.float32)


def _tokenizer(shop: Workshop) -> None:
    make_tokenizer(shop.tokenizer)


def _text_encoder(shop: Workshop) -> None:
    train_text_encoder(shop.tokenizer, shop.text_encoder, shop.work, TEXT_STEPS)


def _autoencoder(shop: Workshop) -> None:
    train_autoencoder(shop.autoencoder, shop.work, AUTOENCODER_STEPS)


def _latents(shop: Workshop) -> None:
    encoders = shop.encoders()
    for shard in shards():
        make_shard(shard, encoders, shop.pool)


def _denoiser(shop: Workshop) -> None:
    _denoise(shop, new_denoiser(), FIRST_PASS, shop.denoiser)


def _large_denoiser(shop: Workshop) -> None:
    first = UNet2DConditionModel.from_pretrained(shop.denoiser).train().to(memory_format=torch.channels_last)
    _denoise(shop, first, SECOND_PASS, shop.finished_denoiser)


def _denoise(shop: Workshop, model: UNet2DConditionModel, course: Pass, folder: Path) -> None:
    empty = shop.encoders().states([""])[0].float().clone()
    train_denoiser(model, course, Pool(shop.pool), empty, folder, folder.with_suffix(".pt"))


def _decoder(shop: Workshop) -> None:
    train_decoder(shop.autoencoder, shop.finished_autoencoder, shop.work, DECODER_STEPS)


def _assemble(shop: Workshop) -> None:
    """The parts as one diffusers folder in float16."""
    folder = shop.folder
    vae = shop.finished_autoencoder if shop.finished_autoencoder.exists() else shop.autoencoder
    unet = shop.finished_denoiser if shop.finished_denoiser.exists() else shop.denoiser
    StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(vae).half(),
        text_encoder=CLIPTextModel.from_pretrained(shop.text_encoder).half(),
        tokenizer=CLIPTokenizer.from_pretrained(shop.tokenizer),
        unet=UNet2DConditionModel.from_pretrained(unet).half(),
        scheduler=DDPMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(shop.tokenizer / name, folder / "tokenizer")
    for config in folder.glob("*/config.json"):
        _forget_where_it_was_made(config)


def _forget_where_it_was_made(config: Path) -> None:
    told = json.loads(config.read_text(encoding="utf-8"))
    told.pop("_name_or_path", None)
    config.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _guide(shop: Workshop) -> None:
    lessons = _lessons(shop, "edges", guide.edge_example, guide.COUNTS)
    folder = shop.companion("canny")
    guide.train_guide(shop.finished_unet(), shop.finished_encoders(), lessons, folder, shop.work / "guide.pt")
    _forget_where_it_was_made(folder / "config.json")


def _lora(shop: Workshop) -> None:
    lessons = _lessons(shop, "night", night_example, lora.COUNTS)
    target = shop.companion("night") / "night.safetensors"
    lora.train_lora(shop.finished_unet(), shop.finished_encoders(), lessons, target, shop.work / "lora.pt")


def _embedding(shop: Workshop) -> None:
    lessons = _lessons(shop, "dusk", embedding.dusk_example, embedding.COUNTS)
    target = shop.companion("dusk") / f"{embedding.TOKEN}.safetensors"
    embedding.train_embedding(
        shop.finished_unet(), shop.finished_encoders(), lessons, target, shop.work / "embedding.pt"
    )


def _motion(shop: Workshop) -> None:
    folder, empty = shop.companion("motion"), shop.finished_encoders().states([""])
    motion.train_motion(shop.finished_unet(), Pool(shop.pool), empty, folder, shop.work / "motion.pt")
    _forget_where_it_was_made(folder / "config.json")


def _lessons(shop: Workshop, name: str, artist: Artist, counts: dict[int, int]) -> Lessons:
    file = shop.work / "lessons" / f"{name}.pt"
    make_lessons(file, shop.finished_encoders(), artist, counts)
    return Lessons(file)


def _reconstructions(shop: Workshop) -> None:
    make_reconstructions(shop.folder / "vae", shop.reconstructions)


def _tagger(shop: Workshop) -> None:
    train_tagger(shop.reconstructions, shop.companion("tagger"), shop.work)


def _upscaler(shop: Workshop) -> None:
    folder = shop.companion("4x")
    train_upscaler(shop.reconstructions, folder / f"{folder.name}.safetensors", shop.work, UPSCALER_STEPS)


STAGES: dict[str, Callable[[Workshop], None]] = {
    "tokenizer": _tokenizer,
    "text-encoder": _text_encoder,
    "autoencoder": _autoencoder,
    "latents": _latents,
    "denoiser": _denoiser,
    "large-denoiser": _large_denoiser,
    "decoder": _decoder,
    "assemble": _assemble,
    "guide": _guide,
    "lora": _lora,
    "embedding": _embedding,
    "reconstructions": _reconstructions,
    "tagger": _tagger,
    "upscaler": _upscaler,
    "motion": _motion,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".training"), help="checkpoints and cached latents")
    parser.add_argument("--folder", type=Path, default=Path("models/darkroom-shapes"), help="the finished model")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--stage", choices=STAGES, help="only this one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shop = Workshop(arguments.work, arguments.folder)
    for name, make in STAGES.items():
        if arguments.stage in (None, name):
            _once(shop.work, name, lambda make=make: make(shop))


def _once(work: Path, name: str, make: Callable[[], None]) -> None:
    """What is there is cheap to assemble again, and parts may have changed."""
    mark = work / f"{name}.done"
    if name == "assemble" or not mark.exists():
        work.mkdir(parents=True, exist_ok=True)
        make()
        mark.touch()


if __name__ == "__main__":
    main()
