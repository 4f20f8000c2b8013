"""The preprocessors that a ControlNet may name: what is made of a picture before it guides. It makes no picture.

Some are algorithms. Others look with a network, which an operator adds to the catalogue by the preprocessor's name.

Source: the names of the ControlNet extension of AUTOMATIC1111's web UI, and their parameters with their defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from jobs.catalog import Catalog, Kind, UnknownModel
from jobs.errors import DarkroomError
from jobs.names import Names, did_you_mean, folded, quoted

MAX_RESOLUTION_PX = 2048


class Preprocessor(StrEnum):
    """What is made of a picture, in whatever way."""

    NONE = "none"
    CANNY = "canny"
    INVERT = "invert"
    THRESHOLD = "threshold"
    TILE = "tile_resample"
    BLUR = "blur_gaussian"
    SHUFFLE = "shuffle"
    COLOR = "color"
    SCRIBBLE = "scribble_xdog"
    LINEART = "lineart_standard"
    LUMINANCE = "recolor_luminance"
    INTENSITY = "recolor_intensity"
    DEPTH = "depth"
    NORMAL = "normal_midas"
    SEGMENTATION = "segmentation"
    SOFT_EDGE = "softedge"
    SOFT_EDGE_SAFE = "softedge_safe"
    SOFT_EDGE_SCRIBBLE = "softedge_scribble"
    SOFT_EDGE_SKETCH = "softedge_sketch"
    DRAWN_LINES = "lineart"
    ANIME_LINES = "lineart_anime"
    STRAIGHT_LINES = "mlsd"
    NORMAL_BAE = "normal_bae"
    POSE = "openpose"
    POSE_HAND = "openpose_hand"
    POSE_FACE = "openpose_face"
    POSE_FACE_ONLY = "openpose_faceonly"
    POSE_FULL = "openpose_full"


_DEPTHS = ("depth", "depth_anything", "depth_midas", "depth_zoe")
_SEGMENTATIONS = ("segmentation", "seg_ufade20k")
_REALISTIC = (Preprocessor.DRAWN_LINES, ("lineart_realistic", "lineart"))
# By the names of those that look with a network: what it makes, and the names of networks that serve, the best first.
NETWORKS: Mapping[str, tuple[Preprocessor, tuple[str, ...]]] = {
    "depth": (Preprocessor.DEPTH, _DEPTHS),
    **{name: (Preprocessor.DEPTH, (name,)) for name in _DEPTHS[1:]},
    "normal_midas": (Preprocessor.NORMAL, ("depth_midas", *_DEPTHS)),
    "segmentation": (Preprocessor.SEGMENTATION, _SEGMENTATIONS),
    **{name: (Preprocessor.SEGMENTATION, (name,)) for name in _SEGMENTATIONS[1:]},
    "softedge": (Preprocessor.SOFT_EDGE, ("softedge_hed", "softedge_pidinet")),
    "softedge_hed": (Preprocessor.SOFT_EDGE, ("softedge_hed",)),
    "softedge_hedsafe": (Preprocessor.SOFT_EDGE_SAFE, ("softedge_hed",)),
    "scribble_hed": (Preprocessor.SOFT_EDGE_SCRIBBLE, ("softedge_hed",)),
    "softedge_pidinet": (Preprocessor.SOFT_EDGE, ("softedge_pidinet",)),
    "softedge_pidisafe": (Preprocessor.SOFT_EDGE_SAFE, ("softedge_pidinet",)),
    "scribble_pidinet": (Preprocessor.SOFT_EDGE_SCRIBBLE, ("softedge_pidinet",)),
    "t2ia_sketch_pidi": (Preprocessor.SOFT_EDGE_SKETCH, ("softedge_pidinet",)),
    "lineart": _REALISTIC,
    "lineart_realistic": _REALISTIC,
    "lineart_coarse": (Preprocessor.DRAWN_LINES, ("lineart_coarse",)),
    "lineart_anime": (Preprocessor.ANIME_LINES, ("lineart_anime",)),
    "mlsd": (Preprocessor.STRAIGHT_LINES, ("mlsd",)),
    "normal_bae": (Preprocessor.NORMAL_BAE, ("normal_bae",)),
    "openpose": (Preprocessor.POSE, ("openpose", "openpose_full", "openpose_hand", "openpose_face")),
    "openpose_hand": (Preprocessor.POSE_HAND, ("openpose_hand", "openpose_full")),
    "openpose_face": (Preprocessor.POSE_FACE, ("openpose_face", "openpose_full")),
    "openpose_faceonly": (Preprocessor.POSE_FACE_ONLY, ("openpose_face", "openpose_full")),
    "openpose_full": (Preprocessor.POSE_FULL, ("openpose_full",)),
}
_OLD_NAMES = {
    "hed": "softedge_hed",
    "hed_safe": "softedge_hedsafe",
    "pidinet": "softedge_pidinet",
    "pidinet_safe": "softedge_pidisafe",
    "pidinet_scribble": "scribble_pidinet",
    "pidinet_sketch": "t2ia_sketch_pidi",
    "normal": "normal_midas",
    "normal_map": "normal_midas",
}
# By the names of networks: what an operator adds to the catalogue, where that is no folder of transformers.
PUBLISHED: Mapping[str, str] = {
    "softedge_hed": "the file published as ControlNetHED",
    "softedge_pidinet": "the file published as table5_pidinet",
    "lineart_realistic": "the file published as sk_model",
    "lineart_coarse": "the file published as sk_model2",
    "lineart_anime": "the file published as netG",
    "mlsd": "the file published as mlsd_large_512_fp32",
    "normal_bae": "the file published as scannet",
    "openpose": "the file published as body_pose_model",
    "openpose_hand": "a folder of body_pose_model and hand_pose_model",
    "openpose_face": "a folder of body_pose_model and facenet",
    "openpose_full": "a folder of body_pose_model, hand_pose_model and facenet",
}
LOOKING = frozenset(preprocessor for preprocessor, _ in NETWORKS.values())
ALGORITHMS = tuple(each for each in Preprocessor if each not in LOOKING)

# Those that Darkroom cannot run, by what is true of them all.
FOREIGN: Mapping[str, tuple[str, ...]] = {
    "looks with a network that Darkroom cannot run; make its picture elsewhere, and send that with 'none'": (
        "depth_leres", "depth_leres++", "dw_openpose_full", "mediapipe_face", "seg_ofade20k", "seg_ofcoco",
        "lineart_anime_denoise", "softedge_teed", "softedge_anyline", "normal_dsine",
    ),
    "makes no picture: it ties the drawing itself to one, which is not built; to begin from a picture, name it in"
    " inputInitialize.imageResourceId": ("reference_only", "reference_adain", "reference_adain+attn"),
    "makes no picture: it tells a network for images what it sees, and such networks are not built": (
        "clip_vision", "revision_clipvision", "ip-adapter_clip_sd15",
    ),
    "draws a masked part again within the ControlNet, which is not built; a stage of type IMAGE_TO_INPAINT draws one": (
        "inpaint", "inpaint_only", "inpaint_only+lama", "inpaint_global_harmonious",
    ),
    "also mends the colours of what was drawn, which is not built; 'tile_resample' goes with the same ControlNets": (
        "tile_colorfix", "tile_colorfix+sharp",
    ),
}  # fmt: skip
ALIASES = {
    "canny_edge": Preprocessor.CANNY,
    "ip2p": Preprocessor.NONE,
    "qrcode": Preprocessor.NONE,
    "tile": Preprocessor.TILE,
    "t2ia_color_grid": Preprocessor.COLOR,
    "scribble": Preprocessor.SCRIBBLE,
    "fake_scribble": Preprocessor.SCRIBBLE,
    "binary": Preprocessor.THRESHOLD,
    "invert (from white bg & black line)": Preprocessor.INVERT,
    "lineart_standard (from white bg & black line)": Preprocessor.LINEART,
}


@dataclass(frozen=True, slots=True)
class Parameter:
    low: float
    high: float
    default: float


# `resolution` is of the shorter side, in pixels, at which it looks; None in its place is that of what is drawn.
_RESOLUTION = {"resolution": Parameter(64, MAX_RESOLUTION_PX, 512)}
PARAMETERS: Mapping[Preprocessor, Mapping[str, Parameter]] = {
    Preprocessor.NONE: {},
    Preprocessor.CANNY: _RESOLUTION
    | {"low_threshold": Parameter(1, 255, 100), "high_threshold": Parameter(1, 255, 200)},
    Preprocessor.INVERT: {},
    Preprocessor.THRESHOLD: {"threshold": Parameter(0, 255, 127)},
    Preprocessor.TILE: {"down_sampling_rate": Parameter(1, 8, 1)},
    Preprocessor.BLUR: _RESOLUTION | {"sigma": Parameter(0.01, 64, 9)},
    Preprocessor.SHUFFLE: {},
    Preprocessor.COLOR: {},
    Preprocessor.SCRIBBLE: _RESOLUTION | {"threshold": Parameter(1, 64, 32)},
    Preprocessor.LINEART: _RESOLUTION,
    Preprocessor.LUMINANCE: {"gamma": Parameter(0.1, 2, 1)},
    Preprocessor.INTENSITY: {"gamma": Parameter(0.1, 2, 1)},
    Preprocessor.DEPTH: _RESOLUTION,
    Preprocessor.NORMAL: _RESOLUTION | {"background_threshold": Parameter(0, 1, 0.4)},
    Preprocessor.SEGMENTATION: _RESOLUTION,
    Preprocessor.SOFT_EDGE: _RESOLUTION,
    Preprocessor.SOFT_EDGE_SAFE: _RESOLUTION,
    Preprocessor.SOFT_EDGE_SCRIBBLE: _RESOLUTION,
    Preprocessor.SOFT_EDGE_SKETCH: _RESOLUTION,
    Preprocessor.DRAWN_LINES: _RESOLUTION,
    Preprocessor.ANIME_LINES: _RESOLUTION,
    Preprocessor.STRAIGHT_LINES: _RESOLUTION
    | {"value_threshold": Parameter(0.01, 2, 0.1), "distance_threshold": Parameter(0.01, 20, 0.1)},
    Preprocessor.NORMAL_BAE: _RESOLUTION,
    Preprocessor.POSE: _RESOLUTION,
    Preprocessor.POSE_HAND: _RESOLUTION,
    Preprocessor.POSE_FACE: _RESOLUTION,
    Preprocessor.POSE_FACE_ONLY: _RESOLUTION,
    Preprocessor.POSE_FULL: _RESOLUTION,
}
# As the web UI's own API calls them, whatever they are for.
_COMMON = {"processor_res": "resolution", "detect_resolution": "resolution", "image_resolution": "resolution"}


class UnknownPreprocessor(DarkroomError):
    """No preprocessor has this name, or it needs weights that are not there."""


class WrongParameter(ValueError):
    """A preprocessor does not take `name`, or not with this value."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


def resolve(name: str, catalog: Catalog) -> tuple[Preprocessor, str | None]:
    """What this name makes, and the catalogue id of the network that it looks with, None where it needs none.

    Raises UnknownPreprocessor, with what is missing and how an operator adds it.
    """
    preprocessor, networks = _known(name)
    if not networks:
        return preprocessor, None
    for network in networks:
        try:
            return preprocessor, catalog.resolve(Kind.PREPROCESSOR, network).id
        except UnknownModel:
            continue
    wanted = f"the network {quoted(networks, 'or')}, which is not in this server's catalogue"
    source = PUBLISHED.get(networks[0], "a folder of transformers")
    added = f"`darkroom models add SOURCE --kind PREPROCESSOR --name {networks[0]}` adds {source}"
    raise UnknownPreprocessor(f"{name!r} looks with {wanted}; {added}")


def _known(name: str) -> tuple[Preprocessor, tuple[str, ...]]:
    """What it makes, and the networks that serve, if it looks with one; case, spaces and underscores do not matter.

    Raises UnknownPreprocessor.
    """
    found = _NAMES.find(name)
    if found is not None:
        return found
    if reason := _FOREIGN.get(folded(name)):
        raise UnknownPreprocessor(f"{name!r} {reason}")
    raise UnknownPreprocessor(f"no preprocessor is named {name!r}; {_NAMES.hint(name)}")


def parameters_of(preprocessor: Preprocessor, given: Mapping[str, bool | float | str]) -> dict[str, float]:
    """All parameters, with defaults for those that are not given. Raises WrongParameter."""
    known = PARAMETERS[preprocessor]
    told = {name: each.default for name, each in known.items()}
    in_order = [name for name in known if name != "resolution"]
    positions = dict(zip(("threshold_a", "threshold_b"), in_order, strict=False))
    for name, value in given.items():
        meant = positions.get(name, _COMMON.get(name, name))
        if meant not in known:
            others = f"it has {quoted(known)}" if known else "it takes no parameters"
            allowed = did_you_mean(name, known, {each: each for each in positions}) or others
            raise WrongParameter(name, f"{preprocessor.value!r} has no parameter {name!r}; {allowed}")
        told[meant] = _within(known[meant], name, value)
    return told


def _within(parameter: Parameter, name: str, value: bool | float | str) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise WrongParameter(name, "must be a number") from error
    if isinstance(value, bool) or not parameter.low <= number <= parameter.high:
        raise WrongParameter(name, f"must be a number from {parameter.low:g} to {parameter.high:g}")
    return number


_NAMES = Names({**{each.value: (each, ()) for each in ALGORITHMS}, **NETWORKS}, ALIASES | _OLD_NAMES)
_FOREIGN = {folded(name): reason for reason, names in FOREIGN.items() for name in names}
