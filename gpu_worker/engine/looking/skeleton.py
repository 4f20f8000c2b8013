"""People as ControlNets were taught to read them: a coloured skeleton on black. It finds none.

Source: the ControlNet extension of the web UI, annotator/openpose/util.
"""

import colorsys
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gpu_worker.engine.looking.pose import DRAWN_LIMBS, LIMBS, Marks, Point, Pose

# By joint, and by limb.
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170), (255, 0, 85),
)  # fmt: skip
_LIMB_SHADE = 0.6
_HALF_WIDTH_PX = 4
_JOINT_PX, _FACE_MARK_PX = 4, 3
_FINGERS = [(joint - 1 if joint % 4 != 1 else 0, joint) for joint in range(1, 21)]
# What OpenCV draws where it is told 2.
_FINGER_PX = 3


def drawn(poses: Iterable[Pose], size: tuple[int, int], *, with_bodies: bool) -> NDArray[np.uint8]:
    """(height, width, 3)."""
    picture = Image.new("RGB", size)
    brush = ImageDraw.Draw(picture)
    for pose in poses:
        if with_bodies:
            _draw_body(brush, pose.joints)
        for hand in pose.hands:
            _draw_hand(brush, hand)
        for mark in filter(None, pose.face):
            _dot(brush, mark, _FACE_MARK_PX, (255, 255, 255))
    return np.asarray(picture)


def _draw_body(brush: ImageDraw.ImageDraw, joints: Mapping[int, Point]) -> None:
    for (first, second, _), colour in zip(LIMBS[:DRAWN_LIMBS], COLOURS, strict=False):
        if first in joints and second in joints:
            shade = tuple(int(_LIMB_SHADE * each) for each in colour)
            brush.polygon(list(_ellipse(joints[first], joints[second])), fill=shade, outline=shade)
    for joint, place in joints.items():
        _dot(brush, place, _JOINT_PX, COLOURS[joint])


def _ellipse(first: Point, second: Point) -> Iterator[tuple[int, int]]:
    """Its corners, a degree apart, from joint to joint; in whole pixels and degrees, as OpenCV draws it."""
    middle = [int((a + b) / 2) for a, b in zip(first, second, strict=True)]
    turn = math.radians(int(math.degrees(math.atan2(first[1] - second[1], first[0] - second[0]))))
    half = int(math.dist(first, second) / 2)
    for degree in range(361):
        along, across = half * math.cos(math.radians(degree)), _HALF_WIDTH_PX * math.sin(math.radians(degree))
        x = along * math.cos(turn) - across * math.sin(turn)
        y = along * math.sin(turn) + across * math.cos(turn)
        yield round(middle[0] + x), round(middle[1] + y)


def _draw_hand(brush: ImageDraw.ImageDraw, hand: Marks) -> None:
    for i, (first, second) in enumerate(_FINGERS):
        begin, end = hand[first], hand[second]
        if begin and end:
            colour = tuple(round(255 * each) for each in colorsys.hsv_to_rgb(i / len(_FINGERS), 1.0, 1.0))
            brush.line([begin, end], fill=colour, width=_FINGER_PX)
    for mark in filter(None, hand):
        _dot(brush, mark, _JOINT_PX, (0, 0, 255))


def _dot(brush: ImageDraw.ImageDraw, place: Point, radius: int, colour: Sequence[int]) -> None:
    """All pixels whose middle is within."""
    x, y = place
    for down in range(-radius, radius + 1):
        reach = math.isqrt(radius**2 - down**2)
        brush.line([(x - reach, y + down), (x + reach, y + down)], fill=tuple(colour))
