"""What `make likeness` compares of SD 3 and FLUX: no checkpoint of theirs is here, so small networks of random weights.

128 × 192 pixels, 4 steps. The other rows of these families are in their tests alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from safetensors.torch import save_file

from benchmarks.flow_drawing import (
    LAYERS,
    control,
    drawn,
    guided_reference,
    in_diffusers,
    of_layers,
    reference,
    stock_pipeline,
)
from benchmarks.flow_models import build_bases, build_flow, family_of, networks, saved
from gpu_worker.engine import engine as engine_module
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.attachments import Lora
from jobs.catalog import Catalog, Kind, Model
from jobs.preprocessors import Preprocessor

# Of each model: what is said of a ControlNet, its name in the tests, and what only some are told.
GUIDES: dict[str, list[tuple[str, str, Any]]] = {
    "sd3": [
        ("as most are", "sd3-one", {}),
        ("told of the pooled text", "sd3-moved", {}),
        ("as the published largest", "sd3-large", {}),
    ],
    "flux-dev": [
        ("of fewer blocks", "flux-one", {}),
        ("of more blocks", "flux-two", {}),
        ("of double blocks alone", "flux-doubles", {}),
        ("told of guidance", "flux-told", {}),
        ("looking at pixels", "flux-pixels", {}),
        ("for several kinds of pictures, canny", "flux-union", {"control_mode": 0}),
    ],
}
TITLES = {"sd3": "SD 3", "flux-dev": "FLUX"}
WEIGHT = 0.7

Row = tuple[str, Any, Any, str]


def rows(root: Path) -> Iterator[Row]:
    """What is compared, ours, theirs, and where the two must differ; both from the mean of what the VAE says."""
    yield from _loras(root)
    yield from _controlnets(root)


def _controlnets(root: Path) -> Iterator[Row]:
    nets = networks()
    bases = build_bases(_made(root / "bases"), build_flow(_made(root / "flow")))
    engine = DiffusersEngine(Catalog(saved(root, bases, nets)), CPU, max_cached_bytes=2**31)
    for model, guides in GUIDES.items():
        pipeline = stock_pipeline(bases[model])
        for said, name, told in guides:
            # The picture is the hint: what the algorithm makes of it is compared with the bundled model.
            with patch.object(engine_module, "preprocessed", lambda picture, **_: picture):
                kind = Preprocessor.CANNY if told else Preprocessor.NONE
                guide = control(engine, model, name, preprocessor=kind)
            ours = drawn(engine, engine.load(model), controls=[guide])
            yield f"{TITLES[model]}, ControlNet {said}", ours, guided_reference(pipeline, nets[name], **told), ""


def _loras(root: Path) -> Iterator[Row]:
    """By hand, for diffusers reads them only with peft."""
    folders = build_flow(_made(root / "plain"))
    for name, layers in LAYERS.items():
        pipeline = stock_pipeline(folders[name])
        parts = of_layers(pipeline.transformer, layers)
        path = root / f"{name}.safetensors"
        save_file(in_diffusers(parts), path)
        family = family_of(name)
        models = [
            Model(id=name, name=name, family=family, path=folders[name]),
            Model(id="ink", name="ink", kind=Kind.LORA, family=family, path=path),
        ]
        engine = DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**31)
        for layer, (down, up) in parts.items():
            weight = pipeline.transformer.get_submodule(layer).weight
            weight.data += WEIGHT * (up @ down).reshape(weight.shape)
        ours = drawn(engine, engine.load(name, [Lora(model="ink", weight=WEIGHT)]))
        yield (
            f"{TITLES[name]}, LoRA in diffusers' names, weight {WEIGHT}; merged by hand",
            ours,
            reference(pipeline),
            "",
        )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
