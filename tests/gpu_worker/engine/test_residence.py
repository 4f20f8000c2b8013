"""Models that do not fit on their device whole. CUDA has not run here: another place of a bounded size plays it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.engine.residence import HOST, Residence
from jobs.attachments import ControlNet, Lora
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.errors import FatalFailure
from jobs.preprocessors import Preprocessor
from tests.gpu_worker.engine.conftest import NEGATIVE, PROMPT, Seen
from tests.gpu_worker.engine.two_places import DEVICE, PLACE, Bounded, bounded, bytes_of

SIZE = {"width": 128, "height": 192}
MODELS = ("sd15", "sd3", "flux-dev")
LAYERS = {
    "sd15": "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "sd3": "transformer.transformer_blocks.0.attn.to_q",
    "flux-dev": "transformer.transformer_blocks.0.attn.to_q",
}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bounded]:
    with bounded(monkeypatch) as made:
        yield made


@pytest.fixture(scope="module")
def catalog(
    folders: dict[str, Path], flow_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Catalog:
    """Each model with a LoRA "ink-…" and a ControlNet "edges-…"; the VAE of SD 1.5 again, on its own."""
    from tests.gpu_worker.engine.test_flow_control import networks

    root = tmp_path_factory.mktemp("companions")
    made, models = networks(), []
    for name, net in zip(MODELS, ("sd15-one", "sd3-one", "flux-one"), strict=True):
        family = Family(name.partition("-")[0].upper())
        models.append(Model(id=name, name=name, family=family, path=(folders | flow_folders)[name]))
        down, up = torch.randn(2, 32) / 2, torch.randn(32, 2) / 2
        save_file(
            {f"{LAYERS[name]}.lora_A.weight": down, f"{LAYERS[name]}.lora_B.weight": up},
            root / f"{name}.safetensors",
        )
        path = root / f"{name}.safetensors"
        models.append(Model(id=f"ink-{name}", name=f"ink-{name}", kind=Kind.LORA, family=family, path=path))
        made[net].save_pretrained(root / name)
        models.append(
            Model(id=f"edges-{name}", name=f"edges-{name}", kind=Kind.CONTROLNET, family=family, path=root / name)
        )
    models.append(Model(id="second", name="second", family=Family.SD15, path=folders["sd15"]))
    vae = folders["sd15"] / "vae"
    models.append(Model(id="vae", name="vae", kind=Kind.VAE, family=Family.SD15, path=vae))
    return Catalog(models)


@pytest.fixture
def new_engine(catalog: Catalog) -> Callable[..., DiffusersEngine]:
    return lambda device=DEVICE: DiffusersEngine(catalog, device, max_cached_bytes=2**31)


def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE["height"], SIZE["width"], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


class Looking(Seen):
    """Asks for a preview of each step."""

    def step_done(self, step: int, steps: int, preview: Any) -> None:
        super().step_done(step, steps, preview)
        assert len(preview()) == 1


def drawn(engine: DiffusersEngine, name: str, *loras: Lora, guided: bool = False, vae: str | None = None) -> Any:
    """From a picture, through every part of the model."""
    checkpoint = engine.load(name, loras, vae)
    guidance = {"prompt": PROMPT, "negative": NEGATIVE}
    conditioning = engine.encode_prompt(checkpoint, **guidance, clip_skip=1)
    start = engine.encode_pictures(checkpoint, [picture()], **SIZE)
    asked = ControlNet(model=f"edges-{name}", preprocessor=Preprocessor.NONE)
    controls = [engine.control(checkpoint, asked, picture=picture(), mask=None, **SIZE)] if guided else []
    told: dict[str, Any] = {"seeds": [7], "sampler": "Euler", "steps": 4, "guidance_scale": 4.0, "watch": Looking()}
    latents = engine.sample(checkpoint, conditioning, **SIZE, **told, start=start, strength=0.7, controls=controls)
    return np.asarray(engine.decode(checkpoint, latents)[0], int)


@dataclass(frozen=True)
class Whole:
    """A model that fits: what it draws, and the bytes of its parts."""

    picture: Any
    changed: Any
    denoiser: int
    vae: int
    readers: int
    net: int

    @property
    def size(self) -> int:
        return self.denoiser + self.vae + self.readers

    @property
    def largest(self) -> int:
        return max(self.denoiser, self.vae, self.readers)


@pytest.fixture
def whole(new_engine: Any, device: Bounded) -> Callable[..., Whole]:
    """Drawn on the device while it has no bound; it is empty afterwards."""

    def whole(name: str, *, guided: bool = False) -> Whole:
        engine = new_engine()
        changed = drawn(engine, name, Lora(model=f"ink-{name}", weight=2.0))
        picture = drawn(engine, name, guided=guided)
        checkpoint = engine.load(name)
        parts = {"denoiser": bytes_of(checkpoint.denoiser), "vae": bytes_of(checkpoint.vae)}
        net = bytes_of(engine._cache._by_id[f"edges-{name}"].network) if guided else 0
        device.lying.clear()
        device.ran.clear()
        device.peak = 0
        return Whole(picture, changed, **parts, readers=sum(map(bytes_of, checkpoint.readers)), net=net)

    return whole


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("guided", [False, True])
def test_a_model_that_does_not_fit_is_there_part_by_part_and_draws_the_same(
    new_engine: Any, device: Bounded, whole: Callable[..., Whole], name: str, guided: bool
) -> None:
    fits = whole(name, guided=guided)
    # What runs together at the most: the denoiser and its ControlNet; a preview's VAE is beside them, or alone.
    device.most = max(fits.denoiser + fits.net, fits.vae + fits.net, fits.readers)
    assert device.most < fits.size + fits.net

    found = drawn(new_engine(), name, guided=guided)

    assert np.abs(found - fits.picture).max() <= 1
    assert 0 < device.peak <= device.most


@pytest.mark.parametrize("name", MODELS)
def test_a_lack_at_a_step_sends_the_other_parts_away(
    new_engine: Any, device: Bounded, whole: Callable[..., Whole], name: str
) -> None:
    fits, engine = whole(name), new_engine()
    device.most, device.work = fits.size, fits.vae  # which is free once another part has left
    checkpoint = engine.load(name)
    assert device.used == fits.size

    found = drawn(engine, name)

    assert np.abs(found - fits.picture).max() <= 1
    assert engine._residence.is_apart(checkpoint.denoiser)
    assert engine.load(name) is checkpoint
    # Whole, with no other model loaded, and as the other rungs have it, which do not help; then for each of 2 steps.
    assert len(device.ran) == (4 if name == "sd15" else 3) + 2


def test_every_job_with_it_says_so(new_engine: Any, device: Bounded, whole: Callable[..., Whole]) -> None:
    device.most = whole("sd15").size - 1
    engine = new_engine()

    with structlog.testing.capture_logs() as first:
        engine.load("sd15")
    with structlog.testing.capture_logs() as second:
        engine.load("sd15")

    assert [(each["event"], each.get("next")) for each in first] == [
        ("memory_short", "ALONE"),
        ("memory_short", "APART"),
        ("model_parted", None),
    ]
    assert [(each["event"], each["model"]) for each in second] == [("model_parted", "sd15")]


@pytest.mark.parametrize("name", MODELS)
def test_loras_change_what_is_away_and_are_taken_out_to_the_bit(
    new_engine: Any, device: Bounded, whole: Callable[..., Whole], name: str
) -> None:
    fits, engine = whole(name), new_engine()
    device.most = fits.size - 1
    before = [each.clone() for each in engine.load(name).denoiser.parameters()]

    changed = drawn(engine, name, Lora(model=f"ink-{name}", weight=2.0))

    assert np.abs(changed - fits.changed).max() <= 1
    assert np.abs(fits.changed - fits.picture).max() > 1
    assert all(map(torch.equal, before, engine.load(name).denoiser.parameters()))


def test_weights_as_they_were_go_to_the_host_before_the_parts_do(
    new_engine: Any, device: Bounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine()
    checkpoint = engine.load("flux-dev")
    clones = []

    def lacks(self: Any, *_: Any, **__: Any) -> Any:
        clones.append(self)
        raise torch.OutOfMemoryError("CUDA out of memory: the weights as they were")

    with monkeypatch.context() as patched:
        patched.setattr(nn.Parameter, "clone", lacks)
        engine.load("flux-dev", [Lora(model="ink-flux-dev")])

    assert len(clones) == 1
    assert not engine._residence.is_apart(checkpoint.denoiser)
    assert checkpoint.loras.size_bytes > 0


def test_weights_as_they_were_leave_with_the_parts(
    new_engine: Any, device: Bounded, whole: Callable[..., Whole], monkeypatch: pytest.MonkeyPatch
) -> None:
    fits, engine = whole("flux-dev"), new_engine()
    ink = Lora(model="ink-flux-dev", weight=2.0)
    checkpoint = engine.load("flux-dev", [ink])
    originals = {each.data_ptr() for each in checkpoint.loras._originals.values()}
    device.most, device.work = fits.size, fits.vae
    sent, to = set(), torch.Tensor.to

    def move(tensor: Any, *arguments: Any, **options: Any) -> Any:
        if arguments == (HOST,):
            sent.add(tensor.data_ptr())
        return to(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "to", move)
    found = drawn(engine, "flux-dev", ink)

    assert originals and originals <= sent
    assert np.abs(found - fits.changed).max() <= 1


def test_a_large_picture_is_enlarged_without_the_parts_that_are_there_to_run(
    new_engine: Any, device: Bounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine()
    engine._residence.part(engine.load("sd15").networks)
    drawn(engine, "sd15")
    assert device.used
    there = []

    def enlarged(_upscaler: Any, image: Image.Image, width: int, height: int, **_: Any) -> Image.Image:
        there.append(device.used)
        return image.resize((width, height))

    monkeypatch.setattr(engine, "_upscaler", lambda _name: None)
    monkeypatch.setattr("gpu_worker.engine.engine.upscale_to", enlarged)
    engine.enlarge(picture(), "4x", width=512, height=768)

    assert there == [0]


def test_a_part_that_another_model_uses_comes_back_for_it(new_engine: Any, device: Bounded) -> None:
    engine = new_engine()
    expected = drawn(engine, "second", vae="vae")
    engine.load("second")
    checkpoint = engine.load("sd15", vae="vae")
    engine._residence.part(checkpoint.networks)
    drawn(engine, "sd15", vae="vae")  # its denoiser sends the VAE away

    assert np.abs(drawn(engine, "second", vae="vae") - expected).max() <= 1


def test_what_is_there_only_while_it_runs_makes_room_for_another_model(new_engine: Any, device: Bounded) -> None:
    engine = new_engine()
    first = engine.load("sd15")
    engine._residence.part(first.networks)
    drawn(engine, "sd15")

    second = engine.load("second")

    assert set(device.lying) == set(second.networks)


def test_below_the_last_rung_it_is_said_what_was_tried(
    new_engine: Any, device: Bounded, whole: Callable[..., Whole]
) -> None:
    fits = whole("flux-dev")
    device.most = fits.largest - 1

    with pytest.raises(FatalFailure) as failed:
        drawn(new_engine(), "flux-dev")

    assert "each part of the model on the device only while it runs" in failed.value.message


def test_after_a_lack_the_worker_draws_what_fits(new_engine: Any, device: Bounded, whole: Callable[..., Whole]) -> None:
    small, large, engine = whole("sd15"), whole("flux-dev"), new_engine()
    device.most = large.largest - 1
    with pytest.raises(FatalFailure):
        drawn(engine, "flux-dev")
    device.most = float("inf")

    assert np.abs(drawn(engine, "sd15") - small.picture).max() <= 1
    assert np.abs(drawn(engine, "flux-dev") - large.picture).max() <= 1


def test_there_is_no_such_rung_where_the_host_is_the_device(new_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("gpu_worker.engine.engine.load_checkpoint", lacks)

    with pytest.raises(FatalFailure) as failed:
        new_engine(CPU).load("sd15")

    assert failed.value.message.startswith("out of memory while loading model sd15, with no other model loaded (")


class Places:
    """Where networks lie, and how many there is room for."""

    def __init__(self, room: int) -> None:
        self.room, self.there = room, set[str]()

    def move(self, network: Any, place: torch.device) -> None:
        if place == HOST:
            self.there.discard(network.name)
            return
        self.there.add(network.name)
        if len(self.there) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")


class Part:
    def __init__(self, name: str) -> None:
        self.name = name


def test_a_part_for_which_there_is_no_room_leaves_nothing_behind() -> None:
    places, one, other = Places(1), Part("one"), Part("other")
    residence = Residence(PLACE, places.move)
    residence.part([one, other])
    residence.bring([one], alone=True)

    with pytest.raises(torch.OutOfMemoryError):
        residence.bring([other], alone=False)
    assert places.there == {"one"}

    residence.bring([other], alone=True)
    assert places.there == {"other"}


def test_what_is_forgotten_is_not_held() -> None:
    residence = Residence(PLACE, Places(2).move)
    part = Part("one")
    residence.part([part])
    residence.bring([part], alone=True)
    del part

    residence.clear()

    assert not list(residence._known) and not list(residence._apart)
