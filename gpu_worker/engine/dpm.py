"""Samplers that diffusers lacks: DPM++ 2S a and DPM fast, as its schedulers. They call no network.

Sources: Lu et al. 2022, arXiv:2206.00927 (DPM-Solver) and arXiv:2211.01095 (DPM-Solver++); k-diffusion's
sample_dpmpp_2s_ancestral and sample_dpm_fast, whose choices these are.
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

# Without types, as all of diffusers.
_Euler: Any = EulerDiscreteScheduler


class _CallByCall(_Euler):  # type: ignore[misc]
    """Euler's noise levels, and all that it knows of a checkpoint. Of `sigmas` and `timesteps` each call has one, and
    the last of `sigmas` is where the drawing ends."""

    def _follow(self, sigmas: Sequence[float], device: Any) -> None:
        trained = self._trained()
        timesteps = [float(self._sigma_to_t(np.array(sigma), np.log(trained))) for sigma in sigmas[:-1]]
        self.sigmas = torch.tensor(sigmas, dtype=torch.float32)
        self.timesteps = torch.tensor(timesteps, dtype=torch.float32, device=device)

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


class FastScheduler(_CallByCall):
    """DPM fast: exactly as many calls as steps, in legs of three calls and a shorter end, evenly in the logarithm of
    the noise from the highest level of the training to the lowest. What noise is left there stays."""

    order = 1
    _begun: Tensor
    _noises: list[Tensor]

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        super().set_timesteps(num_inference_steps, device=device)
        self._levels = self.sigmas.tolist()
        trained = self._trained()
        self._plan(0, float(trained[-1]), float(trained[0]), device)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """From a picture: the levels between that of this step and the last one."""
        super().set_begin_index(begin_index)
        if begin_index:
            self._plan(begin_index, self._levels[begin_index], self._levels[-2], self.timesteps.device)

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, return_dict: bool = False
    ) -> tuple[Tensor, Tensor]:
        index = self._at(timestep)
        sigma = float(self.sigmas[index])
        clean = self._clean(model_output, sample, sigma)
        noise = (sample - clean) / sigma
        leg, call = self._calls[index]
        if call == 0:
            self._begun, self._noises = sample, []
        self._noises.append(noise)
        self._step_index = index + 1
        return _next(leg, self._begun, self._noises), clean

    def _plan(self, begin: int, high: float, low: float, device: Any) -> None:
        """`begin` calls are left out; they keep their places."""
        legs = _legs(high, low, len(self._levels) - 1 - begin)
        self._calls = [(legs[0], 0)] * begin + [(leg, call) for leg in legs for call in range(leg.order)]
        self._follow([high] * begin + [level for leg in legs for level in leg.calls()] + [low], device)


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
