"""Preprocessors that look with a network: transformers' own networks, of random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
)
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.engine.looking import load_looker, looked
from gpu_worker.engine.looking.depth_and_segments import _normals, _pixels
from jobs.attachments import ControlNet
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.errors import FatalFailure
from jobs.preprocessors import Preprocessor, parameters_of
from jobs.segments import PALETTE

SIZE = (160, 96)


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("networks")
    torch.manual_seed(1)
    dpt = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
        reassemble_factors=[4, 2, 1, 0.5],
    )  # fmt: skip
    DPTForDepthEstimation(dpt).save_pretrained(root / "dpt")
    DPTImageProcessorPil(keep_aspect_ratio=False).save_pretrained(root / "dpt")
    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    anything = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        patch_size=14, depth_estimation_type="metric", max_depth=10,
    )  # fmt: skip
    DepthAnythingForDepthEstimation(anything).save_pretrained(root / "anything")
    DPTImageProcessorPil(ensure_multiple_of=14, keep_aspect_ratio=True).save_pretrained(root / "anything")
    for name, classes in (("segments", 150), ("many", 151)):
        segformer = SegformerConfig(
            num_labels=classes, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], decoder_hidden_size=8,
            num_attention_heads=[1, 1, 1, 1],
        )  # fmt: skip
        SegformerForSemanticSegmentation(segformer).save_pretrained(root / name)
    told = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "keep_aspect_ratio": True}
    DPTImageProcessorPil(**told).save_pretrained(root / "segments")
    (root / "damaged").mkdir()
    (root / "damaged/config.json").write_text('{"model_type": "dpt"}')
    return {path.name: path for path in root.iterdir()} | {"absent": root / "absent"}


def model_of(networks: dict[str, Path], name: str) -> Model:
    return Model(id=name, name=name, kind=Kind.PREPROCESSOR, family=Family.ANY, path=networks[name])


def picture() -> Image.Image:
    rows, columns = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    pixels = np.stack([rows * 2, columns, 255 * (rows > 48)], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def made(networks: dict[str, Path], name: str, preprocessor: Preprocessor, **given: Any) -> Any:
    looker = load_looker(model_of(networks, name), preprocessor, CPU)
    perfect = given.pop("pixel_perfect", False)
    with torch.inference_mode():
        parameters = parameters_of(preprocessor, given)
        return np.asarray(looked(looker, picture(), preprocessor, parameters, pixel_perfect=perfect))


def test_it_reads_pictures_as_transformers_own_processor(networks: dict[str, Path]) -> None:
    looker = load_looker(model_of(networks, "segments"), Preprocessor.SEGMENTATION, CPU)
    processor = DPTImageProcessorPil.from_pretrained(networks["segments"], do_resize=False)

    theirs = processor(picture(), return_tensors="pt").pixel_values

    torch.testing.assert_close(_pixels(looker, picture()), theirs)


@pytest.mark.parametrize("name", ["dpt", "anything"])
def test_depth_is_what_the_network_says_and_near_is_white(networks: dict[str, Path], name: str) -> None:
    depth = made(networks, name, Preprocessor.DEPTH, pixel_perfect=True)

    looker = load_looker(model_of(networks, name), Preprocessor.DEPTH, CPU)
    with torch.inference_mode():
        said = looker.network(pixel_values=_pixels(looker, picture())).predicted_depth[0].numpy()
    if name == "anything":  # in metres, as its config says
        said = -said
    expected = Image.fromarray((255 * (said - said.min()) / np.ptp(said)).round().astype(np.uint8))
    resized = np.asarray(expected.resize(SIZE, Image.Resampling.LANCZOS), int)
    assert depth.shape == (SIZE[1], SIZE[0], 3)
    assert np.ptp(depth) > 200
    assert np.abs(depth[..., 0] - resized).max() <= 2


def test_a_resolution_looks_at_another_picture_unless_it_is_pixel_perfect(networks: dict[str, Path]) -> None:
    coarse, fine, perfect = (
        made(networks, "dpt", Preprocessor.DEPTH, **given)
        for given in ({"resolution": 64}, {"resolution": 128}, {"resolution": 64, "pixel_perfect": True})
    )

    assert not np.array_equal(coarse, fine) and not np.array_equal(coarse, perfect)


def test_a_surface_that_faces_us_is_red_and_a_slope_is_not() -> None:
    ramp = np.tile(np.arange(64.0), (64, 1))

    normals = _normals(ramp, 0.5)

    # Before the threshold flat: (0, 0, 1), red last of blue, green and red.
    assert normals[32, 8].tolist() == [255, 127, 127]
    # Sobel's of a slope of 1 is 8: (8, 0, 2π) / 10.17
    assert normals[32, 50].tolist() == pytest.approx([127.5 + 127.5 * 0.6177, 127.5, 127.5 + 127.5 * 0.7864], abs=1)


def test_normals_are_made_of_depth(networks: dict[str, Path]) -> None:
    normals = made(networks, "dpt", Preprocessor.NORMAL, background_threshold=0)

    assert normals.shape == (SIZE[1], SIZE[0], 3)
    assert normals[..., 0].mean() > normals[..., 2].mean()


def test_each_class_has_its_colour(networks: dict[str, Path]) -> None:
    segments = made(networks, "segments", Preprocessor.SEGMENTATION, pixel_perfect=True)

    looker = load_looker(model_of(networks, "segments"), Preprocessor.SEGMENTATION, CPU)
    with torch.inference_mode():
        logits = looker.network(pixel_values=_pixels(looker, picture())).logits
        large = torch.nn.functional.interpolate(logits, (SIZE[1], SIZE[0]), mode="bilinear")
    assert np.array_equal(segments, PALETTE[large[0].argmax(0).numpy()])
    # ADE20K's wall, sky and flag
    assert PALETTE.shape == (150, 3)
    assert PALETTE[[0, 2, 149]].tolist() == [[120, 120, 120], [6, 230, 230], [92, 0, 255]]


@pytest.mark.parametrize(
    ("name", "preprocessor"),
    [
        ("segments", Preprocessor.DEPTH),
        ("dpt", Preprocessor.SEGMENTATION),
        ("damaged", Preprocessor.DEPTH),
        ("absent", Preprocessor.DEPTH),
        ("many", Preprocessor.SEGMENTATION),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    networks: dict[str, Path], name: str, preprocessor: Preprocessor
) -> None:
    with pytest.raises(FatalFailure, match=f"PREPROCESSOR {name}"):
        made(networks, name, preprocessor)


@pytest.fixture
def engine(networks: dict[str, Path]) -> DiffusersEngine:
    return DiffusersEngine(
        Catalog([Model(id="any", name="any", family=Family.SD15, path=networks["absent"]), model_of(networks, "dpt")]),
        CPU,
        max_cached_bytes=2**20,
    )


def test_a_controlnet_is_guided_by_what_the_network_sees(networks: dict[str, Path], engine: DiffusersEngine) -> None:
    asked = ControlNet(
        model="any",
        preprocessor=Preprocessor.DEPTH,
        preprocessor_params=parameters_of(Preprocessor.DEPTH, {}),
        preprocessor_model="dpt",
    )

    with torch.inference_mode():
        seen = engine._preprocessing(asked)(picture())

    assert np.array_equal(np.asarray(seen), made(networks, "dpt", Preprocessor.DEPTH))


def test_what_the_network_sees_can_be_asked_for_alone(networks: dict[str, Path], engine: DiffusersEngine) -> None:
    seen = engine.preprocess(picture(), Preprocessor.DEPTH, parameters_of(Preprocessor.DEPTH, {}), "dpt")

    assert np.array_equal(np.asarray(seen), made(networks, "dpt", Preprocessor.DEPTH))
    assert engine.loading_s()["dpt"] == 0  # and is there for the next


def test_a_network_that_is_not_in_the_catalogue_is_refused_by_name(engine: DiffusersEngine) -> None:
    with pytest.raises(FatalFailure, match="segments"):
        engine.preprocess(picture(), Preprocessor.SEGMENTATION, {"resolution": 512.0}, "segments")


def test_models_that_are_not_needed_leave_where_a_look_finds_no_room(
    networks: dict[str, Path], engine: DiffusersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine._cache.get("another", lambda: load_looker(model_of(networks, "dpt"), Preprocessor.DEPTH, CPU))
    lacks = [torch.OutOfMemoryError("CUDA out of memory")]

    def look(*arguments: Any, **told: Any) -> Image.Image:
        if lacks:
            raise lacks.pop()
        return looked(*arguments, **told)

    monkeypatch.setattr("gpu_worker.engine.engine.looked", look)
    seen = engine.preprocess(picture(), Preprocessor.DEPTH, parameters_of(Preprocessor.DEPTH, {}), "dpt")

    assert np.array_equal(np.asarray(seen), made(networks, "dpt", Preprocessor.DEPTH))
    assert set(engine._cache._by_id) == {"dpt"}
