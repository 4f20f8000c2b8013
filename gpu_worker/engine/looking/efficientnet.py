"""EfficientNet-B5 without its last layers, as TensorFlow's weights have it. It knows nothing of what it is used for."""

from torch import Tensor, nn
from torch.nn import functional

# Of each stage: blocks, size of the kernel, the first one's step, and channels.
_STAGES = ((3, 3, 1, 24), (5, 3, 2, 40), (5, 5, 2, 64), (7, 3, 2, 128), (7, 5, 1, 176), (9, 5, 2, 304), (3, 3, 1, 512))
_EXPANSION = 6
_STEM, _FEATURES = 48, 2048
# Of what comes into a block, however wide it is within.
_SQUEEZED = 4
_EPSILON = 1e-3


class Same(nn.Conv2d):
    """A convolution whose result has a place for each step, as TensorFlow pads: what is odd, after the last pixel."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for side, kernel, step in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            lacking = max((-(-side // step) - 1) * step + kernel - side, 0)
            pads += [lacking // 2, lacking - lacking // 2]
        return functional.conv2d(functional.pad(x, pads), self.weight, self.bias, self.stride, groups=self.groups)


class Squeeze(nn.Module):
    """How much each channel counts in the whole picture."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        whole = functional.silu(self.conv_reduce(x.mean((2, 3), keepdim=True)))
        counts: Tensor = self.conv_expand(whole).sigmoid()
        return x * counts


class Separable(nn.Module):
    """A block of the first stage, which is no wider within."""

    def __init__(self, inputs: int, outputs: int, kernel: int, step: int) -> None:
        super().__init__()
        self.is_residual = step == 1 and inputs == outputs
        self.conv_dw = Same(inputs, inputs, kernel, step, groups=inputs, bias=False)
        self.bn1 = _norm(inputs)
        self.se = Squeeze(inputs, inputs // _SQUEEZED)
        self.conv_pw = Same(inputs, outputs, 1, bias=False)
        self.bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.se(functional.silu(self.bn1(self.conv_dw(x))))
        said: Tensor = self.bn2(self.conv_pw(seen))
        return x + said if self.is_residual else said


class Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, step: int) -> None:
        super().__init__()
        within = inputs * _EXPANSION
        self.is_residual = step == 1 and inputs == outputs
        self.conv_pw = Same(inputs, within, 1, bias=False)
        self.bn1 = _norm(within)
        self.conv_dw = Same(within, within, kernel, step, groups=within, bias=False)
        self.bn2 = _norm(within)
        self.se = Squeeze(within, inputs // _SQUEEZED)
        self.conv_pwl = Same(within, outputs, 1, bias=False)
        self.bn3 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        wide = functional.silu(self.bn1(self.conv_pw(x)))
        seen = self.se(functional.silu(self.bn2(self.conv_dw(wide))))
        said: Tensor = self.bn3(self.conv_pwl(seen))
        return x + said if self.is_residual else said


class EfficientNetB5(nn.Module):
    """(n, 3, h, w) to what it sees at 1/2 (24 channels), 1/4 (40), 1/8 (64), 1/16 (176) and 1/32 (2048) of the size.

    Source: Tan and Le 2019, arXiv:1905.11946; the names of tensors are those of gen-efficientnet-pytorch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = Same(3, _STEM, 3, 2, bias=False)
        self.bn1 = _norm(_STEM)
        stages, before = [], _STEM
        for i, (count, kernel, step, width) in enumerate(_STAGES):
            block = Inverted if i else Separable
            first = block(before, width, kernel, step)
            stages.append(nn.Sequential(first, *(block(width, width, kernel, 1) for _ in range(count - 1))))
            before = width
        self.blocks = nn.Sequential(*stages)
        self.conv_head = Same(before, _FEATURES, 1, bias=False)
        # In the files, and of no use to whom the last layers are cut off.
        self.bn2 = _norm(_FEATURES)

    def forward(self, x: Tensor) -> list[Tensor]:
        seen = [functional.silu(self.bn1(self.conv_stem(x)))]
        for stage in self.blocks:
            seen.append(stage(seen[-1]))
        return [seen[1], seen[2], seen[3], seen[5], self.conv_head(seen[7])]


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)
