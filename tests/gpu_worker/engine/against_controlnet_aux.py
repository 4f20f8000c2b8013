"""Makes `golden/looking` anew: what the networks of controlnet_aux 0.0.10 say with the weights of `seeded`, finished as
the ControlNet extension of the web UI does. Run it where that package is installed; no test does.
"""

import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import controlnet_aux.hed
import controlnet_aux.lineart
import controlnet_aux.lineart_anime
import controlnet_aux.mlsd.models.mbv2_mlsd_large
import controlnet_aux.mlsd.utils
import controlnet_aux.normalbae.nets.NNET
import controlnet_aux.open_pose.body
import controlnet_aux.open_pose.face
import controlnet_aux.open_pose.model
import controlnet_aux.open_pose.util
import controlnet_aux.pidi.model
import controlnet_aux.util
import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn

from tests.gpu_worker.engine.seeded import OTHER, PERSON, maps_of, picture, seeded

GOLDEN = Path(__file__).parent / "golden" / "looking"
PIXELS = picture()
UNIT = torch.from_numpy(PIXELS).permute(2, 0, 1)[None].float() / 255


def filled(network: nn.Module, published: Callable[[str], str] = str) -> Any:
    names = {name: published(name) for name in network.state_dict()}
    weights = seeded({names[name]: tensor.shape for name, tensor in network.state_dict().items()})
    network.load_state_dict(
        {name: weights[theirs] for name, theirs in names.items() if theirs in weights}, strict=False
    )
    return network.eval()


def soft(edges: Any) -> Any:
    return (edges * 255.0).clip(0, 255).astype(np.uint8)


def scribble(gray: Any) -> Any:
    result = cv2.GaussianBlur(controlnet_aux.util.nms(gray, 127, 3.0), (0, 0), 3.0)
    return np.where(result > 4, 255, 0).astype(np.uint8)


def make_edges() -> None:
    hed = filled(controlnet_aux.hed.ControlNetHED_Apache2())
    said = [cv2.resize(each[0, 0].numpy(), (128, 64), interpolation=cv2.INTER_LINEAR) for each in hed(UNIT * 255)]
    edges = 1 / (1 + np.exp(-np.mean(np.stack(said, axis=2), axis=2).astype(np.float64)))
    keep("softedge_hed", soft(edges))
    keep("softedge_hedsafe", soft(controlnet_aux.util.safe_step(edges)))
    keep("scribble_hed", scribble(soft(edges)))
    pidinet = filled(controlnet_aux.pidi.model.pidinet())
    keep("softedge_pidinet", soft(pidinet(UNIT.flip(1))[-1].numpy()[0, 0]))


def make_lines() -> None:
    lineart = filled(controlnet_aux.lineart.Generator(3, 1, 3))
    keep("lineart", 255 - soft(lineart(UNIT)[0, 0].numpy()))
    norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    anime = filled(controlnet_aux.lineart_anime.UnetGenerator(3, 1, 8, 64, norm_layer=norm))
    whole = cv2.resize(PIXELS, (256, 256), interpolation=cv2.INTER_CUBIC)
    said = anime(torch.from_numpy(whole).float().permute(2, 0, 1)[None] / 127.5 - 1)[0, 0] * 127.5 + 127.5
    lines = cv2.resize(said.numpy(), (128, 64), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    keep("lineart_anime", 255 - lines)
    mlsd = filled(controlnet_aux.mlsd.models.mbv2_mlsd_large.MobileV2_MLSD_Large())
    drawn = np.zeros_like(PIXELS)
    for line in controlnet_aux.mlsd.utils.pred_lines(PIXELS, mlsd, [64, 128], 0.1, 0.1):
        left, top, right, bottom = (int(value) for value in line)
        cv2.line(drawn, (left, top), (right, bottom), [255, 255, 255], 1)
    keep("mlsd", drawn[..., 0])


def make_normals() -> None:
    told = types.SimpleNamespace(architecture="BN", sampling_ratio=0.4, importance_ratio=0.7)
    network = filled(controlnet_aux.normalbae.nets.NNET.NNET(told))
    mean, deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    normals = network((UNIT - mean) / deviation)[0][-1][0, :3]
    keep("normal_bae", soft(((normals + 1) * 0.5).clip(0, 1).permute(1, 2, 0).numpy()))


def make_pose() -> None:
    def published(name: str) -> str:
        return ".".join(name.split(".")[-2:])

    values = (UNIT.flip(1) * 255 / 256 - 0.5)[..., :64]
    limbs, joints = filled(controlnet_aux.open_pose.model.bodypose_model(), published)(values)
    hand = filled(controlnet_aux.open_pose.model.handpose_model(), published)(values)
    face = filled(controlnet_aux.open_pose.face.FaceNet())(values)[-1]
    said = {"limbs": limbs, "joints": joints, "hand": hand, "face": face}
    np.savez_compressed(
        GOLDEN / "pose.npz", **{name: each[0].numpy().astype(np.float16) for name, each in said.items()}
    )
    ways, places = maps_of([PERSON, OTHER])
    keep("skeleton", skeleton_of(ways, places))


def skeleton_of(ways: Any, places: Any) -> Any:
    util, body = controlnet_aux.open_pose.util, controlnet_aux.open_pose.body
    estimation = body.Body.__new__(body.Body)
    estimation.model = _Said(torch.from_numpy(ways)[None], torch.from_numpy(places)[None])
    # The maps are as large as the picture already.
    util.smart_resize_k, util.smart_resize = (lambda x, fx, fy: x), (lambda x, size: x)
    util.padRightDownCorner = lambda pixels, stride, value: (pixels, [0] * 4)
    height, width = places.shape[1:]
    canvas = np.zeros((height, width, 3), np.uint8)
    for each in estimation.format_body_result(*estimation(canvas)):
        # Half a thousandth of a pixel: they are cut off to whole ones.
        points = [p and body.Keypoint((p.x + 5e-4) / width, (p.y + 5e-4) / height) for p in each.keypoints]
        canvas = util.draw_bodypose(canvas, points)
    return canvas


class _Said(nn.Module):
    def __init__(self, *maps: torch.Tensor) -> None:
        super().__init__()
        self.any = nn.Parameter(torch.zeros(1))
        self.maps = maps

    def forward(self, _pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.maps


def keep(name: str, pixels: Any) -> None:
    Image.fromarray(pixels).save(GOLDEN / f"{name}.png")


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        make_edges()
        make_lines()
        make_normals()
        make_pose()
