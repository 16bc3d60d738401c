"""Which views belong together, told before anything is learnt from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from . import silhouettes
from .epipolar import epipolar_errors
from .posed import PosedPicture

# Matching points' distance from their epipolar lines, as a share of the longest side. Measured on five real captures and
# a rendered one: 0.02 to 0.1 % with their own cameras, 0.5 % with a colour camera's wrong calibration, 0.7 % and more
# with shuffled, inverted or flipped ones; from this many matches on.
OFF, FEWEST_MATCHES = 0.003, 100
MOST = 0.1  # share of the views, and at least one, that may be left out


def agreeing(views: Sequence[PosedPicture], warn: Callable[[str], None]) -> list[PosedPicture]:
    """The views without those training views whose outlines contradict the others'; says which, or that all do."""
    masked = [v for v in views if v.split == "train" and v.has_alpha]
    if not silhouettes.comparable(masked):
        return list(views)
    found, share = silhouettes.outliers(masked, max(int(MOST * len(masked)), 1))
    if share > silhouettes.AGREED:
        warn(f"views: the outlines contradict each other: {share:.1%} of what they show is nowhere in all others "
             f"({silhouettes.AGREED:.1%} is usual at most); check that cameras, alpha and masks belong to the pictures")
        return list(views)
    out = {id(masked[n]) for n in found}
    if out:
        warn(f"views: {len(out)} of {len(masked)} contradict the others' outlines "
             f"({named(v.name for v in masked if id(v) in out)}); they are left out")
    return [v for v in views if id(v) not in out]


def check_cameras(views: Sequence[PosedPicture], warn: Callable[[str], None]) -> None:
    """Say so where what matches in the pictures is not where their cameras have it."""
    errors = epipolar_errors(views)
    if len(errors) >= FEWEST_MATCHES and (off := float(np.median(errors))) > OFF:
        pixels = off * max(views[0].rgba_srgb.shape[:2])
        warn(f"cameras: points that match in the pictures are {pixels:.1f} px from where the cameras have them "
             f"({off:.1%} of the picture, 0.1% is usual); check that poses, axes and focal length are theirs, "
             "or try --refine-poses where they are nearly right")


def named(names: Iterable[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
