"""Preprocessors that look with a network, which is in the catalogue. Algorithms are in `jobs`.

Networks of transformers are `depth_and_segments`'; those that are published as a file for ControlNet, `published`'s.
"""

from collections.abc import Mapping

from PIL import Image

from gpu_worker.engine.device import Device
from gpu_worker.engine.looking.depth_and_segments import TRANSFORMERS, TransformersLooker, load_of_transformers
from gpu_worker.engine.looking.published import PublishedLooker, load_published
from jobs.catalog import Model
from jobs.preprocessing import at_resolution
from jobs.preprocessors import Preprocessor

Looker = TransformersLooker | PublishedLooker


def load_looker(model: Model, preprocessor: Preprocessor, device: Device) -> Looker:
    """Raises FatalFailure, naming the model and its file or folder, if it is missing, damaged or of another kind."""
    load = load_of_transformers if preprocessor in TRANSFORMERS else load_published
    return load(model, preprocessor, device)


def looked(
    looker: Looker,
    picture: Image.Image,
    preprocessor: Preprocessor,
    parameters: Mapping[str, float],
    *,
    pixel_perfect: bool,
) -> Image.Image:
    """Of the picture's size, RGB. `pixel_perfect` looks at it as it is, and not at the parameters' resolution."""
    seen = picture if pixel_perfect else at_resolution(picture, parameters["resolution"])
    return looker.look(seen, preprocessor, parameters, picture.size)
