"""AnimateDiff's denoiser: all frames of a clip at once, which see each other through a motion adapter."""

from typing import Any

from diffusers import MotionAdapter, UNetMotionModel
from torch import Tensor, nn


def animated(unet: Any, adapter: MotionAdapter) -> Any:
    """The UNetMotionModel that diffusers' AnimateDiffPipeline takes; the weights are copied."""
    if unet.config.addition_embed_type != "text":
        return UNetMotionModel.from_unet2d(unet, adapter)
    model: Any = PooledTextMotionModel.from_unet2d(unet, adapter)
    model.time_embedding = _TimeAndText(model.time_embedding, unet.add_embedding)
    return model


class PooledTextMotionModel(UNetMotionModel):
    """Also pools the text into the time embedding, which UNetMotionModel leaves out without a word."""

    def forward(self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **others: Any) -> Any:
        """`sample` is (clips, channels, frames, h, w); `encoder_hidden_states` (clips × frames, tokens, width)."""
        # `timestep_cond` is what diffusers hands through to the time embedding, once for each clip.
        texts = encoder_hidden_states[:: sample.shape[2]]
        return super().forward(sample, timestep, encoder_hidden_states, timestep_cond=texts, **others)  # type: ignore[misc]


class _TimeAndText(nn.Module):
    def __init__(self, time: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.time, self.text = time, text

    def forward(self, time: Tensor, states: Tensor) -> Tensor:
        summed: Tensor = self.time(time) + self.text(states)
        return summed
