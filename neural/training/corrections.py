"""What is wrong with the views, found while the field is learnt: exposure, white balance, poses, what does not belong.

A few times during training the field is looked at from every view, at few pixels. What the photo and the field
disagree on as a whole is the photo's: its exposure and white balance are made those of the mean, and a photo that
disagrees far more than the others (the subject moved, the light was another, the pose is wrong) counts less. Where it
is asked for, cameras are moved until their photos lie on what the field shows.
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
from ..geometry.alignment import aligned, moved_by, without_bias, without_drift
from ..geometry.exposure import CLEAR, exposed, log_gain, relative
from ..geometry.posed import PosedPicture
from .trainer import Trainer

LOOKS = (0.08, 0.15, 0.25, 0.4, 0.55, 0.7)  # shares of the training time after which the field is looked at
# Before the method begins (see `poses`) and after; not soon after, when its field is fog that would move all cameras.
LOOKS_FOR_POSES = (0.16, 0.2, 0.24, 0.28, 0.5, 0.6, 0.7, 0.8)
RAYS = 200_000  # in all pictures of a look together
SIDES = (12, 64)  # pixels of a look's pictures, at least and at most
SHARE = 0.008  # of the training time that a look may take
# Shares of the time from which views are weighed: before, the field tells little, or poses are not yet found.
WEIGHING, WEIGHING_AFTER_POSES = 0.15, 0.35
# A view counts less from this times the median residual on, and nothing from that on.
SUSPECT, OUT = 2.0, 3.0
ROUNDING = 1 / 255
SETTLING = 4  # rounds in which a view that is not trained on finds its place
HALF = 0.5  # what counts less is no texture
PREFIX = "corrections."  # before the names of their state


@dataclass(frozen=True)
class Sight:
    """Every n-th pixel of every n-th row of a view, as photographed and as the field shows it."""

    photo: np.ndarray  # (h, w, 4) premultiplied sRGB
    seen: Rendered
    known: np.ndarray  # (h, w) bool
    stride: int

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
    return Sight(photo, seen, known, s)


class Corrections:
    """Corrections of the training views."""

    def __init__(self, views: Sequence[PosedPicture], seconds: float, refine_poses: bool = False):
        """None yet, for a training of so many seconds."""
        self._given = [v for v in views if v.split == "train"]
        self.pictures = list(self._given)  # as corrected, in the same order
        self.gain = np.ones((len(self._given), 3))  # of each photo's light against the mean exposure
        self.weight = np.ones(len(self._given))  # how much each counts, 0 to 1
        self.residual = np.full(len(self._given), np.nan)  # after correction, when last looked at
        self.poses = np.array([v.world_from_camera for v in self._given])  # (V, 4, 4)
        self.refine_poses = refine_poses
        self._times = LOOKS_FOR_POSES if refine_poses else LOOKS
        self._looks = 0
        self._longest = SHARE * seconds
        self._most = self._side = float(np.clip((RAYS / len(self._given)) ** 0.5, *SIDES))

    def due(self, fraction: float) -> bool:
        """Whether it is time for the next look."""
        return self._looks < len(self._times) and fraction >= self._times[self._looks]

    def look(self, field: Field, fraction: float) -> None:
        """Correct the views by what they and the field disagree on."""
        sights, paces = [], []
        for given, pose in zip(self._given, self.poses, strict=True):
            start = time.monotonic()
            sights.append(sight(field, replace(given, world_from_camera=pose), round(self._side)))
            paces.append((time.monotonic() - start) / sights[-1].known.size)
            # Of a slow field the next view is looked at smaller already.
            pixels = self._longest / len(self._given) / float(np.median(paces))
            self._side = min(self._most, max(pixels**0.5, SIDES[0]))
        told = [one.log_gain() for one in sights]
        own = np.array([gain for gain, _ in told])
        self.gain = relative(own, np.array([variance for _, variance in told]))
        self.residual = np.array([one.residual(np.exp(-np.nan_to_num(gain)))
                                  for one, gain in zip(sights, own, strict=True)])
        if fraction >= (WEIGHING_AFTER_POSES if self.refine_poses else WEIGHING):
            ratio = self.residual / max(np.nanmedian(self.residual), ROUNDING)
            self.weight = np.nan_to_num(np.clip((OUT - ratio) / (OUT - SUSPECT), 0, 1), nan=1.0)
        self._expose()
        if self.refine_poses:
            moved = [aligned(view, one.seen, one.stride).world_from_camera
                     for view, one in zip(self.pictures, sights, strict=True)]
            self.poses = without_drift(self.poses, without_bias(self.poses, np.array(moved)))
            self._move()
        while self.due(fraction):
            self._looks += 1

    def applied(self, views: Sequence[PosedPicture], field: Field) -> list[PosedPicture]:
        """The views that training was given, the training views corrected, without those that hardly count.

        Where poses are refined, the others' are so against the field as it is.
        """
        corrected = {id(given): now for given, now in zip(self._given, self.pictures, strict=True)}
        weight = {id(given): w for given, w in zip(self._given, self.weight, strict=True)}
        kept = [v for v in views if weight.get(id(v), 1.0) >= HALF]
        return [corrected[id(v)] if id(v) in corrected else self._settled(v, field) for v in kept]

    def _settled(self, view: PosedPicture, field: Field) -> PosedPicture:
        for _ in range(SETTLING if self.refine_poses else 0):
            seen = sight(field, view, SIDES[1])
            view = aligned(view, seen.seen, seen.stride)
        return view

    def tell(self, report: dict[str, Any], warn: Callable[[str], None], field: Field) -> None:
        """Say what was corrected: each photo's gains of red, green and blue, weights below 1, how far cameras moved."""
        names = [v.name for v in self._given]
        if (self.gain != 1).any():
            report["exposure"] = {n: np.round(g, 3).tolist() for n, g in zip(names, self.gain, strict=True)}
        low = {n: round(float(w), 2) for n, w in zip(names, self.weight, strict=True) if w < 1}
        if low:
            report["weights"] = low
            warn(f"views: {len(low)} of {len(names)} differ from what the others show ({named(low)}), as if the subject, "
                 "the camera or the light had moved; they count less")
        if self.refine_poses:
            middle = field.box.mean(0)
            moved = np.array([moved_by(v, pose, float(np.linalg.norm(middle - pose[:3, 3])))
                              for v, pose in zip(self._given, self.poses, strict=True)])
            report["pose_refinement"] = {"mean_px": round(float(moved[:, 0].mean()), 2),
                                         "max_px": round(float(moved[:, 0].max()), 2),
                                         "mean_deg": round(float(moved[:, 1].mean()), 3)}

    def state(self) -> dict[str, Tensor]:
        """What `load_state` needs."""
        arrays = {"gain": self.gain, "weight": self.weight, "residual": self.residual, "poses": self.poses,
                  "looks": np.array([self._looks, self._side])}
        return {PREFIX + name: torch.from_numpy(array) for name, array in arrays.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        self.gain, self.weight, self.residual, self.poses = (
            state[PREFIX + name].numpy() for name in ("gain", "weight", "residual", "poses"))
        looks, self._side = state[PREFIX + "looks"].tolist()
        self._looks = round(looks)
        self._expose()
        self._move()

    def _expose(self) -> None:
        for n, (given, gain) in enumerate(zip(self._given, self.gain, strict=True)):
            rgba = given.rgba_srgb if (gain == 1).all() else exposed(given.rgba_srgb, 1 / gain)
            self.pictures[n] = replace(self.pictures[n], rgba_srgb=rgba)

    def _move(self) -> None:
        if self.refine_poses:
            self.pictures = [replace(picture, world_from_camera=pose)
                             for picture, pose in zip(self.pictures, self.poses, strict=True)]


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
