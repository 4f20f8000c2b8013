"""What a stage attaches to its checkpoint: LoRAs, embeddings, ControlNets, motion. An empty item says nothing."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Protocol, TypeAlias, TypeVar

from pydantic import AfterValidator, AliasChoices, Field, PlainValidator

from jobs import attachments as limits
from jobs.attachments import Animation, ControlMode, ControlNet, ControlResizeMode, Lora
from jobs.block_weights import read_block_weights
from jobs.catalog import UNET_FAMILIES, Family, Kind, Model
from jobs.dialects.protobuf_json import DefaultIsAbsent, Flag, Message, Name, Real, Whole, is_meaningful, requiring
from jobs.dialects.tams.reading import Reading
from jobs.preprocessors import Preprocessor, WrongParameter, parameters_of
from jobs.preprocessors import resolve as resolve_preprocessor

Parameter: TypeAlias = bool | float | str
T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

MAX_PARAMETERS = 16
MAX_PARAMETER_CHARACTERS = 128

AtMost = Field(max_length=limits.MAX_ATTACHMENTS)
Weight = Annotated[float | None, Real(-limits.MAX_WEIGHT, limits.MAX_WEIGHT)]
MAX_BLOCK_WEIGHT_CHARACTERS = 1024


class ItemBody(Protocol[T_co]):
    def attached(self, path: str, reading: Reading) -> T_co: ...


def attached(items: Sequence[ItemBody[T]] | None, path: str, reading: Reading) -> tuple[T, ...]:
    """What the items mean; `path` is that of their list."""
    if not items:
        return ()
    return tuple(item.attached(f"{path}[{i}]", reading) for i, item in enumerate(items) if is_meaningful(item))


def _block_weight(value: str) -> str:
    if value:
        read_block_weights(value)
    return value


BlockWeight = Annotated[str, Field(max_length=MAX_BLOCK_WEIGHT_CHARACTERS), AfterValidator(_block_weight)]


def _parameters(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > MAX_PARAMETERS:
        raise ValueError(f"must be an object of at most {MAX_PARAMETERS} names")
    if not all(map(_is_parameter, (*value, *value.values()))):
        raise ValueError(f"must hold numbers, flags and texts of at most {MAX_PARAMETER_CHARACTERS} characters only")
    return value


def _is_parameter(value: Any) -> bool:
    match value:
        case str():
            return len(value) <= MAX_PARAMETER_CHARACTERS and "\x00" not in value
        case bool() | int() | float():
            return abs(value) <= 2**53  # neither infinite, nor a number of its own
        case _:
            return False


class LoraItemBody(Message):
    model_config = requiring("loraModel")

    lora_model: Name | None = None
    weight: Weight = None
    block_weight: BlockWeight | None = None
    lora_access_key: Name | None = None

    def attached(self, path: str, reading: Reading) -> Lora:
        """For what is not drawn yet, by its name as it came."""
        return self._weighed(reading.required(self.lora_model, f"{path}.loraModel"))

    def found(self, path: str, reading: Reading, family: Family) -> Lora:
        model = reading.companion(Kind.LORA, self.lora_model, self.lora_access_key, f"{path}.loraModel", family)
        if self.block_weight and (reason := read_block_weights(self.block_weight).fault_with(family)):
            reading.faults.add(f"{path}.blockWeight", reason)
        return self._weighed(model.id if model else "")

    def _weighed(self, model: str) -> Lora:
        return Lora(model=model, weight=self.weight or 1.0, block_weight=self.block_weight or None)


class LoraBody(Message):
    items: Annotated[list[LoraItemBody], AtMost] | None = None


def loras_of(body: LoraBody | None, path: str, reading: Reading, family: Family) -> tuple[Lora, ...]:
    """LoRAs for a checkpoint of this family."""
    items = (body.items if body else None) or ()
    told = [(i, item) for i, item in enumerate(items) if is_meaningful(item)]
    return tuple(item.found(f"{path}.items[{i}]", reading, family) for i, item in told)


def named_loras_of(body: LoraBody | None, path: str, reading: Reading) -> tuple[Lora, ...]:
    """LoRAs of what is not drawn yet."""
    return attached(body.items, f"{path}.items", reading) if body else ()


class EmbeddingItemBody(Message):
    model_config = requiring("model")

    model: Name | None = None
    weight: Weight = None
    embedding_access_key: Name | None = None

    def found(self, path: str, reading: Reading, family: Family) -> Model | None:
        key = self.embedding_access_key
        return reading.companion(Kind.TEXTUAL_INVERSION, self.model, key, f"{path}.model", family)


class EmbeddingBody(Message):
    items: Annotated[list[EmbeddingItemBody], AtMost] | None = None

    def words(self, path: str, reading: Reading, family: Family) -> list[tuple[Model, float]]:
        """The learned words, each with its weight."""
        told = [(i, item) for i, item in enumerate(self.items or ()) if is_meaningful(item)]
        found = [(item.found(f"{path}.items[{i}]", reading, family), item.weight or 1.0) for i, item in told]
        return [(model, weight) for model, weight in found if model]


class ControlNetArgBody(Message):
    """A `mask` is what older clients call `maskResourceId`."""

    model_config = requiring("preprocessor", "model")

    input_image_resource_id: Name | None = None
    mask_resource_id: Name | None = Field(
        default=None, validation_alias=AliasChoices("maskResourceId", "mask_resource_id", "mask")
    )
    preprocessor: Name | None = None
    model: Name | None = None
    weight: Weight = None
    resize_mode: Annotated[ControlResizeMode | None, DefaultIsAbsent] = None
    guidance: Annotated[float | None, Real(0, 1, above=True)] = None
    guidance_start: Annotated[float | None, Real(0, 1)] = None
    guidance_end: Annotated[float | None, Real(0, 1, above=True)] = None
    control_mode: Annotated[ControlMode | None, DefaultIsAbsent] = None
    pixel_perfect: Flag = None
    preprocessor_params: Annotated[dict[str, Parameter] | None, PlainValidator(_parameters)] = None

    def found(self, path: str, reading: Reading, family: Family) -> ControlNet:
        model = reading.companion(Kind.CONTROLNET, self.model, None, f"{path}.model", family)
        preprocessor, network = self._preprocessor(path, reading)
        mode = self.control_mode or "BALANCED"
        if mode != "BALANCED" and family not in UNET_FAMILIES:
            reason = f"must be BALANCED: {mode} is made of the levels of a UNet, which a {family} model has not"
            reading.faults.add(f"{path}.controlMode", reason)
        image = self.input_image_resource_id or reading.initial_picture
        if not image:
            reason = "is required where INPUT_INITIALIZE has no picture"
            reading.faults.add(f"{path}.inputImageResourceId", reason, reads=["stages"])
        return ControlNet(
            model=model.id if model else "",
            preprocessor=preprocessor,
            image=image,
            mask=self.mask_resource_id or None,
            weight=self.weight or 1.0,
            resize_mode=self.resize_mode or "CROP_AND_RESIZE",
            guidance_start=self.guidance_start or 0.0,
            guidance_end=self._end(path, reading),
            control_mode=mode,
            pixel_perfect=bool(self.pixel_perfect),
            preprocessor_params=self._parameters(preprocessor, path, reading),
            preprocessor_model=network,
        )

    def _end(self, path: str, reading: Reading) -> float:
        # `guidance` is what the web UI's extension called the end before it had a start.
        end = min(self.guidance or 1.0, self.guidance_end or 1.0)
        if (self.guidance_start or 0.0) > end:
            reading.faults.add(f"{path}.guidanceStart", "is after guidanceEnd", reads=[f"{path}.guidanceEnd"])
        return end

    def _preprocessor(self, path: str, reading: Reading) -> tuple[Preprocessor, str | None]:
        if not self.preprocessor:
            reading.faults.add(f"{path}.preprocessor", "is required")
            return Preprocessor.NONE, None
        none: tuple[Preprocessor, str | None] = (Preprocessor.NONE, None)
        find = partial(resolve_preprocessor, catalog=reading.catalog)
        return reading.named(find, self.preprocessor, f"{path}.preprocessor", none)

    def _parameters(self, preprocessor: Preprocessor, path: str, reading: Reading) -> dict[str, float]:
        try:
            return parameters_of(preprocessor, self.preprocessor_params or {})
        except WrongParameter as error:
            # An odd name would read as several parts of a path.
            part = f".{error.name}" if re.fullmatch(r"\w+", error.name) else ""
            reads = [f"{path}.preprocessor"]
            reading.faults.add(f"{path}.preprocessorParams{part}", str(error), reads=reads)
            return {}


class ControlNetBody(Message):
    args: Annotated[list[ControlNetArgBody], AtMost] | None = None

    def controls(self, path: str, reading: Reading, family: Family) -> tuple[ControlNet, ...]:
        told = [(i, arg) for i, arg in enumerate(self.args or ()) if is_meaningful(arg)]
        return tuple(arg.found(f"{path}.args[{i}]", reading, family) for i, arg in told)


class AnimationArgBody(Message):
    video_length: Annotated[int | None, Whole(1, limits.MAX_VIDEO_LENGTH)] = None
    fps: Annotated[int | None, Whole(1, limits.MAX_FPS)] = None
    motion_lora: LoraBody | None = None

    def attached(self, path: str, reading: Reading) -> Animation:
        return Animation(
            video_length=self.video_length or limits.DEFAULT_VIDEO_LENGTH,
            fps=self.fps or limits.DEFAULT_FPS,
            motion_loras=named_loras_of(self.motion_lora, f"{path}.motionLora", reading),
        )


class AnimateDiffBody(Message):
    args: Annotated[list[AnimationArgBody], AtMost] | None = None


class LayerDiffusionBody(Message):
    enable: Flag = None
    weight: Weight = None
