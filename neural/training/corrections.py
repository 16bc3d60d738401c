"""What is wrong with the views, found while the field is learnt: exposure, white balance, views that do not belong.

A few times during training the field is looked at from every view, at few pixels. What the photo and the field
disagree on as a whole is the photo's: its exposure and white balance are made those of the mean, and a photo that
disagrees far more than the others (the subject moved, the light was another, the pose is wrong) counts less.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..fields.common import Field, Rendered
from ..geometry.agreement import named
from ..geometry.exposure import CLEAR, exposed, log_gain, relative
from ..geometry.posed import PosedPicture
from .trainer import Trainer

LOOKS = (0.08, 0.15, 0.25, 0.4, 0.55, 0.7)  # shares of the training time after which the field is looked at
RAYS = 200_000  # in all pictures of a look together
SIDES = (12, 64)  # pixels of a look's pictures, at least and at most
SHARE = 0.008  # of the training time that a look may take
WEIGHING = 0.15  # share of the time from which views are weighed: before, the field tells little
# A view counts less from this times the median residual on, and nothing from that on.
SUSPECT, OUT = 2.0, 3.0
ROUNDING = 1 / 255
HALF = 0.5  # what counts less is no texture
PREFIX = "corrections."  # before the names of their state


@dataclass(frozen=True)
class Sight:
    """Every n-th pixel of every n-th row of a view, as photographed and as the field shows it."""

    photo: np.ndarray  # (h, w, 4) premultiplied sRGB
    seen: Rendered
    known: np.ndarray  # (h, w) bool

    def log_gain(self) -> tuple[np.ndarray, np.ndarray]:
        """The photo's light against the field's: the gain's logarithm (3,) and its variance (3,)."""
        alpha = self.photo[..., 3:], self.seen.alpha[..., None]
        photo, seen = (rgb / np.maximum(a, 1e-6) for rgb, a in zip((self.photo[..., :3], self.seen.rgb_srgb), alpha))
        return log_gain(photo, seen, self._clear)

    def residual(self, gain: np.ndarray) -> float:
        """How far their colours differ after the gain, 0 to 1, but for the worst quarter of pixels, which edges make.

        NaN where no pixel is clear.
        """
        difference = (exposed(self.photo, gain)[..., :3] - self.seen.rgb_srgb)[self._clear]
        return float(np.quantile(np.abs(difference).mean(-1), 0.75)) if len(difference) else math.nan

    @property
    def _clear(self) -> np.ndarray:
        """The pixels (h, w) that show nothing but the subject in both."""
        return self.known & (np.minimum(self.photo[..., 3], self.seen.alpha) > CLEAR)


def sight(field: Field, view: PosedPicture, side: int) -> Sight:
    """A view in at most `side` pixels a side."""
    s = math.ceil(max(view.rgba_srgb.shape[:2]) / side)
    photo = view.rgba_srgb[::s, ::s]
    seen = field.render(view.fx / s, view.fy / s, (view.cx - 0.5) / s + 0.5, (view.cy - 0.5) / s + 0.5, photo.shape[1],
                        photo.shape[0], view.world_from_camera)
    known = np.ones(photo.shape[:2], bool) if view.weight is None else view.weight[::s, ::s] > 0
    return Sight(photo, seen, known)


class Corrections:
    """Corrections of the training views."""

    def __init__(self, views: Sequence[PosedPicture], seconds: float):
        """None yet, for a training of so many seconds."""
        self._given = [v for v in views if v.split == "train"]
        self.pictures = list(self._given)  # as corrected, in the same order
        self.gain = np.ones((len(self._given), 3))  # of each photo's light against the mean exposure
        self.weight = np.ones(len(self._given))  # how much each counts, 0 to 1
        self.residual = np.full(len(self._given), np.nan)  # after correction, when last looked at
        self._looks = 0
        self._longest = SHARE * seconds
        self._most = self._side = float(np.clip((RAYS / len(self._given)) ** 0.5, *SIDES))

    def due(self, fraction: float) -> bool:
        """Whether it is time for the next look."""
        return self._looks < len(LOOKS) and fraction >= LOOKS[self._looks]

    def look(self, field: Field, fraction: float) -> None:
        """Correct the views by what they and the field disagree on."""
        sights, paces = [], []
        for given, now in zip(self._given, self.pictures, strict=True):
            start = time.monotonic()
            sights.append(sight(field, replace(given, world_from_camera=now.world_from_camera), round(self._side)))
            paces.append((time.monotonic() - start) / sights[-1].known.size)
            # Of a slow field the next view is looked at smaller already.
            pixels = self._longest / len(self._given) / float(np.median(paces))
            self._side = min(self._most, max(pixels**0.5, SIDES[0]))
        told = [one.log_gain() for one in sights]
        own = np.array([gain for gain, _ in told])
        self.gain = relative(own, np.array([variance for _, variance in told]))
        self.residual = np.array([one.residual(np.exp(-np.nan_to_num(gain)))
                                  for one, gain in zip(sights, own, strict=True)])
        if fraction >= WEIGHING:
            ratio = self.residual / max(np.nanmedian(self.residual), ROUNDING)
            self.weight = np.nan_to_num(np.clip((OUT - ratio) / (OUT - SUSPECT), 0, 1), nan=1.0)
        while self._looks < len(LOOKS) and fraction >= LOOKS[self._looks]:
            self._looks += 1
        self._apply()

    def applied(self, views: Sequence[PosedPicture]) -> list[PosedPicture]:
        """The views that training was given, the training views corrected, without those that hardly count."""
        corrected = {id(given): now for given, now in zip(self._given, self.pictures, strict=True)}
        weight = {id(given): w for given, w in zip(self._given, self.weight, strict=True)}
        return [corrected.get(id(v), v) for v in views if weight.get(id(v), 1.0) >= HALF]

    def tell(self, report: dict[str, Any], warn: Callable[[str], None]) -> None:
        """Say what was corrected: each photo's gains of red, green and blue, and the weights that are below 1."""
        names = [v.name for v in self._given]
        if (self.gain != 1).any():
            report["exposure"] = {n: np.round(g, 3).tolist() for n, g in zip(names, self.gain, strict=True)}
        low = {n: round(float(w), 2) for n, w in zip(names, self.weight, strict=True) if w < 1}
        if low:
            report["weights"] = low
            warn(f"views: {len(low)} of {len(names)} differ from what the others show ({named(low)}), as if the subject, "
                 "the camera or the light had moved; they count less")

    def state(self) -> dict[str, Tensor]:
        """What `load_state` needs."""
        return {PREFIX + "gain": torch.from_numpy(self.gain), PREFIX + "weight": torch.from_numpy(self.weight),
                PREFIX + "residual": torch.from_numpy(self.residual),
                PREFIX + "looks": torch.tensor([float(self._looks), self._side], dtype=torch.float64)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        self.gain, self.weight, self.residual = (state[PREFIX + n].numpy() for n in ("gain", "weight", "residual"))
        looks, self._side = state[PREFIX + "looks"].tolist()
        self._looks = round(looks)
        self._apply()

    def _apply(self) -> None:
        for n, (given, gain) in enumerate(zip(self._given, self.gain, strict=True)):
            rgba = given.rgba_srgb if (gain == 1).all() else exposed(given.rgba_srgb, 1 / gain)
            self.pictures[n] = replace(given, rgba_srgb=rgba)


class Corrected:
    """A trainer whose views are corrected as it goes."""

    def __init__(self, trainer: Trainer, corrections: Corrections):
        self._trainer, self._corrections = trainer, corrections
        self.warm_up, self.field, self.result = trainer.warm_up, trainer.field, trainer.result
        self.correct = trainer.correct

    def step(self, fraction: float) -> float:
        """See `Trainer.step`."""
        if self._corrections.due(fraction):
            self._corrections.look(self._trainer.field(), fraction)
            self._tell()
        return self._trainer.step(fraction)

    def state(self) -> dict[str, Tensor]:
        """See `Trainer.state`."""
        return self._trainer.state() | self._corrections.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Trainer.load_state`."""
        self._corrections.load_state(state)
        self._tell()
        self._trainer.load_state(state)

    def _tell(self) -> None:
        self._trainer.correct(self._corrections.pictures, self._corrections.weight.tolist())
