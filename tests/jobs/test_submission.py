from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from jobs.errors import Fault
from jobs.stages.canvas import Canvas, Tools
from jobs.stages.input_initialize import MAX_SEED, InputInitialize
from jobs.submission import order_faults, with_seeds
from tests.jobs.samples import submission

INIT, DIFFUSION = "INPUT_INITIALIZE", "DIFFUSION"
FIRST = Fault("stages[0].type", "the first stage must be INPUT_INITIALIZE")
NO_DIFFUSION = Fault("stages", "a job needs a DIFFUSION stage")
NO_TOOLS = Tools(engine=cast(Any, None), watch=cast(Any, None), pictures={"a": cast(Any, Path("a picture"))})


@pytest.mark.parametrize(
    ("types", "faults"),
    [
        ([INIT, DIFFUSION], []),
        ([DIFFUSION, INIT], [FIRST]),
        ([DIFFUSION], [FIRST]),
        ([INIT], [NO_DIFFUSION]),
        (["", ""], [FIRST, NO_DIFFUSION]),
        ([INIT, INIT, DIFFUSION], [Fault("stages[1].type", f"a job has one {INIT} stage")]),
        (
            [INIT, DIFFUSION, DIFFUSION, DIFFUSION],
            [Fault(f"stages[{i}].type", f"a job has one {DIFFUSION} stage") for i in (2, 3)],
        ),
    ],
)
def test_the_order_of_stages_is_one_input_then_one_diffusion(types: list[str], faults: list[Fault]) -> None:
    assert order_faults(types) == faults


def test_an_open_seed_is_drawn_once_and_then_stays() -> None:
    opened = replace(submission(), stages=(InputInitialize(seed=None), *submission().stages[1:]))
    drawn = iter([11, 12])

    accepted = with_seeds(opened, lambda: next(drawn))

    assert accepted.stages[0] == InputInitialize(seed=11)
    assert with_seeds(accepted, lambda: next(drawn)) == accepted


def test_a_given_seed_is_kept() -> None:
    assert with_seeds(submission(), lambda: 99) == submission()


@pytest.mark.parametrize(
    ("seed", "count", "seeds"),
    [
        (7, 3, (7, 8, 9)),
        (MAX_SEED, 2, (MAX_SEED, 0)),  # 2**32 - 1 + 1 = 0 modulo 2**32
        (MAX_SEED - 1, 4, (MAX_SEED - 1, MAX_SEED, 0, 1)),
    ],
)
def test_each_output_has_the_next_seed(seed: int, count: int, seeds: tuple[int, ...]) -> None:
    assert InputInitialize(seed=seed, count=count).run(Canvas(), NO_TOOLS).seeds == seeds


def test_a_stage_without_a_drawn_seed_does_not_run() -> None:
    with pytest.raises(ValueError, match="drawn when a job is accepted"):
        InputInitialize().run(Canvas(), NO_TOOLS)


def test_the_initial_picture_is_what_it_reads_and_puts_on_the_canvas() -> None:
    stage = InputInitialize(seed=1, image_resource_id="a")

    assert stage.inputs == ("a",)
    assert stage.run(Canvas(), NO_TOOLS).pictures == (NO_TOOLS.pictures["a"],)
