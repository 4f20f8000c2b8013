"""Parts of small models of random weights, shaped like the published ones. It assembles no model."""

from typing import Any

import diffusers
import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

untyped: Any = diffusers

WINDOW = 77
_START, _END = "<|startoftext|>", "<|endoftext|>"
WORDS = ("red", "cat", "roof", "on", "blue", "ugly", "circle", "green", "dog")


def wild(network: Any, bias: float = 0.0) -> Any:
    """Also biases and norms differ from their constants, so that none can be forgotten or swapped unnoticed."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter) + bias)
    return network


def small_vae(scaling_factor: float, latent_channels: int = 4, **options: Any) -> Any:
    vae = untyped.AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=latent_channels,
        norm_num_groups=4,
        scaling_factor=scaling_factor,
        **options,
    )
    return wild(vae)


def text_config(*, width: int, act: str, projection: int = 32) -> CLIPTextConfig:
    tokenizer = byte_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=2,
        hidden_act=act,
        projection_dim=projection,
        max_position_embeddings=WINDOW,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def byte_tokenizer() -> Any:
    """CLIP's tokenizer without merges: a token per byte, another per byte that ends a word. Knows every text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), _START, _END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=WINDOW)


def small_t5(width: int) -> Any:
    tokenizer = word_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return wild(T5EncoderModel(config))


def word_tokenizer() -> Any:
    """T5's, of a few words and of letters: a word's token depends on whether a space is before it."""
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words = [(f"{space}{word}", -4.0) for word in WORDS for space in ("", "▁")]
    letters = [(letter, -9.0) for letter in "abcdefghijklmnopqrstuvwxyz,.()"]
    return T5Tokenizer(vocab=specials + words + letters, extra_ids=0)
