from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from jobs import preprocessing
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.preprocessing import preprocessed
from jobs.preprocessors import (
    ALGORITHMS,
    ALIASES,
    FOREIGN,
    NETWORKS,
    PUBLISHED,
    Preprocessor,
    UnknownPreprocessor,
    WrongParameter,
    parameters_of,
    resolve,
)


def scene(size: tuple[int, int] = (512, 512)) -> Image.Image:
    picture = Image.new("RGB", size, (250, 250, 250))
    ImageDraw.Draw(picture).ellipse((128, 128, 384, 384), fill=(200, 30, 30), outline="black", width=6)
    return picture


def made(preprocessor: Preprocessor, picture: Image.Image | None = None, **given: Any) -> np.ndarray[Any, Any]:
    parameters = parameters_of(preprocessor, given)
    return np.asarray(preprocessed(picture or scene(), preprocessor, parameters, pixel_perfect=False))


@pytest.mark.parametrize("preprocessor", ALGORITHMS)
@pytest.mark.parametrize("size", [(512, 512), (200, 333), (64, 64)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_every_one_makes_a_picture_of_the_same_size(
    preprocessor: Preprocessor, size: tuple[int, int], mode: str
) -> None:
    assert made(preprocessor, scene(size).convert(mode)).shape == (size[1], size[0], 3)


def test_edges_are_white_on_black_and_their_thresholds_count() -> None:
    edges = made(Preprocessor.CANNY)

    assert set(np.unique(edges)) == {0, 255}
    assert 0 < (edges > 0).mean() < 0.05
    faint = Image.fromarray(
        np.where(np.arange(512)[None, :, None] < 256, 100, 120).repeat(512, 0).repeat(3, 2).astype("uint8")
    )
    assert not made(Preprocessor.CANNY, faint).any()
    assert made(Preprocessor.CANNY, faint, low_threshold=10, threshold_b=40).any()


def test_a_resolution_looks_at_a_smaller_picture_unless_it_is_pixel_perfect() -> None:
    parameters = parameters_of(Preprocessor.CANNY, {"processor_res": 128})

    coarse, fine = (
        np.asarray(preprocessed(scene(), Preprocessor.CANNY, parameters, pixel_perfect=perfect))
        for perfect in (False, True)
    )

    assert (coarse > 60).mean() > 1.5 * (fine > 60).mean()
    assert np.array_equal(fine, made(Preprocessor.CANNY))


@pytest.mark.parametrize("size", [(4096, 4), (4, 4096), (9000, 9)])
def test_a_ribbon_is_not_made_longer_than_memory(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray[Any, Any]] = []

    def looking(pixels: np.ndarray[Any, Any], _parameters: Any) -> np.ndarray[Any, Any]:
        seen.append(pixels)
        return pixels

    monkeypatch.setattr(preprocessing, "_ALGORITHMS", {Preprocessor.CANNY: looking})
    looked = made(Preprocessor.CANNY, Image.new("RGB", size))

    assert looked.shape == (size[1], size[0], 3)
    assert [max(pixels.shape) for pixels in seen] == [preprocessing.MAX_SIDE_PX]


@pytest.mark.parametrize("preprocessor", [Preprocessor.LINEART, Preprocessor.SCRIBBLE])
def test_a_drawn_line_is_bright_and_paper_is_black(preprocessor: Preprocessor) -> None:
    lines = made(preprocessor)

    assert lines[256, 130].min() > 100
    assert lines[20, 20].max() == 0


def test_a_scribble_is_where_every_colour_is_darker_than_around() -> None:
    def strip(colour: tuple[int, int, int]) -> Image.Image:
        picture = Image.new("RGB", (64, 64), (200, 200, 200))
        picture.paste(colour, (30, 0, 34, 64))
        return picture

    # Darker by 40, of which a wide blur takes a third: 2 · 27 or so, over 32 and under 64.
    assert made(Preprocessor.SCRIBBLE, strip((160, 160, 160)), resolution=64)[32, 31].all()
    assert not made(Preprocessor.SCRIBBLE, strip((160, 160, 160)), resolution=64, threshold=64).any()
    assert not made(Preprocessor.SCRIBBLE, strip((100, 200, 200)), resolution=64).any()


def test_simple_ones_do_what_they_say() -> None:
    pixels = np.asarray(scene())

    assert np.array_equal(made(Preprocessor.NONE), pixels)
    assert np.array_equal(made(Preprocessor.INVERT), 255 - pixels)
    assert np.array_equal(made(Preprocessor.THRESHOLD, threshold=240)[..., 0] > 0, pixels.min(2) > 240)
    assert np.abs(made(Preprocessor.BLUR).astype(int) - pixels).max() > 50
    assert len(np.unique(made(Preprocessor.COLOR).reshape(-1, 3), axis=0)) <= 64
    assert made(Preprocessor.INTENSITY)[256, 256, 0] == 200
    # L* of this red is 42.6, says CIE.
    assert made(Preprocessor.LUMINANCE)[256, 256, 0] == pytest.approx(42.6 / 100 * 255, abs=1.5)
    assert made(Preprocessor.LUMINANCE, gamma=2)[256, 256, 0] < made(Preprocessor.LUMINANCE)[256, 256, 0]


def test_shuffling_keeps_colours_and_moves_what_they_make() -> None:
    shuffled, pixels = made(Preprocessor.SHUFFLE), np.asarray(scene())

    def share_of_red(values: np.ndarray[Any, Any]) -> float:
        return float((np.abs(values.astype(int) - (200, 30, 30)).max(2) < 20).mean())

    assert share_of_red(shuffled) > 0.02
    assert np.abs(shuffled.astype(int) - pixels).mean() > 20
    assert np.array_equal(shuffled, made(Preprocessor.SHUFFLE))


def test_a_smaller_tile_is_less_sharp() -> None:
    sharp, soft = (made(Preprocessor.TILE, down_sampling_rate=rate) for rate in (1, 8))

    assert np.array_equal(sharp, np.asarray(scene()))
    assert soft.shape == sharp.shape and not np.array_equal(soft, sharp)


# Of the web UI: those that change how is drawn, and so cannot be computed elsewhere.
MAKE_NO_PICTURE = {
    *("reference_only", "reference_adain", "reference_adain+attn"),
    *("clip_vision", "revision_clipvision", "ip-adapter_clip_sd15"),
    *("inpaint", "inpaint_only", "inpaint_only+lama", "inpaint_global_harmonious"),
    *("tile_colorfix", "tile_colorfix+sharp"),
}


@pytest.mark.parametrize(("name", "preprocessor"), [("Canny", Preprocessor.CANNY), *ALIASES.items()])
def test_names_are_those_of_the_web_ui(name: str, preprocessor: Preprocessor) -> None:
    assert resolve(name, catalog_of()) == (preprocessor, None)


@pytest.mark.parametrize(("reason", "names"), FOREIGN.items())
def test_those_that_are_not_built_say_what_they_do(reason: str, names: tuple[str, ...]) -> None:
    for name in names:
        with pytest.raises(UnknownPreprocessor) as refused:
            resolve(name, catalog_of())

        assert refused.value.message == f"{name!r} {reason}"
        assert ("send that with 'none'" in reason) == (name not in MAKE_NO_PICTURE)


@pytest.mark.parametrize("name", NETWORKS)
def test_those_that_need_a_network_say_so(name: str) -> None:
    with pytest.raises(UnknownPreprocessor, match="network"):
        resolve(name, catalog_of())


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownPreprocessor, match="did you mean 'canny'"):
        resolve("cany", catalog_of())


@pytest.mark.parametrize("given", [{"sigma": 1}, {"threshold_a": 0}, {"low_threshold": "a"}, {"low_threshold": True}])
def test_a_parameter_is_the_preprocessors_own_and_in_its_range(given: Any) -> None:
    with pytest.raises(WrongParameter) as refused:
        parameters_of(Preprocessor.CANNY, given)

    assert refused.value.name == next(iter(given))


def catalog_of(*names: str) -> Catalog:
    default = Model(id="1", name="default", family=Family.SD15, path=Path("absent"))
    networks = [
        Model(id=name, name=name, kind=Kind.PREPROCESSOR, family=Family.ANY, path=Path("absent")) for name in names
    ]
    return Catalog([default, *networks])


@pytest.mark.parametrize(
    ("name", "networks", "expected"),
    [
        ("Depth_MiDaS", ["depth_midas"], (Preprocessor.DEPTH, "depth_midas")),
        ("depth", ["depth_zoe", "depth_anything"], (Preprocessor.DEPTH, "depth_anything")),
        ("normal_midas", ["depth_zoe"], (Preprocessor.NORMAL, "depth_zoe")),
        ("segmentation", ["seg_ufade20k"], (Preprocessor.SEGMENTATION, "seg_ufade20k")),
        ("canny", [], (Preprocessor.CANNY, None)),
        ("softedge", ["softedge_pidinet"], (Preprocessor.SOFT_EDGE, "softedge_pidinet")),
        ("hed", ["softedge_hed"], (Preprocessor.SOFT_EDGE, "softedge_hed")),
        ("softedge_hedsafe", ["softedge_hed"], (Preprocessor.SOFT_EDGE_SAFE, "softedge_hed")),
        ("scribble_pidinet", ["softedge_pidinet"], (Preprocessor.SOFT_EDGE_SCRIBBLE, "softedge_pidinet")),
        ("lineart", ["lineart_coarse", "lineart_realistic"], (Preprocessor.DRAWN_LINES, "lineart_realistic")),
        ("lineart_coarse", ["lineart_coarse", "lineart_realistic"], (Preprocessor.DRAWN_LINES, "lineart_coarse")),
        ("MLSD", ["mlsd"], (Preprocessor.STRAIGHT_LINES, "mlsd")),
        ("openpose", ["openpose_full"], (Preprocessor.POSE, "openpose_full")),
        ("openpose_faceonly", ["openpose_face"], (Preprocessor.POSE_FACE_ONLY, "openpose_face")),
        ("normal", ["depth"], (Preprocessor.NORMAL, "depth")),
    ],
)
def test_a_network_is_the_catalogues(name: str, networks: list[str], expected: Any) -> None:
    assert resolve(name, catalog_of(*networks)) == expected


def test_a_network_that_is_missing_is_named_and_how_it_is_added() -> None:
    with pytest.raises(UnknownPreprocessor, match=r"--name depth_midas` adds a folder of transformers"):
        resolve("depth_midas", catalog_of("depth_zoe"))
    with pytest.raises(
        UnknownPreprocessor, match=r"the network 'softedge_hed', .* --name softedge_hed` adds .* ControlNetHED"
    ):
        resolve("hed", catalog_of("softedge_pidinet"))
    with pytest.raises(UnknownPreprocessor, match="adds a folder of body_pose_model and hand_pose_model"):
        resolve("openpose_hand", catalog_of("openpose"))
    with pytest.raises(UnknownPreprocessor, match="cannot run"):
        resolve("dw_openpose_full", catalog_of("openpose_full"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("hedd", "'softedge_hed'"),
        ("pidi", "'softedge_pidinet', 'softedge_pidisafe' or 't2ia_sketch_pidi'"),
        ("pose", "'openpose', 'openpose_hand' or 'openpose_face'"),
        ("normal-bae", "'normal_bae'"),
        ("control_canny", "'canny'"),
    ],
)
def test_those_that_look_with_a_network_are_suggested_too(name: str, meant: str) -> None:
    with pytest.raises(UnknownPreprocessor) as refused:
        resolve(name, catalog_of())

    assert f"did you mean {meant}" in refused.value.message


def test_all_there_are_are_told_where_none_is_near() -> None:
    with pytest.raises(UnknownPreprocessor) as refused:
        resolve("zzz", catalog_of())

    assert refused.value.message.startswith("no preprocessor is named 'zzz'; there are 'none', 'canny', ")
    assert all(f"'{name}'" in refused.value.message for name in (*ALGORITHMS, *NETWORKS))


def test_a_parameter_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(WrongParameter, match="'canny' has no parameter 'x'; it has 'resolution', 'low_threshold' and "):
        parameters_of(Preprocessor.CANNY, {"x": 1})
    with pytest.raises(WrongParameter, match=r"has no parameter 'low_treshold'; did you mean 'low_threshold'"):
        parameters_of(Preprocessor.CANNY, {"low_treshold": 1})
    with pytest.raises(ValueError, match="'invert' has no parameter 'low'; it takes no parameters"):
        parameters_of(Preprocessor.INVERT, {"low": 1})


def test_it_is_told_how_every_network_is_added() -> None:
    needed = {networks[0] for _, networks in NETWORKS.values()}

    assert {name for name in needed if not name.startswith(("depth", "seg"))} == set(PUBLISHED)


def test_thresholds_of_straight_lines_are_those_of_the_web_ui() -> None:
    assert parameters_of(Preprocessor.STRAIGHT_LINES, {}) == {
        "resolution": 512, "value_threshold": 0.1, "distance_threshold": 0.1
    }  # fmt: skip
    told = parameters_of(Preprocessor.STRAIGHT_LINES, {"threshold_a": 2, "threshold_b": 20, "processor_res": 64})
    assert told == {"resolution": 64, "value_threshold": 2, "distance_threshold": 20}
