"""The stages that change a finished picture, on the model that comes along: meaning, judged by geometry."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from config.catalog import read_catalog
from config.settings import ModelSettings
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.engine.faces import find_faces
from jobs.detectors import Look
from jobs.errors import AttemptLost
from jobs.prompt import Piece
from jobs.stages.canvas import Canvas, Tools
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import Detail, ImageToAdetailer
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.upscalers import Upscaler
from training.drawing import draw as draw_scene
from training.judge import look
from training.scenes import COLOURS, PLACES, SHAPES, Scene

SIDE = 512


@dataclass
class Watcher:
    """Remembers steps, and the sizes of previews."""

    steps: list[tuple[int, int]] = field(default_factory=list)
    previews: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def step_done(self, step: int, steps: int, preview: Any) -> None:
        self.steps.append((step, steps))
        if 2 * step >= steps and not self.previews:
            self.previews = preview()

    def check(self) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def engine() -> DiffusersEngine:
    settings = ModelSettings()
    return DiffusersEngine(read_catalog(settings.catalog_file, settings.models_folder), CPU, max_cached_bytes=2**30)


def diffusion(prompt: str, **fields: Any) -> Diffusion:
    wish = {"width": SIDE, "height": SIDE, "model": "1000000000000000001", "sampler": "DPM++ 2M Karras"} | fields
    return Diffusion(prompt=(Piece(prompt),), **wish)


def tools(engine: Any, **pictures: Any) -> Tools:
    return Tools(engine=engine, watch=Watcher(), pictures=pictures)


def mask(box: tuple[int, int, int, int], size: int = SIDE) -> Image.Image:
    made = Image.new("RGB", (size, size))
    made.paste("white", box)
    return made


def words(picture: Any) -> tuple[str, str, str, str]:
    seen = look(np.asarray(picture))
    names = list(COLOURS)
    return names[seen.colour], SHAPES[seen.shape], PLACES[seen.place], names[seen.background]


@pytest.fixture(scope="module")
def circle_on_the_left(engine: DiffusersEngine) -> Canvas:
    stage = diffusion("a small red circle on the left on a white background")
    return stage.run(Canvas(seeds=(5, 6)), tools(engine))


def test_the_canvas_of_these_tests_shows_what_it_should(circle_on_the_left: Canvas) -> None:
    assert [words(each) for each in circle_on_the_left.pictures] == [("red", "circle", "left", "white")] * 2


# Inpaint

RIGHT = (288, 160, 480, 352)


@pytest.mark.parametrize("full_resolution", [True, False])
def test_the_masked_part_is_drawn_again_to_its_prompt_and_nothing_else(
    engine: Any, circle_on_the_left: Canvas, full_resolution: bool
) -> None:
    # The part alone fills its picture; in the whole it stands on the right.
    prompt = "a large blue square in the center" if full_resolution else "a small blue square on the right"
    drawn = diffusion(f"{prompt} on a white background", denoising_strength=1.0)
    stage = ImageToInpaint(
        mask="m", full_resolution=full_resolution, padding_px=16, fill="LATENT_NOISE", diffusion=drawn
    )
    held = tools(engine, m=mask(RIGHT))

    after = stage.run(circle_on_the_left, held)

    for before, picture in zip(circle_on_the_left.pictures, after.pictures, strict=True):
        was, now = np.asarray(before), np.asarray(picture)
        # A blur of 4 reaches 10 pixels.
        assert (now[:, :278] == was[:, :278]).all()
        assert words(now[128:384, 256:512])[:2] == ("blue", "square")
    assert held.watch.steps[-1] == (20, 20)  # type: ignore[attr-defined]
    assert [each.size for each in held.watch.previews] == [(256, 256)] * 2  # type: ignore[attr-defined]


def test_an_inverted_mask_keeps_what_was_masked(engine: Any, circle_on_the_left: Canvas) -> None:
    stage = ImageToInpaint(
        mask="m",
        invert_mask=True,
        full_resolution=False,
        diffusion=diffusion("a small red circle on the left on a green background", denoising_strength=0.9),
    )

    (picture, *_) = stage.run(circle_on_the_left, tools(engine, m=mask(RIGHT))).pictures

    was, now = np.asarray(circle_on_the_left.pictures[0]), np.asarray(picture)
    assert (now[180:330, 310:460] == was[180:330, 310:460]).all()
    assert words(now)[3] == "green"


def test_each_picture_is_drawn_from_its_own_seed(engine: Any, circle_on_the_left: Canvas) -> None:
    stage = ImageToInpaint(mask="m", diffusion=diffusion("a star", steps=4))
    first, second = circle_on_the_left.pictures[0], circle_on_the_left.pictures[0]
    same = replace(circle_on_the_left, pictures=(first, second))

    one, other = (np.asarray(each, int) for each in stage.run(same, tools(engine, m=mask(RIGHT))).pictures)

    assert np.abs(one - other).max() > 30


@pytest.mark.parametrize("mode", ["JUST_RESIZE", "CROP_AND_RESIZE", "RESIZE_AND_FILL", "JUST_RESIZE_LATENT_UPSCALE"])
def test_an_initial_picture_is_brought_to_the_size_that_is_drawn(engine: Any, mode: Any) -> None:
    initial = Image.new("RGB", (400, 300), "white")
    covered = Image.new("RGB", (400, 300))
    covered.paste("white", (150, 100, 250, 200))
    stage = ImageToInpaint(
        mask="m", resize_mode=mode, full_resolution=False, diffusion=diffusion("a circle", height=576, steps=2)
    )

    after = stage.run(Canvas(seeds=(1,), pictures=(initial,)), tools(engine, m=covered))

    assert [each.size for each in after.pictures] == [(512, 576)]  # type: ignore[attr-defined]
    assert after.size == (512, 576)


def test_an_initial_picture_of_which_a_part_is_drawn_keeps_its_size(engine: Any) -> None:
    initial = Image.new("RGB", (401, 303), "white")
    covered = Image.new("RGB", (401, 303))
    covered.paste("white", (150, 100, 250, 200))
    stage = ImageToInpaint(mask="m", diffusion=diffusion("a circle", steps=2))

    after = stage.run(Canvas(seeds=(1,), pictures=(initial,)), tools(engine, m=covered))

    assert [each.size for each in after.pictures] == [(401, 303)]  # type: ignore[attr-defined]
    assert after.size == (401, 303)


def test_an_uploaded_picture_is_enlarged_from_its_own_size_when_a_part_was_drawn(engine: Any) -> None:
    wide = drawn_scene(size=1).crop((0, 0, 512, 400))
    canvas = Canvas(seeds=(1,), pictures=(wide,))

    for stage in (adetailer(detail(steps=1)), upscaler("Nearest", denoising_strength=0.0)):
        canvas = stage.run(canvas, tools(engine))

    assert canvas.picture_size == canvas.size == (1024, 800)


# Upscaler

NETWORK = "1000000000000000012"
STAR = "a large yellow star in the center on a purple background"


@pytest.fixture(scope="module")
def star(engine: DiffusersEngine) -> Canvas:
    return diffusion(STAR).run(Canvas(seeds=(3,)), tools(engine))


def upscaler(name: str, **fields: Any) -> ImageToUpscaler:
    wish = {"scale": 2.0, "steps": 4, "denoising_strength": 0.3, "diffusion": diffusion(STAR)} | fields
    return ImageToUpscaler(upscaler=name, **wish)


@pytest.mark.parametrize("name", [*Upscaler, NETWORK])
def test_every_upscaler_keeps_what_is_shown_and_takes_all_steps(engine: Any, star: Canvas, name: str) -> None:
    held = tools(engine)
    # Interpolated latents are torn, and need more to be mended.
    strength = 0.55 if name.startswith("Latent") else 0.3

    after = upscaler(name, scale=1.5, steps=8, denoising_strength=strength).run(star, held)

    assert [each.size for each in after.pictures] == [(768, 768)]  # type: ignore[attr-defined]
    assert words(after.pictures[0]) == ("yellow", "star", "center", "purple")
    assert held.watch.steps == [(i, 8) for i in range(1, 9)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("strength", "steps"), [(0.3, 4), (1.0, 4), (0.01, 60), (0.5, 60), (0.999, 1)])
@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M Karras", "DPM2", "PLMS", "LCM", "UniPC"])
def test_the_second_pass_takes_all_its_steps_where_the_schedule_has_them(
    engine: Any, strength: float, steps: int, sampler: str
) -> None:
    drawn = diffusion("x", sampler=sampler)
    stage = upscaler("None", diffusion=drawn, steps=steps, denoising_strength=strength)

    second = stage._second_pass((512, 512))

    taken = int(second.steps * second.denoising_strength)

    # A schedule has 500 steps at most, LCM's 50.
    most = 50 if sampler == "LCM" else 500
    expected = steps if steps / strength <= most * 1.01 else round(most * strength)
    assert taken == max(expected, 1)
    assert second.steps <= most


@pytest.mark.parametrize("name", ["Latent (nearest-exact)", "Lanczos", NETWORK])
@pytest.mark.parametrize(("width", "height"), [(640, 1024), (1024, 640)])
def test_another_ratio_is_cut_and_not_stretched(engine: Any, name: str, width: int, height: int) -> None:
    circle = diffusion("a small red circle in the center on a white background").run(Canvas(seeds=(4,)), tools(engine))
    stage = upscaler(name, scale=None, width=width, height=height, steps=1, denoising_strength=0.0)

    (picture,) = stage.run(circle, tools(engine)).pictures

    pixels = np.asarray(picture, int)
    rows, columns = np.nonzero((pixels[..., 0] - pixels[..., 1]) > 100)
    assert pixels.shape == (height, width, 3)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.1)
    # The small circle is about 0.3 of 512 wide; the longer side is doubled.
    assert np.ptp(rows) > 1.6 * 0.27 * 512


def test_a_side_between_two_latents_is_exact(engine: Any, star: Canvas) -> None:
    # 512 × 1.3 = 665.6, to the grid of 8: 664; the bundled model draws multiples of 16.
    for name in ("Latent", "Nearest"):
        for strength in (0.0, 0.4):
            (picture,) = (
                upscaler(name, scale=1.3, steps=2, denoising_strength=strength).run(star, tools(engine)).pictures
            )
            assert (picture.width, picture.height) == (664, 664)


def test_an_uploaded_picture_counts_as_large_as_the_diffusion_says(engine: Any) -> None:
    initial = Image.new("RGB", (300, 200), "white")

    for name in ("Latent", NETWORK):
        after = upscaler(name, scale=1.25).run(Canvas(seeds=(1,), pictures=(initial,)), tools(engine))
        assert [each.size for each in after.pictures] == [(640, 640)]  # type: ignore[attr-defined]


def test_the_network_comes_nearer_to_a_picture_that_was_made_smaller_than_bicubic_does(engine: Any) -> None:
    scene = Scene(background=7, shape=SHAPES.index("star"), colour=2, size=1)
    truth = Image.fromarray(draw_scene(scene, random.Random(1), 384, 384))
    small = truth.reduce(3)

    network = engine.enlarge(small, NETWORK, width=384, height=384)

    bicubic = small.resize((384, 384), Image.Resampling.BICUBIC)
    assert error(network, truth) < 0.6 * error(bicubic, truth)


def test_an_enlarging_ends_before_its_next_tile(engine: Any) -> None:
    held = tools(engine)
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 3:
            raise AttemptLost("The job was canceled.")

    held.watch.check = check  # type: ignore[method-assign]
    with pytest.raises(AttemptLost):
        # 600 × 600: nine tiles.
        upscaler(NETWORK, denoising_strength=0.0).run(
            Canvas(seeds=(1,), pictures=(Image.new("RGB", (600, 600)),), size=(600, 600)), held
        )

    assert checks == 3


def error(picture: Any, truth: Any) -> float:
    """Mean of the squares."""
    return float(((np.asarray(picture, float) - np.asarray(truth, float)) ** 2).mean())


def test_a_second_pass_draws_into_the_larger_picture(engine: Any, star: Canvas) -> None:
    blue = diffusion("a large blue star in the center on a purple background")

    (picture,) = (
        upscaler("Lanczos", scale=1.25, steps=15, denoising_strength=0.9, diffusion=blue)
        .run(star, tools(engine))
        .pictures
    )

    assert words(picture) == ("blue", "star", "center", "purple")


# ADetailer

RED_FACE = (Piece("a large red face in the center on a white background"),)


def detail(**fields: Any) -> Detail:
    return Detail(**({"prompt": RED_FACE, "denoising_strength": 0.9, "noise_multiplier": 1.0} | fields))


def adetailer(*details: Detail, **fields: Any) -> ImageToAdetailer:
    return ImageToAdetailer(details=details, diffusion=diffusion("a small green face on a white background", **fields))


def drawn_scene(**fields: Any) -> Image.Image:
    scene = Scene(**({"background": 7, "shape": 10, "colour": 1, "size": 0} | fields))
    return Image.fromarray(draw_scene(scene, random.Random(2), SIDE, SIDE))


def colour_at(picture: Any, place: int) -> str:
    """Of the main colour of one of nine parts that is not the ground's."""
    x, y = 512 * (0.5 + (place % 3 - 1) * 0.28), 512 * (0.5 + (place // 3 - 1) * 0.28)
    return words(picture.crop((int(x) - 90, int(y) - 90, int(x) + 90, int(y) + 90)))[0]


def test_a_face_is_found_and_only_it_is_drawn_again(engine: Any) -> None:
    # A green face left of a blue square.
    pair = drawn_scene(side=0, other_shape=1, other_colour=2)
    held = tools(engine)

    (picture,) = adetailer(detail()).run(Canvas(seeds=(3,), pictures=(pair,)), held).pictures

    was, now = np.asarray(pair, int), np.asarray(picture, int)
    rows, columns = np.nonzero(np.abs(now - was).max(2))
    ((left, top, right, bottom), _), *others = find_faces(pair)
    # What is found, 2 pixels of dilation and 10 of blur.
    assert left - 13 <= columns.min() and columns.max() <= right + 13
    assert top - 13 <= rows.min() and rows.max() <= bottom + 13
    assert not others
    assert (colour_at(pair, 3), colour_at(picture, 3), colour_at(picture, 5)) == ("green", "red", "blue")
    assert held.watch.steps[-1] == (20, 20)  # type: ignore[attr-defined]
    assert held.watch.notes == []  # type: ignore[attr-defined]


def test_each_of_several_faces_is_drawn_again_and_progress_only_rises(engine: Any) -> None:
    # Two faces, one picture; and one without any.
    two, none = drawn_scene(count=2), drawn_scene(shape=1)
    held = tools(engine)
    stage = adetailer(detail(steps=12), detail(steps=4, denoising_strength=0.3))

    after = stage.run(Canvas(seeds=(1, 2), pictures=(two, none)), held)

    first, second = after.pictures
    for box, _ in find_faces(two):
        assert words(first.crop([round(each) for each in _wider(box)]))[0] == "red"  # type: ignore[attr-defined]
    assert len(find_faces(two)) == 2
    assert second is none
    assert held.watch.notes == [  # type: ignore[attr-defined]
        "imageToAdetailer.args[0] found nothing in picture 2",
        "imageToAdetailer.args[1] found nothing in picture 2",
    ]
    steps = [step for step, of in held.watch.steps if of == 16]  # type: ignore[attr-defined]
    assert steps == sorted(steps) and steps[0] == 1
    # The second picture's share of both looks had nothing to do: half of 12, and half of 4.
    assert steps[-1] == 14
    assert [each.size for each in held.watch.previews] == [(256, 256)] * 2  # type: ignore[attr-defined]


def _wider(box: Any) -> tuple[float, ...]:
    return box[0] - 20, box[1] - 20, box[2] + 20, box[3] + 20


def test_a_high_confidence_finds_nothing(engine: Any) -> None:
    face = drawn_scene()
    held = tools(engine)

    (picture,) = adetailer(detail(look=Look(confidence=1.0))).run(Canvas(seeds=(1,), pictures=(face,)), held).pictures

    assert picture is face
    assert len(held.watch.notes) == 1  # type: ignore[attr-defined]


def test_a_look_without_a_prompt_takes_that_of_the_job(engine: Any) -> None:
    face = drawn_scene(size=1)
    red = replace(adetailer(), diffusion=diffusion(RED_FACE[0].text), details=(detail(prompt=()),))

    (picture,) = red.run(Canvas(seeds=(1,), pictures=(face,)), tools(engine)).pictures

    assert words(picture)[:2] == ("red", "face")


def test_a_face_is_drawn_at_the_size_that_is_asked_and_the_picture_keeps_its_own(engine: Any) -> None:
    face = drawn_scene(size=1).crop((0, 0, 512, 500))
    seen: list[Any] = []
    told = ImageToAdetailer(
        details=(detail(width=200, height=120, steps=2), detail(only_masked=False, steps=2)), diffusion=diffusion("x")
    )

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def sample(self, *given: Any, **wish: Any) -> Any:
            seen.append((wish["width"], wish["height"]))
            return engine.sample(*given, **wish)

    (picture,) = told.run(Canvas(seeds=(1,), pictures=(face,)), tools(Spy())).pictures

    # The bundled model draws multiples of 16.
    assert seen[:1] == [(208, 128)]
    assert all(each == (512, 512) for each in seen[1:])
    assert (picture.width, picture.height) == (512, 500)


def test_the_merged_and_inverted_mask_draws_all_but_the_face(engine: Any) -> None:
    face = drawn_scene(size=1)
    around = detail(
        look=Look(mask_merge="Merge and Invert"),
        prompt=(Piece("a large green face in the center on a purple background"),),
        denoising_strength=1.0,
    )

    (picture,) = adetailer(around).run(Canvas(seeds=(1,), pictures=(face,)), tools(engine)).pictures

    assert (np.asarray(picture)[200:312, 200:312] == np.asarray(face)[200:312, 200:312]).all()
    assert words(picture)[3] == "purple"


# All of them


@pytest.mark.parametrize(
    "stage",
    [
        upscaler("Latent", scale=1.0, steps=1, diffusion=diffusion(STAR, vae="v")),
        upscaler("Latent", scale=1.0, denoising_strength=0.0, diffusion=diffusion(STAR, vae="v")),
        adetailer(detail(steps=1), vae="v"),
        ImageToInpaint(mask="m", diffusion=diffusion(STAR, steps=1, vae="v")),
    ],
)
def test_whatever_is_encoded_or_decoded_is_by_the_vae_of_the_diffusion(engine: Any, stage: Any) -> None:
    loaded: list[str | None] = []

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def load(self, model: str, loras: Any = (), vae: str | None = None) -> Any:
            loaded.append(vae)
            return engine.load(model, loras)

    stage.run(Canvas(seeds=(1,), pictures=(drawn_scene(size=1),)), tools(Spy(), m=mask(RIGHT)))

    assert set(loaded) == {"v"}
