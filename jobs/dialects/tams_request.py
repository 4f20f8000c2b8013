"""TAMS, inwards: the body of POST /v1/jobs to a Submission. No I/O.

Source: the published schema and guide of the TAMS API, and what its public clients send.
"""

from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from jobs.catalog import Catalog, Model, UnknownModel
from jobs.dialects.protobuf_json import Integer, Message, Name, Number, Text, Unsupported, faults_of, is_meaningful
from jobs.errors import Fault, InvalidSubmission
from jobs.prompt import Piece, Prompt
from jobs.samplers import MAX_STEPS, Sampler, UnknownSampler, canonical
from jobs.stages import Stage
from jobs.stages import diffusion as limits
from jobs.stages.diffusion import Diffusion, size_faults
from jobs.stages.input_initialize import MAX_COUNT, MAX_SEED, InputInitialize
from jobs.submission import Submission, order_faults

MAX_STAGES = 16

M = TypeVar("M", bound=Message)

StageType: TypeAlias = Literal[
    "INPUT_INITIALIZE",
    "DIFFUSION",
    "IMAGE_TO_UPSCALER",
    "IMAGE_TO_ADETAILER",
    "IMAGE_TO_INPAINT",
    "IMAGE_TO_ANIMATE_DIFF",
    "VIDEO_DIFFUSION",
]


class PromptBody(Message):
    text: Text = Field(default="", max_length=limits.MAX_PROMPT_CHARACTERS)
    weight: Number = Field(default=1.0, ge=-10, le=10)


class InputInitializeBody(Message):
    seed: Integer = Field(default=0, ge=-1, le=MAX_SEED)
    image_resource_id: Name = ""
    count: Integer = Field(default=1, ge=1, le=MAX_COUNT)

    def stage(self) -> InputInitialize:
        # 0, -1 and absence all mean "any seed".
        return InputInitialize(
            seed=self.seed if self.seed > 0 else None,
            count=self.count,
            image_resource_id=self.image_resource_id or None,
        )


class DiffusionBody(Message):
    width: Integer = Field(default=512, ge=limits.MIN_SIDE_PX, le=limits.MAX_SIDE_PX, multiple_of=limits.GRID_PX)
    height: Integer = Field(default=512, ge=limits.MIN_SIDE_PX, le=limits.MAX_SIDE_PX, multiple_of=limits.GRID_PX)
    prompts: list[PromptBody] = Field(max_length=limits.MAX_PROMPTS)
    negative_prompts: list[PromptBody] = Field(default=[], max_length=limits.MAX_PROMPTS)
    sd_model: Name = ""
    sd_vae: Name = "Automatic"
    sampler: Name = Field(default="", validate_default=True)
    steps: Integer = Field(default=0, ge=0, le=limits.MAX_STEPS)
    cfg_scale: Number = Field(default=7.0, ge=0, le=limits.MAX_GUIDANCE)
    clip_skip: Integer = Field(default=1, ge=0, le=12)
    denoising_strength: Number = Field(default=0.75, ge=0, le=1)
    eta_noise_seed_delta: Unsupported = None
    controlnet: Unsupported = Field(default=None, alias="controlnet")
    control_net: Unsupported = None
    lora: Unsupported = None
    animate_diff: Unsupported = None
    embedding: Unsupported = None
    v1_clip: Unsupported = Field(default=None, alias="v1Clip")
    model_access_key: Unsupported = None
    schedule_name: Unsupported = None
    enable_ella: Unsupported = None
    enable_pix2pix: Unsupported = Field(default=None, alias="enablePix2pix")
    use_hunyuan_dit: Unsupported = None
    layer_diffusion: Unsupported = None
    clip_encoder_name: Unsupported = None

    @field_validator("prompts", "negative_prompts")
    @classmethod
    def _of_bounded_length(cls, prompts: list[PromptBody]) -> list[PromptBody]:
        if sum(len(each.text) for each in prompts) > limits.MAX_PROMPT_CHARACTERS:
            raise ValueError(f"must hold at most {limits.MAX_PROMPT_CHARACTERS} characters in all")
        return prompts

    @field_validator("sd_vae")
    @classmethod
    def _vae_of_the_model(cls, name: str) -> str:
        if name.casefold() not in ("", "automatic", "none"):
            raise ValueError("only the model's own VAE is supported yet: send 'Automatic' or nothing")
        return name

    @field_validator("sampler")
    @classmethod
    def _known_sampler(cls, name: str) -> str:
        try:
            return canonical(name)
        except UnknownSampler as error:
            raise ValueError(error.message) from error

    @field_validator("sd_model")
    @classmethod
    def _known_model(cls, name: str, info: ValidationInfo) -> str:
        try:
            return _catalog(info).resolve(name).id
        except UnknownModel as error:
            raise ValueError(error.message) from error

    def faults(self, catalog: Catalog, path: str) -> list[Fault]:
        faults = size_faults(self.width, self.height, self._model(catalog).family, path)
        most = MAX_STEPS.get(Sampler(self.sampler), limits.MAX_STEPS)
        if self.steps > most:
            faults.append(Fault(f"{path}.steps", f"the sampler {self.sampler} takes at most {most} steps"))
        return faults

    def stage(self, catalog: Catalog) -> Diffusion:
        return Diffusion(
            width=self.width,
            height=self.height,
            prompt=_prompt(self.prompts),
            negative_prompt=_prompt(self.negative_prompts),
            model=self._model(catalog).id,
            sampler=self.sampler,
            steps=self.steps or limits.DEFAULT_STEPS,
            guidance_scale=self.cfg_scale,
            clip_skip=max(self.clip_skip, 1),
            denoising_strength=self.denoising_strength,
        )

    def _model(self, catalog: Catalog) -> Model:
        return catalog.resolve(self.sd_model)


class StageBody(Message):
    type: StageType
    input_initialize: InputInitializeBody | None = None
    diffusion: DiffusionBody | None = None
    image_to_upscaler: Unsupported = None
    image_to_adetailer: Unsupported = None
    image_to_inpaint: Unsupported = None
    image_to_animate_diff: Unsupported = None
    video_diffusion: Unsupported = None

    @field_validator("type")
    @classmethod
    def _supported(cls, name: StageType) -> StageType:
        if name not in ("INPUT_INITIALIZE", "DIFFUSION"):
            raise ValueError(f"{name} is not supported by this server yet")
        return name

    @model_validator(mode="after")
    def _has_its_own_fields_only(self) -> "StageBody":
        own, other = ("input_initialize", "diffusion")
        if self.type == "DIFFUSION":
            own, other = other, own
        if getattr(self, own) is None:
            raise ValueError(f"a stage of type {self.type} needs its fields in '{_camel(own)}'")
        if getattr(self, other) is not None:
            raise ValueError(f"'{_camel(other)}' does not belong to a stage of type {self.type}")
        return self


class StagesBody(Message):
    """`stages` are validated one by one, so that a fault in one does not hide those of the others."""

    stages: list[Any] = Field(min_length=1, max_length=MAX_STAGES)


class JobBody(StagesBody):
    request_id: Text = Field(min_length=1, max_length=256)
    notify_url: Text = Field(default="", max_length=2048)
    running_notify_url: Text = Field(default="", max_length=2048)

    @field_validator("notify_url", "running_notify_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if url and not _is_http_address(url):
            raise ValueError("must be an address that begins with http:// or https://")
        return url


def parse_submission(body: Any, catalog: Catalog) -> Submission:
    """The Submission that this JSON value asks for. Raises InvalidSubmission with all its faults."""
    faults: list[Fault] = []
    job = _message(JobBody, body, faults)
    stages = _stages(body, catalog, faults)
    if faults or job is None:
        raise InvalidSubmission(faults)
    return Submission(
        request_id=job.request_id,
        stages=tuple(stages),
        notify_url=job.notify_url or None,
        running_notify_url=job.running_notify_url or None,
    )


def parse_stages(body: Any, catalog: Catalog) -> tuple[Stage, ...]:
    """The stages of a body that has nothing else. Raises InvalidSubmission with all their faults."""
    faults: list[Fault] = []
    _message(StagesBody, body, faults)
    stages = _stages(body, catalog, faults)
    if faults:
        raise InvalidSubmission(faults)
    return tuple(stages)


def _message(kind: type[M], body: Any, faults: list[Fault]) -> M | None:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        faults += faults_of(error)
        return None


def _stages(body: Any, catalog: Catalog, faults: list[Fault]) -> list[Stage]:
    raw = body.get("stages") if isinstance(body, dict) else None
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_STAGES:
        return []  # StagesBody has said so
    faults += order_faults([str(each.get("type")) if isinstance(each, dict) else "" for each in raw])
    stages = (_stage(each, f"stages[{i}]", catalog, faults) for i, each in enumerate(raw))
    return [stage for stage in stages if stage is not None]


def _stage(raw: Any, path: str, catalog: Catalog, faults: list[Fault]) -> Stage | None:
    try:
        stage = StageBody.model_validate(raw, context=catalog)
    except ValidationError as error:
        faults += faults_of(error, path)
        return None
    if stage.diffusion is None:
        assert stage.input_initialize is not None
        return stage.input_initialize.stage()
    faults += stage.diffusion.faults(catalog, f"{path}.diffusion")
    return stage.diffusion.stage(catalog)


def _is_http_address(url: str) -> bool:
    if not url.isprintable() or " " in url:
        return False  # urlsplit would drop what a receiver's address keeps
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _prompt(bodies: list[PromptBody]) -> Prompt:
    # A weight of 0 is protobuf's "not given".
    return tuple(Piece(each.text, each.weight or 1.0) for each in bodies if is_meaningful(each.text.strip()))


def _catalog(info: ValidationInfo) -> Catalog:
    assert isinstance(info.context, Catalog)
    return info.context


def _camel(name: str) -> str:
    return {"input_initialize": "inputInitialize"}.get(name, name)
