"""T2I adapters against diffusers' own pipelines. Tolerance: 1 of 255 in any value."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    MultiAdapter,
    StableDiffusionAdapterPipeline,
    StableDiffusionXLAdapterPipeline,
    T2IAdapter,
)
from PIL import Image

from gpu_worker.engine import denoise
from gpu_worker.engine.control import SOFTER_OF_ADAPTERS, Adapter
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.attachments import ControlNet
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.errors import FatalFailure
from jobs.preprocessors import Preprocessor
from tests.gpu_worker.engine.conftest import FAMILIES, SD15_WIDTHS
from tests.gpu_worker.engine.test_against_diffusers import SEED, STEPS, difference, reference
from tests.gpu_worker.engine.test_control import SIZE, picture

WIDTH, HEIGHT = SIZE
KINDS: dict[str, dict[str, Any]] = {
    "full": {"channels": list(SD15_WIDTHS), "adapter_type": "full_adapter"},
    "second": {"channels": list(SD15_WIDTHS), "adapter_type": "full_adapter"},
    "light": {"channels": list(SD15_WIDTHS), "adapter_type": "light_adapter"},
    "gray": {"channels": list(SD15_WIDTHS), "adapter_type": "full_adapter", "in_channels": 1},
    "xl": {"channels": [16, 32, 32, 32], "adapter_type": "full_adapter_xl", "downscale_factor": 16},
}


@pytest.fixture(scope="session")
def networks() -> dict[str, Any]:
    made = {}
    for seed, (name, options) in enumerate(KINDS.items()):
        torch.manual_seed(seed)
        made[name] = T2IAdapter(**options).eval()
        for parameter in made[name].parameters():
            parameter.data *= 1.5
    return made


@pytest.fixture(scope="session")
def engine(
    folders: dict[str, Path], networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> DiffusersEngine:
    models = [Model(id=id, name=id.upper(), family=FAMILIES[id], path=path) for id, path in folders.items()]
    root = tmp_path_factory.mktemp("adapters")
    for name, network in networks.items():
        network.save_pretrained(root / name)
    (root / "damaged").mkdir()
    (root / "damaged/config.json").write_text('{"_class_name": "T2IAdapter"}')
    for name in (*networks, "damaged"):
        family = Family.SDXL if name == "xl" else Family.SD15
        models.append(Model(id=name, name=name, kind=Kind.CONTROLNET, family=family, path=root / name))
    return DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)


def control(engine: Any, checkpoint: Any, name: str, seed: int = 0, **fields: Any) -> Adapter:
    mask, size = fields.pop("mask", None), fields.pop("size", SIZE)
    asked = ControlNet(model=name, preprocessor=Preprocessor.NONE, **fields)
    seen = picture(seed, size)
    made: Adapter = engine.control(checkpoint, asked, picture=seen, mask=mask, width=size[0], height=size[1])
    return made


def stock_pipeline(stock: Any, model: str, network: Any) -> Any:
    kind = StableDiffusionXLAdapterPipeline if model == "sdxl" else StableDiffusionAdapterPipeline
    options = {} if model == "sdxl" else {"requires_safety_checker": False}
    components = {name: each for name, each in stock[model].components.items() if name != "image_encoder"}
    pipeline = kind(**components, adapter=network, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(("model", "name"), [("sd15", "full"), ("sd15", "light"), ("sd15", "gray"), ("sdxl", "xl")])
@pytest.mark.parametrize("guidance_scale", [1.0, 6.0])
def test_an_adapter_guides_as_in_the_stock_pipeline(
    engine: Any, stock: Any, networks: Any, draw: Any, model: str, name: str, guidance_scale: float
) -> None:
    checkpoint = engine.load(model)
    theirs = reference(
        stock_pipeline(stock, model, networks[name]),
        "Euler",
        image=picture().convert("L") if name == "gray" else picture(),
        width=WIDTH,
        height=HEIGHT,
        guidance_scale=guidance_scale,
        adapter_conditioning_scale=0.8,
    )
    guide = control(engine, checkpoint, name, weight=0.8)
    wish = {"width": WIDTH, "height": HEIGHT, "seeds": [SEED], "steps": STEPS, "guidance_scale": guidance_scale}

    guided, free = (engine.decode(checkpoint, draw(checkpoint, **wish, controls=on))[0] for on in ([guide], []))

    assert difference(guided, theirs) <= 1
    assert difference(free, theirs) > 8


def test_it_counts_for_its_share_of_the_steps(engine: Any, stock: Any, networks: Any, draw: Any) -> None:
    checkpoint = engine.load("sdxl")
    size = {"width": WIDTH, "height": HEIGHT, "guidance_scale": 5.0}
    pipeline = stock_pipeline(stock, "sdxl", networks["xl"])
    theirs = reference(pipeline, "Euler", image=picture(), adapter_conditioning_factor=0.5, **size)

    guide = control(engine, checkpoint, "xl", guidance_end=0.5)
    ours = draw(checkpoint, seeds=[SEED], steps=STEPS, controls=[guide], **size)

    assert difference(engine.decode(checkpoint, ours)[0], theirs) <= 1


def test_several_add_up(engine: Any, stock: Any, networks: Any, draw: Any) -> None:
    checkpoint = engine.load("sd15")
    size = {"width": WIDTH, "height": HEIGHT, "guidance_scale": 5.0}
    pipeline = stock_pipeline(stock, "sd15", MultiAdapter([networks["full"], networks["second"]]))
    images, scales = [picture(0), picture(1)], [1.0, 0.5]
    theirs = reference(pipeline, "Euler", image=images, adapter_conditioning_scale=scales, **size)
    guides = [control(engine, checkpoint, "full"), control(engine, checkpoint, "second", seed=1, weight=0.5)]

    ours = draw(checkpoint, seeds=[SEED], steps=STEPS, controls=guides, **size)

    assert difference(engine.decode(checkpoint, ours)[0], theirs) <= 1


def test_a_prompt_that_is_more_important_weakens_the_finer_levels(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    balanced = control(engine, checkpoint, "full")

    softer = control(engine, checkpoint, "full", control_mode="MY_PROMPT_IS_MORE_IMPORTANT")

    for one, other, scale in zip(balanced.features, softer.features, SOFTER_OF_ADAPTERS, strict=True):
        torch.testing.assert_close(other, one * scale)


def test_one_that_is_more_important_is_not_heard_by_what_is_avoided(engine: Any) -> None:
    guide = control(engine, engine.load("sd15"), "full", control_mode="CONTROLNET_IS_MORE_IMPORTANT")

    for level in guide.rows(4, is_guided=True):
        assert not level[:2].any() and level[2:].any()
    assert all(level[0].any() for level in guide.rows(2, is_guided=False))


def test_a_mask_says_where_it_counts(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    left = Image.new("L", SIZE)
    left.paste(255, (0, 0, WIDTH // 2, HEIGHT))
    whole = control(engine, checkpoint, "full")

    masked = control(engine, checkpoint, "full", mask=left)

    for one, other in zip(whole.features, masked.features, strict=True):
        middle = one.shape[-1] // 2
        torch.testing.assert_close(other[..., :middle], one[..., :middle])
        assert not other[..., middle:].any()


@pytest.mark.parametrize(("model", "name"), [("sd15", "full"), ("sd15", "light"), ("sdxl", "xl")])
def test_every_size_that_has_latents_can_be_guided(engine: Any, draw: Any, model: str, name: str) -> None:
    checkpoint, size = engine.load(model), (136, 200)

    latents = draw(checkpoint, width=size[0], height=size[1], controls=[control(engine, checkpoint, name, size=size)])

    assert latents.shape[-2:] == (25, 17)


def test_a_request_with_and_one_without_share_a_call(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    conditioning = engine.encode_prompt(checkpoint, prompt=(), negative=(), clip_skip=1)
    told = {"width": WIDTH, "height": HEIGHT, "sampler": "Euler", "steps": 1, "guidance_scale": 3.0}
    wishes = [{"seeds": [1], "controls": [control(engine, checkpoint, "full")]}, {"seeds": [2]}]

    alone, together = ([denoise.begin(checkpoint, conditioning, **told, **wish) for wish in wishes] for _ in range(2))
    with torch.inference_mode():
        for each in alone:
            denoise.step(checkpoint, [each])
        denoise.step(checkpoint, together)

    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.latents, other.latents, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("model", "name"), [("sd15", "xl"), ("sdxl", "full"), ("tiny", "full"), ("sd15", "damaged")])
def test_what_cannot_be_used_is_refused_by_name(engine: Any, model: str, name: str) -> None:
    with pytest.raises(FatalFailure, match=name):
        control(engine, engine.load(model), name)
