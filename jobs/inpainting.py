"""How a part of a picture is drawn again. It draws nothing."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

ResizeMode: TypeAlias = Literal["JUST_RESIZE", "CROP_AND_RESIZE", "RESIZE_AND_FILL", "JUST_RESIZE_LATENT_UPSCALE"]
Fill: TypeAlias = Literal["FILL", "ORIGINAL", "LATENT_NOISE", "LATENT_NOTHING"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What is taken out of a picture, to be drawn again at `width` × `height`.

    With `padding_px` that is the masked part and so much around it, as wide and high in proportion as it is drawn;
    with None, the whole picture, brought to this size by `resize_mode`. White is drawn again, with `invert_mask` black.
    """

    width: int
    height: int
    padding_px: int | None
    blur_px: float = 4.0
    fill: Fill = "ORIGINAL"
    resize_mode: ResizeMode = "JUST_RESIZE"
    invert_mask: bool = False

    @property
    def grows_as_latents(self) -> bool:
        """Whether the whole picture is encoded as it is, and resized after that."""
        return self.padding_px is None and self.resize_mode == "JUST_RESIZE_LATENT_UPSCALE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """What a drawing that begins from pictures may change: where `mask`, a picture of its size, is white.

    `fill` says what is there before the first step. `noise_multiplier` is of the noise that is laid over it.
    """

    mask: Any
    fill: Fill = "ORIGINAL"
    noise_multiplier: float = 1.0
