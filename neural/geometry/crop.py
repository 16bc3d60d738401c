"""One object of a photo as a square picture of a camera that looks straight at it: the crop of `predictors.view`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ..predictors.view import FILL

# Each pixel of a crop is the mean of this many samples a side of the photo, which is reduced before where it is
# finer than that.
_SAMPLES = 4
_ROWS = 256  # of a crop that are sampled at once
_ROUNDS = 3  # in which the camera is turned to the outline's middle: turning moves it a little
_VISIBLE = 0.5  # of a pixel's alpha, from which on it belongs to the outline


@dataclass(frozen=True)
class Crop:
    """Where a crop lies in its photo.

    The photo's camera stands where the crop's does and is turned: `photo_from_crop` (3, 3) is a rotation of camera
    axes (x right, y up, looking along −z). `distance` is the crop camera's in the view frame.
    """

    photo_from_crop: np.ndarray
    distance: float
    focal: float  # of the photo's camera, pixels; its principal point is the photo's middle
    photo_size: tuple[int, int]  # width, height

    def picture(self, rgba: np.ndarray, side: int) -> torch.Tensor:
        """The crop (4, side, side) of a photo (H, W, 4), premultiplied; what lies outside the photo is clear."""
        n = max(int(self._pixels_across() / (2 * side)), 1)
        photo = torch.from_numpy(_reduced(rgba, n)).movedim(-1, 0)[None]
        covered = np.array([photo.shape[3], photo.shape[2]]) * n / np.array(self.photo_size)
        strips = []
        for first in range(0, side, _ROWS):
            rows = slice(_SAMPLES * first, _SAMPLES * min(first + _ROWS, side))
            places = torch.from_numpy((self._places(_SAMPLES * side, rows) + 1) / covered - 1).float()
            found = functional.grid_sample(photo, places[None], align_corners=False)
            strips.append(functional.avg_pool2d(found[0], _SAMPLES))
        return torch.cat(strips, dim=1)

    def to_crop(self, places: np.ndarray) -> np.ndarray:
        """Places (N, 2) in the crop, −1 to 1 and y down, of pixels (N, 2) of the photo."""
        width, height = self.photo_size
        x, y = (places[:, 0] - width / 2) / self.focal, (height / 2 - places[:, 1]) / self.focal
        rays = np.stack((x, y, -np.ones(len(x))), axis=1) @ self.photo_from_crop
        return rays[:, :2] / -rays[:, 2:] * self.distance * [1, -1]

    def _places(self, side: int, rows: slice = slice(None)) -> np.ndarray:
        """Where in the photo the pixels (rows, side, 2) of some rows of a crop lie, −1 to 1."""
        axis = (np.arange(side) + 0.5) * 2 / side - 1
        x, y = np.meshgrid(axis, -axis[rows])
        rays = np.stack((x, y, np.full_like(x, -self.distance)), axis=-1) @ self.photo_from_crop.T
        width, height = self.photo_size
        scale = 2 * self.focal / np.array([width, -height])
        places = rays[..., :2] / -rays[..., 2:] * scale
        places[rays[..., 2] >= 0] = 2.0  # behind the photo's camera
        return places

    def _pixels_across(self) -> float:
        """How many of the photo's pixels lie side by side in the crop."""
        return 2 * self.focal / self.distance


def around(alpha: np.ndarray, focal: float) -> Crop:
    """The crop around what is visible in a mask (H, W) of a photo taken with a focal length in pixels."""
    height, width = alpha.shape
    rows, columns = np.nonzero(alpha >= _VISIBLE)
    low, high = _ends(rows, columns, width), _ends(rows, columns, width, last=True)
    pixels = np.concatenate((low, high))
    crop = Crop(np.eye(3), 1.0, focal, (width, height))
    for _ in range(_ROUNDS):
        places = crop.to_crop(pixels)
        middle = (places.min(axis=0) + places.max(axis=0)) / 2 * [1, -1]
        toward = crop.photo_from_crop @ np.array([*middle, -1.0])
        crop = Crop(_turn_to(toward / np.linalg.norm(toward)), 1.0, focal, (width, height))
    places = crop.to_crop(pixels)
    half = float(np.abs(places).max())
    return Crop(crop.photo_from_crop, FILL / max(half, 1e-6), focal, (width, height))


def _ends(rows: np.ndarray, columns: np.ndarray, width: int, last: bool = False) -> np.ndarray:
    """The corners (N, 2), in pixels, of the first or last visible pixel of each row."""
    order = np.lexsort((columns, rows))
    rows, columns = rows[order], columns[order]
    change = np.flatnonzero(np.diff(rows)) + 1
    at = np.concatenate((change - 1, [len(rows) - 1])) if last else np.concatenate(([0], change))
    x = columns[at] + (1.0 if last else 0.0)
    return np.concatenate((np.stack((x, rows[at]), axis=1), np.stack((x, rows[at] + 1.0), axis=1)))


def _turn_to(toward: np.ndarray) -> np.ndarray:
    """The rotation whose camera looks along the unit vector `toward` with its right axis level in the photo."""
    right = np.cross(toward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(right, toward), -toward), axis=1)


def _reduced(rgba: np.ndarray, n: int) -> np.ndarray:
    """The photo with every n × n pixels averaged to one; at its far edges it may grow, by what is clear."""
    if n < 2:
        return np.ascontiguousarray(rgba, np.float32)
    height, width = rgba.shape[:2]
    padded = np.pad(rgba, ((0, -height % n), (0, -width % n), (0, 0)))
    return padded.reshape(padded.shape[0] // n, n, padded.shape[1] // n, n, -1).mean(axis=(1, 3)).astype(np.float32)
