"""Clips move as their scenes say, and an adapter that has learned nothing changes nothing."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel, UNetMotionModel

from gpu_worker.engine.motion import animated
from training.captions import full_caption
from training.judge import look
from training.latents import Encoders
from training.motion import FRAMES, backwards, draw_clip, is_steady, new_adapter, progress
from training.scenes import CENTER, PLACES, Scene

MODEL = Path("models/darkroom-shapes")
SCENE = Scene(background=7, shape=0, colour=0, size=0)


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("place", range(len(PLACES)))
def test_a_drawn_figure_goes_its_whole_way_in_even_steps(place: int, size: int) -> None:
    scene = replace(SCENE, place=place, size=size)

    seen = [look(frame) for frame in draw_clip(scene, random.Random(2), 256)]

    assert all((each.background, each.colour, each.shape) == (7, 0, 0) for each in seen)
    assert progress(scene, seen)[-1] == pytest.approx(1, abs=0.1)
    assert is_steady(progress(scene, seen))
    assert (seen[0].place, seen[-1].place) == (place, 8 - place)
    assert (seen[0].size, seen[-1].size) == (size, 1 - size if place == CENTER else size)


@pytest.mark.parametrize("place", range(len(PLACES)))
def test_a_clip_backwards_is_the_clip_of_another_scene(place: int) -> None:
    scene = replace(SCENE, place=place)

    seen = [look(frame) for frame in reversed(draw_clip(scene, random.Random(2), 256))]

    assert (seen[0].place, seen[0].size) == (backwards(scene).place, backwards(scene).size)
    assert progress(backwards(scene), seen)[-1] == pytest.approx(1, abs=0.1)


def test_a_group_stands_still() -> None:
    first, *others = draw_clip(replace(SCENE, count=3), random.Random(2), 128)

    assert all(np.array_equal(first, each) for each in others)


@pytest.mark.parametrize("gone", [[0, 0.4, 0.3, 1], [0, 0, 0, 1]])
def test_a_step_back_or_a_leap_is_not_steady(gone: list[float]) -> None:
    assert not is_steady(np.array(gone))


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
