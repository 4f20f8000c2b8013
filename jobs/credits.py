"""What a job costs. It knows prices and no account.

Each stage becomes items, and each item has a formula; what an item lacks it inherits from those before it.
Source: TAMS, "Intro To Billing". Where that page contradicts itself, this is what is done:

- Its second table lists whole jobs, a DIFFUSION of 20 steps (0.8) and the stage of the row. By its own formula
  the row of 30 steps and 2560 × 1440 is 5.6; the table says 5. The formula is kept.
- ADETAILER's `ad_use_steps` is said to inherit DIFFUSION's steps, but it is the switch that makes an argument run
  its own. What runs is what is priced: its own steps with the switch, DIFFUSION's without.
- Sums are rounded half up to hundredths, as those of its examples are.
- IMAGE_TO_ANIMATE_DIFF has no published formula: it costs what an INPAINT of its size does.
- Detections have no published price either, and cost nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from functools import cache
from typing import TypeAlias, assert_never

from jobs.catalog import Catalog
from jobs.record import record
from jobs.stages import Stage
from jobs.stages.canvas import Size
from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import Detail, ImageToAdetailer
from jobs.stages.image_to_animate_diff import ImageToAnimateDiff
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.stages.input_initialize import InputInitialize
from jobs.stages.video_diffusion import VideoDiffusion
from jobs.submission import picture_sizes

NOTHING = Decimal(0)
HUNDREDTH = Decimal("0.01")
MEGAPIXEL = 1024 * 1024
OTHER = "other"
"""Stands for every family, or video model, that a price list does not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRate:
    """What a video model costs per frame; `fast` is the factor of the FAST generation mode."""

    text_to_video: Decimal
    image_to_video: Decimal
    fast: Decimal = Decimal(1)


def _video(text: str, image: str = "", fast: str = "1") -> VideoRate:
    return VideoRate(text_to_video=Decimal(text), image_to_video=Decimal(image or text), fast=Decimal(fast))


_MODELS = {"FLUX": Decimal(2), OTHER: Decimal(1)}
_UPSCALED_AREAS = {"FLUX": Decimal(3), OTHER: Decimal(2)}
_VIDEO_MODELS = {
    "MOCHI_1_10B": _video("0.45"),
    "COGVIDEOX_2B": _video("0.19"),
    "COGVIDEOX_5B": _video("0.23"),
    "COGVIDEOX1_5_5B": _video("0.93", fast="0.5"),
    "PYRAMID_FLOW_MINIFLUX 640x384": _video("0.09"),
    "PYRAMID_FLOW_MINIFLUX": _video("0.29"),
    "LTX_VIDEO_2B": _video("0.05", fast="0.6"),
    "HUNYUANVIDEO": _video("0.45", "0.42", fast="0.5"),
    "HUNYUANVIDEO_FAST": _video("0.30"),
    "COSMOS_1_7B": _video("0.73", "1.0"),
    "SKYREELS_V1": _video("0.91"),
    "WAN_2_1": _video("0.72", fast="0.67"),
    OTHER: _video("1.0"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The price list; by default the published one. Every mapping has an entry for OTHER.

    `models` is MODEL_FACTOR by family, `upscaled_areas` what an UPSCALER's megapixels are multiplied by, by family.
    `video_models` is by name; a name with a size, like "X 640x384", goes before the name alone.
    """

    models: Mapping[str, Decimal] = field(default_factory=_MODELS.copy)
    upscaled_areas: Mapping[str, Decimal] = field(default_factory=_UPSCALED_AREAS.copy)
    video_models: Mapping[str, VideoRate] = field(default_factory=_VIDEO_MODELS.copy)
    video_factor: Decimal = Decimal("1.25")

    def model(self, family: str) -> Decimal:
        return self.models.get(family, self.models[OTHER])

    def upscaled_area(self, family: str) -> Decimal:
        return self.upscaled_areas.get(family, self.upscaled_areas[OTHER])

    def video(self, model: str, width: int, height: int) -> VideoRate:
        names = (f"{model} {width}x{height}", model, OTHER)
        return next(self.video_models[name] for name in names if name in self.video_models)


@record
class Start:
    """INPUT_INITIALIZE: costs nothing, and says how many pictures all that follows makes."""

    count: int


@record
class Draw:
    """DIFFUSION. Its size costs nothing, but is inherited."""

    family: str
    width: int
    height: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upscale:
    """UPSCALER, to this size with these steps. `family` is its own model's, or None for that of the DIFFUSION."""

    width: int
    height: int
    steps: int
    family: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rework:
    """INPAINT, or one argument of ADETAILER.

    Size and steps count where there is none to inherit: no picture before, no DIFFUSION before. `keeps_steps`:
    the steps are run whatever DIFFUSION's were. `before` is the size of the pictures, where it is known already.
    """

    width: int
    height: int
    steps: int
    keeps_steps: bool = False
    family: str | None = None
    before: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """VIDEO DIFFUSION. The published formula has no count: it is one video."""

    model: str
    width: int
    height: int
    frames: int
    from_image: bool = False
    is_fast: bool = False


Item: TypeAlias = Start | Draw | Upscale | Rework | Video


@dataclass(slots=True)
class _Inherited:
    """What the items so far hand to the next, which adds what it hands on. `steps` is DIFFUSION's."""

    count: int = 1
    family: str = OTHER
    size: tuple[int, int] | None = None
    steps: int | None = None


def price(stages: Sequence[Stage], catalog: Catalog, rates: Rates) -> Decimal:
    """Of a whole job, in credits. Raises UnknownModel for a model that is not in the catalogue."""
    return price_of(_items(stages, catalog), rates)


def _items(stages: Sequence[Stage], catalog: Catalog) -> list[Item]:
    items: list[Item] = []
    before = None
    for stage, after in zip(stages, picture_sizes(stages), strict=True):
        items += _items_of(stage, before, catalog)
        before = after
    return items


def _items_of(stage: Stage, before: Size | None, catalog: Catalog) -> Iterable[Item]:
    match stage:
        case InputInitialize():
            return (Start(count=stage.count),)
        case Diffusion():
            family = _family(stage.model, catalog)
            return (Draw(family=family, width=stage.width, height=stage.height, steps=stage.steps),)
        case ImageToUpscaler():
            (width, height), family = stage.size_after(before), _family(stage.diffusion.model, catalog)
            return (Upscale(width=width, height=height, steps=stage.steps, family=family),)
        case ImageToAdetailer():
            details = (_detail(detail, stage.diffusion, catalog) for detail in stage.details)
            return [replace(detail, before=before) for detail in details]
        case ImageToInpaint() | ImageToAnimateDiff():
            return (replace(_rework(stage.diffusion, catalog), before=before),)
        case VideoDiffusion():
            return (_video_item(stage),)
        case ControlnetDetect():
            return ()
        case _:
            assert_never(stage)


def _rework(diffusion: Diffusion, catalog: Catalog) -> Rework:
    family = _family(diffusion.model, catalog)
    return Rework(width=diffusion.width, height=diffusion.height, steps=diffusion.steps, family=family)


def _detail(detail: Detail, diffusion: Diffusion, catalog: Catalog) -> Rework:
    item = _rework(diffusion, catalog)
    if detail.model is not None:
        item = replace(item, family=_family(detail.model, catalog))
    return item if detail.steps is None else replace(item, steps=detail.steps, keeps_steps=True)


def _video_item(stage: VideoDiffusion) -> Video:
    return Video(
        model=stage.model,
        width=stage.width,
        height=stage.height,
        frames=stage.total_frames,
        from_image=stage.mode == "IMAGE_TO_VIDEO" or bool(stage.keyframes),
        is_fast=stage.mode == "FAST",
    )


def _family(model_id: str, catalog: Catalog) -> str:
    return catalog.get(model_id).family


def price_of(items: Iterable[Item], rates: Rates) -> Decimal:
    """The sum of the items' prices."""
    credits, before = NOTHING, _Inherited()
    for item in items:
        credits += _credits(item, before, rates)
        _hand_on(item, before)
    return credits.quantize(HUNDREDTH, ROUND_HALF_UP)


def _credits(item: Item, before: _Inherited, rates: Rates) -> Decimal:
    match item:
        case Start():
            return NOTHING
        case Draw():
            return rates.model(item.family) * before.count * _steps(item.steps)
        case Upscale():
            family = item.family or before.family
            area = _area(item.width, item.height, rates.upscaled_area(family))
            return rates.model(family) * before.count * _steps(item.steps) * area
        case Rework():
            steps = item.steps if item.keeps_steps or before.steps is None else before.steps
            width, height = item.before or before.size or (item.width, item.height)
            area = _area(width, height, Decimal(2))
            return rates.model(item.family or before.family) * before.count * _steps(steps) * area
        case Video():
            rate = rates.video(item.model, item.width, item.height)
            coefficient = rate.image_to_video if item.from_image else rate.text_to_video
            discount = rate.fast if item.is_fast else Decimal(1)
            return (item.frames + 1) * coefficient * discount * rates.video_factor
        case _:
            assert_never(item)


def _hand_on(item: Item, before: _Inherited) -> None:
    match item:
        case Start():
            before.count = item.count
        case Draw():
            before.family, before.steps = item.family, item.steps
            before.size = item.width, item.height
        case Rework():
            before.size = before.size or (item.width, item.height)
        case Upscale() | Video():
            before.size = item.width, item.height
        case _:
            assert_never(item)


@cache
def _steps(steps: int) -> Decimal:
    """CEIL(STEPS / 5) / 5"""
    return Decimal(-(-steps // 5)) / 5


def _area(width: int, height: int, factor: Decimal) -> Decimal:
    """CEIL(WIDTH * HEIGHT / 1024 / 1024 * factor) / 2"""
    return (width * height * factor / MEGAPIXEL).to_integral_value(ROUND_CEILING) / 2
