"""Lessons slide, and an adapter that has learned nothing changes nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel, UNetMotionModel

from gpu_worker.engine.motion import animated
from training.captions import full_caption
from training.judge import Seen
from training.latents import Encoders
from training.motion import COLUMNS, FRAMES, SLIDES, gone, is_steady, new_adapter, slid_noise, slide
from training.scenes import Scene

MODEL = Path("models/darkroom-shapes")
SCENE = Scene(background=7, shape=0, colour=0, size=0)


def test_pictures_slide_to_the_right_and_the_fourth_stays() -> None:
    picture = torch.arange(COLUMNS).expand(1, 8, 4, COLUMNS)

    first, *_, last = rows = slide(picture.expand(FRAMES, -1, -1, -1))[:, 0, 0].tolist()

    assert rows[3] == list(range(COLUMNS))
    assert first == [*range(3, COLUMNS), 31, 31, 31]
    assert last == [0, 0, 0, 0, *range(COLUMNS - 4)]


def test_noise_slides_as_pictures_do_and_none_is_lost() -> None:
    noise = torch.randn(8, COLUMNS, COLUMNS)

    slid = slid_noise(noise)[0].transpose(0, 1)

    assert torch.equal(slid[3], noise)
    assert torch.equal(slid[7][..., 4:], slide(noise.expand(FRAMES, -1, -1, -1))[7][..., 4:])
    assert all(torch.equal(frame.sort().values, noise.sort().values) for frame in slid)


def test_a_slid_figure_has_gone_its_whole_way_in_even_steps() -> None:
    seen = [Seen(7, x=0.5 + way / COLUMNS) for way in SLIDES]

    assert gone(seen)[-1] == pytest.approx(1)
    assert is_steady(gone(seen))


@pytest.mark.parametrize("way", [[0, 0.4, 0.3, 1], [0, 0, 0, 1]])
def test_a_step_back_or_a_leap_is_not_steady(way: list[float]) -> None:
    assert not is_steady(np.array(way))


@torch.inference_mode()
def test_untrained_an_adapter_leaves_each_frame_what_the_denoiser_alone_makes_of_it() -> None:
    unet = UNet2DConditionModel.from_pretrained(MODEL / "unet", torch_dtype=torch.float32)
    states = Encoders(MODEL / "tokenizer", MODEL / "text_encoder", MODEL / "vae").states(
        [full_caption(SCENE, as_tags=True), ""]
    )
    of_frames = states.repeat_interleave(FRAMES, 0)
    noise, time = torch.randn(2, 8, FRAMES, 16, 16), torch.tensor(700)

    single = unet(noise.transpose(1, 2).flatten(0, 1), time, of_frames).sample.unflatten(0, (2, FRAMES)).transpose(1, 2)
    together = animated(unet, new_adapter(unet))(noise, time, of_frames).sample
    stock = UNetMotionModel.from_unet2d(unet, new_adapter(unet))(noise, time, of_frames).sample

    assert torch.allclose(together, single, atol=1e-4)
    assert (stock - single).abs().max() > 0.1
