import json
from dataclasses import fields, replace
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.attachments import ControlNet
from jobs.prompt import Piece
from jobs.stages import Stage
from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.stages.diffusion import Diffusion
from jobs.stages.input_initialize import InputInitialize
from jobs.storage.submission_json import dumped, loaded
from jobs.submission import Submission
from tests.jobs.samples import submission

# What rows hold that were written before DIFFUSION had attachments.
OLD = """
{"request_id": "c7e1", "stages": [
  {"type": "INPUT_INITIALIZE", "seed": 5, "count": 4, "image_resource_id": null},
  {"type": "DIFFUSION", "width": 1024, "height": 512,
   "prompt": [{"text": "a cat", "weight": 1.5}], "negative_prompt": [],
   "model": "600423083519508503", "sampler": "Euler a", "steps": 20, "guidance_scale": 0.0, "clip_skip": 1,
   "denoising_strength": 0.75}],
 "notify_url": "https://client.example/hook", "running_notify_url": null}
"""

TEXTS = st.text(max_size=4)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PARAMETERS = st.dictionaries(TEXTS, NUMBERS, max_size=2)
# JSON has no other numbers.
st.register_type_strategy(float, NUMBERS)
# Every field has a range within these.
st.register_type_strategy(int, st.integers(-(2**63), 2**64 - 1))
for kind in (ControlNet, ControlnetDetect):
    st.register_type_strategy(kind, st.builds(kind, preprocessor_params=PARAMETERS))


def test_a_row_of_the_first_release_is_read() -> None:
    assert loaded(OLD) == Submission(
        request_id="c7e1",
        stages=(
            InputInitialize(seed=5, count=4),
            Diffusion(
                width=1024,
                height=512,
                prompt=(Piece("a cat", 1.5),),
                model="600423083519508503",
                sampler="Euler a",
                guidance_scale=0.0,
            ),
        ),
        notify_url="https://client.example/hook",
    )


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("kind", get_args(Stage), ids=lambda kind: kind.__name__)
@given(draw=st.data())
def test_any_stage_comes_back_as_it_was(kind: type[Stage], draw: st.DataObject) -> None:
    before = replace(submission(), stages=(draw.draw(st.from_type(kind)),))

    after = loaded(dumped(before))

    assert after == before
    assert type(after.stages[0]) is kind


@pytest.mark.parametrize("change", [{"type": "DIFFUSION"}, {"type": "WHO_KNOWS"}])
def test_a_stage_is_what_its_type_says(change: dict[str, str]) -> None:
    stored = json.loads(OLD)
    stored["stages"][0] |= change

    with pytest.raises(ValueError, match=r"stages\.0"):
        loaded(json.dumps(stored))


def test_no_field_of_a_submission_is_left_out() -> None:
    assert set(json.loads(dumped(submission()))) == {field.name for field in fields(Submission)}


def test_what_says_nothing_is_not_written() -> None:
    plain = submission()
    told = replace(plain, stages=(plain.stages[0], replace(plain.stages[1], vae="v")))

    assert "layer_diffusion" not in dumped(plain) and "layer_diffusion" in dumped(told)
    assert loaded(dumped(plain)) == plain and loaded(dumped(told)) == told
