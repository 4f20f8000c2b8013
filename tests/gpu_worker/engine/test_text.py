import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gpu_worker.engine.embedding import read_learned_word
from gpu_worker.engine.text import encode_prompt
from jobs.catalog import Family, Kind, Model
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


def test_brackets_in_a_text_weigh_its_tokens(engine: Any) -> None:
    checkpoint = engine.load("sd15")

    bracketed = encoded(engine, checkpoint, Piece("ab(c:1.5)d", 1.2)).positive
    by_hand = encode_tokens(checkpoint, "ab c d", [1.2, 1.2, 1.2 * 1.5, 1.2])

    torch.testing.assert_close(bracketed[0], by_hand)


def encode_tokens(checkpoint: Any, letters: str, weights: list[float]) -> torch.Tensor:
    """Each state times its token's weight, all as much smaller as keeps the mean; a token per letter."""
    (tokenizer,), (encoder,) = checkpoint.tokenizers, checkpoint.text_encoders
    ids = tokenizer(letters, padding="max_length", return_tensors="pt").input_ids
    with torch.inference_mode():
        states = encoder(ids).last_hidden_state[0]
    factors = torch.ones(WINDOW, 1)
    factors[1 : len(weights) + 1, 0] = torch.tensor(weights)
    weighted = states * factors
    return weighted * (states.mean() / weighted.mean())


def test_break_begins_a_new_chunk(engine: Any) -> None:
    checkpoint = engine.load("sd15")

    parted = encoded(engine, checkpoint, Piece("a cat BREAK a dog")).positive

    torch.testing.assert_close(parted[:, :WINDOW], encoded(engine, checkpoint, Piece("a cat")).positive)
    torch.testing.assert_close(parted[:, WINDOW:], encoded(engine, checkpoint, Piece("a dog")).positive)


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
@pytest.mark.parametrize("text", ["a word", "a Word, (WORD:1.2) words"])
def test_a_learned_word_is_read_as_its_vectors(engine: Any, tmp_path: Path, model: str, text: str) -> None:
    checkpoint = engine.load(model)
    tables = [encoder.get_input_embeddings().weight for encoder in checkpoint.text_encoders]
    # The vectors of other letters, so that the same text in these letters is what is expected.
    ids = checkpoint.tokenizers[0]("xy", add_special_tokens=False).input_ids
    names = ["clip_l", "clip_g"] if model == "sdxl" else ["anything"]
    path = tmp_path / "word.safetensors"
    save_file({name: table[ids].clone() for name, table in zip(names, tables, strict=True)}, path)
    word = Model(id="w", name="word", kind=Kind.TEXTUAL_INVERSION, family=checkpoint.family, path=path)

    known = read_learned_word(word, checkpoint)
    with torch.inference_mode():
        learned = encode_prompt(checkpoint, (Piece(text),), (), 1, [known])
        spelled = encode_prompt(checkpoint, (Piece(re.sub(r"(?i)\bword\b", "xy", text)),), (), 1)

    torch.testing.assert_close(learned.positive, spelled.positive)
    torch.testing.assert_close(learned.pooled_positive, spelled.pooled_positive)


@pytest.mark.parametrize("shapes", [{"clip_l": (1, 32), "clip_g": (1, 32)}, {"x": (1, 33)}, {"x": (1, 1, 32)}, {}])
def test_a_word_of_another_family_is_refused(engine: Any, tmp_path: Path, shapes: dict[str, Any]) -> None:
    path = tmp_path / "word.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    word = Model(id="w", name="word", kind=Kind.TEXTUAL_INVERSION, family=Family.SD15, path=path)

    with pytest.raises(FatalFailure, match="embedding w"):
        read_learned_word(word, engine.load("sd15"))
