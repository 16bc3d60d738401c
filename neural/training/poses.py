"""Poses first: a coarse grid learns the scene and moves the cameras before the method itself begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor

from ...recipes.capture import Capture
from ..fields.common import Field
from ..geometry.posed import PosedPicture
from ..rendering.bounds import find_box
from .grid import GridTrainer
from .trainer import Trainer

SHARE = 0.3  # of the training time
RESOLUTION = 0.5  # of the recipe's
# Of the grid's own schedule: while its steps are large and it has not thrown away what wrong poses hide.
UNTIL = 0.29
SPARE = 0.06  # of a picture's longest side around its outline: with wrong poses true outlines leave no hull
PREFIX = "poses."  # before the names of their state


class PosesFirst:
    """A trainer that `begin` makes of pictures whose poses a coarse grid has refined.

    The hull is cut anew then, since outlines with wrong poses cut what belongs to the subject.
    """

    def __init__(self, begin: Callable[[Sequence[PosedPicture]], Trainer], pictures: Sequence[PosedPicture],
                 box: np.ndarray | None, recipe: Capture, *, seed: int, device: torch.device,
                 points: np.ndarray | None):
        self._begin, self._pictures, self._weight = begin, list(pictures), [1.0] * len(pictures)
        self._wide = [_widened(p) for p in pictures]
        box = find_box(self._wide, points) if box is None else box
        coarse = replace(recipe, resolution=max(round(RESOLUTION * recipe.resolution), 16))
        self._now: Trainer = GridTrainer(pictures, box, coarse, seed=seed, device=device, points=points,
                                         outlines=self._wide)
        self._poses: np.ndarray | None = None  # with which the method has begun

    def warm_up(self) -> None:
        """See `Trainer.warm_up`."""
        self._now.warm_up()
        self._begin(self._wide).warm_up()

    def step(self, fraction: float) -> float:
        """See `Trainer.step`."""
        if fraction < SHARE:
            return self._now.step(UNTIL * fraction / SHARE)
        if self._poses is None:
            self._go_on(np.array([p.world_from_camera for p in self._pictures]))
        return self._now.step((fraction - SHARE) / (1 - SHARE))

    def correct(self, pictures: Sequence[PosedPicture], weight: Sequence[float]) -> None:
        """See `Trainer.correct`."""
        self._pictures, self._weight = list(pictures), list(weight)
        self._now.correct(pictures, weight)

    def field(self) -> Field:
        """See `Trainer.field`."""
        return self._now.field()

    def result(self) -> Field:
        """See `Trainer.result`."""
        return self._now.result()

    def state(self) -> dict[str, Tensor]:
        """See `Trainer.state`."""
        begun = {} if self._poses is None else {PREFIX + "begun": torch.from_numpy(self._poses)}
        return self._now.state() | begun

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Trainer.load_state`."""
        if PREFIX + "begun" in state:
            self._go_on(state[PREFIX + "begun"].numpy())
        self._now.load_state({name: value for name, value in state.items() if not name.startswith(PREFIX)})

    def _go_on(self, poses: np.ndarray) -> None:
        """Begin the method with these poses."""
        self._poses = poses
        self._now = self._begin([replace(p, world_from_camera=pose)
                                 for p, pose in zip(self._pictures, poses, strict=True)])
        self._now.correct(self._pictures, self._weight)


def _widened(picture: PosedPicture) -> PosedPicture:
    """A picture whose outline is further out."""
    rgba = picture.rgba_srgb.copy()
    rgba[..., 3] = maximum_filter(rgba[..., 3], 2 * round(SPARE * max(rgba.shape[:2])) + 1)
    return replace(picture, rgba_srgb=rgba)
