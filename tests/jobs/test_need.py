"""What jobs ask of a worker."""

import pytest

from jobs.attachments import ControlNet, Lora
from jobs.detectors import BUNDLED, Look
from jobs.need import Need, need_of, read_need
from jobs.preprocessors import Preprocessor
from jobs.prompt import Piece
from jobs.stages import Stage
from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import Detail, ImageToAdetailer
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.stages.input_initialize import InputInitialize
from jobs.upscalers import Upscaler

START = InputInitialize(seed=1)
PLAIN = Diffusion(width=512, height=512, prompt=(Piece("x"),), model="101", sampler="Euler")
FULL = Diffusion(
    width=512,
    height=512,
    prompt=(Piece("x"),),
    model="101",
    sampler="Euler",
    vae="7",
    loras=(Lora(model="8"), Lora(model="9", weight=0.5)),
    controls=(
        ControlNet(model="10", preprocessor=Preprocessor.CANNY),
        ControlNet(model="11", preprocessor=Preprocessor.DEPTH, preprocessor_model="12"),
    ),
    embeddings=("13",),
)


def upscaler(name: str) -> ImageToUpscaler:
    return ImageToUpscaler(diffusion=PLAIN, upscaler=name, scale=2, steps=5, denoising_strength=0.3)


def details(*each: Detail) -> ImageToAdetailer:
    return ImageToAdetailer(diffusion=PLAIN, details=each)


@pytest.mark.parametrize(
    ("stages", "models"),
    [
        ((PLAIN,), "101"),
        ((FULL,), "101 7 8 9 10 11 12 13"),
        ((ImageToInpaint(diffusion=FULL, mask="m"),), "101 7 8 9 10 11 12 13"),
        ((PLAIN, upscaler(Upscaler.LANCZOS)), "101"),
        ((PLAIN, upscaler("21")), "101 21"),
        ((PLAIN, details(Detail(look=Look(detector=BUNDLED)))), "101"),
        (
            (PLAIN, details(Detail(look=Look(detector="31")), Detail(model="32", loras=(Lora(model="33"),)))),
            "101 31 32 33",
        ),
        ((ControlnetDetect(preprocessor=Preprocessor.DEPTH, model="301"),), "301"),
    ],
)
def test_each_model_is_needed_once_and_first_the_one_that_draws_first(stages: tuple[Stage, ...], models: str) -> None:
    assert need_of((START, *stages)).models == tuple(models.split())


def test_a_need_is_read_as_it_was_written() -> None:
    need = need_of((START, FULL, upscaler("21"), upscaler("21")))

    assert need.stages == ("INPUT_INITIALIZE", "DIFFUSION", "IMAGE_TO_UPSCALER")
    assert read_need(str(need)) == need
    assert read_need("") == Need((), ())
