"""What comes along with the bundled model changes its pictures as told, in diffusers' own pipelines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import MotionAdapter, StableDiffusionImg2ImgPipeline
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from training import embedding, lora
from training.captions import COLOUR_NAMES, full_caption
from training.evaluate import Question, open_pipeline, pictures
from training.evaluate_companions import clip_marks, edge_questions, frames, guided, open_animated, open_guided
from training.guide import kept_edges
from training.judge import look
from training.night import WORD, is_night
from training.scenes import PLACES, SHAPES, Scene

MODEL = Path("models/darkroom-shapes")
GUIDE = MODEL.with_name("darkroom-shapes-canny")
NIGHT = MODEL.with_name("darkroom-shapes-night") / "night.safetensors"
MOTION = MODEL.with_name("darkroom-shapes-motion")
DUSK = MODEL.with_name("darkroom-shapes-dusk") / f"{embedding.TOKEN}.safetensors"
SIDE = 512
SCENE = Scene(background=0, shape=0, colour=0, size=0)


def draw(pipeline: Any, prompt: str, seed: int = 1) -> NDArray[np.uint8]:
    return pictures(pipeline, [Question(SCENE, prompt, seed)], width=SIDE, height=SIDE, guidance=7.0)[0]


def parameters(pipeline: Any) -> list[tuple[str, Tensor]]:
    return [*pipeline.unet.named_parameters(), *pipeline.text_encoder.named_parameters()]


@pytest.fixture
def pipeline() -> Any:
    """A fresh one: some tests change its weights."""
    return open_pipeline(MODEL)


@pytest.fixture(scope="module")
def guide() -> Any:
    return open_guided(MODEL, GUIDE)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_edges_say_shape_and_place_where_the_prompt_names_colours_alone(guide: Any, which: int) -> None:
    asked, hint = edge_questions(3)[which]

    free, held = (guided(guide, asked, hint, 7.0, scale) for scale in (0.0, 1.0))

    seen = look(held)
    assert (SHAPES[seen.shape], PLACES[seen.place]) == (SHAPES[asked.scene.shape], PLACES[asked.scene.place])
    assert kept_edges(hint, held) > 0.4
    assert kept_edges(hint, held) > kept_edges(hint, free) + 0.3


def test_the_lora_is_read_whole_by_diffusers(pipeline: Any) -> None:
    before = {name: weight.clone() for name, weight in parameters(pipeline)}

    lora.apply(pipeline, NIGHT, 1.0)

    with safe_open(NIGHT, "pt") as file:
        layers = {name.split(".")[0] for name in file.keys()}  # noqa: SIM118
        assert file.metadata()["ss_network_module"] == "networks.lora"
    changed = [name for name, weight in parameters(pipeline) if not torch.equal(weight, before[name])]
    assert len(changed) == len(layers)
    assert all(".transformer_blocks." in name or "encoder.layers." in name for name in changed)


@pytest.mark.parametrize("prompt", ["a large red heart in the center on a white background", "yellow star, top left"])
def test_the_lora_makes_night_of_its_word_alone(pipeline: Any, prompt: str) -> None:
    plain = draw(pipeline, f"{prompt}, {WORD}")
    lora.apply(pipeline, NIGHT, 0.0)
    nothing = draw(pipeline, f"{prompt}, {WORD}")
    lora.apply(pipeline, NIGHT, 1.0)
    night, day = draw(pipeline, f"{prompt}, {WORD}"), draw(pipeline, prompt)

    assert np.array_equal(plain, nothing)
    assert [is_night(each) for each in (plain, night, day)] == [False, True, False]


@pytest.mark.parametrize("prompt", ["a large circle in the center", "a small diamond on the left"])
def test_the_embedding_gives_its_colours(pipeline: Any, prompt: str) -> None:
    pipeline.load_textual_inversion(DUSK)

    dusk = look(draw(pipeline, f"{prompt}, {embedding.TOKEN}"))
    plain = look(draw(pipeline, prompt))

    assert (COLOUR_NAMES[dusk.colour], COLOUR_NAMES[dusk.background]) == ("orange", "purple")
    assert (COLOUR_NAMES[plain.colour], COLOUR_NAMES[plain.background]) != ("orange", "purple")


def test_the_embedding_is_one_entry_named_by_its_word() -> None:
    with safe_open(DUSK, "pt") as file:
        assert list(file.keys()) == [embedding.TOKEN]
        assert file.get_tensor(embedding.TOKEN).shape == (embedding.VECTORS, 128)


@pytest.fixture(scope="module")
def animation() -> Any:
    return open_animated(MODEL, MOTION)


@pytest.mark.parametrize(("place", "size"), [("left", 0)])
def test_a_figure_moves_to_the_right_and_stays_itself(animation: Any, place: str, size: int) -> None:
    scene = Scene(background=7, shape=SHAPES.index("heart"), colour=0, size=size, place=PLACES.index(place))

    clip = frames(animation, Question(scene, full_caption(scene, as_tags=False), 1), 7.0)

    assert clip_marks(scene, clip) == dict.fromkeys(
        ("background", "colour", "shape", "the same", "moved", "steady"), True
    )


def test_without_the_motion_adapter_a_figure_stays_where_it_is() -> None:
    scene = Scene(background=7, shape=SHAPES.index("heart"), colour=0, size=0, place=PLACES.index("left"))

    clip = frames(open_animated(MODEL, None), Question(scene, full_caption(scene, as_tags=False), 1), 7.0)

    assert not clip_marks(scene, clip)["moved"]
    assert {PLACES[look(frame).place] for frame in clip} == {"left"}


def test_the_motion_adapter_is_one_of_diffusers(animation: Any) -> None:
    adapter = MotionAdapter.from_pretrained(MOTION, torch_dtype=torch.float16)

    mine = animation.unet.state_dict()
    assert all(torch.equal(mine[name], each.float()) for name, each in adapter.state_dict().items())
    assert (MOTION / "diffusion_pytorch_model.safetensors").stat().st_size < 5_000_000


@pytest.mark.parametrize(("colour", "shape"), [("green", "diamond"), ("black", "heart")])
def test_a_masked_part_is_drawn_again_to_the_prompt_and_the_rest_stays(pipeline: Any, colour: str, shape: str) -> None:
    before = draw(pipeline, "a small red circle on the left on a white background")
    right = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    right[:, SIDE // 2 :] = True

    after = redraw(pipeline, before, right, f"a small {colour} {shape} on the right on a white background")

    seen = look(after[:, SIDE // 2 :])
    assert (COLOUR_NAMES[seen.colour], SHAPES[seen.shape]) == (colour, shape)
    kept = look(after[:, : SIDE // 2])
    assert (COLOUR_NAMES[kept.colour], SHAPES[kept.shape]) == ("red", "circle")
    assert np.abs(after[:, : SIDE // 2 - 16].astype(int) - before[:, : SIDE // 2 - 16]).mean() < 10


def redraw(pipeline: Any, picture: NDArray[np.uint8], mask: Tensor, prompt: str) -> NDArray[np.uint8]:
    """diffusers' image-to-image, which after each step is told again what lies outside the mask. Its inpainting does
    the same, but with four or nine channels only; this model has eight."""
    change = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    change.set_progress_bar_config(disable=True)
    start = Image.fromarray(picture)
    with torch.inference_mode():
        kept = change.vae.encode(change.image_processor.preprocess(start)).latent_dist.mode()
    noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(1))
    inside = torch.nn.functional.max_pool2d(mask.float()[None, None], 16) > 0

    def tell(change: Any, step: int, _time: Tensor, told: dict[str, Tensor]) -> dict[str, Tensor]:
        later = change.scheduler.timesteps[step + 1 : step + 2]
        outside = change.scheduler.add_noise(kept, noise, later) if len(later) else kept
        return {"latents": torch.where(inside, told["latents"], outside)}

    made = change(
        prompt, image=start, strength=1.0, guidance_scale=7.0, num_inference_steps=20, output_type="np",
        generator=torch.Generator().manual_seed(2), callback_on_step_end=tell,
    ).images[0]  # fmt: skip
    return np.round(made * 255).astype(np.uint8)
