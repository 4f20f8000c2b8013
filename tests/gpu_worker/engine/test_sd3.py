"""Stable Diffusion 3 against diffusers' own pipelines. Tolerance: 1 of 255 in any value."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3InpaintPipeline,
    UniPCMultistepScheduler,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from safetensors.torch import save_file

from benchmarks.flow_drawing import AVOIDED, PROMPT, SEED, SIZE, WORDS, reference, sampled, stock_pipeline
from gpu_worker.engine import denoise
from gpu_worker.engine.checkpoint import load_checkpoint
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.attachments import Lora
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.errors import FatalFailure
from jobs.inpainting import Masking
from jobs.prompt import Piece
from jobs.samplers import FLOW_SAMPLERS, Sampler
from jobs.schedules import Schedule
from tests.gpu_worker.engine.test_against_diffusers import difference

SOLVER = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


@pytest.fixture(scope="module")
def stock(flow_folders: dict[str, Path]) -> dict[str, Any]:
    short = stock_pipeline(flow_folders["sd3-short"], text_encoder_3=None, tokenizer_3=None)
    return {"sd3": stock_pipeline(flow_folders["sd3"]), "sd3-short": short}


def scheduler_of(sampler: str, config: Any) -> Any:
    """As diffusers' documentation makes them for this model."""
    solver = {"num_train_timesteps": 1000, "flow_shift": config.shift, **SOLVER}
    match sampler:
        case "Heun":
            return FlowMatchHeunDiscreteScheduler(shift=config.shift)
        case "DPM++ 2M" | "DPM++ 2M SDE":
            kind = "sde-dpmsolver++" if sampler.endswith("SDE") else "dpmsolver++"
            return DPMSolverMultistepScheduler(**solver, algorithm_type=kind, solver_order=2)
        case "UniPC":
            return UniPCMultistepScheduler(**solver)
        case _:
            options = {"use_karras_sigmas": sampler == "Euler Karras", "stochastic_sampling": sampler == "LCM"}
            return FlowMatchEulerDiscreteScheduler.from_config(config, **options)


def drawn(engine: Any, model: str = "sd3", **wish: Any) -> torch.Tensor:
    return sampled(engine, engine.load(model), **wish)


def picture_of(engine: Any, latents: torch.Tensor, model: str = "sd3") -> Any:
    return engine.decode(engine.load(model), latents)[0]


@pytest.mark.parametrize("sampler", FLOW_SAMPLERS)
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_every_sampler_draws_what_the_stock_pipeline_draws(
    flow_engine: Any, stock: Any, sampler: Sampler, guidance_scale: float
) -> None:
    scheduler = scheduler_of(sampler.value, stock["sd3"].scheduler.config)
    theirs = reference(stock["sd3"], scheduler, guidance_scale=guidance_scale)

    ours = drawn(flow_engine, sampler=sampler, guidance_scale=guidance_scale)

    assert difference(picture_of(flow_engine, ours), theirs) <= 1


def test_a_model_without_t5_draws_what_the_stock_pipeline_draws(flow_engine: Any, stock: Any) -> None:
    pipeline = stock["sd3-short"]
    theirs = reference(pipeline, pipeline.scheduler)

    assert difference(picture_of(flow_engine, drawn(flow_engine, "sd3-short"), "sd3-short"), theirs) <= 1


def test_clip_skip_is_counted_from_the_layer_it_was_trained_with(flow_engine: Any, stock: Any) -> None:
    # diffusers counts from the layer before the last.
    states, _, pooled, _ = stock["sd3"].encode_prompt(WORDS, None, None, clip_skip=1)
    checkpoint = flow_engine.load("sd3")

    ours = flow_engine.encode_prompt(checkpoint, prompt=PROMPT, negative=AVOIDED, clip_skip=3)

    torch.testing.assert_close(ours.positive, states)
    torch.testing.assert_close(ours.pooled_positive, pooled)


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        (Schedule.KARRAS, {"use_karras_sigmas": True}),
        (Schedule.EXPONENTIAL, {"use_exponential_sigmas": True}),
        (Schedule.BETA, {"use_beta_sigmas": True}),
        (Schedule.UNIFORM, {}),
    ],
)
def test_a_named_schedule_is_that_of_the_stock_scheduler(
    flow_engine: Any, stock: Any, schedule: Schedule, options: dict[str, bool]
) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(stock["sd3"].scheduler.config, **options)
    theirs = reference(stock["sd3"], scheduler)

    ours = drawn(flow_engine, schedule=schedule)

    assert difference(picture_of(flow_engine, ours), theirs) <= 1


def test_sgm_uniform_ends_a_step_before_the_picture(flow_engine: Any, stock: Any) -> None:
    pipeline = stock["sd3"]
    theirs = reference(pipeline, pipeline.scheduler, sigmas=[1.0, 0.75, 0.5, 0.25])

    ours = drawn(flow_engine, schedule="sgm_uniform")

    assert difference(picture_of(flow_engine, ours), theirs) <= 1


@pytest.mark.parametrize(("sampler", "strength"), [("Euler", 0.5), ("Euler", 1.0), ("Heun", 0.5)])
def test_starting_from_a_picture_draws_what_the_stock_pipeline_draws(
    flow_engine: Any, stock: Any, sampler: str, strength: float
) -> None:
    checkpoint = flow_engine.load("sd3")
    start = flow_engine.encode_pictures(checkpoint, [gradient()], **SIZE)
    pipeline = StableDiffusion3Img2ImgPipeline(**stock["sd3"].components)
    pipeline.set_progress_bar_config(disable=True)
    scheduler = scheduler_of(sampler, stock["sd3"].scheduler.config)
    # Given latents, it encodes nothing, and draws no sample around the mean.
    theirs = reference(pipeline, scheduler, image=start.clone(), strength=strength)

    ours = drawn(flow_engine, sampler=sampler, start=start, strength=strength)

    assert difference(picture_of(flow_engine, ours), theirs) <= 1


def test_inpainting_draws_what_the_stock_pipeline_draws(
    flow_engine: Any, stock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    checkpoint = flow_engine.load("sd3")
    start = flow_engine.encode_pictures(checkpoint, [gradient()], **SIZE)
    mask = Image.new("L", (SIZE["width"], SIZE["height"]))
    mask.paste(255, (32, 32, 96, 128))
    pipeline = StableDiffusion3InpaintPipeline(**stock["sd3"].components)
    pipeline.set_progress_bar_config(disable=True)
    # Latents: it forgets the VAE's shift when it decodes.
    wish = {"image": gradient(), "mask_image": mask, "strength": 0.75, "output_type": "latent"}
    theirs = reference(pipeline, pipeline.scheduler, **wish)

    ours = drawn(flow_engine, start=start, strength=0.75, masking=Masking(mask=mask))

    torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-4)


def test_latents_of_a_picture_are_moved_as_the_vae_wants(flow_engine: Any, stock: Any) -> None:
    checkpoint, pipeline = flow_engine.load("sd3"), stock["sd3"]
    pixels = pipeline.image_processor.preprocess(gradient())

    ours = flow_engine.encode_pictures(checkpoint, [gradient()], **SIZE)

    with torch.inference_mode():
        mean = pipeline.vae.encode(pixels).latent_dist.mode()
    torch.testing.assert_close(ours, (mean - 0.0609) * 1.5305)


def test_pictures_of_one_request_are_those_of_requests_alone(flow_engine: Any) -> None:
    together = drawn(flow_engine, seeds=[7, 8])

    alone = torch.cat([drawn(flow_engine, seeds=[seed]) for seed in (7, 8)])

    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_previews_show_where_it_ends(flow_engine: Any) -> None:
    for sampler in ("Euler", "Heun", "DPM++ 2M"):
        checkpoint = flow_engine.load("sd3")
        conditioning = flow_engine.encode_prompt(checkpoint, prompt=PROMPT, negative=AVOIDED, clip_skip=1)
        told = {**SIZE, "seeds": [SEED], "sampler": sampler, "steps": 6, "guidance_scale": 5.0}
        denoising = denoise.begin(checkpoint, conditioning, **told)
        far = []
        with torch.inference_mode():
            while not denoising.is_done:
                denoise.step(checkpoint, [denoising])
                far.append(denoising.clean())

        distances = [float((each - denoising.latents).abs().mean()) for each in far]

        assert distances[-1] < distances[0] / 4


def test_a_prompt_of_many_words_is_read_to_its_end(flow_engine: Any) -> None:
    checkpoint = flow_engine.load("sd3")
    start = "a red cat on a roof " * 60

    def encoded(text: str) -> Any:
        return flow_engine.encode_prompt(checkpoint, prompt=(Piece(text),), negative=AVOIDED, clip_skip=1)

    one, other = encoded(start + "blue"), encoded(start + "green")

    # CLIP's windows of 77, a token to a letter, and T5's of 256
    assert one.positive.shape == one.negative.shape
    assert (one.positive.shape[1] - 512) % 77 == 0
    assert not torch.equal(one.positive[:, -512:], other.positive[:, -512:])


def test_emphasis_counts_for_t5_too(flow_engine: Any) -> None:
    checkpoint = flow_engine.load("sd3")

    def long(text: str) -> torch.Tensor:
        encoded = flow_engine.encode_prompt(checkpoint, prompt=(Piece(text),), negative=AVOIDED, clip_skip=1)
        return encoded.positive[0, -256:]

    plain, strong = long("a red cat"), long("a (red:1.5) cat")

    # ▁ a | ▁red | ▁cat, then the end
    ratio = strong / plain
    scale = ratio[0].mean()
    torch.testing.assert_close(ratio[2], 1.5 * scale.expand(80), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ratio[3], scale.expand(80), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M Karras", "PLMS", "DDIM", "DPM adaptive", "nothing"])
def test_a_sampler_that_does_not_go_with_it_is_named(flow_engine: Any, sampler: str) -> None:
    with pytest.raises(FatalFailure, match=re.escape(sampler)):
        drawn(flow_engine, sampler=sampler)


def test_a_schedule_that_does_not_go_with_it_is_named(flow_engine: Any) -> None:
    for sampler, schedule in (("Heun", "karras"), ("Euler", "ddim_uniform")):
        with pytest.raises(FatalFailure, match=f"sampler {sampler} cannot follow the schedule {schedule}"):
            drawn(flow_engine, sampler=sampler, schedule=schedule)


def test_sizes_are_of_whole_tokens(flow_engine: Any) -> None:
    checkpoint = flow_engine.load("sd3")

    assert flow_engine.next_size(checkpoint, 130, 200) == (144, 208)
    with pytest.raises(FatalFailure, match="multiples of 16"):
        drawn(flow_engine, width=136)


@pytest.mark.parametrize(("model", "family"), [("sd3", Family.SDXL), ("sd15", Family.SD3), ("sdxl", Family.SD3)])
def test_a_folder_of_another_family_is_refused(
    folders: dict[str, Path], flow_folders: dict[str, Path], model: str, family: Family
) -> None:
    path = (folders | flow_folders)[model]

    with pytest.raises(FatalFailure, match=f"but the catalogue says {family}"):
        load_checkpoint(Model(id="m1", name="one", family=family, path=path), CPU)


def test_damaged_weights_are_refused(flow_folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(flow_folders["sd3"], tmp_path / "model")
    weights = copy / "transformer/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(FatalFailure, match=f"model m1: cannot load {copy}"):
        load_checkpoint(Model(id="m1", name="one", family=Family.SD3, path=copy), CPU)


def test_a_lora_in_diffusers_names_changes_the_transformer(flow_folders: dict[str, Path], tmp_path: Path) -> None:
    layer = "transformer_blocks.0.attn.to_q"
    down, up = torch.randn(2, 32) / 4, torch.randn(32, 2) / 4
    names = {f"transformer.{layer}.lora_A.weight": down, f"transformer.{layer}.lora_B.weight": up}
    save_file(names, tmp_path / "ink.safetensors")
    models = [
        Model(id="m", name="m", family=Family.SD3, path=flow_folders["sd3"]),
        Model(id="ink", name="ink", kind=Kind.LORA, family=Family.SD3, path=tmp_path / "ink.safetensors"),
    ]
    engine = DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)
    weight = engine.load("m").denoiser.get_submodule(layer).weight.clone()

    changed = engine.load("m", [Lora(model="ink", weight=0.5)]).denoiser.get_submodule(layer).weight

    torch.testing.assert_close(changed, weight + 0.5 * up @ down)
    with pytest.raises(FatalFailure, match=r"LoRA ink: its block weight .* nobody has numbered those of SD3"):
        engine.load("m", [Lora(model="ink", block_weight="0.5:lbw=1" + ",1" * 16)])


def gradient() -> Image.Image:
    rows, columns = np.mgrid[0 : SIZE["height"], 0 : SIZE["width"]]
    pixels = np.stack([rows % 256, columns * 2 % 256, (rows + columns) % 256], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("sampler", ["Heun", "DPM++ 2M", "UniPC"])
def test_from_a_picture_all_samplers_go_the_same_way(flow_engine: Any, sampler: str) -> None:
    """They solve one equation; diffusers' img2img takes no others than Euler and Heun."""
    checkpoint = flow_engine.load("sd3")
    start = flow_engine.encode_pictures(checkpoint, [gradient()], **SIZE)
    wish = {"start": start, "strength": 0.5, "steps": 48}
    fine = drawn(flow_engine, sampler="Euler", **wish | {"steps": 120})

    other = drawn(flow_engine, sampler=sampler, **wish)

    assert (other - fine).abs().mean() < 0.05 * (fine - start).abs().mean()
