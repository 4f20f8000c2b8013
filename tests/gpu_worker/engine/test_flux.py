"""FLUX against diffusers' own pipelines. Tolerance: 1 of 255 in any value."""

import inspect
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    FluxPipeline,
    UniPCMultistepScheduler,
)

from benchmarks import flow_drawing
from benchmarks.flow_drawing import AVOIDED, PROMPT, SIZE, reference
from gpu_worker.engine.architectures.architecture import Call
from gpu_worker.engine.architectures.flux import Flux
from gpu_worker.engine.checkpoint import load_checkpoint
from gpu_worker.engine.course import Course
from gpu_worker.engine.device import CPU, Device
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.engine.flow import new_flow_scheduler
from jobs.catalog import Catalog, Family, Model
from jobs.errors import FatalFailure
from jobs.prompt import Piece
from tests.gpu_worker.engine.conftest import Seen
from tests.gpu_worker.engine.test_against_diffusers import difference
from tests.gpu_worker.engine.test_sd3 import SOLVER, gradient

MODELS = ("flux-dev", "flux-schnell")
# 128 × 192 pixels are 8 × 12 tokens; (1.15 - 0.5) / (4096 - 256) more for each over 256
MU = 0.5 + (96 - 256) * 0.65 / 3840


@pytest.fixture(scope="module")
def stock(flow_folders: dict[str, Path]) -> dict[str, Any]:
    pipelines = {name: FluxPipeline.from_pretrained(flow_folders[name]) for name in MODELS}
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


def drawn(engine: Any, model: str, **wish: Any) -> Any:
    return flow_drawing.drawn(engine, engine.load(model), **wish)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
def test_it_is_told_how_closely_to_follow(flow_engine: Any, stock: Any, model: str, guidance_scale: float) -> None:
    theirs = reference(stock[model], guidance_scale=guidance_scale)

    ours = drawn(flow_engine, model, guidance_scale=guidance_scale)

    assert difference(ours, theirs) <= 1


@pytest.mark.parametrize("model", MODELS)
def test_a_text_to_avoid_is_guided_away_from(flow_engine: Any, stock: Any, model: str) -> None:
    theirs = reference(stock[model], negative_prompt="blue, ugly", true_cfg_scale=4.0, guidance_scale=3.5)

    ours = drawn(flow_engine, model, negative=AVOIDED, guidance_scale=4.0)

    assert difference(ours, theirs) <= 1


def test_a_scale_of_one_avoids_nothing(flow_engine: Any) -> None:
    avoiding = drawn(flow_engine, "flux-dev", negative=AVOIDED, guidance_scale=1.0)

    assert avoiding.tobytes() == drawn(flow_engine, "flux-dev", guidance_scale=1.0).tobytes()


@pytest.mark.parametrize("sampler", ["Euler Karras", "LCM", "DPM++ 2M", "DPM++ 2M SDE", "UniPC"])
@pytest.mark.parametrize("model", MODELS)
def test_every_sampler_draws_what_the_stock_pipeline_draws(
    flow_engine: Any, stock: Any, model: str, sampler: str
) -> None:
    theirs = reference(stock[model], scheduler_of(sampler, stock[model].scheduler.config))

    assert difference(drawn(flow_engine, model, sampler=sampler), theirs) <= 1


def scheduler_of(sampler: str, config: Any) -> Any:
    if sampler in ("Euler Karras", "LCM"):
        options = {"use_karras_sigmas": sampler == "Euler Karras", "stochastic_sampling": sampler == "LCM"}
        return FlowMatchEulerDiscreteScheduler.from_config(config, **options)
    # Theirs takes `mu`, which the pipeline always gives, only where it moves the noise with the size.
    moves = {"use_dynamic_shifting": True, "time_shift_type": "exponential"}
    if sampler == "UniPC":
        return _settled(UniPCMultistepScheduler(**SOLVER, **moves), config)
    kind = "sde-dpmsolver++" if sampler.endswith("SDE") else "dpmsolver++"
    return _settled(DPMSolverMultistepScheduler(**SOLVER, **moves, algorithm_type=kind, solver_order=2), config)


def _settled(scheduler: Any, config: Any) -> Any:
    if not config.use_dynamic_shifting:
        # exp(0) is no shift, as this model has it.
        set_timesteps = scheduler.set_timesteps
        scheduler.set_timesteps = lambda steps, device, mu: set_timesteps(steps, device=device, mu=0.0)
        scheduler.set_timesteps.__signature__ = inspect.signature(set_timesteps)
    return scheduler


def test_heuns_noise_levels_are_those_of_euler(flow_engine: Any) -> None:
    """diffusers' own cannot be moved with the size, so there is no stock picture."""
    config = flow_engine.load("flux-dev").scheduler_config
    size = SIZE["height"] // 8, SIZE["width"] // 8
    courses = [
        Course(sampler=name, schedule=None, steps=5, seeds=[], size=size, device="cpu") for name in ("Euler", "Heun")
    ]

    euler, heun = (new_flow_scheduler(config, course, patch=2, ends_at_a_step=True) for course in courses)

    torch.testing.assert_close(heun.sigmas[[0, 1, 3, 5, 7, 9]], euler.sigmas)
    shift = torch.tensor(MU).exp()
    torch.testing.assert_close(euler.sigmas[1], shift * 0.8 / (1 + (shift - 1) * 0.8))


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_starting_from_a_picture_draws_what_the_stock_pipeline_draws(
    flow_engine: Any, stock: Any, strength: float
) -> None:
    checkpoint = flow_engine.load("flux-dev")
    start = flow_engine.encode_pictures(checkpoint, [gradient()], **SIZE)
    pipeline = FluxImg2ImgPipeline(**stock["flux-dev"].components)
    pipeline.set_progress_bar_config(disable=True)
    # Given latents, it encodes nothing, and draws no sample around the mean.
    theirs = reference(pipeline, image=start.clone(), strength=strength)

    ours = drawn(flow_engine, "flux-dev", start=start, strength=strength)

    assert difference(ours, theirs) <= 1


def test_pictures_of_one_request_are_those_of_requests_alone(flow_engine: Any) -> None:
    checkpoint = flow_engine.load("flux-dev")
    conditioning = flow_engine.encode_prompt(checkpoint, prompt=PROMPT, negative=AVOIDED, clip_skip=1)
    told = {**SIZE, "sampler": "Euler", "steps": 2, "guidance_scale": 3.0, "watch": Seen()}

    together = flow_engine.sample(checkpoint, conditioning, seeds=[7, 8], **told)

    alone = [flow_engine.sample(checkpoint, conditioning, seeds=[seed], **told) for seed in (7, 8)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4)


def test_another_prompt_is_another_picture(flow_engine: Any) -> None:
    one, other = (drawn(flow_engine, "flux-dev", prompt=(Piece(text),)) for text in ("a red cat", "a (red:1.5) cat"))

    assert one.tobytes() != other.tobytes()


def test_a_model_without_t5_is_refused(flow_folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(flow_folders["flux-dev"], tmp_path / "model")
    shutil.rmtree(copy / "text_encoder_2")

    with pytest.raises(FatalFailure, match="it has no text_encoder_2, which is T5"):
        load_checkpoint(Model(id="m1", name="one", family=Family.FLUX, path=copy), CPU)


@pytest.mark.parametrize(("model", "family"), [("flux-dev", Family.SD3), ("sd3", Family.FLUX)])
def test_a_folder_of_another_family_is_refused(flow_folders: dict[str, Path], model: str, family: Family) -> None:
    with pytest.raises(FatalFailure, match=f"but the catalogue says {family}"):
        load_checkpoint(Model(id="m1", name="one", family=family, path=flow_folders[model]), CPU)


def test_sizes_are_of_whole_tokens(flow_engine: Any) -> None:
    with pytest.raises(FatalFailure, match="multiples of 16"):
        drawn(flow_engine, "flux-dev", width=136)


def test_where_memory_is_short_pictures_are_drawn_one_by_one(flow_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = flow_engine.load("flux-dev")
    conditioning = flow_engine.encode_prompt(checkpoint, prompt=PROMPT, negative=AVOIDED, clip_skip=1)
    told = {**SIZE, "seeds": [7, 8], "sampler": "Euler", "steps": 2, "guidance_scale": 3.0, "watch": Seen()}
    together = flow_engine.sample(checkpoint, conditioning, **told)
    answer, most = Flux.answer, 2  # a picture's two rows

    def short(self: Flux, denoiser: Any, call: Call) -> torch.Tensor:
        if len(call.latents) > most:  # the test lowers it
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answer(self, denoiser, call)

    monkeypatch.setattr(Flux, "answer", short)

    torch.testing.assert_close(flow_engine.sample(checkpoint, conditioning, **told), together, rtol=0, atol=1e-4)
    most = 1
    with pytest.raises(FatalFailure, match="with no other model loaded and one picture at a time"):
        flow_engine.sample(checkpoint, conditioning, **told)


def test_it_computes_in_bfloat16_where_that_is_as_fast_as_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_it, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has_it=has_it: has_it)
        assert Flux().dtype(torch.float16) is expected
    assert Flux().dtype(torch.float32) is torch.float32


@pytest.mark.parametrize("model", ["flux-dev", "sd3", "sd3-short"])
def test_half_precision_draws_nearly_the_same(flow_engine: Any, flow_folders: dict[str, Path], model: str) -> None:
    family = Family(model.partition("-")[0].upper())
    half = Device(torch_device=torch.device("cpu"), dtype=torch.bfloat16)
    catalog = Catalog([Model(id=model, name=model, family=family, path=flow_folders[model])])
    engine = DiffusersEngine(catalog, half, max_cached_bytes=2**30)

    rough, fine = (
        np.asarray(drawn(each, model, negative=AVOIDED, steps=2, guidance_scale=1.5), int)
        for each in (engine, flow_engine)
    )

    assert np.abs(rough - fine).mean() < 0.3 * fine.std()
