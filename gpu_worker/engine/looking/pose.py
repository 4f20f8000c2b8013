"""From the maps of OpenPose's networks to people: their joints, and the marks of their hands and faces. It draws none.

Source: Cao et al. 2016, arXiv:1611.08050; the ControlNet extension of the web UI, annotator/openpose. That
enlarges maps by Lanczos' way, this in cubes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

Pixels = NDArray[np.uint8]
Maps = NDArray[np.float32]
Point = tuple[float, float]
# Of the hands and faces that follow the arms and heads: x and y in the picture; None is not seen.
Marks = Sequence[Point | None]

JOINTS = 18
NOSE, RIGHT_ARM, LEFT_ARM, EYES, EARS = 0, (2, 3, 4), (5, 6, 7), (14, 15), (16, 17)
# Two joints each, and the first of the two maps of the way from one to the other. The last two are drawn nowhere.
LIMBS = (
    (1, 2, 12), (1, 5, 20), (2, 3, 14), (3, 4, 16), (5, 6, 22), (6, 7, 24), (1, 8, 0), (8, 9, 2), (9, 10, 4),
    (1, 11, 6), (11, 12, 8), (12, 13, 10), (1, 0, 28), (0, 14, 30), (14, 16, 34), (0, 15, 32), (15, 17, 36),
    (2, 16, 18), (5, 17, 26),
)  # fmt: skip
DRAWN_LIMBS = 17
# The height at which bodies were learned, and how much of it is looked at.
_HEIGHT, _SHARE = 368, 0.5
_STRIDE, _GRAY = 8, 128
_SURE_OF_JOINT, _SURE_OF_WAY = 0.1, 0.05
# Places between two joints where the way is asked for.
_ASKED, _AGREEING = 10, 0.8
_FEWEST_JOINTS, _SURE_OF_PERSON = 4, 0.4
# Of one joint: pairs are compared, and a flat map would be full of peaks.
_MOST_PEAKS = 256
# Of a hand and a face: from how near they are looked at, and the smallest that is.
_HAND_SHARES, _HAND_PX, _SURE_OF_HAND, _BEYOND_WRIST = (0.5, 1.0, 1.5, 2.0), 128, 0.05, 0.33
_FACE_PX, _SURE_OF_FACE = 384, 0.05
_SMALLEST_PX = 20


@dataclass(frozen=True, slots=True)
class Peak:
    x: int
    y: int
    sure: float


@dataclass(slots=True)
class Person:
    """While it is put together: the joints so far, the sum of what speaks for them, and how many times one came."""

    joints: dict[int, Peak]
    score: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """One person: joints by number, x and y in the picture."""

    joints: Mapping[int, Point]
    hands: Sequence[Marks] = ()
    face: Marks = ()


@dataclass(frozen=True, slots=True)
class Connection:
    first: Peak
    second: Peak
    score: float


def poses(
    body: nn.Module, pixels: Pixels, *, hand: nn.Module | None = None, face: nn.Module | None = None
) -> list[Pose]:
    """The people in (height, width, 3) of red, green and blue; hands and faces where their networks are given."""
    return [
        Pose(
            joints=joints,
            hands=[_hand(hand, pixels, box) for box in _hand_boxes(joints, pixels.shape)] if hand else (),
            face=_face(face, pixels, _face_box(joints, pixels.shape)) if face else (),
        )
        for joints in people(*_body_maps(body, pixels))
    ]


def people(ways: Maps, joints: Maps) -> list[dict[int, Point]]:
    """The joints of each person, of (38, h, w) maps of limbs' ways and (19, h, w) of joints."""
    peaks = [_peaks(joints[i]) for i in range(JOINTS)]
    found: list[Person] = []
    for first, second, way in LIMBS:
        for connection in _connections(peaks[first], peaks[second], ways[way : way + 2]):
            found = _joined(found, first, second, connection)
    whole = (each for each in found if each.count >= _FEWEST_JOINTS and each.score / each.count >= _SURE_OF_PERSON)
    return [{joint: (peak.x, peak.y) for joint, peak in sorted(each.joints.items())} for each in whole]


def _peaks(joint: Maps) -> list[Peak]:
    """Where it is as likely as nowhere beside, the likeliest first where there are very many."""
    smooth = ndimage.gaussian_filter(joint.astype(float), 3)
    walled = np.pad(smooth, 1)
    beside = (walled[:-2, 1:-1], walled[2:, 1:-1], walled[1:-1, :-2], walled[1:-1, 2:])
    rows, columns = np.nonzero(np.logical_and.reduce([smooth >= each for each in beside]) & (smooth > _SURE_OF_JOINT))
    found = [Peak(int(x), int(y), float(joint[y, x])) for y, x in zip(rows, columns, strict=True)]
    return found if len(found) <= _MOST_PEAKS else sorted(found, key=lambda peak: -peak.sure)[:_MOST_PEAKS]


def _connections(firsts: Sequence[Peak], seconds: Sequence[Peak], way: Maps) -> Iterator[Connection]:
    """Pairs that the maps speak for, the surest first; each peak in one at most."""
    if not firsts or not seconds:
        return
    scores = _scores(firsts, seconds, way)
    rows: set[int] = set()
    columns: set[int] = set()
    for place in np.argsort(-scores, axis=None, kind="stable"):
        i, j = divmod(int(place), len(seconds))
        if not scores[i, j] > 0:
            return
        if i not in rows and j not in columns:
            rows.add(i)
            columns.add(j)
            yield Connection(firsts[i], seconds[j], float(scores[i, j]))


def _scores(firsts: Sequence[Peak], seconds: Sequence[Peak], way: Maps) -> NDArray[np.float64]:
    """(firsts, seconds): how much the way on the line between them goes along it; 0 for what cannot be."""
    begins, ends = (np.array([(each.x, each.y) for each in peaks], float) for peaks in (firsts, seconds))
    lines = ends[None] - begins[:, None]
    lengths = np.maximum(np.linalg.norm(lines, axis=2), 1e-3)
    shares = np.linspace(0, 1, _ASKED)
    places = np.rint(begins[:, None, None] + shares[:, None] * lines[:, :, None]).astype(int)
    told = way[:, places[..., 1], places[..., 0]].astype(float)
    along = (told[0] * lines[..., :1] + told[1] * lines[..., 1:]) / lengths[..., None]
    # Longer than half the picture is unlikely.
    scores = along.mean(2) + np.minimum(0.5 * way.shape[1] / lengths - 1, 0)
    agrees = (along > _SURE_OF_WAY).sum(2) > _AGREEING * _ASKED
    return np.where(agrees, scores, 0)


def _joined(people: list[Person], first: int, second: int, connection: Connection) -> list[Person]:
    """The people with this connection: one gains a joint, two become one, or another begins."""
    a, b = connection.first, connection.second
    sharing = [each for each in people if each.joints.get(first) is a or each.joints.get(second) is b]
    if not sharing:
        begun = Person({first: a, second: b}, a.sure + b.sure + connection.score, 2)
        return [*people, begun]
    person, *others = sharing
    if others and not person.joints.keys() & others[0].joints.keys():
        person.joints.update(others[0].joints)
        person.score += others[0].score + connection.score
        person.count += others[0].count
        return [each for each in people if each is not others[0]]
    if others or person.joints.get(second) is not b:
        person.joints[second] = b
        person.score += b.sure + connection.score
        person.count += 1
    return people


def _body_maps(network: nn.Module, pixels: Pixels) -> tuple[Maps, Maps]:
    height, width = pixels.shape[:2]
    scale = _SHARE * _HEIGHT / height
    seen = _resized(pixels, max(int(width * scale), 1), max(int(height * scale), 1))
    limbs, joints = network(_input(seen, network))
    return _enlarged(limbs, seen, (height, width)), _enlarged(joints, seen, (height, width))


def _enlarged(maps: Tensor, seen: Pixels, size: tuple[int, int]) -> Maps:
    """(channels, *size) of what was said at an eighth of `seen`, which was padded."""
    height, width = seen.shape[:2]
    large = functional.interpolate(maps, scale_factor=_STRIDE, mode="bicubic", align_corners=False)
    whole = functional.interpolate(large[..., :height, :width], size, mode="bicubic", align_corners=False)
    return np.asarray(whole[0].float().cpu().numpy())


def _input(pixels: Pixels, network: nn.Module) -> Tensor:
    """Blue, green and red, with gray at the right and below up to whole strides."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % _STRIDE), (0, -width % _STRIDE), (0, 0)), constant_values=_GRAY)
    values = torch.from_numpy(padded[..., ::-1].copy()).permute(2, 0, 1)[None]
    return values.to(next(network.parameters()).device).float() / 256 - 0.5


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    is_smaller = width + height < sum(pixels.shape[:2])
    way = Image.Resampling.BOX if is_smaller else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize((width, height), way))


Box = tuple[int, int, int]
"""Left, top and side."""


def _hand_boxes(joints: Mapping[int, Point], shape: Sequence[int]) -> Iterator[Box]:
    """Squares beyond the wrists, as wide as the arms are long."""
    for arm in (LEFT_ARM, RIGHT_ARM):
        if not all(joint in joints for joint in arm):
            continue
        shoulder, elbow, wrist = (np.array(joints[joint]) for joint in arm)
        side = 1.5 * max(math.dist(wrist, elbow), 0.9 * math.dist(elbow, shoulder))
        left, top = np.maximum(wrist + _BEYOND_WRIST * (wrist - elbow) - side / 2, 0)
        yield from _within(left, top, side, shape)


def _face_box(joints: Mapping[int, Point], shape: Sequence[int]) -> Box | None:
    """A square around the nose, by how far the eyes and the ears are."""
    far = [(joint, 3.0) for joint in EYES] + [(joint, 1.5) for joint in EARS]
    if NOSE not in joints:
        return None
    x, y = joints[NOSE]
    reaches = [
        times * max(abs(x - joints[joint][0]), abs(y - joints[joint][1])) for joint, times in far if joint in joints
    ]
    reach = max(reaches, default=0.0)
    left, top = max(x - reach, 0.0), max(y - reach, 0.0)
    height, width = shape[:2]
    # As it is published: what reaches over the edge is measured by half of the square.
    across = width - left if left + reach > width else 2 * reach
    down = height - top if top + reach > height else 2 * reach
    side = min(across, down)
    return (int(left), int(top), int(side)) if side >= _SMALLEST_PX else None


def _within(left: float, top: float, side: float, shape: Sequence[int]) -> Iterator[Box]:
    side = min(
        side, shape[1] - left if left + side > shape[1] else side, shape[0] - top if top + side > shape[0] else side
    )
    if side >= _SMALLEST_PX:
        yield int(left), int(top), int(side)


def _hand(network: nn.Module, pixels: Pixels, box: Box) -> Marks:
    """Its 21 joints, of four looks from nearer and nearer."""
    left, top, side = box
    cut = pixels[top : top + side, left : left + side]
    soft = ndimage.gaussian_filter(cut, (0.8, 0.8, 0), mode="mirror", truncate=3.5)
    looks = []
    for share in _HAND_SHARES:
        seen = _resized(soft, int(share * _HEIGHT), int(share * _HEIGHT))
        looks.append(_enlarged(network(_input(seen, network)), seen, (_HAND_PX, _HAND_PX)))
    maps = np.mean(looks, axis=0)
    # The last one is of what is no joint.
    return [_at(_likeliest(each), cut.shape, box) for each in maps[:-1]]


def _likeliest(joint: Maps) -> tuple[int, int] | None:
    """Row and column of the highest place of the patch that is likeliest as a whole."""
    patches, count = ndimage.label(ndimage.gaussian_filter(joint.astype(float), 3) > _SURE_OF_HAND, np.ones((3, 3)))
    if not count:
        return None
    sums = ndimage.sum_labels(joint, patches, range(1, count + 1))
    alone = np.where(patches == 1 + int(np.argmax(sums)), joint, 0)
    row, column = np.unravel_index(int(alone.argmax()), alone.shape)
    return int(row), int(column)


def _at(place: tuple[int, int] | None, shape: Sequence[int], box: Box) -> Point | None:
    if place is None:
        return None
    y, x = (int(each * side / _HAND_PX) for each, side in zip(place, shape, strict=False))
    # As it is published: what is at the very edge counts as not seen.
    return (x + box[0], y + box[1]) if x and y else None


def _face(network: nn.Module, pixels: Pixels, box: Box | None) -> Marks:
    """Its 70 marks. The map of what is none counts as one more, as it is published, and in what ControlNets learned."""
    if box is None:
        return ()
    left, top, side = box
    cut = pixels[top : top + side, left : left + side]
    said = network(_input(_resized(cut, _FACE_PX, _FACE_PX), network))
    maps = functional.interpolate(said, cut.shape[:2], mode="bilinear", align_corners=True)[0].float().cpu().numpy()
    places = (np.unravel_index(int(each.argmax()), each.shape) for each in maps if each.max() > _SURE_OF_FACE)
    return [(int(x) + left, int(y) + top) if x and y else None for y, x in places]
