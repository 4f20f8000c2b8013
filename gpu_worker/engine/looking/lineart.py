"""From a picture to its lines, as a pencil draws them: the generator of the work on informative drawings."""

from torch import Tensor, nn

_BLOCKS = 3


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)  # type: ignore[no-any-return]


class Lineart(nn.Module):
    """(1, 3, h, w) of 0 to 1, sides multiples of 4, to (1, 1, h, w): black lines on white, of 0 to 1.

    Its tensors are named as in sk_model and sk_model2.
    Source: Chan et al. 2022, arXiv:2203.12691; the ControlNet extension of the web UI, annotator/lineart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model0 = nn.Sequential(nn.ReflectionPad2d(3), *_normed(nn.Conv2d(3, 64, 7)))
        self.model1 = nn.Sequential(*_smaller(64, 128), *_smaller(128, 256))
        self.model2 = nn.Sequential(*(Residual(256) for _ in range(_BLOCKS)))
        self.model3 = nn.Sequential(*_larger(256, 128), *_larger(128, 64))
        self.model4 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(64, 1, 7), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.model4(self.model3(self.model2(self.model1(self.model0(x)))))  # type: ignore[no-any-return]


def _smaller(inputs: int, outputs: int) -> list[nn.Module]:
    return _normed(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1))


def _larger(inputs: int, outputs: int) -> list[nn.Module]:
    return _normed(nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1))


def _normed(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(convolution.out_channels), nn.ReLU()]
