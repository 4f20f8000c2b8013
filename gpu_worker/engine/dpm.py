"""Samplers that diffusers lacks: DPM++ 2S a, DPM fast and DPM adaptive, as its schedulers. They call no network.

Sources: Lu et al. 2022, arXiv:2206.00927 (DPM-Solver) and arXiv:2211.01095 (DPM-Solver++); k-diffusion's
sample_dpmpp_2s_ancestral, sample_dpm_fast and sample_dpm_adaptive, whose choices these are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from jobs.errors import FatalFailure

# Of DPM adaptive: its first leg in the logarithm, what its two results may differ by, how much shorter the next leg may
# be where this one is taken, and how near the end is reached.
FIRST_H = 0.05
RELATIVE, ABSOLUTE = 0.05, 0.0078
ACCEPTED = 0.81
NEAR = 1e-5
# Some hundred are the most that pictures need.
MAX_CALLS = 600

# Without types, as all of diffusers.
_Euler: Any = EulerDiscreteScheduler


class _CallByCall(_Euler):  # type: ignore[misc]
    """Euler's noise levels, and all that it knows of a checkpoint. Of `sigmas` and `timesteps` each call has one, and
    the last of `sigmas` is where the drawing ends."""

    def _follow(self, sigmas: Sequence[float], device: Any) -> None:
        self.sigmas = torch.tensor(sigmas, dtype=torch.float32)
        self.timesteps = self._timesteps_of(sigmas[:-1]).to(device)

    def _timesteps_of(self, sigmas: Sequence[float]) -> Tensor:
        trained = np.log(self._trained())
        return torch.tensor([float(self._sigma_to_t(np.array(each), trained)) for each in sigmas], dtype=torch.float32)

    def _trained(self) -> Any:
        """The noise levels of the training, rising."""
        return np.array(((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5)

    def _clean(self, output: Tensor, sample: Tensor, sigma: float) -> Tensor:
        """What the denoiser says that is left without noise."""
        match self.config.prediction_type:
            case "epsilon":
                return sample - sigma * output
            case "v_prediction":
                return sample / (sigma**2 + 1) - sigma / math.sqrt(sigma**2 + 1) * output
            case _:
                return output

    def _at(self, timestep: Any) -> int:
        if self.step_index is None:
            self._init_step_index(timestep)
        index: int = self.step_index
        return index


class AncestralSecondOrderScheduler(_CallByCall):
    """DPM++ 2S a: a step looks from its middle too, goes lower than it has to, and noise brings it back up."""

    order = 2
    _begun: Tensor

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        super().set_timesteps(num_inference_steps, device=device)
        self._follow(list(_with_middles(self.sigmas.tolist())), device)

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, generator: Any = None, return_dict: bool = False
    ) -> tuple[Tensor, Tensor]:
        index, sigmas = self._at(timestep), self.sigmas.tolist()
        clean = self._clean(model_output, sample, sigmas[index])
        self._step_index = index + 1
        if index % 2:
            down, up = _ancestral(sigmas[index - 1], sigmas[index + 1])
            share = down / sigmas[index - 1]
            noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
            return share * self._begun + (1 - share) * clean + up * noise, clean
        self._begun = sample
        # To the middle; from the last call, which has none, to the end.
        share = sigmas[index + 1] / sigmas[index]
        return share * sample + (1 - share) * clean, clean


def _with_middles(sigmas: Sequence[float]) -> Iterator[float]:
    """Between two levels, the geometric middle of the first and of where its step goes before noise is added."""
    for high, low in pairwise(sigmas[:-1]):
        yield high
        yield math.sqrt(high * _ancestral(high, low)[0])
    yield from sigmas[-2:]


def _ancestral(high: float, low: float) -> tuple[float, float]:
    """Where a step from `high` to `low` goes, and the noise that is added there: low² = down² + up²."""
    return low**2 / high, low * math.sqrt(1 - (low / high) ** 2)


@dataclass(frozen=True, slots=True)
class Leg:
    """From one noise level to a lower one in `order` calls; `h` is the logarithm of their ratio."""

    high: float
    low: float
    order: int

    @property
    def h(self) -> float:
        return math.log(self.high / self.low)

    def level(self, share: float) -> float:
        return self.high * math.exp(-share * self.h)

    def calls(self) -> list[float]:
        return [self.level(call / self.order) for call in range(self.order)]


class _BetweenLevels(_CallByCall):
    """Plans its own way from the highest level of the training to the lowest; or, from a picture, between the level of
    the step that it begins at and that of the last step. What noise is left there stays."""

    order = 1
    _begun: Tensor
    _noises: list[Tensor]

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        super().set_timesteps(num_inference_steps, device=device)
        self._levels = self.sigmas.tolist()
        trained = self._trained()
        self._plan(0, float(trained[-1]), float(trained[0]), device)

    def set_begin_index(self, begin_index: int = 0) -> None:
        super().set_begin_index(begin_index)
        if begin_index:
            self._plan(begin_index, self._levels[begin_index], self._levels[-2], self.timesteps.device)

    def _plan(self, begin: int, high: float, low: float, device: Any) -> None:
        """`begin` calls are left out; they keep their places."""
        raise NotImplementedError

    def _seen(self, output: Tensor, sample: Tensor, index: int) -> Tensor:
        """What is left without noise; the noise itself is kept for the leg."""
        sigma = float(self.sigmas[index])
        clean = self._clean(output, sample, sigma)
        self._noises.append((sample - clean) / sigma)
        self._step_index = index + 1
        return clean


class FastScheduler(_BetweenLevels):
    """DPM fast: exactly as many calls as steps, in legs of three calls and a shorter end, evenly in the logarithm."""

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, return_dict: bool = False
    ) -> tuple[Tensor, Tensor]:
        index = self._at(timestep)
        leg, call = self._calls[index]
        if call == 0:
            self._begun, self._noises = sample, []
        clean = self._seen(model_output, sample, index)
        return _next(leg, self._begun, self._noises), clean

    def _plan(self, begin: int, high: float, low: float, device: Any) -> None:
        legs = _legs(high, low, len(self._levels) - 1 - begin)
        self._calls = [(legs[0], 0)] * begin + [(leg, call) for leg in legs for call in range(leg.order)]
        self._follow([high] * begin + [level for leg in legs for level in leg.calls()] + [low], device)


class AdaptiveScheduler(_BetweenLevels):
    """DPM adaptive: as many calls as it takes. A leg of three calls is taken if its results of second and of third
    order agree, else a shorter one is tried; the next is longer the better they agree. `sigmas` and `timesteps` grow.

    Of one picture: what one of several needs would change the others.
    Source: k-diffusion's sample_dpm_adaptive, with its defaults.
    """

    _before: Tensor | None

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, return_dict: bool = False
    ) -> tuple[Tensor, Tensor]:
        index = self._at(timestep)
        if not self._noises:
            self._begun = sample
        clean = self._seen(model_output, sample, index)
        after = _next(self._leg, self._begun, self._noises)
        if len(self._noises) == self._leg.order:
            after = self._judged(after)
        self._grow()
        return after, clean

    @property
    def share_done(self) -> float:
        """Of the way from the first level to the last, in the logarithm."""
        return 1.0 if self._is_done else math.log(self._high / self._leg.high) / math.log(self._high / self._low)

    def _plan(self, begin: int, high: float, low: float, device: Any) -> None:
        # From a picture at its last step there is no way left: a little one is gone.
        self._begin, self._high, self._low = begin, high, min(low, high * math.exp(-FIRST_H))
        self._noises, self._h, self._before, self._is_done = [], FIRST_H, None, False
        self._leg = self._leg_from(high)
        self._follow([high] * (begin + 2), device)

    def _leg_from(self, high: float) -> Leg:
        return Leg(high, max(high * math.exp(-self._h), self._low), 3)

    def _judged(self, third: Tensor) -> Tensor:
        """Where the latents are for the next call: at the end of this leg, or in a shorter one from its beginning."""
        leg, first = self._leg, self._noises[0]
        bend = 1.5 * leg.low * math.expm1(leg.h) * (self._noises[1] - first)
        second = self._begun - leg.low * math.expm1(leg.h) * first - bend
        largest = torch.maximum(second.abs(), (self._begun if self._before is None else self._before).abs())
        tolerated = (RELATIVE * largest).clamp(min=ABSOLUTE)
        error = float(((second - third) / tolerated).float().square().mean().sqrt())
        if not math.isfinite(error):
            raise FatalFailure("DPM adaptive: the denoiser says what is no number")
        factor = 1 + math.atan((error + 1e-8) ** (-1 / leg.order) - 1)
        self._h *= factor
        if factor >= ACCEPTED:
            self._before, self._begun, self._noises = second, third, []
            self._is_done = math.log(leg.low / self._low) <= NEAR
            self._leg = self._leg if self._is_done else self._leg_from(leg.low)
            return third
        self._noises = [first]
        self._leg = self._leg_from(leg.high)
        return _next(self._leg, self._begun, self._noises)

    def _grow(self) -> None:
        """By the call that comes next; or by the end."""
        level = self._leg.low if self._is_done else self._leg.level(len(self._noises) / self._leg.order)
        self.sigmas[-1] = level
        if self._is_done:
            return
        if len(self.timesteps) - self._begin >= MAX_CALLS:
            raise FatalFailure(f"DPM adaptive does not come to an end within {MAX_CALLS} calls of the denoiser")
        self.sigmas = torch.cat([self.sigmas, self.sigmas[-1:]])
        self.timesteps = torch.cat([self.timesteps, self._timesteps_of([level]).to(self.timesteps.device)])


def _legs(high: float, low: float, calls: int) -> list[Leg]:
    """Source: Lu et al. 2022, section 3.4 and appendix D.1, DPM-Solver-fast."""
    full, rest = divmod(calls, 3)
    orders = [3] * full + [rest] if rest else [3] * (full - 1) + [2, 1]
    edges = np.exp(np.linspace(np.log(high), np.log(low), len(orders) + 1))
    return [Leg(float(a), float(b), order) for (a, b), order in zip(pairwise(edges), orders, strict=True)]


def _next(leg: Leg, begun: Tensor, noises: Sequence[Tensor]) -> Tensor:
    """Where the latents are for the leg's next call, or at its end.

    Source: Lu et al. 2022, algorithms 1, 2 (r1 = 1/2) and 4 (r1 = 1/3, r2 = 2/3), in latents of signal 1.
    """
    call = len(noises)
    share = call / leg.order
    step, level = share * leg.h, leg.level(share)
    straight = begun - level * math.expm1(step) * noises[0]
    if call == 1:
        return straight
    if leg.order == 2:
        return straight - level * math.expm1(step) * (noises[1] - noises[0])
    # Of three calls the newest noise tells of the curve; it was seen at (call - 1) / 3 of the leg.
    seen_at = (call - 1) / leg.order
    bend = math.expm1(step) / step - 1
    return straight - level * share / seen_at * bend * (noises[-1] - noises[0])
