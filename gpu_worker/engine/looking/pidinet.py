"""Edges from differences between pixels: PiDiNet's network, in the form that ControlNet was trained with."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_WIDTH, _DILATED = 60, 24
# How each layer looks: all four stages begin with a central, an angular and a radial difference, then as it is.
_WAYS = ("central", "angular", "radial", "plain")
# Where the neighbours of a 3 × 3 kernel lie after an eighth of a turn.
_TURNED = [3, 0, 1, 6, 4, 2, 7, 8, 5]
# Of a 5 × 5 kernel: the eight that are two away, and the eight between them and the middle.
_FAR = [0, 2, 4, 10, 14, 20, 22, 24]
_NEAR = [6, 7, 8, 11, 13, 16, 17, 18]


class Difference(nn.Conv2d):
    """A convolution of differences between pixels, written as one of pixels.

    Source: Su et al. 2021, arXiv:2108.07009, section 3.1.
    """

    def __init__(self, way: str, inputs: int, outputs: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, 3, padding=1, groups=groups, bias=False)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel()
        return functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=self.groups)

    def kernel(self) -> Tensor:
        flat = self.weight.flatten(2)
        if self.way == "central":
            middle = functional.pad(flat.sum(2, keepdim=True), (4, 4))
            return (flat - middle).view_as(self.weight)
        if self.way == "angular":
            return (flat - flat[..., _TURNED]).view_as(self.weight)
        if self.way == "radial":
            wide = flat.new_zeros(*flat.shape[:2], 25)
            # The published network leaves the first weight out, not that of the middle.
            wide[..., _FAR], wide[..., _NEAR] = flat[..., 1:], -flat[..., 1:]
            return wide.view(*flat.shape[:2], 5, 5)
        return self.weight


class Block(nn.Module):
    def __init__(self, way: str, inputs: int, outputs: int, *, is_halving: bool) -> None:
        super().__init__()
        self.is_halving = is_halving
        if is_halving:
            self.shortcut = nn.Conv2d(inputs, outputs, 1)
        self.conv1 = Difference(way, inputs, inputs, groups=inputs)
        self.conv2 = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(x, 2) if self.is_halving else x
        said: Tensor = self.conv2(functional.relu(self.conv1(x)))
        return said + (self.shortcut(x) if self.is_halving else x)


class Dilated(nn.Module):
    """Sees far, in four steps."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 1)
        for i, step in enumerate((5, 7, 9, 11)):
            far = nn.Conv2d(outputs, outputs, 3, padding=step, dilation=step, bias=False)
            self.add_module(f"conv2_{i + 1}", far)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.conv1(functional.relu(x))
        return torch.stack([self.get_submodule(f"conv2_{i + 1}")(seen) for i in range(4)]).sum(0)


class Attention(nn.Module):
    """How much each place counts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 1)
        self.conv2 = nn.Conv2d(4, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        counts: Tensor = self.conv2(self.conv1(functional.relu(x))).sigmoid()
        return x * counts


class Reduction(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


class PiDiNet(nn.Module):
    """(1, 3, h, w) of 0 to 1 to (1, 1, h, w), how surely there is an edge. Its tensors are named as in table5_pidinet.

    Source: Su et al. 2021, arXiv:2108.07009; the ControlNet extension of the web UI, annotator/pidinet (`carv4`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.init_block = Difference(_WAYS[0], 3, _WIDTH)
        widths = [_WIDTH, 2 * _WIDTH, 4 * _WIDTH, 4 * _WIDTH]
        before = _WIDTH
        for stage, width in enumerate(widths):
            # The first layer of the first stage is `init_block`.
            for i, way in enumerate(_WAYS[0 if stage else 1 :]):
                block = Block(way, before, width, is_halving=stage > 0 and i == 0)
                self.add_module(f"block{stage + 1}_{i + 1}", block)
                before = width
        self.dilations = nn.ModuleList(Dilated(width, _DILATED) for width in widths)
        self.attentions = nn.ModuleList(Attention(_DILATED) for _ in widths)
        self.conv_reduces = nn.ModuleList(Reduction(_DILATED) for _ in widths)
        self.classifier = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        # It was trained on blue, green and red.
        size, seen, said = x.shape[-2:], self.init_block(x.flip(1)), []
        for stage in range(4):
            for i in range(4 if stage else 3):
                seen = self.get_submodule(f"block{stage + 1}_{i + 1}")(seen)
            edges = self.conv_reduces[stage](self.attentions[stage](self.dilations[stage](seen)))
            said.append(functional.interpolate(edges, size, mode="bilinear", align_corners=False))
        return self.classifier(torch.cat(said, 1)).sigmoid()  # type: ignore[no-any-return]
