"""Where each surface looks, said by a network that knows how unsure it is."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu_worker.engine.looking.efficientnet import EfficientNetB5

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.original_model = EfficientNetB5()

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.original_model(x)  # type: ignore[no-any-return]


class Enlargement(nn.Module):
    """What is known, at the size of what was seen, and beside it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self._net = nn.Sequential(*_normed(inputs, outputs), *_normed(outputs, outputs))

    def forward(self, known: Tensor, seen: Tensor) -> Tensor:
        return self._net(torch.cat([_at(known, seen.shape[-2:]), seen], 1))  # type: ignore[no-any-return]


def _normed(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU()]


def _pixelwise(inputs: int) -> nn.Sequential:
    sides = (inputs, 128, 128, 128)
    layers = [each for i in range(3) for each in (nn.Conv1d(sides[i], sides[i + 1], 1), nn.ReLU())]
    return nn.Sequential(*layers, nn.Conv1d(128, 4, 1))


class Decoder(nn.Module):
    """Normals and how sure they are, (1, 4, h, w), first at an eighth of the size, then at each double."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(2048, 2048, 1)
        self.up1 = Enlargement(2048 + 176, 1024)
        self.up2 = Enlargement(1024 + 64, 512)
        self.up3 = Enlargement(512 + 40, 256)
        self.up4 = Enlargement(256 + 24, 128)
        self.out_conv_res8 = nn.Conv2d(512, 4, 3, padding=1)
        self.out_conv_res4 = _pixelwise(512 + 4)
        self.out_conv_res2 = _pixelwise(256 + 4)
        self.out_conv_res1 = _pixelwise(128 + 4)

    def forward(self, seen: list[Tensor]) -> Tensor:
        half, quarter, eighth, sixteenth, whole = seen
        second = self.up2(self.up1(self.conv2(whole), sixteenth), eighth)
        third = self.up3(second, quarter)
        fourth = self.up4(third, half)
        said = _directions(self.out_conv_res8(second))
        for known, layers in ((second, self.out_conv_res4), (third, self.out_conv_res2), (fourth, self.out_conv_res1)):
            size = [2 * side for side in known.shape[-2:]]
            both = torch.cat([_at(known, size), _at(said, size)], 1)
            said = _directions(layers(both.flatten(2)).unflatten(2, size))
        return said


def _at(x: Tensor, size: list[int] | torch.Size) -> Tensor:
    return functional.interpolate(x, size, mode="bilinear", align_corners=True)


def _directions(said: Tensor) -> Tensor:
    normals, sure = said[:, :3], said[:, 3:]
    length = normals.square().sum(1, keepdim=True).sqrt() + 1e-10
    return torch.cat([normals / length, functional.elu(sure) + 1.01], 1)


class NormalBae(nn.Module):
    """(1, 3, h, w) of 0 to 1, sides multiples of 32, to (1, 3, h, w): x, y and z of -1 to 1 as red, green and blue of
    0 to 1. Its tensors are named as in scannet.

    Source: Bae et al. 2021, arXiv:2109.09881; the ControlNet extension of the web UI, annotator/normalbae.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = (x.new_tensor(each).view(1, 3, 1, 1) for each in (_MEAN, _DEVIATION))
        said = self.decoder(self.encoder((x - mean) / deviation))[:, :3]
        return ((said + 1) / 2).clamp(0, 1)  # type: ignore[no-any-return]
