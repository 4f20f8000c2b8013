"""Prompts: texts with weights."""

from typing import Annotated

from pydantic import Field

from jobs.attachments import MAX_WEIGHT
from jobs.dialects.protobuf_json import Message, Real, Text
from jobs.dialects.tams.reading import Reading
from jobs.prompt import Piece, Prompt
from jobs.stages.diffusion import MAX_PROMPT_CHARACTERS, MAX_PROMPTS


class PromptBody(Message):
    text: Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)] | None = None
    weight: Annotated[float | None, Real(-MAX_WEIGHT, MAX_WEIGHT)] = None


Prompts = Annotated[list[PromptBody], Field(max_length=MAX_PROMPTS)]


def prompt_of(bodies: list[PromptBody] | None, path: str, field: str, reading: Reading) -> Prompt:
    """Texts of spaces alone say nothing, and a weight of 0 is protobuf's "not given"."""
    if not bodies:
        return ()
    prompt = tuple([Piece(each.text, each.weight or 1.0) for each in bodies if each.text and not each.text.isspace()])
    if sum([len(piece.text) for piece in prompt]) > MAX_PROMPT_CHARACTERS:
        reading.faults.add(f"{path}.{field}", f"must hold at most {MAX_PROMPT_CHARACTERS} characters in all")
    return prompt
