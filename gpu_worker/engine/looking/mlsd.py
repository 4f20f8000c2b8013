"""Straight lines of what is built: M-LSD's network, and the segments that its maps tell of."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional

# Of each stage of MobileNetV2: how much wider it is within, channels, blocks, and the first one's step.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
# The last layers of the stages.
_SEEN = (1, 3, 6, 10, 13)
_WIDTH = 64
_MOST_SEGMENTS = 200
# Of a middle of a line: no other one is as likely this near.
_ALONE_WITHIN = 3
# The maps are half as large as the picture.
_SCALE = 2


class Layer(nn.Sequential):
    """A convolution without bias, normed and cut off at 6."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, *, step: int = 1, groups: int = 1) -> None:
        self.is_halving = step == 2
        padding = 0 if step == 2 else size // 2
        convolution = nn.Conv2d(inputs, outputs, size, step, padding, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())

    def forward(self, x: Tensor) -> Tensor:
        # As TensorFlow pads, where it was trained: after the last pixel only.
        return super().forward(functional.pad(x, (0, 1, 0, 1)) if self.is_halving else x)  # type: ignore[no-any-return, no-untyped-call]


class Inverted(nn.Module):
    """Source: Sandler et al. 2018, arXiv:1801.04381."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, step: int) -> None:
        super().__init__()
        within = inputs * expansion
        self.is_residual = step == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *([Layer(inputs, within)] if expansion > 1 else []),
            Layer(within, within, 3, step=step, groups=within),
            nn.Conv2d(within, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        said: Tensor = self.conv(x)
        return x + said if self.is_residual else said


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [Layer(4, 32, 3, step=2)]
        before = 32
        for expansion, width, count, step in _STAGES:
            for i in range(count):
                layers.append(Inverted(before, width, expansion=expansion, step=1 if i else step))
                before = width
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        seen = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in _SEEN:
                seen.append(x)
        return seen


class Joint(nn.Module):
    """What was seen at one size beside what is told of the coarser one."""

    def __init__(self, fine: int, coarse: int, *, is_doubling: bool = True) -> None:
        super().__init__()
        self.is_doubling = is_doubling
        self.conv1 = _normed(coarse, _WIDTH, 1)
        self.conv2 = _normed(fine, _WIDTH, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        told = self.conv1(coarse)
        if self.is_doubling:
            told = functional.interpolate(told, scale_factor=2.0, mode="bilinear", align_corners=True)
        return torch.cat([self.conv2(fine), told], 1)


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _normed(2 * _WIDTH, 2 * _WIDTH, 3)
        self.conv2 = _normed(2 * _WIDTH, _WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x) + x)  # type: ignore[no-any-return]


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _normed(_WIDTH, _WIDTH, 3, dilation=5)
        self.conv2 = _normed(_WIDTH, _WIDTH, 3)
        self.conv3 = nn.Conv2d(_WIDTH, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x)))  # type: ignore[no-any-return]


def _normed(inputs: int, outputs: int, size: int, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, padding=dilation * (size // 2), dilation=dilation)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Mlsd(nn.Module):
    """(1, 3, h, w) of 0 to 1, sides multiples of 64, to (1, 5, h / 2, w / 2).

    Of each place: how likely it is the middle of a line, before the sigmoid; and from it, in places, the way to the
    line's start (x, y) and to its end. Its tensors are named as in mlsd_large_512_fp32.
    Source: Gu et al. 2021, arXiv:2106.00186; the ControlNet extension of the web UI, annotator/mlsd.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.block15 = Joint(64, 96, is_doubling=False)
        self.block16 = Mixture()
        self.block17 = Joint(32, _WIDTH)
        self.block18 = Mixture()
        self.block19 = Joint(24, _WIDTH)
        self.block20 = Mixture()
        self.block21 = Joint(16, _WIDTH)
        self.block22 = Mixture()
        self.block23 = Head()

    def forward(self, x: Tensor) -> Tensor:
        # A fourth channel of ones beside 255 shades of three, as it was trained.
        seen = torch.cat([255 * x, torch.ones_like(x[:, :1])], 1) / 127.5 - 1
        first, second, third, fourth, fifth = self.backbone(seen)
        told = self.block16(self.block15(fourth, fifth))
        told = self.block18(self.block17(third, told))
        told = self.block20(self.block19(second, told))
        told = self.block22(self.block21(first, told))
        return self.block23(told)[:, 7:12]  # type: ignore[no-any-return]


def segments(maps: Tensor, *, value: float, distance: float) -> Iterator[tuple[int, int, int, int]]:
    """The lines, x and y of start and end in pixels: those surer than `value`, and longer than `distance` in places.

    `maps` are what Mlsd says.
    """
    sure = maps[0, :1].sigmoid()
    is_peak = functional.max_pool2d(sure, _ALONE_WITHIN, stride=1, padding=_ALONE_WITHIN // 2) == sure
    flat = (sure * is_peak).flatten()
    scores, places = (each.cpu() for each in flat.topk(min(_MOST_SEGMENTS, flat.numel())))
    ways = maps[0, 1:].cpu()
    for score, place in zip(scores.tolist(), places.tolist(), strict=True):
        y, x = divmod(place, maps.shape[-1])
        way = ways[:, y, x]
        if score > value and float((way[:2] - way[2:]).norm()) > distance:
            left, top, right, bottom = (_SCALE * (way + torch.tensor([x, y, x, y]))).tolist()
            yield int(left), int(top), int(right), int(bottom)


def drawn(lines: Iterator[tuple[int, int, int, int]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width): white on black, one pixel wide."""
    picture = Image.new("L", size)
    brush = ImageDraw.Draw(picture)
    for line in lines:
        brush.line(line, fill=255)
    return np.asarray(picture)
