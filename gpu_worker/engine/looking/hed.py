"""Edges as soft as they look, from layers near and far: HED's network, as ControlNet's authors trained it anew."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEVELS = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))


class Level(nn.Module):
    """Convolutions of one size, and what they say of edges."""

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        sides = [inputs, *[outputs] * count]
        self.convs = nn.ModuleList(nn.Conv2d(sides[i], sides[i + 1], 3, padding=1) for i in range(count))
        self.projection = nn.Conv2d(outputs, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for convolution in self.convs:
            x = functional.relu(convolution(x))
        return x, self.projection(x)


class Hed(nn.Module):
    """(1, 3, h, w) of 0 to 1 to (1, 1, h, w), how surely there is an edge. Its tensors are named as in ControlNetHED.

    Source: Xie and Tu 2015, arXiv:1504.06375; the ControlNet extension of the web UI, annotator/hed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        for i, sizes in enumerate(_LEVELS):
            self.add_module(f"block{i + 1}", Level(*sizes))

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        seen, said = 255 * x - self.norm, []
        for i in range(len(_LEVELS)):
            seen, edges = self.get_submodule(f"block{i + 1}")(functional.max_pool2d(seen, 2) if i else seen)
            said.append(functional.interpolate(edges, size, mode="bilinear", align_corners=False))
        return torch.cat(said, 1).mean(1, keepdim=True).sigmoid()
