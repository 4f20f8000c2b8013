"""TAMS, outwards: models to bodies. No I/O.

All fields but the trigger words are always there, also empty: a published client refuses a model without them.
`aliases`, `licence` and `kind` are ours.
"""

from collections.abc import Sequence

from jobs.catalog import Kind, Model
from jobs.dialects import tams_answers as answers

# What that client reads; it knows no other word for what is left, and refuses words that it does not know.
_OTHER = "OTHER"
_MODEL_TYPES = {kind: kind.value for kind in (Kind.CHECKPOINT, Kind.LORA, Kind.TEXTUAL_INVERSION, Kind.CONTROLNET)}


def model_body(model: Model) -> answers.ModelAnswer:
    """The answer to GET of one model."""
    return {"model": _model(model)}


def models_body(models: Sequence[Model], next_cursor: str) -> answers.ModelsAnswer:
    """A page of the list; without `nextCursor` it is the last."""
    body: answers.ModelsAnswer = {"models": [_model(model) for model in models]}
    if next_cursor:
        body["nextCursor"] = next_cursor
    return body


def _model(model: Model) -> answers.Model:
    body: answers.Model = {
        "id": model.id,
        "name": model.name,
        "description": model.description,
        "baseModel": model.family.value,
        "modelType": _MODEL_TYPES.get(model.kind, _OTHER),
        "kind": model.kind.value,
        "showcaseImageUrls": list(model.showcase_image_urls),
        "projectName": model.project_name,
    }
    if model.aliases:
        body["aliases"] = list(model.aliases)
    if model.licence:
        body["licence"] = model.licence
    if model.trigger_words:
        body["triggerWords"] = list(model.trigger_words)
    return body
