"""ControlNets of SD 3 and FLUX against the stock pipelines, and what of the web UI's extension they have not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FluxMultiControlNetModel,
    SD3MultiControlNetModel,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from benchmarks import flow_drawing
from benchmarks.flow_drawing import (
    AVOIDED,
    HEIGHT,
    WIDTH,
    control,
    guided_reference,
    picture,
    stock_pipeline,
)
from benchmarks.flow_models import build_bases, networks, saved
from gpu_worker.engine import denoise, latents
from gpu_worker.engine.controlnet import _kind, load_controlnet
from gpu_worker.engine.device import CPU, Device
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.engine.flow_control import UNION_MODES, FluxControl
from jobs.attachments import ControlNet
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.errors import FatalFailure
from jobs.preprocessors import Preprocessor
from tests.gpu_worker.engine.conftest import FAMILIES
from tests.gpu_worker.engine.small_device import SmallDevice, install
from tests.gpu_worker.engine.test_against_diffusers import difference


@pytest.fixture(scope="module")
def nets() -> dict[str, Any]:
    return networks()


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, flow_folders: dict[str, Path]) -> dict[str, Path]:
    return build_bases(tmp_path_factory.mktemp("bases"), flow_folders)


@pytest.fixture(scope="module")
def engine(
    bases: dict[str, Path],
    folders: dict[str, Path],
    nets: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> DiffusersEngine:
    models = saved(tmp_path_factory.mktemp("controlnets"), bases, nets)
    models += [Model(id=id, name=id, family=FAMILIES[id], path=path) for id, path in folders.items()]
    return DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**31)


@pytest.fixture(autouse=True)
def of_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock pipelines draw around it; ours takes the mean for all seeds."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())


@pytest.fixture(scope="module")
def stock(bases: dict[str, Path]) -> dict[str, Any]:
    return {name: stock_pipeline(path) for name, path in bases.items()}


def reference(stock: Any, model: str, network: Any, **wish: Any) -> Any:
    return guided_reference(stock[model], network, **wish)


def drawn(engine: Any, model: str, controls: Any = (), **wish: Any) -> Any:
    return flow_drawing.drawn(engine, engine.load(model), controls=controls, **wish)


@pytest.mark.parametrize("name", ["sd3-one", "sd3-moved", "sd3-large"])
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.3, 0.8)])
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_sd3s_guide_as_in_the_stock_pipeline(
    engine: Any, stock: Any, nets: Any, name: str, start: float, end: float, guidance_scale: float
) -> None:
    theirs = reference(
        stock,
        "sd3",
        nets[name],
        guidance_scale=guidance_scale,
        control_guidance_start=start,
        control_guidance_end=end,
    )
    guide = control(engine, "sd3", name, guidance_start=start, guidance_end=end)

    guided, free = (drawn(engine, "sd3", each, guidance_scale=guidance_scale) for each in ([guide], []))

    assert difference(guided, theirs) <= 1
    assert difference(free, theirs) > 8


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("flux-dev", "flux-one"),
        ("flux-dev", "flux-two"),
        ("flux-dev", "flux-doubles"),
        ("flux-dev", "flux-told"),
        ("flux-dev", "flux-pixels"),
        ("flux-schnell", "flux-two"),
    ],
)
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.3, 0.8)])
def test_fluxs_guide_as_in_the_stock_pipeline(
    engine: Any, stock: Any, nets: Any, model: str, name: str, start: float, end: float
) -> None:
    theirs = reference(stock, model, nets[name], control_guidance_start=start, control_guidance_end=end)
    guide = control(engine, model, name, guidance_start=start, guidance_end=end)

    guided, free = (drawn(engine, model, each) for each in ([guide], []))

    assert difference(guided, theirs) <= 1
    assert difference(free, theirs) > 8


def test_what_is_avoided_is_told_of_the_picture_as_in_the_stock_pipeline(engine: Any, stock: Any, nets: Any) -> None:
    words = {"negative_prompt": "blue, ugly", "true_cfg_scale": 4.0, "guidance_scale": 3.5}
    theirs = reference(stock, "flux-dev", nets["flux-one"], **words)
    guides = [control(engine, "flux-dev", "flux-one")]

    ours = drawn(engine, "flux-dev", guides, negative=AVOIDED, guidance_scale=4.0)

    assert difference(ours, theirs) <= 1


def test_one_that_is_told_of_guidance_goes_with_a_denoiser_that_is_not(engine: Any, stock: Any, nets: Any) -> None:
    theirs = reference(stock, "flux-schnell", nets["flux-told"], guidance_scale=3.5)

    ours = drawn(engine, "flux-schnell", [control(engine, "flux-schnell", "flux-told")], guidance_scale=3.5)

    assert difference(ours, theirs) <= 1


@pytest.mark.parametrize(
    ("preprocessor", "mode"), [(Preprocessor.CANNY, 0), (Preprocessor.BLUR, 3), (Preprocessor.LUMINANCE, 5)]
)
def test_a_union_is_told_what_its_picture_shows(
    engine: Any, stock: Any, nets: Any, preprocessor: Preprocessor, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_worker.engine.engine.preprocessed", lambda seen, **_: seen)
    theirs = reference(stock, "flux-dev", nets["flux-union"], control_mode=mode)
    guide = control(engine, "flux-dev", "flux-union", preprocessor=preprocessor)

    ours = drawn(engine, "flux-dev", [guide])

    assert difference(ours, theirs) <= 1
    # What it shows is one token of hundreds: the picture hardly tells.
    one, other = (residuals(replace(guide, kind=each)) for each in (mode, (mode + 1) % 7))
    assert guide.kind == mode and not any(map(torch.equal, one, other))


def test_preprocessors_that_draw_poses_say_so() -> None:
    assert all(UNION_MODES.get(each) == 4 for each in Preprocessor if "pose" in each)


def test_several_of_sd3_add_up(engine: Any, stock: Any, nets: Any) -> None:
    images, scales = [picture(0), picture(1)], [1.0, 0.5]
    # The stock pipeline asks all of them as the first one wants.
    both = SD3MultiControlNetModel([nets["sd3-moved"]] * 2)
    theirs = reference(stock, "sd3", both, control_image=images, controlnet_conditioning_scale=scales)
    guides = [control(engine, "sd3", "sd3-moved", seed=i, weight=weight) for i, weight in enumerate(scales)]

    assert difference(drawn(engine, "sd3", guides), theirs) <= 1


def test_several_of_flux_add_up(engine: Any, stock: Any, nets: Any) -> None:
    both = FluxMultiControlNetModel([nets["flux-one"], nets["flux-one"]])
    images, scales = [picture(0), picture(1)], [1.0, 0.5]
    theirs = reference(stock, "flux-dev", both, control_image=images, controlnet_conditioning_scale=scales)
    guides = [control(engine, "flux-dev", "flux-one", seed=i, weight=weight) for i, weight in enumerate(scales)]

    assert difference(drawn(engine, "flux-dev", guides), theirs) <= 1


def residuals(guide: Any, *, rows: int = 2, is_guided: bool = True) -> list[Tensor]:
    of_flux = isinstance(guide, FluxControl)
    random = torch.Generator().manual_seed(3)
    told = {
        "latents": torch.randn(rows, 16, HEIGHT // 8, WIDTH // 8, generator=random),
        "text": torch.randn(rows, 20, 32 if of_flux else 80, generator=random),
        "timesteps": torch.full((rows,), 500.0),
        "added": {"pooled_projections": torch.randn(rows, 32 if of_flux else 64, generator=random)},
    }
    with torch.inference_mode():
        made: list[Tensor] = guide.residuals(**told, is_guided=is_guided)
        return made


@pytest.mark.parametrize("names", [["sd3-one", "sd3-moved"], ["flux-one", "flux-two", "flux-doubles", "flux-pixels"]])
def test_those_of_fewer_and_of_more_blocks_add_up_at_each_block_of_the_denoiser(engine: Any, names: list[str]) -> None:
    """The stock pipelines add them block by block of their own, and leave out what is over."""
    model = "sd3" if names[0] == "sd3-one" else "flux-dev"
    guides = [control(engine, model, name, seed=i) for i, name in enumerate(names)]
    told = [residuals(guide) for guide in guides]

    summed = denoise._summed(told)

    assert {len(each) for each in told} == {4 if model == "sd3" else 3 + 4}
    for i, each in enumerate(summed):
        torch.testing.assert_close(each, sum(parts[i] for parts in told))


def test_blocks_that_are_told_the_same_share_it(engine: Any) -> None:
    told = [residuals(control(engine, "flux-dev", "flux-one", seed=i)) for i in range(2)]

    doubles, singles = (len({each.data_ptr() for each in part}) for part in _parted(denoise._summed(told)))

    assert (doubles, singles) == (1, 1)


def _parted(levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    return levels[:3], levels[3:]


@pytest.mark.parametrize(("model", "name"), [("sd3", "sd3-one"), ("flux-dev", "flux-two")])
def test_a_mask_says_where_it_counts(engine: Any, model: str, name: str) -> None:
    left = Image.new("L", (WIDTH, HEIGHT))
    left.paste(255, (0, 0, WIDTH // 2, HEIGHT))
    whole = residuals(control(engine, model, name))

    masked = residuals(control(engine, model, name, mask=left))

    for one, other in zip(whole, masked, strict=True):
        # Tokens of 16 pixels, a row after the other.
        before, after = (each.view(2, HEIGHT // 16, WIDTH // 16, -1) for each in (one, other))
        torch.testing.assert_close(after[:, :, : WIDTH // 32], before[:, :, : WIDTH // 32])
        assert not after[:, :, WIDTH // 32 :].any()


@pytest.mark.parametrize(("model", "name"), [("sd3", "sd3-one"), ("flux-dev", "flux-one")])
def test_pictures_of_one_request_are_those_of_requests_alone(engine: Any, model: str, name: str) -> None:
    guides = [control(engine, model, name)]
    negative = {"negative": AVOIDED} if model == "flux-dev" else {}
    # `drawn` shows the first picture only.
    alone = [drawn(engine, model, guides, seeds=[seed], **negative) for seed in (8, 7)]

    together = [drawn(engine, model, guides, seeds=seeds, **negative) for seeds in ([8, 7], [7, 8])]

    assert max(difference(*pair) for pair in zip(together, alone, strict=True)) <= 1


@pytest.mark.parametrize(("model", "name"), [("sd3", "sd3-one"), ("flux-dev", "flux-one")])
def test_where_memory_is_short_each_picture_is_guided_alone(
    engine: Any, model: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guides = [control(engine, model, name)]
    negative = {"negative": AVOIDED} if model == "flux-dev" else {}
    together = drawn(engine, model, guides, seeds=[7, 8], **negative)
    kind = type(engine.load(model).architecture)
    answer = kind.answer

    def short(self: Any, denoiser: Any, call: Any) -> Tensor:
        if len(call.latents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answer(self, denoiser, call)

    monkeypatch.setattr(kind, "answer", short)

    assert difference(drawn(engine, model, guides, seeds=[7, 8], **negative), together) <= 1


@pytest.mark.parametrize(("model", "name"), [("sd3", "sd3-one"), ("flux-dev", "flux-one")])
def test_the_picture_is_seen_in_small_tiles_where_memory_is_short(
    engine: Any, model: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "SMALL_TILE_PX", 128)
    whole = control(engine, model, name, size=(256, 256))
    device = install(SmallDevice(pixels=140**2), monkeypatch)

    tiled = control(engine, model, name, size=(256, 256))

    assert device.refusals == ["pixels"] * 2
    assert tiled.hint.shape == whole.hint.shape


@pytest.mark.parametrize("mode", ["MY_PROMPT_IS_MORE_IMPORTANT", "CONTROLNET_IS_MORE_IMPORTANT"])
@pytest.mark.parametrize(("model", "name"), [("sd3", "sd3-one"), ("flux-dev", "flux-one")])
def test_modes_that_are_made_of_levels_are_refused_by_name(engine: Any, model: str, name: str, mode: Any) -> None:
    with pytest.raises(FatalFailure, match=f"ControlNet {name} can only be BALANCED: {mode} is made of the levels"):
        control(engine, model, name, control_mode=mode)


@pytest.mark.parametrize(
    ("model", "name", "reason"),
    [
        ("sd3", "flux-one", "it is a FluxControlNetModel, sd3 is of SD3 and takes a SD3ControlNetModel"),
        ("flux-dev", "sd3-one", "it is a SD3ControlNetModel, flux-dev is of FLUX and takes a FluxControlNetModel"),
        ("sd15", "flux-one", "sd15 is of SD15 and takes a ControlNetModel or T2IAdapter"),
        ("flux-dev", "sd15-one", "it is a ControlNetModel"),
        ("flux-dev", "flux-wide", "its num_attention_heads is 4, that of flux-dev is 2"),
        ("sd3", "sd3-inpainting", "ControlNet sd3-inpainting is for inpainting: it wants a mask"),
        (
            "flux-dev",
            "flux-union",
            "'none' does not say so; it knows 'canny', 'tile_resample', 'depth', 'blur_gaussian'",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(engine: Any, model: str, name: str, reason: str) -> None:
    with pytest.raises(FatalFailure, match=reason) as failed:
        control(engine, model, name)

    assert name in failed.value.message
    assert drawn(engine, "flux-dev") is not None


def test_kinds_that_a_union_has_not_learned_are_refused(engine: Any, nets: Any) -> None:
    network = load_controlnet(engine._catalog.get("flux-union"), CPU)
    network.network.register_to_config(num_mode=3)

    with pytest.raises(FatalFailure, match=r"it knows 'canny', 'tile_resample' and 'depth'$"):
        _kind(network, ControlNet(model="flux-union", preprocessor=Preprocessor.BLUR))


def test_one_file_of_a_flux_controlnet_is_refused_by_name(nets: Any, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "one.safetensors")
    nets["flux-one"].save_pretrained(tmp_path / "config")
    model = Model(
        id="c1",
        name="one",
        kind=Kind.CONTROLNET,
        family=Family.FLUX,
        path=tmp_path / "one.safetensors",
        config_path=tmp_path / "config",
    )

    with pytest.raises(FatalFailure, match=r"CONTROLNET c1: .*FluxControlNetModel is loaded from a diffusers folder"):
        load_controlnet(model, CPU)


def test_a_damaged_folder_is_refused_by_name(nets: Any, tmp_path: Path) -> None:
    nets["sd3-one"].save_pretrained(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"no safetensors")
    model = Model(id="c1", name="one", kind=Kind.CONTROLNET, family=Family.SD3, path=tmp_path)

    with pytest.raises(FatalFailure, match=f"CONTROLNET c1: cannot load {tmp_path}"):
        load_controlnet(model, CPU)


@pytest.mark.parametrize(
    ("model", "name"),
    [("sd3", "sd3-one"), ("sd3", "sd3-large"), ("flux-dev", "flux-told"), ("flux-schnell", "flux-told")],
)
def test_half_precision_is_guided_too(
    bases: dict[str, Path], nets: dict[str, Any], tmp_path: Path, model: str, name: str
) -> None:
    half = Device(torch_device=torch.device("cpu"), dtype=torch.bfloat16)
    models = saved(tmp_path, {model: bases[model]}, {name: nets[name]})
    rough, fine = (DiffusersEngine(Catalog(models), each, max_cached_bytes=2**30) for each in (half, CPU))

    guided, free, finer = (
        np.asarray(drawn(engine, model, [control(engine, model, name)] * count, steps=2), int)
        for engine, count in ((rough, 1), (rough, 0), (fine, 1))
    )

    assert np.abs(guided - finer).mean() < np.abs(free - finer).mean()
