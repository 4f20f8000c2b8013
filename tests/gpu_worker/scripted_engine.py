"""An engine whose every step is the test's to decide. The real one is tested against diffusers in `engine/`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from jobs.engine import Picture, Watch
from jobs.prompt import Prompt


def nothing(_step: int) -> None:
    """What happens in a step by default."""


@dataclass
class ScriptedEngine:
    """Calls `on_step` in each step; draws one grey picture per seed."""

    on_step: Callable[[int], None] = nothing
    steps_done: list[int] = field(default_factory=list)

    def load(self, model_id: str) -> str:
        return model_id

    def encode_prompt(self, checkpoint: Any, *, prompt: Prompt, negative: Prompt, clip_skip: int) -> Prompt:
        return prompt

    def encode_picture(self, checkpoint: Any, picture: Picture, *, width: int, height: int) -> Picture:
        return picture

    def sample(
        self,
        checkpoint: Any,
        conditioning: Any,
        *,
        width: int,
        height: int,
        seeds: Sequence[int],
        sampler: str,
        steps: int,
        guidance_scale: float,
        watch: Watch,
        start: Any = None,
        strength: float = 1.0,
    ) -> list[Picture]:
        pictures: list[Picture] = [Image.new("RGB", (width, height), (seed % 256,) * 3) for seed in seeds]
        for step in range(1, steps + 1):
            self.on_step(step)
            watch.step_done(step, steps, lambda: pictures)
            self.steps_done.append(step)
        return pictures

    def decode(self, checkpoint: Any, latents: Any) -> list[Picture]:
        return list(latents)
