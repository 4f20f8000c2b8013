"""`diffusion`: of the DIFFUSION stage, and of those stages that draw with one of their own."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import AliasChoices, Field

from jobs.catalog import Family
from jobs.dialects.protobuf_json import Flag, KnownName, Message, Name, Real, Whole, requiring
from jobs.dialects.tams.attachments import (
    AnimateDiffBody,
    ControlNetBody,
    EmbeddingBody,
    LayerDiffusionBody,
    LoraBody,
    attached,
    loras_of,
)
from jobs.dialects.tams.prompts import Prompts, prompt_of
from jobs.dialects.tams.reading import Reading
from jobs.prompt import Piece
from jobs.samplers import Sampler
from jobs.schedules import Schedule
from jobs.schedules import canonical as canonical_schedule
from jobs.stages import diffusion as limits
from jobs.stages.diffusion import Diffusion, size_faults, step_faults

Side = Whole(limits.MIN_SIDE_PX, limits.MAX_SIDE_PX, limits.GRID_PX)
INT32 = 2**31
# What nearly all clients send at most; the rest is looked at only where it is there.
PLAIN_FIELDS = {
    *("width", "height", "prompts", "negative_prompts", "sd_model", "sd_vae", "sampler", "steps"),
    *("cfg_scale", "clip_skip", "denoising_strength", "model_access_key"),
}


class DiffusionBody(Message):
    """`controlNet` is what a published client calls `controlnet`."""

    model_config = requiring("prompts")

    width: Annotated[int | None, Side] = None
    height: Annotated[int | None, Side] = None
    prompts: Prompts | None = None
    negative_prompts: Prompts | None = None
    sd_model: KnownName | None = None
    sd_vae: KnownName | None = None
    sampler: KnownName | None = None
    steps: Annotated[int | None, Whole(1, limits.MAX_STEPS)] = None
    cfg_scale: Annotated[float | None, Real(0, limits.MAX_GUIDANCE, above=True)] = None
    clip_skip: Annotated[int | None, Whole(1, limits.MAX_CLIP_SKIP)] = None
    denoising_strength: Annotated[float | None, Real(0, 1, above=True)] = None
    eta_noise_seed_delta: Annotated[int | None, Whole(-INT32, INT32 - 1)] = None
    controlnet: ControlNetBody | None = Field(
        default=None, validation_alias=AliasChoices("controlnet", "controlNet", "control_net")
    )
    lora: LoraBody | None = None
    animate_diff: AnimateDiffBody | None = None
    embedding: EmbeddingBody | None = None
    v1_clip: Flag = None
    model_access_key: KnownName | None = None
    schedule_name: Name | None = None
    enable_ella: Flag = None
    enable_pix2pix: Flag = Field(default=None, alias="enablePix2pix")
    use_hunyuan_dit: Flag = None
    layer_diffusion: LayerDiffusionBody | None = None
    clip_encoder_name: Name | None = None

    def stage(self, path: str, reading: Reading) -> Diffusion:
        model = reading.model(self.sd_model, path, access_key=self.model_access_key)
        sampler = reading.sampler(self.sampler, path, model.family)
        stage = Diffusion(
            width=self.width or limits.DEFAULT_SIDE_PX,
            height=self.height or limits.DEFAULT_SIDE_PX,
            prompt=prompt_of(self.prompts, path, "prompts", reading),
            negative_prompt=prompt_of(self.negative_prompts, path, "negativePrompts", reading),
            model=model.id,
            sampler=sampler,
            steps=self.steps or limits.DEFAULT_STEPS,
            guidance_scale=self.cfg_scale or limits.default_guidance(model.family),
            clip_skip=self.clip_skip or 1,
            denoising_strength=self.denoising_strength or limits.DEFAULT_DENOISING_STRENGTH,
            vae=reading.vae(self.sd_vae, f"{path}.sdVae", model.family),
        )
        if not self.prompts:  # protobuf does not tell an empty list from none
            reading.faults.add(f"{path}.prompts", "is required")
        if size := size_faults(stage.width, stage.height, model.family, path):
            reading.faults.take(size, reads=[f"{path}.width", f"{path}.height", f"{path}.sdModel"])
        if steps := step_faults(stage.steps, sampler, path):
            reading.faults.take(steps, reads=[f"{path}.sampler"])
        if reason := limits.clip_skip_fault(stage.clip_skip, model):
            reading.faults.add(f"{path}.clipSkip", reason, reads=[f"{path}.sdModel"])
        if not self.model_fields_set <= PLAIN_FIELDS:
            stage = replace(stage, **self._more(path, reading, model.family, sampler))
        return self._with_words(stage, path, reading, model.family)

    def _with_words(self, stage: Diffusion, path: str, reading: Reading, family: Family) -> Diffusion:
        """With the learned words that the prompts name; an embedding that none of them names is one to avoid."""
        named = reading.catalog.words_in(stage.texts, family)
        given = self.embedding.words(f"{path}.embedding", reading, family) if self.embedding else []
        if not named and not given:
            return stage
        avoided = tuple(Piece(model.name, weight) for model, weight in given if not model.is_named_in(stage.texts))
        words = dict.fromkeys([*(model.id for model, _ in given), *(model.id for model in named)])
        return replace(stage, negative_prompt=stage.negative_prompt + avoided, embeddings=tuple(words))

    def _schedule(self, path: str, reading: Reading, family: Family, sampler: Sampler) -> Schedule | None:
        def canonical(name: str) -> Schedule | None:
            return canonical_schedule(name, sampler, family)

        return reading.named(canonical, self.schedule_name or "", f"{path}.scheduleName", None)

    def _more(self, path: str, reading: Reading, family: Family, sampler: Sampler) -> dict[str, Any]:
        layers = self.layer_diffusion
        animations = self.animate_diff.args if self.animate_diff else None
        return {
            "eta_noise_seed_delta": self.eta_noise_seed_delta or 0,
            "controls": self.controlnet.controls(f"{path}.controlnet", reading, family) if self.controlnet else (),
            "loras": loras_of(self.lora, f"{path}.lora", reading, family),
            "animations": attached(animations, f"{path}.animateDiff.args", reading),
            "v1_clip": bool(self.v1_clip),
            "schedule": self._schedule(path, reading, family, sampler),
            "ella": bool(self.enable_ella),
            "pix2pix": bool(self.enable_pix2pix),
            "hunyuan_dit": bool(self.use_hunyuan_dit),
            "layer_diffusion": (layers.weight or 1.0) if layers and layers.enable else None,
            "clip_encoder": self.clip_encoder_name or None,
        }


def diffusion_of(body: DiffusionBody | None, path: str, reading: Reading) -> Diffusion:
    """What a stage draws with: the job's DIFFUSION stage, or where there is none the block of its own."""
    if reading.diffusion is not None:
        return reading.diffusion
    if body is not None:
        return body.stage(f"{path}.diffusion", reading)
    reading.faults.add(f"{path}.diffusion", "is required where no DIFFUSION stage comes before")
    return reading.plain_diffusion()
