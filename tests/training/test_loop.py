"""A training that is cut goes on; its rate rises, stays and falls."""

from pathlib import Path

import torch
from torch import nn

from training import loop
from training.loop import Schedule, checkpointed


def test_a_run_that_was_cut_goes_on_at_the_step_that_was_saved(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0)
    model = nn.Linear(2, 2)
    for step in checkpointed(tmp_path / "run.pt", {"model": model}, 10):
        nn.init.constant_(model.weight, step)
        if step == 6:
            break  # what is done in this step is lost, all before it is not

    again = nn.Linear(2, 2)
    left = checkpointed(tmp_path / "run.pt", {"model": again}, 10)

    assert next(left) == 6
    assert torch.equal(again.weight, torch.full((2, 2), 5.0))


def test_a_finished_run_has_no_steps_left(tmp_path: Path) -> None:
    state = {"model": nn.Linear(2, 2)}

    assert len(list(checkpointed(tmp_path / "run.pt", state, 3))) == 3
    assert list(checkpointed(tmp_path / "run.pt", state, 3)) == []


def test_the_rate_warms_up_holds_and_falls() -> None:
    schedule = Schedule(1.0, 1000, warm_up=100, hold=0.5)

    assert schedule.at(0) == 0.01
    assert schedule.at(100) == schedule.at(499) == 1.0
    assert 0.019 < schedule.at(999) < 0.03
