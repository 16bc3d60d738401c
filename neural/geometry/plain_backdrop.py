"""Alpha of pictures that show their subject before one plain colour: renderings over white, say, without transparency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from .posed import PosedPicture
from .silhouettes import AGREED, comparable, outliers

RING = 2  # pixels at a picture's border
ALIKE = 0.6 / 255, 3 / 255  # what differs less in every channel has the backdrop's colour: at least and at most
MOST, EACH = 0.9, 0.5  # share of all borders, and of each picture's, that has it
HOLE = 12  # pixels of that colour which hang together: fewer within the subject are the subject's own
EDGE = 2.5  # pixels from the backdrop on which a pixel may show both
WITHIN = 4.0  # pixels from there to one that shows the subject alone
AROUND = 5  # pixels: where a part is too thin for that, its own colour is the one here that differs most
FAINT = 0.05  # difference of colours from which on they tell alpha
INNER = 0.5  # alpha that a pixel not next to the backdrop has at least


def without_backdrop(pictures: Sequence[PosedPicture]) -> list[PosedPicture]:
    """The pictures with their alpha and, as far as pixels show both, without the backdrop's colour.

    They are as they were where they have an alpha, where their borders are not all of one colour, where they are too
    few to compare their outlines, and where parts of the subject have that colour, too, so that the outlines contradict
    each other: all that is seen is learnt then.
    """
    backdrop = _backdrop(pictures)
    if backdrop is None:
        return list(pictures)
    color, alike = backdrop
    found = []
    for p in pictures:
        alpha = _alpha(p, color, alike)
        rgb = p.rgba_srgb[..., :3] - (1 - alpha)[..., None] * color
        found.append(replace(p, rgba_srgb=np.dstack([np.clip(rgb, 0, alpha[..., None]), alpha]).astype(np.float32),
                             has_alpha=True))
    return found if comparable(found) and outliers(found, 0)[1] < AGREED else list(pictures)


def _backdrop(pictures: Sequence[PosedPicture]) -> tuple[np.ndarray, float] | None:
    """The colour (3,) that the borders of all pictures have, if they have one, and how far it varies there."""
    if not pictures or any(p.has_alpha for p in pictures):
        return None
    borders = [p.rgba_srgb[_ring(p), :3] for p in pictures]
    if not all(len(border) for border in borders):
        return None
    color = np.median(np.concatenate(borders), axis=0)
    away = [np.abs(border - color).max(1) for border in borders]
    far = np.quantile(np.concatenate(away), MOST)
    if far > ALIKE[1] or max(np.quantile(one, EACH) for one in away) > ALIKE[1]:
        return None
    return color, float(np.clip(2 * far, *ALIKE))  # a rendering's backdrop is exact: less of the subject equals it


def _ring(picture: PosedPicture) -> np.ndarray:
    """The known pixels (H, W) next to the border, or next to what is not known."""
    known = np.ones(picture.rgba_srgb.shape[:2], bool) if picture.weight is None else picture.weight > 0
    return known & ~ndimage.binary_erosion(known, iterations=RING)


def _alpha(picture: PosedPicture, color: np.ndarray, alike: float) -> np.ndarray:
    """Alpha (H, W): 0 where the backdrop reaches from the border or through a hole, and soft next to it."""
    away = picture.rgba_srgb[..., :3].astype(np.float64) - color
    number, count = ndimage.label(np.abs(away).max(2) < alike)
    size = np.bincount(number.ravel(), minlength=count + 1)
    behind = size >= HOLE
    behind[np.unique(number[_ring(picture)])] = True
    behind[0] = False
    outside = behind[number]
    if picture.weight is not None:
        outside |= picture.weight == 0
    distance = ndimage.distance_transform_edt(~outside)
    alpha = (~outside).astype(np.float64)
    edge = np.nonzero((distance > 0) & (distance < EDGE))
    alpha[edge] = _share(away, distance, *edge)
    return alpha


def _share(away: np.ndarray, distance: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The subject's share (N,) of pixels at its edge: as the colour tells it, or the place where the colour does not.

    A colour tells nothing where the subject is nearly as the backdrop, and where the pixel has another colour than both
    together would make.
    """
    seen, own = away[row, column], _own_colors(away, distance, row, column)
    strength = (own**2).sum(1)
    share = ((seen * own).sum(1) / np.maximum(strength, 1e-9)).clip(0, 1)
    other = ((seen - share[:, None] * own) ** 2).sum(1)
    told = strength / (strength + FAINT**2) * FAINT**2 / (other + FAINT**2)
    place = np.where(distance[row, column] < 1.2, 0.5, 1.0)  # next to the backdrop, or only diagonally
    return np.maximum(told * share + (1 - told) * place, np.where(distance[row, column] < 2, 0, INNER))


def _own_colors(away: np.ndarray, distance: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The subject's own colours (N, 3) at pixels of its edge, less the backdrop's: of the nearest pixel further inside.

    away: (H, W, 3) the picture less the backdrop's colour. distance: (H, W) pixels from the backdrop.
    """
    far, nearest = ndimage.distance_transform_edt(distance < EDGE, return_indices=True)
    own = away[tuple(nearest[:, row, column])]
    thin = far[row, column] > WITHIN
    reach = np.arange(AROUND) - AROUND // 2
    rows = (row[thin, None, None] + reach[:, None]).clip(0, away.shape[0] - 1)
    columns = (column[thin, None, None] + reach).clip(0, away.shape[1] - 1)
    around = away[rows, columns].reshape(-1, AROUND**2, 3)
    own[thin] = np.take_along_axis(around, (around**2).sum(2).argmax(1)[:, None, None], axis=1)[:, 0]
    return own
