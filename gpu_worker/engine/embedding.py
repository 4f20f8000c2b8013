"""Textual inversions: words that stand for learned vectors. It encodes no prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gpu_worker.engine.checkpoint import Checkpoint
from gpu_worker.engine.tensors import read_tensors
from jobs.catalog import Model
from jobs.errors import FatalFailure

# SDXL's two encoders, as its files name their vectors.
_XL_NAMES = ("clip_l", "clip_g")


@dataclass(frozen=True, slots=True)
class LearnedWord:
    """`vectors` has (n, width) for each text encoder; `names` are how prompts may call it."""

    names: tuple[str, ...]
    vectors: tuple[Tensor, ...]


def read_learned_word(model: Model, checkpoint: Checkpoint) -> LearnedWord:
    """Raises FatalFailure where the file cannot be read, or is for other text encoders."""
    tensors = read_tensors(model)
    weights = [encoder.get_input_embeddings().weight for encoder in checkpoint.text_encoders]
    chosen = [tensors[name] for name in _XL_NAMES] if set(_XL_NAMES) <= tensors.keys() else list(tensors.values())
    if [_width(each) for each in chosen] != [each.shape[1] for each in weights]:
        found, wanted = [tuple(each.shape) for each in chosen], [each.shape[1] for each in weights]
        raise FatalFailure(f"embedding {model.id} was made for another checkpoint: it has {found}, for widths {wanted}")
    placed = (vector.reshape(-1, weight.shape[1]).to(weight) for vector, weight in zip(chosen, weights, strict=True))
    return LearnedWord((model.name, *model.aliases), tuple(placed))


def _width(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.ndim in (1, 2) else 0


def names_of(words: Sequence[LearnedWord]) -> dict[str, int]:
    """By name in lower case, which of the words it is."""
    return {name.casefold(): i for i, word in enumerate(words) for name in word.names}
