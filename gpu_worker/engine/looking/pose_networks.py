"""OpenPose's networks of bodies, hands and faces. What their maps tell of is `pose`'s.

Source: Cao et al. 2016, arXiv:1611.08050 (bodies); Simon et al. 2017, arXiv:1704.07809 (hands, and faces alike); the
ControlNet extension of the web UI, annotator/openpose. The weights that are published are for non-commercial use.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# The first layers of VGG19, which all of them begin with: names, channels that come in and go out.
_VGG = {
    "conv1_1": (3, 64), "conv1_2": (64, 64), "conv2_1": (64, 128), "conv2_2": (128, 128), "conv3_1": (128, 256),
    "conv3_2": (256, 256), "conv3_3": (256, 256), "conv3_4": (256, 256), "conv4_1": (256, 512), "conv4_2": (512, 512),
}  # fmt: skip
_BODY = _VGG | {"conv4_3_CPM": (512, 256), "conv4_4_CPM": (256, 128)}
_CLOSE = _VGG | {
    "conv4_3": (512, 512), "conv4_4": (512, 512), "conv5_1": (512, 512), "conv5_2": (512, 512),
    "conv5_3_CPM": (512, 128),
}  # fmt: skip
# Where the picture is halved before.
_HALVING = ("conv2_1", "conv3_1", "conv4_1")
_STAGES = range(2, 7)
_SEEN = 128
LIMB_MAPS, BODY_MAPS, HAND_MAPS, FACE_MAPS = 38, 19, 22, 71


class _Rows(nn.Module):
    """Rows of convolutions, all by their published names, which tell of no row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Sequence[str]] = {}

    def add_row(self, row: str, sizes: Mapping[str, tuple[int, ...]], kernels: Mapping[str, int]) -> None:
        for name, (inputs, outputs) in sizes.items():
            self.add_module(name, nn.Conv2d(inputs, outputs, kernels[name], padding=kernels[name] // 2))
        self.rows[row] = tuple(sizes)

    def add_seeing(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        self.add_row("seeing", sizes, dict.fromkeys(sizes, 3))

    def add_stage(self, stage: str, inputs: int, maps: int) -> None:
        """Five wide looks and two narrow ones."""
        sides = [inputs, *[_SEEN] * 6, maps]
        names = [f"Mconv{i + 1}_{stage}" for i in range(7)]
        sizes = {name: (sides[i], sides[i + 1]) for i, name in enumerate(names)}
        self.add_row(stage, sizes, {name: 7 if i < 5 else 1 for i, name in enumerate(names)})

    def run(self, row: str, x: Tensor, *, is_cut: bool = False) -> Tensor:
        """Each convolution's result cut off below 0, the last one's only where `is_cut`."""
        names = self.rows[row]
        for name in names:
            if name in _HALVING:
                x = functional.max_pool2d(x, 2)
            x = self.get_submodule(name)(x)
            x = functional.relu(x) if is_cut or name != names[-1] else x
        return x


class BodyPose(_Rows):
    """(1, 3, h, w), blue, green and red of -0.5 to 0.5, to maps at an eighth of the size: 38 of limbs' directions, x
    and y of each, and 19 of joints. Its tensors are named as in body_pose_model."""

    def __init__(self) -> None:
        super().__init__()
        self.add_seeing(_BODY)
        for branch, maps in (("L1", LIMB_MAPS), ("L2", BODY_MAPS)):
            sides = [_SEEN, _SEEN, _SEEN, _SEEN, 512, maps]
            names = [f"conv5_{i + 1}_CPM_{branch}" for i in range(5)]
            sizes = {name: (sides[i], sides[i + 1]) for i, name in enumerate(names)}
            self.add_row(f"stage1_{branch}", sizes, {name: 3 if i < 3 else 1 for i, name in enumerate(names)})
            for stage in _STAGES:
                self.add_stage(f"stage{stage}_{branch}", LIMB_MAPS + BODY_MAPS + _SEEN, maps)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.run("seeing", x, is_cut=True)
        limbs, joints = (self.run(f"stage1_{branch}", seen) for branch in ("L1", "L2"))
        for stage in _STAGES:
            before = torch.cat([limbs, joints, seen], 1)
            limbs = self.run(f"stage{stage}_L1", before)
            # As it is published: of the last stage's joints nothing is below 0.
            joints = self.run(f"stage{stage}_L2", before, is_cut=stage == _STAGES[-1])
        return limbs, joints


class _ClosePose(_Rows):
    """One kind of maps, refined in six stages."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.add_seeing(_CLOSE)
        sizes = {"conv6_1_CPM": (_SEEN, 512), "conv6_2_CPM": (512, maps)}
        self.add_row("stage1", sizes, dict.fromkeys(sizes, 1))
        for stage in _STAGES:
            self.add_stage(f"stage{stage}", maps + _SEEN, maps)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.run("seeing", x, is_cut=True)
        said = self.run("stage1", seen)
        for stage in _STAGES:
            said = self.run(f"stage{stage}", torch.cat([said, seen], 1))
        return said


class HandPose(_ClosePose):
    """(1, 3, h, w), blue, green and red of -0.5 to 0.5, to (1, 22, h / 8, w / 8): 21 joints and what is none. Its
    tensors are named as in hand_pose_model."""

    def __init__(self) -> None:
        super().__init__(HAND_MAPS)


class FacePose(_ClosePose):
    """As HandPose, to 70 marks of a face and what is none. Its tensors are named as in facenet."""

    def __init__(self) -> None:
        super().__init__(FACE_MAPS)
