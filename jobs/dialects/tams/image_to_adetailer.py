"""`imageToAdetailer`. A field with an `adUse…` beside it counts only where that is true."""

from dataclasses import replace
from functools import partial
from typing import Annotated

from pydantic import Field

from jobs.catalog import Family
from jobs.detectors import Look, MaskMerge, resolve
from jobs.dialects.protobuf_json import DefaultIsAbsent, Flag, Message, Name, Real, Whole, requiring
from jobs.dialects.tams.attachments import LoraBody, loras_of
from jobs.dialects.tams.diffusion import DiffusionBody, diffusion_of
from jobs.dialects.tams.prompts import Prompts, prompt_of
from jobs.dialects.tams.reading import Reading
from jobs.samplers import Sampler, check_goes_with
from jobs.schedules import canonical as canonical_schedule
from jobs.stages import image_to_adetailer as limits
from jobs.stages.diffusion import (
    MAX_CLIP_SKIP,
    MAX_GUIDANCE,
    MAX_STEPS,
    Diffusion,
    clip_skip_fault,
    default_guidance,
    step_faults,
)
from jobs.stages.image_to_adetailer import Detail, ImageToAdetailer

DEFAULT_STEPS = 20
DEFAULT_SIDE_PX = 512

Side = Whole(limits.MIN_SIDE_PX, limits.MAX_SIDE_PX)
Noise = Real(limits.MIN_NOISE_MULTIPLIER, limits.MAX_NOISE_MULTIPLIER)


class AdetailerArgBody(Message):
    ad_model: Name | None = None
    ad_prompt: Prompts | None = None
    ad_negative_prompt: Prompts | None = None
    ad_confidence: Annotated[float | None, Real(0, 1, above=True)] = None
    ad_dilate_erode: Annotated[int | None, Whole(-limits.MAX_DILATION_PX, limits.MAX_DILATION_PX)] = None
    ad_mask_merge_invert: Annotated[MaskMerge | None, DefaultIsAbsent] = None
    ad_denoising_strength: Annotated[float | None, Real(0, 1, above=True)] = None
    ad_inpaint_only_masked: Flag = None
    ad_inpaint_only_masked_padding: Annotated[float | None, Real(0, limits.MAX_PADDING_PX)] = None
    ad_use_inpaint_width_height: Flag = None
    ad_inpaint_width: Annotated[int | None, Side] = None
    ad_inpaint_height: Annotated[int | None, Side] = None
    ad_use_steps: Flag = None
    ad_steps: Annotated[int | None, Whole(1, MAX_STEPS)] = None
    ad_use_cfg_scale: Flag = None
    ad_cfg_scale: Annotated[float | None, Real(0, MAX_GUIDANCE, above=True)] = None
    lora: LoraBody | None = None
    ad_use_checkpoint: Flag = None
    ad_checkpoint: Name | None = None
    ad_use_sampler: Flag = None
    ad_sampler: Name | None = None
    ad_use_noise_multiplier: Flag = None
    ad_noise_multiplier: Annotated[float | None, Noise] = None
    ad_use_clip_skip: Flag = None
    ad_clip_skip: Annotated[int | None, Whole(1, MAX_CLIP_SKIP)] = None

    def detail(self, path: str, reading: Reading, diffusion: Diffusion) -> Detail:
        plain = Detail()
        padding = self.ad_inpaint_only_masked_padding
        resized = self.ad_use_inpaint_width_height
        model = reading.model(self.ad_checkpoint, path, "adCheckpoint") if self.ad_use_checkpoint else None
        drawn, family = reading.family(diffusion), model.family if model else reading.family(diffusion)
        if family != drawn and (diffusion.loras or diffusion.embeddings or diffusion.vae):
            reason = f"is of {family}; the LoRAs, embeddings and VAE of the diffusion are for {drawn} checkpoints"
            reading.faults.add(f"{path}.adCheckpoint", reason)
        detail = Detail(
            look=self._look(path, reading),
            prompt=prompt_of(self.ad_prompt, path, "adPrompt", reading),
            negative_prompt=prompt_of(self.ad_negative_prompt, path, "adNegativePrompt", reading),
            denoising_strength=self.ad_denoising_strength or plain.denoising_strength,
            only_masked=plain.only_masked if self.ad_inpaint_only_masked is None else self.ad_inpaint_only_masked,
            only_masked_padding_px=plain.only_masked_padding_px if padding is None else padding,
            width=self.ad_inpaint_width or DEFAULT_SIDE_PX if resized else None,
            height=self.ad_inpaint_height or DEFAULT_SIDE_PX if resized else None,
            steps=self.ad_steps or DEFAULT_STEPS if self.ad_use_steps else None,
            guidance_scale=self.ad_cfg_scale or default_guidance(family) if self.ad_use_cfg_scale else None,
            loras=loras_of(self.lora, f"{path}.lora", reading, family),
            model=model.id if model else None,
            sampler=reading.sampler(self.ad_sampler, path, family, "adSampler") if self.ad_use_sampler else None,
            noise_multiplier=self.ad_noise_multiplier or 1.0 if self.ad_use_noise_multiplier else None,
            clip_skip=self.ad_clip_skip or 1 if self.ad_use_clip_skip else None,
        )
        self._check_together(detail.diffusion(diffusion), path, reading, family)
        words = reading.catalog.words_in(detail.diffusion(diffusion).texts, family)
        return replace(detail, embeddings=tuple(word.id for word in words if word.id not in diffusion.embeddings))

    def _check_together(self, drawn: Diffusion, path: str, reading: Reading, family: Family) -> None:
        """What it is drawn with may be in part its own and in part the stage's, where each alone is right."""
        sampler = Sampler(drawn.sampler)
        if not self.ad_use_sampler:
            reading.named(partial(check_goes_with, family=family), sampler, f"{path}.adCheckpoint", None)
        skipped = clip_skip_fault(drawn.clip_skip, reading.catalog.get(drawn.model))
        if skipped and (self.ad_use_clip_skip or self.ad_use_checkpoint):
            field = "adClipSkip" if self.ad_use_clip_skip else "adCheckpoint"
            reading.faults.add(f"{path}.{field}", f"clip skip {skipped}", reads=[f"{path}.adCheckpoint"])
        if self.ad_use_steps or self.ad_use_sampler:
            field = "adSteps" if self.ad_use_steps else "adSampler"
            for fault in step_faults(drawn.steps, sampler, path):
                reading.faults.add(f"{path}.{field}", fault.reason, reads=[f"{path}.adSampler", f"{path}.adSteps"])
        if self.ad_use_sampler:
            follow = partial(canonical_schedule, sampler=sampler, family=family)
            reading.named(follow, drawn.schedule or "", f"{path}.adSampler", None)

    def _look(self, path: str, reading: Reading) -> Look:
        plain, dilation = Look(), self.ad_dilate_erode
        find = partial(resolve, catalog=reading.catalog)
        return Look(
            detector=reading.named(find, self.ad_model or "", f"{path}.adModel", plain.detector),
            confidence=self.ad_confidence or plain.confidence,
            dilate_erode_px=plain.dilate_erode_px if dilation is None else dilation,
            mask_merge=self.ad_mask_merge_invert or plain.mask_merge,
        )


class ImageToAdetailerBody(Message):
    model_config = requiring("args")

    args: Annotated[list[AdetailerArgBody], Field(max_length=limits.MAX_PASSES)] | None = None
    diffusion: DiffusionBody | None = None

    def stage(self, path: str, reading: Reading) -> ImageToAdetailer:
        if not self.args:
            reading.faults.add(f"{path}.args", "is required: `[{}]` looks for faces")
        diffusion = diffusion_of(self.diffusion, path, reading)
        details = (arg.detail(f"{path}.args[{i}]", reading, diffusion) for i, arg in enumerate(self.args or []))
        return ImageToAdetailer(details=tuple(details), diffusion=diffusion)
