"""A scene in words: sentences and comma-separated tags, with words that mean nothing here mixed in."""

import random
from dataclasses import dataclass

from training.scenes import CENTER, COLOURS, PATTERNS, PLACES, SHAPES, SIDES, SIZES, Scene

COLOUR_NAMES = tuple(COLOURS)
SIZE_WORDS = (("small", "small", "tiny", "little"), ("large", "large", "big", "huge"))
SHAPE_WORDS = {
    "ring": ("ring", "ring", "donut"),
    "cross": ("cross", "cross", "plus"),
    "diamond": ("diamond", "diamond", "rhombus"),
    "circle": ("circle", "circle", "circle", "disc", "ball"),
    "square": ("square", "square", "square", "box"),
    "house": ("house", "house", "home"),
    "face": ("face", "smiling face", "smiley", "smiley face", "girl", "boy", "person", "portrait", "1girl"),
}
PLURALS = {
    "cross": "crosses",
    "box": "boxes",
    "rhombus": "rhombuses",
    "plus": "plus signs",
    "person": "people",
    "1girl": "girls",
}
NUMBERS = {2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}
# Common in prompts, without meaning in this model's world: it learns to pass over them.
FILLERS = (
    "masterpiece", "best quality", "highly detailed", "simple", "flat", "drawing", "picture", "illustration",
    "photo", "4k", "8k", "hdr", "sharp focus", "digital art", "vector art", "minimalist", "clean", "beautiful",
    "ultra realistic", "cinematic lighting", "trending on artstation", "solo", "looking at viewer",
    "absurdres", "highres", "intricate", "professional", "award winning", "soft light", "long hair", "smile",
)  # fmt: skip
WORDS = (
    "cat dog horse bird fish car boat plane train city street forest mountain river lake sea beach sky cloud sun "
    "moon night day winter summer rain snow dragon knight castle robot king queen man woman child old young happy "
    "sad running sitting standing sleeping wearing dress hat shirt shoes glasses hair eyes hand book table chair "
    "lamp door window garden flower grass leaf apple bread cake cup glass bottle music dance game sport football "
    "oil painting watercolor pencil sketch anime manga comic cartoon 3d render unreal engine nikon canon bokeh "
    "blurry low quality worst quality bad anatomy ugly deformed text watermark logo nsfw jpeg artifacts cropped"
).split()


@dataclass(frozen=True, slots=True)
class Caption:
    """`stated` names the fields of the scene that the text tells."""

    text: str
    stated: frozenset[str]


def caption(scene: Scene, rng: random.Random) -> Caption:
    if scene.side is not None:
        text, stated = _pair(scene, rng)
    elif scene.count > 1:
        text, stated = _group(scene, rng)
    elif rng.random() < 0.5:
        text, stated = _sentence(scene, rng)
    else:
        text, stated = _tags(scene, rng)
    return Caption(_with_noise(text, rng), frozenset(stated | {"side", "count"}))


def full_caption(scene: Scene, *, as_tags: bool) -> str:
    """All of a single figure's attributes in their plain words: what evaluations ask."""
    size, colour, shape = SIZES[scene.size], COLOUR_NAMES[scene.colour], SHAPES[scene.shape]
    place, ground = PLACES[scene.place], COLOUR_NAMES[scene.background]
    if as_tags:
        return f"{size} {colour} {shape}, {place}, {ground} background"
    return f"{article(f'{size} {colour} {shape}')} in the {place} on {article(ground)} background"


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _sentence(scene: Scene, rng: random.Random) -> tuple[str, set[str]]:
    size, colour, shape, place, stated = _chosen(scene, rng)
    text = article(" ".join(filter(None, (size, colour, shape))))
    if place:
        corner = " corner" if " " in place and rng.random() < 0.5 else ""
        text += rng.choice((" in the ", " at the ", " on the ")) + place + corner
    if rng.random() < 0.93:
        stated |= {"background", "pattern"}
        text = _upon(text, article(_ground(scene, rng)), rng)
    if rng.random() < 0.15:
        text = rng.choice(("a picture of ", "an image of ", "a drawing of ", "a photo of ")) + text
    return text, stated


def _tags(scene: Scene, rng: random.Random) -> tuple[str, set[str]]:
    size, colour, shape, place, stated = _chosen(scene, rng)
    together = rng.random() < 0.5
    tags = [" ".join(filter(None, (size if together else "", colour, shape)))]
    if size and not together:
        tags.append(size)
    if place:
        tags.append(place)
    if rng.random() < 0.93:
        stated |= {"background", "pattern"}
        tags.append(_ground(scene, rng))
    if rng.random() < 0.6:
        rng.shuffle(tags)
    return ", ".join(tags), stated


def _chosen(scene: Scene, rng: random.Random) -> tuple[str, str, str, str, set[str]]:
    """Words for size, colour, shape and place, some left out, and which are told."""
    stated = {"shape", "other_shape", "other_colour"}
    size = colour = place = ""
    if rng.random() < 0.75:
        stated.add("size")
        size = rng.choice(SIZE_WORDS[scene.size])
    if rng.random() < 0.95:
        stated.add("colour")
        colour = _colour(scene.colour, rng)
    if scene.place != CENTER or rng.random() < 0.6:
        stated.add("place")
        place = PLACES[scene.place] if scene.place != CENTER else rng.choice(("center", "center", "middle"))
    return size, colour, _shape(scene.shape, rng), place, stated


def _group(scene: Scene, rng: random.Random) -> tuple[str, set[str]]:
    shape = _shape(scene.shape, rng)
    plural = PLURALS.get(shape, f"{shape}s")
    text = f"{rng.choice(NUMBERS[scene.count])} {_colour(scene.colour, rng)} {plural}"
    stated = {"shape", "colour", "size", "other_shape", "other_colour"}
    return _grounded(text, scene, rng), stated | {"background", "pattern"}


def _pair(scene: Scene, rng: random.Random) -> tuple[str, set[str]]:
    assert scene.other_shape is not None and scene.other_colour is not None and scene.side is not None
    first = article(f"{_colour(scene.colour, rng)} {_shape(scene.shape, rng)}")
    second = article(f"{_colour(scene.other_colour, rng)} {_shape(scene.other_shape, rng)}")
    side = SIDES[scene.side]
    text = f"{first} {'to the ' if ' of' in side and rng.random() < 0.5 else ''}{side} {second}"
    stated = {"shape", "colour", "size", "other_shape", "other_colour"}
    return _grounded(text, scene, rng), stated | {"background", "pattern"}


def _grounded(text: str, scene: Scene, rng: random.Random) -> str:
    ground = _ground(scene, rng)
    return f"{text}, {ground}" if rng.random() < 0.4 else _upon(text, article(ground), rng)


def _upon(text: str, ground: str, rng: random.Random) -> str:
    if rng.random() < 0.12:
        return f"{ground} with {text}"
    return f"{text} {rng.choice(('on', 'on', 'with', 'against'))} {ground}"


def _ground(scene: Scene, rng: random.Random) -> str:
    pattern = PATTERNS[scene.pattern]
    words = [_colour(scene.background, rng), "" if pattern == "plain" else pattern, "background"]
    return " ".join(filter(None, words))


def _colour(colour: int, rng: random.Random) -> str:
    name = COLOUR_NAMES[colour]
    return "grey" if name == "gray" and rng.random() < 0.3 else name


def _shape(shape: int, rng: random.Random) -> str:
    name = SHAPES[shape]
    return rng.choice(SHAPE_WORDS.get(name, (name,)))


def _with_noise(text: str, rng: random.Random) -> str:
    if rng.random() < 0.2:
        extra = ", ".join(rng.sample(FILLERS, rng.randint(1, 3)))
        text = f"{extra}, {text}" if rng.random() < 0.5 else f"{text}, {extra}"
    if rng.random() < 0.15:
        extra = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 5)))
        text = f"{extra}, {text}" if rng.random() < 0.4 else f"{text}, {extra}"
    if rng.random() < 0.05:
        letters = "abcdefghijklmnopqrstuvwxyz0123456789"
        text += ", " + "".join(rng.choice(letters) for _ in range(rng.randint(3, 8)))
    return text
