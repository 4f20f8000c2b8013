"""Where the layers of a LoRA stand in block weights, by kohya's names of diffusers' layers. It knows no weights.

Source: the LoRA Block Weight extension of AUTOMATIC1111's web UI.
"""

import re

from jobs.block_weights import BASE, CLIP, FLUX_IN, FLUX_OUT, MIDDLE, T5

_UNET_BLOCK = re.compile(r"lora_unet_(down|up)_blocks_([0-9]+)_([a-z]+)_([0-9]+)_.*")
_FLUX_BLOCK = re.compile(r"lora_unet_(single_)?transformer_blocks_([0-9]+)_.*")


def place_in_unet(layer: str, layers_per_block: int) -> str:
    """Blocks are counted through, as the original layout does."""
    if layer.startswith("lora_unet_mid_block_"):
        return MIDDLE
    found = _UNET_BLOCK.fullmatch(layer)
    if found is None:
        return BASE
    side, block, part, number = found[1], int(found[2]), found[3], int(found[4])
    within = layers_per_block if part.endswith("samplers") else number
    place = block * (layers_per_block + 1) + within
    return f"IN{place + 1:02}" if side == "down" else f"OUT{place:02}"


def place_in_flux(layer: str) -> str:
    if layer.startswith(("lora_te2_", "lora_te3_")):
        return T5
    if layer.startswith("lora_te"):
        return CLIP
    found = _FLUX_BLOCK.fullmatch(layer)
    if found is not None:
        return f"{'S' if found[1] else 'D'}{int(found[2]):02}"
    return FLUX_OUT if layer.startswith(("lora_unet_norm_out", "lora_unet_proj_out")) else FLUX_IN
