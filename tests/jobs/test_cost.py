"""What a job should take, by what it asks for."""

import pytest

from jobs.cost import SECONDS_AROUND, SECONDS_PER_MEGAPIXEL_STEP, work_of
from jobs.preprocessors import Preprocessor
from jobs.prompt import Piece
from jobs.stages import Stage
from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import Detail, ImageToAdetailer
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.stages.input_initialize import InputInitialize
from jobs.stages.video_diffusion import VideoDiffusion

PLAIN = Diffusion(width=1024, height=1024, prompt=(Piece("x"),), model="101", sampler="Euler", steps=20)
SMALL = Diffusion(width=512, height=512, prompt=(Piece("x"),), model="101", sampler="Euler", steps=20)
UPSCALER = ImageToUpscaler(diffusion=SMALL, upscaler="Lanczos", scale=2.0, steps=10, denoising_strength=0.3)
INPAINT = ImageToInpaint(diffusion=SMALL, mask="m")
LARGER = ImageToUpscaler(diffusion=SMALL, upscaler="Lanczos", width=2048, height=2048, steps=10, denoising_strength=0.3)
LOOK = ImageToAdetailer(diffusion=SMALL, details=(Detail(), Detail(steps=10)))
LARGE_PARTS = ImageToAdetailer(diffusion=SMALL, details=(Detail(width=2048, height=2048),) * 8)
WHOLE = ImageToAdetailer(diffusion=SMALL, details=(Detail(only_masked=False),) * 8)
PICTURE = InputInitialize(seed=1, image_resource_id="r", picture_size=(2048, 2048))
DETECT = ControlnetDetect(preprocessor=Preprocessor.DEPTH, model="301")
HUGE = InputInitialize(seed=0, image_resource_id="r", picture_size=(8192, 4096))
ONE, FOUR = InputInitialize(seed=1), InputInitialize(seed=1, count=4)


@pytest.mark.parametrize(
    ("stages", "megapixel_steps"),
    [
        ((ONE, PLAIN), 20),
        ((FOUR, PLAIN), 4 * 20),
        ((ONE, SMALL), 20 / 4),
        ((ONE, SMALL, UPSCALER), 20 / 4 + 10),  # to 1024 × 1024
        ((ONE, PLAIN, INPAINT), 20 + 20 / 4),  # the part alone, at the size of its DIFFUSION
        ((ONE, SMALL, LOOK), (20 + 20 + 10) / 4),
        ((ONE, SMALL, LARGE_PARTS), 20 / 4 + 8 * 20 * 4),
        ((ONE, SMALL, LARGER, WHOLE), 20 / 4 + 10 * 4 + 8 * 20 * 4),  # each pass draws all that was made before
        ((PICTURE, WHOLE), 8 * 20 / 4),  # no stage made it: it is drawn at the size of the DIFFUSION
        ((PICTURE, LOOK, WHOLE), (20 + 10) / 4 + 8 * 20 * 4),
        ((PICTURE, INPAINT, UPSCALER), 20 / 4 + 10 * 16),  # from 2048 × 2048, not from 512 × 512
        ((ONE, VideoDiffusion(model="m", prompt=(), width=1024, height=1024, total_frames=24)), 24),
        ((PICTURE, DETECT), 4),
        ((HUGE, DETECT), 2),  # it is looked at in 2048 × 1024
    ],
)
def test_it_is_steps_times_pixels_times_pictures(stages: tuple[Stage, ...], megapixel_steps: float) -> None:
    expected = SECONDS_AROUND + SECONDS_PER_MEGAPIXEL_STEP * megapixel_steps

    assert work_of(stages).nominal_s == pytest.approx(expected)


def test_a_kind_is_a_model_a_power_of_two_of_pixels_and_the_stages() -> None:
    larger = Diffusion(width=1024, height=1088, prompt=(Piece("y"),), model="101", sampler="Euler", steps=5)
    other = Diffusion(width=1024, height=1024, prompt=(Piece("x"),), model="102", sampler="Euler")

    assert work_of((ONE, PLAIN)).kind == work_of((FOUR, larger)).kind
    assert work_of((PICTURE, DETECT)).kind == "301 23 CONTROLNET_DETECT"
    assert work_of((ONE, SMALL, LARGE_PARTS)).kind == "101 23 DIFFUSION+IMAGE_TO_ADETAILER"  # 2 ** 22 pixels
    kinds = {
        work_of(each).kind
        for each in ((ONE, PLAIN), (ONE, SMALL), (ONE, other), (ONE, SMALL, UPSCALER), (ONE, INPAINT))
    }
    assert len(kinds) == 5
