"""An engine whose every step is the test's to decide. The real one is tested against diffusers in `engine/`."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from jobs.detectors import Look
from jobs.engine import Picture, Watch
from jobs.inpainting import Masking
from jobs.prompt import Prompt


def nothing(_step: int) -> None:
    """What happens in a step by default."""


def raising(error: Exception) -> Callable[[int], None]:
    """A step that fails."""

    def fail(_step: int) -> None:
        raise error

    return fail


def pause_at(pause: int, reached: threading.Event, go_on: threading.Event) -> Callable[[int], None]:
    """Tells when this step is reached, and waits there."""

    def on_step(step: int) -> None:
        if step == pause:
            reached.set()
            assert go_on.wait(20)

    return on_step


@dataclass
class ScriptedEngine:
    """Calls `on_step` in each step, `on_decode` after the last; draws one grey picture per seed."""

    on_step: Callable[[int], None] = nothing
    on_decode: Callable[[], object] = list
    steps_done: list[int] = field(default_factory=list)
    loaded: dict[str, float] = field(default_factory=dict)

    def loading_s(self) -> dict[str, float]:
        return self.loaded

    def load(self, model_id: str, loras: Sequence[Any] = (), vae: str | None = None) -> str:
        return model_id

    def encode_prompt(
        self, checkpoint: Any, *, prompt: Prompt, negative: Prompt, clip_skip: int, embeddings: Sequence[str] = ()
    ) -> Prompt:
        return prompt

    def encode_pictures(
        self, checkpoint: Any, pictures: Sequence[Picture], *, width: int, height: int
    ) -> Sequence[Picture]:
        return pictures

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
        masking: Masking | None = None,
        controls: Sequence[Any] = (),
        noise_seed_delta: int = 0,
        schedule: str | None = None,
    ) -> list[Picture]:
        pictures: list[Picture] = [Image.new("RGB", (width, height), (seed % 256,) * 3) for seed in seeds]
        for step in range(1, steps + 1):
            self.on_step(step)
            watch.step_done(step, steps, lambda: pictures)
            self.steps_done.append(step)
        return pictures

    def decode(self, checkpoint: Any, latents: Any) -> list[Picture]:
        self.on_decode()
        return list(latents)

    def find(self, picture: Picture, look: Look) -> list[Picture]:
        return []
