"""The way the shared loop sees a method of training.

A method is a module of this package with the name that `recipe.method` has. It offers

    make_trainer(pictures, box, recipe, *, seed, device, points) -> Trainer

`pictures` are the training views alone (`PosedPicture`), `box` (2, 3) is the subject's; both are checked.
`points` (N, 3) are sparse points of what the pictures show, or None. Its time counts as training, so that it runs
nothing that is compiled at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from ..fields.common import Field
from ..geometry.posed import PosedPicture


class Steps(Protocol):
    """Optimises something. The loop owns the clock, checkpoints and previews."""

    def warm_up(self) -> None:
        """Compile what is compiled at run time, on small inputs; the clock starts after it."""

    def step(self, fraction: float) -> float:
        """One optimisation step; returns its loss.

        `fraction` in [0, 1) is the share of the training time used before the step. Schedules (step sizes,
        resolutions, weights) are functions of it alone, never of the number of steps, so that the same recipe
        ends as well on a slower machine.
        """

    def state(self) -> dict[str, torch.Tensor]:
        """All that `load_state` needs to go on exactly here (parameters, moments, lattice, number of steps)."""

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from `state`, on one made from the same data, parameters and seed."""


class Trainer(Steps, Protocol):
    """Optimises one field for pictures."""

    def correct(self, pictures: Sequence[PosedPicture], weight: Sequence[float]) -> None:
        """Go on with pictures of other colours and cameras, the same otherwise, which count by `weight`, 0 to 1."""

    def field(self) -> Field:
        """The field as it is now. It may share memory with the trainer: use it before the next step."""

    def result(self) -> Field:
        """The field when the time is over, however few steps there were."""


@runtime_checkable
class Startable(Protocol):
    """A method that can begin with what others have trained."""

    def start_from(self, path: Path) -> None:
        """Begin anew with the weights of a file; InputError where they are none of this method's."""
