"""Weights of words, laid over what a text encoder says of them. The syntax is `jobs.emphasis`'s."""

from collections.abc import Sequence

from torch import Tensor

# Of CLIP's states the mean is about a tenth of the deviation. Where it is nearly 0, as after a layer norm that is
# not trained, a ratio of two means is noise.
_LEAST_MEAN = 0.01


def emphasised(states: Tensor, weights: Sequence[float], *, first: int) -> Tensor:
    """`states` (window, width) times the tokens' weights, of which the first is at `first`; then all as much smaller
    as keeps their mean.

    Untouched, to the bit, if all weights are 1.
    Source: AUTOMATIC1111's stable-diffusion-webui, modules/sd_emphasis.py, EmphasisOriginal.
    """
    if all(weight == 1 for weight in weights):
        return states
    factors = states.new_ones(len(states), 1)
    factors[first : first + len(weights), 0] = states.new_tensor(weights)
    weighted = states * factors
    if states.mean().abs() < _LEAST_MEAN * states.std():
        return weighted
    return weighted * (states.mean() / weighted.mean())
