from typing import Any

import pytest
import torch

from jobs.errors import FatalFailure
from jobs.prompt import Piece

WINDOW = 77


def encoded(engine: Any, checkpoint: Any, *pieces: Piece, clip_skip: int = 1) -> Any:
    return engine.encode_prompt(checkpoint, prompt=pieces, negative=(), clip_skip=clip_skip)


def test_a_weight_changes_the_text_but_not_its_mean(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    neutral = encoded(engine, checkpoint, Piece("a red cat"), Piece("a roof")).positive

    heavy = encoded(engine, checkpoint, Piece("a red cat", 1.4), Piece("a roof")).positive

    assert not torch.allclose(heavy, neutral, atol=1e-2)
    torch.testing.assert_close(heavy.mean(), neutral.mean())


def test_a_weight_multiplies_the_tokens_of_its_own_piece(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    neutral = encoded(engine, checkpoint, Piece("abc"), Piece("de")).positive[0]

    heavy = encoded(engine, checkpoint, Piece("abc"), Piece("de", 1.5)).positive[0]

    # One token per byte: start, a b c, comma, d e, end ...
    ratio = (heavy / neutral).median(dim=-1).values
    torch.testing.assert_close(ratio[5:7] / ratio[0], torch.full((2,), 1.5))
    torch.testing.assert_close(ratio[7:] / ratio[0], torch.ones(WINDOW - 7))


def test_a_mean_of_nothing_is_not_divided_by(engine: Any) -> None:
    # The tiny model's last layer norm is untrained, so its states have the mean 0.
    checkpoint = engine.load("tiny")
    neutral = encoded(engine, checkpoint, Piece("cat")).positive[0]

    heavy = encoded(engine, checkpoint, Piece("cat", 1.5)).positive[0]

    assert torch.equal(heavy[1:4], 1.5 * neutral[1:4])
    assert torch.equal(heavy[4:], neutral[4:])


def test_text_over_the_window_goes_on_in_another_chunk(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    # 75 tokens, one per byte, fill the first chunk, so the next word is the second chunk, alone.
    first, second = "x" * 75, " dog"

    long = encoded(engine, checkpoint, Piece(first + second)).positive

    assert long.shape[1] == 2 * WINDOW
    torch.testing.assert_close(long[:, :WINDOW], encoded(engine, checkpoint, Piece(first)).positive)
    torch.testing.assert_close(long[:, WINDOW:], encoded(engine, checkpoint, Piece("dog")).positive)


@pytest.mark.parametrize("model", ["tiny", "sdxl"])
def test_the_shorter_prompt_is_padded_with_empty_chunks(engine: Any, model: str) -> None:
    checkpoint = engine.load(model)

    both = engine.encode_prompt(checkpoint, prompt=(Piece("many words " * 30),), negative=(Piece("few"),), clip_skip=1)

    assert both.positive.shape == both.negative.shape
    nothing = engine.encode_prompt(checkpoint, prompt=(), negative=(), clip_skip=1).positive
    torch.testing.assert_close(both.negative[:, WINDOW : 2 * WINDOW], nothing)


def test_clip_skip_counts_layers_from_the_last(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    encoder = checkpoint.text_encoders[0]
    ids = checkpoint.tokenizers[0](["cat"], padding="max_length", return_tensors="pt").input_ids
    with torch.inference_mode():
        layers = encoder(ids, output_hidden_states=True).hidden_states
        expected = encoder.final_layer_norm(layers[-2])

    skipped = encoded(engine, checkpoint, Piece("cat"), clip_skip=2).positive

    assert torch.equal(skipped, expected)
    last = encoded(engine, checkpoint, Piece("cat"), clip_skip=1).positive
    assert torch.equal(encoded(engine, checkpoint, Piece("cat"), clip_skip=0).positive, last)
    assert not torch.allclose(skipped, last, atol=1e-3)


def test_sdxl_reads_the_layer_before_the_last_unless_more_are_skipped(engine: Any) -> None:
    checkpoint = engine.load("sdxl")
    of_one, of_two, of_three = (
        encoded(engine, checkpoint, Piece("cat"), clip_skip=skip).positive for skip in (1, 2, 3)
    )

    assert torch.equal(of_one, of_two)
    assert not torch.allclose(of_two, of_three, atol=1e-3)


def test_clip_skip_beyond_the_first_layer_is_refused(engine: Any) -> None:
    # The tiny encoders have 4 layers.
    checkpoint = engine.load("sd15")
    encoded(engine, checkpoint, Piece("cat"), clip_skip=4)

    with pytest.raises(FatalFailure, match="4 layers"):
        encoded(engine, checkpoint, Piece("cat"), clip_skip=5)
