"""`inputInitialize`."""

from typing import Annotated

from jobs.dialects.protobuf_json import Message, Name, Whole
from jobs.dialects.tams.reading import Reading
from jobs.stages.input_initialize import MAX_COUNT, MAX_SEED, InputInitialize


class InputInitializeBody(Message):
    seed: Annotated[int | None, Whole(-1, MAX_SEED)] = None
    image_resource_id: Name | None = None
    count: Annotated[int | None, Whole(1, MAX_COUNT)] = None

    def stage(self, path: str, reading: Reading) -> InputInitialize:
        # 0, -1 and absence all mean "any seed".
        return InputInitialize(
            seed=self.seed if self.seed and self.seed > 0 else None,
            count=self.count or 1,
            image_resource_id=self.image_resource_id or None,
        )
