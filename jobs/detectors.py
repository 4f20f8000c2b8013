"""The detectors that jobs may name. It finds nothing in a picture.

Source of the names: Bing-su/adetailer, an extension of AUTOMATIC1111's web UI, and the files that it publishes.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from jobs.catalog import Catalog, Kind, UnknownModel
from jobs.errors import DarkroomError
from jobs.names import hint, there_are

BUNDLED = "faces"
"""The one that needs no file: it finds faces. No catalogue id, which is a number, is like it."""

FACES = (
    "face_yolov8n.pt",
    "face_yolov8s.pt",
    "face_yolov8m.pt",
    "face_yolov9c.pt",
    "mediapipe_face_full",
    "mediapipe_face_short",
    "mediapipe_face_mesh",
)
OTHERS = (
    "hand_yolov8n.pt",
    "hand_yolov8s.pt",
    "hand_yolov9c.pt",
    "person_yolov8n-seg.pt",
    "person_yolov8s-seg.pt",
    "person_yolov8m-seg.pt",
    "mediapipe_face_mesh_eyes_only",
)

MaskMerge: TypeAlias = Literal["None", "Merge", "Merge and Invert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is looked for, and what becomes of the masks of what is found. `detector` is BUNDLED, or a catalogue id.

    A mask grows by `dilate_erode_px`, or shrinks by it where that is negative; one that vanishes is none.
    """

    detector: str = BUNDLED
    confidence: float = 0.3
    dilate_erode_px: int = 4
    mask_merge: MaskMerge = "None"


def _added(name: str) -> str:
    """How an operator adds it, where it is a file."""
    if not name.endswith(".pt"):
        return ""
    command = f"darkroom models add {name} --kind DETECTOR --name {name} --allow-pickle"
    return f"`{command}` adds the published file, for workers with the package ultralytics; "


class UnknownDetector(DarkroomError):
    """No detector has this name."""


def resolve(name: str, catalog: Catalog) -> str:
    """The catalogue id of the detector of this name; BUNDLED for a face detector that is not there, and for no name.

    Raises UnknownDetector, with what is missing or the nearest names.
    """
    try:
        return catalog.resolve(Kind.DETECTOR, name).id
    except UnknownModel as error:
        if not name or name in FACES:
            return BUNDLED
        here, others = catalog.names(Kind.DETECTOR)
        known = (*here, *FACES)
        if name in OTHERS:
            reason = f"{name!r} is not in this server's catalogue, and there is no other that finds this"
            raise UnknownDetector(f"{reason}; {_added(name)}{there_are(known)}") from error
        raise UnknownDetector(f"no detector is named {name!r}; {hint(name, known, others)}") from error
