"""Bodies through the parser, with a catalogue of a few models."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from jobs.capabilities import unsupported
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.dialects.tams_request import JobReading
from jobs.errors import Fault, InvalidSubmission
from jobs.stages import Stage
from jobs.stages.diffusion import Diffusion
from jobs.submission import Submission
from tests.jobs.samples import body

CATALOG = Catalog(
    [
        Model(id="600423083519508503", name="dreamshaper", family=Family.SD15, path=Path("absent")),
        Model(id="681693017352010007", name="photon", family=Family.SD15, path=Path("absent")),
        Model(id="613045163490732233", name="counterfeit", family=Family.SD15, path=Path("absent")),
        Model(id="2", name="sd2", family=Family.SD2, path=Path("absent")),
        Model(id="3", name="sdxl", family=Family.SDXL, path=Path("absent")),
        Model(id="14", name="shallow", family=Family.SD15, path=Path("absent"), clip_layers=3),
        Model(id="4", name="sd3", family=Family.SD3, path=Path("absent")),
        Model(id="6", name="flux", family=Family.FLUX, path=Path("absent")),
        Model(
            id="5",
            name="secret",
            family=Family.SD15,
            path=Path("absent"),
            access_key_sha256=sha256(b"open sesame").hexdigest(),
        ),
        Model(id="20", name="4x-UltraSharp", kind=Kind.UPSCALER, family=Family.ANY, path=Path("absent")),
        Model(id="21", name="4x-AnimeSharp", kind=Kind.UPSCALER, family=Family.ANY, path=Path("absent")),
        Model(id="22", name="shapes", kind=Kind.UPSCALER, family=Family.ANY, path=Path("absent")),
        Model(id="30", name="hand_yolov8n.pt", kind=Kind.DETECTOR, family=Family.ANY, path=Path("absent")),
        Model(id="7", name="ink", kind=Kind.LORA, family=Family.SD15, path=Path("absent")),
        Model(id="8", name="easynegative", kind=Kind.TEXTUAL_INVERSION, family=Family.SD15, path=Path("absent")),
        Model(id="661652545330040294", name="guides", kind=Kind.LORA, family=Family.SD15, path=Path("absent")),
        Model(
            id="13",
            name="vae-ft-mse-840000-ema-pruned.ckpt",
            kind=Kind.VAE,
            family=Family.SD15,
            path=Path("absent"),
            aliases=("ClearVAE.safetensors",),
        ),
        Model(id="12", name="canny", kind=Kind.CONTROLNET, family=Family.SD15, path=Path("absent")),
        Model(id="23", name="flux-ink", kind=Kind.LORA, family=Family.FLUX, path=Path("absent")),
        Model(id="24", name="flux-canny", kind=Kind.CONTROLNET, family=Family.FLUX, path=Path("absent")),
        Model(id="40", name="mlsd", kind=Kind.PREPROCESSOR, family=Family.ANY, path=Path("absent")),
        Model(id="9", name="xl-ink", kind=Kind.LORA, family=Family.SDXL, path=Path("absent")),
        Model(
            id="10",
            name="secret-ink",
            kind=Kind.LORA,
            family=Family.SD15,
            path=Path("absent"),
            access_key_sha256=sha256(b"k").hexdigest(),
        ),
        Model(
            id="11",
            name="secret-word",
            kind=Kind.TEXTUAL_INVERSION,
            family=Family.SD15,
            path=Path("absent"),
            access_key_sha256=sha256(b"e").hexdigest(),
        ),
    ]
)


def parse_submission(
    body: Any, catalog: Catalog, refusals: Callable[[Submission], list[Fault]] | None = None
) -> Submission:
    """Both looks at once. Raises InvalidSubmission with all faults."""
    reading = JobReading(body, catalog)
    reading.look_at_fields()
    return reading.submission(refusals)


def parse(value: Any) -> Submission:
    return parse_submission(value, CATALOG)


def faults(value: Any) -> dict[str, str]:
    with pytest.raises(InvalidSubmission) as refused:
        parse(value)
    return {fault.path: fault.reason for fault in refused.value.faults}


def refusals(value: Any) -> dict[str, str]:
    """With those of the service's capabilities."""
    with pytest.raises(InvalidSubmission) as refused:
        parse_submission(value, CATALOG, unsupported)
    return {fault.path: fault.reason for fault in refused.value.faults}


def diffusion_of(**fields: Any) -> Diffusion:
    stage = parse(body(**fields)).stages[1]
    assert isinstance(stage, Diffusion)
    return stage


def with_stage(kind: str, field: str, fields: Any, **diffusion: Any) -> dict[str, Any]:
    """A body whose third stage is of this type, after a DIFFUSION."""
    asked = body(**diffusion)
    asked["stages"].append({"type": kind, field: fields})
    return asked


def third_stage(kind: str, field: str, fields: Any) -> Stage:
    return parse(with_stage(kind, field, fields)).stages[2]
