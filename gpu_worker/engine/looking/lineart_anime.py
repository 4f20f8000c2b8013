"""From a picture to lines as drawn animation has them: the U-shaped generator of the work on anime sketches."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_GRAIN_PX = 256
# What is halved in each step down, from the outermost.
_WIDTHS = (64, 128, 256, 512, 512, 512, 512, 512)


class Step(nn.Module):
    """One step down, all that lies below, and one step up, beside what came in."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        outer, inner = _WIDTHS[depth - 1], _WIDTHS[depth]
        down = [nn.LeakyReLU(0.2), nn.Conv2d(outer, inner, 4, stride=2, padding=1)]
        if is_innermost := depth == len(_WIDTHS) - 1:
            below: list[nn.Module] = []
        else:
            below = [nn.InstanceNorm2d(inner), Step(depth + 1)]
        width = inner if is_innermost else 2 * inner
        up = [nn.ReLU(), nn.ConvTranspose2d(width, outer, 4, stride=2, padding=1), nn.InstanceNorm2d(outer)]
        self.model = nn.Sequential(*down, *below, *up)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], 1)


class Outermost(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        down = nn.Conv2d(3, _WIDTHS[0], 4, stride=2, padding=1)
        up = nn.ConvTranspose2d(2 * _WIDTHS[0], 1, 4, stride=2, padding=1)
        self.model = nn.Sequential(down, Step(1), nn.ReLU(), up, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)  # type: ignore[no-any-return]


class LineartAnime(nn.Module):
    """(1, 3, h, w) of 0 to 1 to (1, 1, h, w): black lines on white, of 0 to 1. Its tensors are named as in netG.

    Source: Isola et al. 2016, arXiv:1611.07004, the generator; the ControlNet extension of the web UI,
    annotator/lineart_anime.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = Outermost()

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        whole = [-(-side // _GRAIN_PX) * _GRAIN_PX for side in size]
        # In steps of a pixel's 255 shades, as pictures have them.
        seen = (255 * _resized(x, whole)).round().clamp(0, 255)
        said = self.model(seen / 127.5 - 1)
        return _resized((said + 1) / 2, size).clamp(0, 1)


def _resized(x: Tensor, size: list[int] | torch.Size) -> Tensor:
    return functional.interpolate(x, size, mode="bicubic", align_corners=False)
