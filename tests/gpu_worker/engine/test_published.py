"""Preprocessors whose networks are published as a file: their own networks, of made-up weights in the published layout.

What `golden/looking` has was made by the package controlnet_aux, see `against_controlnet_aux`.
"""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.engine.looking import Looker, edges, load_looker, looked, mlsd, pose, skeleton
from gpu_worker.engine.looking.hed import Hed
from gpu_worker.engine.looking.lineart import Lineart
from gpu_worker.engine.looking.lineart_anime import LineartAnime
from gpu_worker.engine.looking.mlsd import Mlsd
from gpu_worker.engine.looking.normal_bae import NormalBae
from gpu_worker.engine.looking.pidinet import PiDiNet
from gpu_worker.engine.looking.pose_networks import BodyPose, FacePose, HandPose
from gpu_worker.engine.tensors import filled
from jobs.attachments import ControlNet
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.errors import FatalFailure
from jobs.preprocessors import Preprocessor, parameters_of
from jobs.weights import Weights
from tests.gpu_worker.engine.seeded import OTHER, PERSON, maps_of, picture, seeded, shapes_of

GOLDEN = Path(__file__).parent / "golden" / "looking"
FileOf = Callable[[type[nn.Module]], Path]


@pytest.fixture(scope="session")
def file_of(tmp_path_factory: pytest.TempPathFactory) -> FileOf:
    root = tmp_path_factory.mktemp("published")

    def find(network: type[nn.Module]) -> Path:
        file = root / f"{network.__name__}.safetensors"
        if not file.exists():
            save_file(seeded(shapes_of(network)), file)
        return file

    return find


def model_of(path: Path, **more: Any) -> Model:
    return Model(id="7", name="seven", kind=Kind.PREPROCESSOR, family=Family.ANY, path=path, **more)


def made(
    path: Path, preprocessor: Preprocessor, image: Image.Image | None = None, perfect: bool = True, **given: Any
) -> np.ndarray[Any, Any]:
    return seen_by(load_looker(model_of(path), preprocessor, CPU), preprocessor, image, perfect, **given)


def seen_by(
    looker: Looker, preprocessor: Preprocessor, image: Image.Image | None = None, perfect: bool = True, **given: Any
) -> np.ndarray[Any, Any]:
    image = image or Image.fromarray(picture())
    with torch.inference_mode():
        seen = looked(looker, image, preprocessor, parameters_of(preprocessor, given), pixel_perfect=perfect)
    assert seen.mode == "RGB" and seen.size == image.size
    return np.asarray(seen)


def golden(name: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGB"))


@pytest.mark.parametrize(
    ("network", "preprocessor", "name"),
    [
        (Hed, Preprocessor.SOFT_EDGE, "softedge_hed"),
        (PiDiNet, Preprocessor.SOFT_EDGE, "softedge_pidinet"),
        (Lineart, Preprocessor.DRAWN_LINES, "lineart"),
        (LineartAnime, Preprocessor.ANIME_LINES, "lineart_anime"),
        (NormalBae, Preprocessor.NORMAL_BAE, "normal_bae"),
    ],
)
def test_it_draws_what_the_published_code_draws(
    file_of: FileOf, network: type[nn.Module], preprocessor: Preprocessor, name: str
) -> None:
    drawn, expected = made(file_of(network), preprocessor).astype(int), golden(name)

    # A shade of 255: sums are taken in another order.
    assert np.abs(drawn - expected).max() <= 1
    assert expected.std() > 20


@pytest.mark.parametrize(
    ("network", "preprocessor", "name"),
    [
        (Hed, Preprocessor.SOFT_EDGE_SAFE, "softedge_hedsafe"),
        (Hed, Preprocessor.SOFT_EDGE_SCRIBBLE, "scribble_hed"),
        # Of 200 lines; OpenCV's brush steps aside a pixel earlier or later.
        (Mlsd, Preprocessor.STRAIGHT_LINES, "mlsd"),
    ],
)
def test_what_has_few_shades_differs_in_few_pixels(
    file_of: FileOf, network: type[nn.Module], preprocessor: Preprocessor, name: str
) -> None:
    drawn, expected = made(file_of(network), preprocessor), golden(name)

    assert (drawn != expected).mean() < 0.01
    assert 0 < (expected > 0).mean() < 1


def test_the_networks_of_people_say_what_the_published_code_says() -> None:
    values = (torch.from_numpy(picture()).permute(2, 0, 1)[None].float().flip(1) / 256 - 0.5)[..., :64]
    expected = np.load(GOLDEN / "pose.npz")

    with torch.inference_mode():
        limbs, joints = _filled(BodyPose)(values)
        said = {"limbs": limbs, "joints": joints, "hand": _filled(HandPose)(values), "face": _filled(FacePose)(values)}

    for name, maps in said.items():
        np.testing.assert_allclose(maps[0], expected[name], atol=2e-3)
        assert expected[name].std() > 0.05


def _filled(network: type[nn.Module]) -> Any:
    return filled(network, {name: each.float() for name, each in seeded(shapes_of(network)).items()})


def test_people_are_told_apart_and_drawn_as_controlnets_learned_them() -> None:
    people = pose.people(*maps_of([PERSON, OTHER]))

    assert people == [PERSON, OTHER]
    drawn = skeleton.drawn([pose.Pose(joints=each) for each in people], (200, 140), with_bodies=True)
    assert np.array_equal(drawn, golden("skeleton"))
    # The nose red, the neck orange, the right shoulder's limb red and darker.
    assert drawn[20, 60].tolist() == [255, 0, 0] and drawn[40, 60].tolist() == [255, 85, 0]
    assert drawn[41, 52].tolist() == [153, 0, 0]


def test_two_parts_of_a_person_become_one_where_a_limb_joins_them() -> None:
    ways, joints = maps_of([PERSON])
    # From the neck nothing goes to the right shoulder; from that something goes to the ear.
    ways[12:14] = 0

    assert pose.people(ways, joints) == [PERSON]
    ways[18:20] = 0
    assert pose.people(ways, joints) == [{joint: place for joint, place in PERSON.items() if joint not in (2, 3, 4)}]


def test_joints_that_no_limb_joins_are_nobody() -> None:
    ways, joints = maps_of([PERSON])

    assert pose.people(np.zeros_like(ways), joints) == []
    assert pose.people(ways, 0.09 * joints) == []
    assert pose.people(*maps_of([{1: (60, 40), 2: (45, 42), 3: (35, 60)}])) == []  # three joints


def test_a_flat_map_is_not_compared_for_ever() -> None:
    ways, joints = np.ones((38, 96, 96), np.float32), np.ones((19, 96, 96), np.float32)

    assert pose.people(ways, joints)
    assert len(pose._peaks(joints[0])) == 256


class Sayer(nn.Module):
    """In a network's place: says the same of every picture, at an eighth of its size, and keeps what it saw."""

    def __init__(self, *maps: Any) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))
        self.maps = [torch.from_numpy(each)[None] for each in maps]
        self.seen: list[Tensor] = []

    def forward(self, values: Tensor) -> Any:
        self.seen.append(values)
        size = [side // 8 for side in values.shape[-2:]]
        said = [nn.functional.interpolate(each, size, mode="area") for each in self.maps]
        return tuple(said) if len(said) > 1 else said[0]


LARGE = {joint: (4 * x, 4 * y) for joint, (x, y) in PERSON.items()}


def large_maps() -> list[Any]:
    """Of a picture of 784 x 560, and of the gray at its right."""
    return [each.repeat(4, 1).repeat(4, 2) for each in maps_of([PERSON], (201, 140))]


def test_a_person_is_found_where_it_stands() -> None:
    body = Sayer(*large_maps())

    (found,) = pose.poses(body, np.full((560, 784, 3), (10, 20, 30), np.uint8))

    # 0.5 · 368 high, then whole eighths of gray; blue first.
    assert body.seen[0].shape == (1, 3, 184, 264)
    assert body.seen[0][0, :, 0, 0].tolist() == pytest.approx([30 / 256 - 0.5, 20 / 256 - 0.5, 10 / 256 - 0.5])
    assert body.seen[0][0, 0, 0, -1] == 0
    assert found.joints.keys() == LARGE.keys()
    for joint, place in found.joints.items():
        assert np.abs(np.subtract(place, LARGE[joint])).max() <= 5


def test_hands_are_looked_at_beyond_the_wrists_and_faces_around_the_nose() -> None:
    body = Sayer(*large_maps())
    # A joint in the middle of what is looked at, and one at a quarter; nothing else.
    dots = np.zeros((22, 128, 128), np.float32)
    dots[0, 64, 64] = dots[5, 32, 96] = 300
    marks = np.zeros((71, 128, 128), np.float32)
    marks[3, 64, 64] = 1

    (found,) = pose.poses(body, np.zeros((560, 784, 3), np.uint8), hand=Sayer(dots), face=Sayer(marks))

    left, right = found.hands
    wrist, elbow = np.array(LARGE[7]), np.array(LARGE[6])
    centre = wrist + 0.33 * (wrist - elbow)
    assert left[0] is not None and left[5] is not None and left[1:5] == [None] * 4
    assert np.abs(np.subtract(left[0], centre)).max() < 8
    assert left[5][0] > left[0][0] + 20 and left[5][1] < left[0][1] - 20
    assert right[0] is not None and right[0][0] < LARGE[4][0]
    (mark,) = found.face
    assert mark is not None and np.abs(np.subtract(mark, LARGE[0])).max() < 8


def test_a_hand_is_coloured_lines_and_blue_dots_and_a_face_white_dots() -> None:
    hand = [(10.0, 10.0), (40.0, 10.0), *[None] * 19]

    drawn = skeleton.drawn([pose.Pose(joints=PERSON, hands=[hand], face=[(20.0, 60.0)])], (80, 80), with_bodies=False)

    assert drawn[10, 25].tolist() == [255, 0, 0]
    assert drawn[10, 10].tolist() == [0, 0, 255] and drawn[60, 20].tolist() == [255, 255, 255]
    assert (drawn.max(2) > 0).sum() < 250  # and no body


def test_a_line_goes_from_where_its_middle_says_to_where_it_says() -> None:
    maps = torch.full((1, 5, 40, 50), -20.0)
    maps[0, 1:] = 0
    # At (20, 10) of the map, surely: from 6 left of it to 8 right of it and 4 below.
    maps[0, :, 10, 20] = torch.tensor([4.0, -6, 0, 8, 4])
    # Beside it, less surely: the same line.
    maps[0, :, 10, 21] = torch.tensor([3.0, -6, 0, 8, 4])
    # At (40, 30), with a likelihood of 0.5: a short one.
    maps[0, :, 30, 40] = torch.tensor([0.0, 0, -1, 0, 1])

    def found(**thresholds: float) -> list[tuple[int, int, int, int]]:
        return list(mlsd.segments(maps, **thresholds))

    assert found(value=0.1, distance=0.1) == [(28, 20, 56, 28), (80, 58, 80, 62)]
    assert found(value=0.6, distance=0.1) == [(28, 20, 56, 28)]
    assert found(value=0.1, distance=2.1) == [(28, 20, 56, 28)]
    assert found(value=0.99, distance=0.1) == []
    drawn = mlsd.drawn(found(value=0.1, distance=0.1), (100, 80))
    assert drawn[20, 28] == drawn[28, 56] == drawn[60, 80] == 255
    assert 29 <= (drawn > 0).sum() <= 36


@pytest.mark.parametrize("given", [{"threshold_a": 2}, {"threshold_b": 20}])
def test_its_thresholds_are_those_of_the_web_ui(file_of: FileOf, given: dict[str, float]) -> None:
    every, strict = (made(file_of(Mlsd), Preprocessor.STRAIGHT_LINES, **each) for each in ({}, given))

    assert (strict > 0).sum() < (every > 0).sum()


def test_safe_edges_have_three_shades_and_a_scribble_is_a_stroke_along_the_ridge() -> None:
    ridge = np.exp(-(((np.arange(60) - 30) / 8) ** 2)).astype(np.float32)[None].repeat(40, 0)

    assert np.unique(edges.safe(ridge)).tolist() == [0, 127, 255]
    # e^-(x / 8)² is over 0.5 up to 6.7 from the middle.
    assert (np.flatnonzero(edges.sketch(ridge)[0]) - 30).tolist() == [*range(-6, 7)]
    strokes = edges.scribble(ridge)
    assert np.unique(strokes).tolist() == [0, 255]
    assert strokes[20, 30] == 255 and strokes[20, 15] == strokes[20, 45] == 0
    assert not edges.scribble(0.4 * ridge).any()


@pytest.mark.parametrize(
    ("network", "preprocessor"),
    [
        (PiDiNet, Preprocessor.SOFT_EDGE),
        (PiDiNet, Preprocessor.SOFT_EDGE_SKETCH),
        (Lineart, Preprocessor.DRAWN_LINES),
        (Mlsd, Preprocessor.STRAIGHT_LINES),
    ],
)
@pytest.mark.parametrize("size", [(100, 70), (65, 129), (40, 7)])
def test_a_picture_of_any_size_is_looked_at(
    file_of: FileOf, network: type[nn.Module], preprocessor: Preprocessor, size: tuple[int, int]
) -> None:
    image = Image.fromarray(picture()).resize(size)

    perfect, coarse = (made(file_of(network), preprocessor, image, is_perfect, resolution=64) for is_perfect in (1, 0))

    assert perfect.shape == coarse.shape
    assert not np.array_equal(perfect, coarse)


def test_a_picture_is_continued_by_its_edge_up_to_what_a_network_takes(file_of: FileOf) -> None:
    whole = np.pad(picture(), ((0, 64), (0, 0), (0, 0)), mode="edge")
    cut = Image.fromarray(whole[:70])

    seen, expected = (made(file_of(PiDiNet), Preprocessor.SOFT_EDGE, image) for image in (cut, Image.fromarray(whole)))

    assert np.array_equal(seen, expected[:70])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda told: told,
        lambda told: {"model": told, "iter": 3},
        lambda told: {"epoch": 9, "state_dict": {f"module.{name}": each for name, each in told.items()}},
        lambda told: told | {"of_another": torch.zeros(2)},
    ],
)
@pytest.mark.parametrize("is_new", [True, False])
def test_a_pickle_is_read_where_the_catalogue_states_its_sha256(
    tmp_path: Path, file_of: FileOf, wrap: Callable[[Any], Any], is_new: bool
) -> None:
    file = tmp_path / "mlsd_large_512_fp32.pth"
    torch.save(wrap(seeded(shapes_of(Mlsd))), file, _use_new_zipfile_serialization=is_new)
    model = model_of(file, sha256=Weights().sha256(model_of(file)))

    with pytest.raises(FatalFailure, match=r"PREPROCESSOR 7: .*mlsd_.*\.pth is pickled, .* state its sha256"):
        load_looker(model_of(file), Preprocessor.STRAIGHT_LINES, CPU)
    drawn = seen_by(load_looker(model, Preprocessor.STRAIGHT_LINES, CPU), Preprocessor.STRAIGHT_LINES)

    assert np.array_equal(drawn, made(file_of(Mlsd), Preprocessor.STRAIGHT_LINES))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_nothing_in_a_pickle_runs(tmp_path: Path) -> None:
    file = tmp_path / "netG.pth"
    file.write_bytes(pickle.dumps({"weight": Bomb(tmp_path / "mark")}))
    torch_file = tmp_path / "other.pt"
    torch.save({"weight": Bomb(tmp_path / "mark")}, torch_file)

    for each in (file, torch_file):
        with pytest.raises(FatalFailure, match=f"PREPROCESSOR 7: cannot load .*{each.name}"):
            load_looker(model_of(each, sha256="0" * 64), Preprocessor.ANIME_LINES, CPU)

    assert not (tmp_path / "mark").exists()


def spoiled(tmp_path: Path, name: str, file_of: FileOf) -> Path:
    path = tmp_path / f"{name}.safetensors"
    match name:
        case "cut":
            path.write_bytes(file_of(Mlsd).read_bytes()[:-9])
        case "garbage":
            path.write_bytes(b"\x80garbage" * 99)
        case "other":
            return file_of(PiDiNet)
        case "wider":
            told = seeded(shapes_of(Mlsd))
            save_file(told | {"block23.conv3.weight": torch.zeros(17, 64, 1, 1)}, path)
        case "empty":
            path.mkdir()
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent", "does not exist"),
        ("cut", "cannot load"),
        ("garbage", "cannot load"),
        ("other", "it is no Mlsd: backbone.features.0.0.weight is missing"),
        ("wider", "it is no Mlsd: block23.conv3.weight has the shape"),
        ("empty", "holds none of"),
    ],
)
def test_what_is_no_such_network_is_told_by_name_and_the_next_one_works(
    tmp_path: Path, file_of: FileOf, name: str, words: str
) -> None:
    path = spoiled(tmp_path, name, file_of)
    engine = engine_of(model_of(path), replace(model_of(file_of(Mlsd)), id="8", name="eight"))

    with pytest.raises(FatalFailure, match=words) as raised:
        engine._preprocessing(asked(Preprocessor.STRAIGHT_LINES, "7"))
    assert "7" in str(raised.value) and str(path) in str(raised.value)

    with torch.inference_mode():
        seen = engine._preprocessing(asked(Preprocessor.STRAIGHT_LINES, "8"))(Image.fromarray(picture()))
    assert np.asarray(seen).any()


def test_both_networks_of_edges_are_named_where_a_file_has_neither(file_of: FileOf) -> None:
    with pytest.raises(FatalFailure, match=r"no Hed: norm is missing; it is no PiDiNet: init_block\.weight is missing"):
        load_looker(model_of(file_of(Mlsd)), Preprocessor.SOFT_EDGE, CPU)


def test_hands_and_faces_are_looked_at_where_their_files_are(tmp_path: Path, file_of: FileOf) -> None:
    (tmp_path / "body_pose_model.safetensors").symlink_to(file_of(BodyPose))
    (tmp_path / "facenet.safetensors").symlink_to(file_of(FacePose))

    whole = load_looker(model_of(tmp_path), Preprocessor.POSE, CPU)
    alone = load_looker(model_of(file_of(BodyPose)), Preprocessor.POSE, CPU)

    # Nobody's face is as large in it as one must be.
    small = Image.fromarray(picture()).resize((18, 16))
    for preprocessor in (Preprocessor.POSE, Preprocessor.POSE_FACE, Preprocessor.POSE_FACE_ONLY):
        assert seen_by(whole, preprocessor, small).shape == (16, 18, 3)
    for preprocessor in (Preprocessor.POSE_HAND, Preprocessor.POSE_FULL):
        with pytest.raises(FatalFailure, match=rf"PREPROCESSOR 7: {tmp_path} .* hand_pose_model\.safetensors or"):
            seen_by(whole, preprocessor, small)
    with pytest.raises(FatalFailure, match=r"must be a folder with facenet\.safetensors or"):
        seen_by(alone, Preprocessor.POSE_FACE_ONLY, small)


def test_a_controlnet_is_guided_by_a_published_network(file_of: FileOf) -> None:
    engine = engine_of(model_of(file_of(PiDiNet)))

    with torch.inference_mode():
        image = Image.fromarray(picture())
        safe, soft = (
            np.asarray(engine._preprocessing(asked(each, "7"))(image))
            for each in (Preprocessor.SOFT_EDGE_SAFE, Preprocessor.SOFT_EDGE)
        )

    assert np.array_equal(soft, made(file_of(PiDiNet), Preprocessor.SOFT_EDGE))
    assert not np.array_equal(safe, soft)
    # One network for both, in the cache.
    assert engine.loading_s() == {"7": 0.0}


def engine_of(*models: Model) -> DiffusersEngine:
    default = Model(id="any", name="any", family=Family.SD15, path=Path("absent"))
    return DiffusersEngine(Catalog([default, *models]), CPU, max_cached_bytes=2**30)


def asked(preprocessor: Preprocessor, network: str) -> ControlNet:
    parameters = parameters_of(preprocessor, {"resolution": 64})
    return ControlNet(
        model="any", preprocessor=preprocessor, preprocessor_params=parameters, preprocessor_model=network
    )
