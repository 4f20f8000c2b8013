"""ControlNets: against the stock pipelines, and what the web UI's extension adds to them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    MultiControlNetModel,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
)
from PIL import Image

from gpu_worker.engine import denoise
from gpu_worker.engine.control import SOFTER, Control
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.attachments import ControlNet
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.errors import FatalFailure
from jobs.preprocessors import Preprocessor
from tests.gpu_worker.engine.conftest import FAMILIES
from tests.gpu_worker.engine.test_against_diffusers import SEED, STEPS, difference, reference

SIZE = (128, 192)
PIPELINES = {"sd15": StableDiffusionControlNetPipeline, "sdxl": StableDiffusionXLControlNetPipeline}


@pytest.fixture(scope="session")
def networks(stock: dict[str, Any]) -> dict[str, Any]:
    """Three for SD 1.5, of which one pools globally as for shuffled pictures, and one for SDXL; none says 0."""
    made = {}
    for seed, (name, base) in enumerate({"one": "sd15", "two": "sd15", "xl": "sdxl", "pooled": "sd15"}.items()):
        torch.manual_seed(seed)
        network = ControlNetModel.from_unet(stock[base].unet, conditioning_channels=3)
        network.register_to_config(global_pool_conditions=name == "pooled")
        for zero in (
            *network.controlnet_down_blocks,
            network.controlnet_mid_block,
            network.controlnet_cond_embedding.conv_out,
        ):
            torch.nn.init.normal_(zero.weight, std=0.2)
        made[name] = network.eval()
    return made


@pytest.fixture(scope="session")
def engine(
    folders: dict[str, Path], networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> DiffusersEngine:
    models = [Model(id=id, name=id.upper(), family=FAMILIES[id], path=path) for id, path in folders.items()]
    root = tmp_path_factory.mktemp("controlnets")
    for name, network in networks.items():
        network.save_pretrained(root / name)
    for name in (*networks, "damaged", "absent"):
        family = Family.SDXL if name == "xl" else Family.SD15
        models.append(Model(id=name, name=name, kind=Kind.CONTROLNET, family=family, path=root / name))
    (root / "damaged").mkdir()
    return DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def control(engine: Any, checkpoint: Any, name: str, seed: int = 0, mask: Any = None, **fields: Any) -> Control:
    asked = ControlNet(model=name, preprocessor=Preprocessor.NONE, **fields)
    made: Control = engine.control(checkpoint, asked, picture=picture(seed), mask=mask, width=SIZE[0], height=SIZE[1])
    return made


def stock_pipeline(stock: Any, model: str, network: Any, kind: Any = None) -> Any:
    components = {**stock[model].components, "controlnet": network}
    options = {} if model == "sdxl" else {"requires_safety_checker": False}
    pipeline = (kind or PIPELINES[model])(**components, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(("model", "name"), [("sd15", "one"), ("sdxl", "xl")])
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.3, 0.8)])
@pytest.mark.parametrize("guidance_scale", [1.0, 6.0])
def test_a_controlnet_guides_as_in_the_stock_pipeline(
    engine: Any,
    stock: Any,
    networks: Any,
    draw: Any,
    model: str,
    name: str,
    start: float,
    end: float,
    guidance_scale: float,
) -> None:
    checkpoint = engine.load(model)
    theirs = reference(
        stock_pipeline(stock, model, networks[name]),
        "Euler",
        image=picture(),
        width=SIZE[0],
        height=SIZE[1],
        guidance_scale=guidance_scale,
        controlnet_conditioning_scale=0.8,
        control_guidance_start=start,
        control_guidance_end=end,
    )
    guide = control(engine, checkpoint, name, weight=0.8, guidance_start=start, guidance_end=end)
    wish = {"width": SIZE[0], "height": SIZE[1], "seeds": [SEED], "steps": STEPS, "guidance_scale": guidance_scale}

    guided, free = (engine.decode(checkpoint, draw(checkpoint, **wish, controls=on))[0] for on in ([guide], []))

    assert difference(guided, theirs) <= 1
    assert difference(free, theirs) > 8


@pytest.mark.parametrize("second", ["two", "pooled"])
def test_several_controlnets_add_up_and_go_with_a_picture(
    engine: Any, stock: Any, networks: Any, draw: Any, second: str
) -> None:
    checkpoint = engine.load("sd15")
    start = engine.encode_pictures(checkpoint, [picture(5)], width=SIZE[0], height=SIZE[1])
    both = MultiControlNetModel([networks["one"], networks[second]])
    theirs = reference(
        stock_pipeline(stock, "sd15", both, StableDiffusionControlNetImg2ImgPipeline),
        "Euler a",
        image=start.clone(),
        control_image=[picture(0), picture(1)],
        strength=0.75,
        width=SIZE[0],
        height=SIZE[1],
        guidance_scale=5.0,
        controlnet_conditioning_scale=[1.0, 0.5],
    )
    controls = [control(engine, checkpoint, "one"), control(engine, checkpoint, second, seed=1, weight=0.5)]

    ours = draw(
        checkpoint,
        width=SIZE[0],
        height=SIZE[1],
        seeds=[SEED],
        sampler="Euler a",
        steps=STEPS,
        start=start,
        strength=0.75,
        controls=controls,
    )

    assert difference(engine.decode(checkpoint, ours)[0], theirs) <= 1


def residuals(guide: Control, rows: int = 2, *, is_guided: bool = True) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    latents = torch.randn(rows, 4, SIZE[1] // 8, SIZE[0] // 8, generator=random)
    text = torch.randn(rows, 77, 32, generator=random)
    with torch.inference_mode():
        return guide.residuals(latents, torch.full((rows,), 500.0), text, {}, is_guided=is_guided)


def test_a_prompt_that_is_more_important_weakens_the_finer_levels(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    balanced = residuals(control(engine, checkpoint, "one"))

    softer = residuals(control(engine, checkpoint, "one", control_mode="MY_PROMPT_IS_MORE_IMPORTANT"))

    for i, (one, other) in enumerate(zip(balanced, softer, strict=True)):
        torch.testing.assert_close(other, one * SOFTER ** (12 - i))


@pytest.mark.parametrize(("levels", "last"), [(13, 1.0), (10, 0.825**3)])
def test_sdxl_has_the_first_ten_of_the_levels_that_are_softened(levels: int, last: float) -> None:
    told = [torch.ones(2, 1, 2, 2)] * levels
    guide = Control(
        network=lambda *_, **__: (told[:-1], told[-1]), hint=torch.zeros(1, 3, 16, 16), mask=None, weight=1,
        start=0, end=1, mode="MY_PROMPT_IS_MORE_IMPORTANT",
    )  # fmt: skip

    softened = guide.residuals(torch.zeros(2, 4, 2, 2), torch.zeros(2), torch.zeros(2, 77, 32), {}, is_guided=True)

    assert [float(each[0, 0, 0, 0]) for each in softened[:: levels - 1]] == pytest.approx([0.825**12, last])


def test_a_controlnet_that_is_more_important_is_not_heard_by_what_is_avoided(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    softer = residuals(control(engine, checkpoint, "one", control_mode="MY_PROMPT_IS_MORE_IMPORTANT"))

    alone = residuals(control(engine, checkpoint, "one", control_mode="CONTROLNET_IS_MORE_IMPORTANT"))
    unguided = control(engine, checkpoint, "one", control_mode="CONTROLNET_IS_MORE_IMPORTANT")

    for one, other in zip(softer, alone, strict=True):
        assert not other[0].any()
        torch.testing.assert_close(other[1], one[1], rtol=1e-4, atol=1e-4)
    assert all(level[0].any() for level in residuals(unguided, is_guided=False))


def test_a_mask_says_where_it_counts(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    left = Image.new("L", (SIZE[0], SIZE[1]))
    left.paste(255, (0, 0, SIZE[0] // 2, SIZE[1]))
    whole = residuals(control(engine, checkpoint, "one"))

    masked = residuals(control(engine, checkpoint, "one", mask=left))

    for one, other in zip(whole, masked, strict=True):
        middle = one.shape[-1] // 2
        torch.testing.assert_close(other[..., :middle], one[..., :middle])
        assert not other[..., middle:].any()


def test_a_request_with_and_one_without_share_a_call(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    conditioning = engine.encode_prompt(checkpoint, prompt=(), negative=(), clip_skip=1)
    guide = control(engine, checkpoint, "one")

    def begun(**wish: Any) -> denoise.Denoising:
        return denoise.begin(
            checkpoint,
            conditioning,
            **({"width": SIZE[0], "height": SIZE[1], "sampler": "Euler", "steps": 2, "guidance_scale": 3.0} | wish),
        )

    wishes = [{"seeds": [1], "controls": [guide]}, {"seeds": [2]}]
    alone, together = ([begun(**wish) for wish in wishes] for _ in range(2))
    with torch.inference_mode():
        for _ in range(2):
            for each in alone:
                denoise.step(checkpoint, [each])
            denoise.step(checkpoint, together)

    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.latents, other.latents, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["xl", "damaged", "absent"])
def test_what_cannot_be_used_is_refused_by_name(engine: Any, name: str) -> None:
    with pytest.raises(FatalFailure, match=name):
        control(engine, engine.load("sd15"), name)


def test_the_noise_that_a_sampler_adds_may_have_seeds_of_its_own(engine: Any, draw: Any) -> None:
    checkpoint = engine.load("sd15")

    def drawn(sampler: str, delta: int, seed: int = 7) -> torch.Tensor:
        latents: torch.Tensor = draw(checkpoint, sampler=sampler, seeds=[seed], noise_seed_delta=delta)
        return latents

    for sampler in ("Euler a", "DPM++ SDE"):
        assert not torch.allclose(drawn(sampler, 31337), drawn(sampler, 0))
        assert torch.equal(drawn(sampler, 31337), drawn(sampler, 31337))
    assert torch.equal(drawn("Euler", 31337), drawn("Euler", 0))


def test_a_checkpoint_with_a_controlnet_stays_itself(engine: Any, draw: Any) -> None:
    checkpoint = engine.load("sd15")
    plain = draw(checkpoint, width=SIZE[0], height=SIZE[1])

    draw(checkpoint, width=SIZE[0], height=SIZE[1], controls=[control(engine, checkpoint, "one")])

    assert torch.equal(draw(checkpoint, width=SIZE[0], height=SIZE[1]), plain)
