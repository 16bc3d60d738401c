"""The clock that every training shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from maquette.neural.training import loop
from maquette.recipes.errors import Cancelled


class Steps:
    """Notes the share of the time at which it is asked for each step; a step takes a second of a clock in tests."""

    def __init__(self, clock: list[float]):
        self.clock, self.fractions = clock, []  # type: ignore[var-annotated]

    def warm_up(self) -> None:
        pass

    def step(self, fraction: float) -> float:
        self.fractions.append(fraction)
        self.clock[0] += 1.0
        return 0.5

    def state(self) -> dict[str, torch.Tensor]:
        return {"number": torch.tensor(len(self.fractions))}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    return now


def run(clock: list[float], folder: Path, prepared: float, stop_after: int = 0) -> list[float]:
    trainer = Steps(clock)

    def on_progress(share: float, message: str) -> None:
        if stop_after and len(trainer.fractions) == stop_after:
            raise Cancelled("cancelled")
    loop.run(trainer, lambda: (np.zeros((1, 1, 3), np.uint8), ""), 10.0, prepared, loop.Checkpoint(folder, {}, 0),
             on_progress, lambda rgb: None)
    return trainer.fractions


def test_the_schedule_is_that_of_the_time_which_preparing_has_left(clock: list[float], tmp_path: Path) -> None:
    assert run(clock, tmp_path, 0.0) == [n / 10 for n in range(10)]
    assert run(clock, tmp_path / "prepared", 2.0) == [n / 8 for n in range(8)]


def test_half_of_the_time_is_training_however_long_preparing_took(clock: list[float], tmp_path: Path) -> None:
    assert run(clock, tmp_path, 1000.0) == [n / 5 for n in range(5)]


def test_a_resumed_training_goes_on_where_its_schedule_was_however_long_it_prepares_this_time(
        clock: list[float], tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        run(clock, tmp_path, 2.0, stop_after=3)
    assert run(clock, tmp_path, 4.0) == [n / 8 for n in range(2, 8)]
