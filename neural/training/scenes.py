"""Photos of several of a corpus's subjects on all kinds of backgrounds, with the truth of where they are.

Objects are drawn under one camera and one light, laid over a `backdrop` with a soft shadow below each, the lowest in
the picture foremost, and what comes of it is exposed, blurred, made noisy and compressed as photos are.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from PIL import Image

from ...formats.pictures import srgb_from_linear
from ..kernels.shade import shade
from ..predictors import view
from ..predictors.detector import BLANK, SIDE, Annotated
from .backdrops import backdrop, colour
from .corpus import Corpus
from .photographer import View, fitted_view, scenes_of
from .studio import Studio, random_studio

MOST = 4  # objects in a picture
_COUNTS = (0.5, 0.25, 0.15, 0.1)  # how often there are 1, 2, 3, 4
_SIZES = ((0.35, 1.2), (0.25, 0.8), (0.2, 0.65), (0.17, 0.5))  # of an object's longer side in the picture's shorter one
_CLUTTER = 0.25  # of the pictures have objects far out of focus behind
_TRIES = 8  # of a place for an object
_COVERED = 0.4  # of the smaller of two objects' boxes, at most
_LEAST = 24  # pixels that are seen of an object
_REPAINTED = 0.4  # of the objects, and all that have one colour, are painted anew in patches
_PATCHES = 8  # at most
_DRAWN = 64, 128, 192, 256, 384  # pixels of the pictures that objects are drawn in
_FINER = 1.4  # than they are shown, so that edges are smooth


@dataclass(frozen=True)
class _Item:
    """An object as it is to be drawn: a square crop, and where in the picture its middle goes."""

    subject: np.void
    view: View
    studio: Studio
    pixels: float  # across the crop
    half: np.ndarray  # (2,) of the object's box, pixels
    centre: np.ndarray  # (2,)
    exposure: float  # its mean light is this
    blur: float = 0.0

    @property
    def drawn(self) -> int:
        """Pixels across the picture that it is drawn in."""
        return next((side for side in _DRAWN if side >= _FINER * self.pixels), _DRAWN[-1])


class ScenePhotographer:
    """Draws batches of scenes of some of a corpus's subjects; each is a function of the seed and its number alone."""

    def __init__(self, corpus: Corpus, indices: Sequence[int], *, seed: int = 0) -> None:
        self._corpus, self._indices, self._seed = corpus, list(indices), seed

    def batch(self, step: int, count: int, *, views: int = 1, points: int = 0, grid: int = 0,
              reach: float = 0.0) -> Annotated:
        """`count` pictures, on the CPU; there is one view of each, and no points and no grid."""
        randoms = [np.random.default_rng((self._seed, step, number)) for number in range(count)]
        sizes = [_size(random) for random in randoms]
        items = [self._items(*pair) for pair in zip(randoms, sizes, strict=True)]
        clutter = [self._clutter(random) for random in randoms]
        drawn = iter(_drawn([item for some in (*items, *clutter) for item in some]))
        layers = [[(item, next(drawn)) for item in some] for some in (*items, *clutter)]
        made = [_composed(*one) for one in zip(randoms, sizes, layers[:count], layers[count:], strict=True)]
        images, owners, boxes = (np.stack(parts) for parts in zip(*made, strict=True))
        return Annotated(torch.from_numpy(images).movedim(-1, 1), torch.tensor(sizes, dtype=torch.float32),
                         torch.from_numpy(boxes), torch.from_numpy(owners))

    def _items(self, random: np.random.Generator, size: tuple[int, int]) -> list[_Item]:
        """The objects of a picture, from back to front."""
        count = int(random.choice(MOST, p=_COUNTS)) + 1
        elevation = np.radians(random.uniform(-10, 50) if random.random() < 0.9 else random.uniform(50, 85))
        distance = view.distance_of(np.radians(np.exp(random.uniform(np.log(10), np.log(45)))))
        light: Studio | None = None
        items: list[_Item] = []
        for _ in range(count):
            longer = min(size) * np.exp(random.uniform(*np.log(_SIZES[count - 1])))
            item = self._item(random, (elevation, random.normal(0, 0.05)), distance, longer, light)
            light = item.studio
            placed = _place(random, item, size, items)
            if placed is not None:
                items.append(placed)
        return sorted(items, key=lambda item: item.centre[1] + item.half[1])

    def _item(self, random: np.random.Generator, turned: tuple[float, float], distance: float, longer: float,
              light: Studio | None) -> _Item:
        subject = _painted(random, self._corpus[self._indices[random.integers(len(self._indices))]])
        hull = subject["hull"].astype(np.float64)
        seen = fitted_view(hull, random.uniform(-np.pi, np.pi), *turned, distance)
        studio = random_studio(random)
        if light is not None:
            studio = studio._replace(lights=light.lights, ambient=light.ambient)
        placed = seen.place(hull)
        reach = np.abs(placed[:, :2] * (distance / (distance - placed[:, 2:]))).max(axis=0)
        pixels = longer / view.FILL
        return _Item(subject, seen, studio, pixels, reach * pixels / 2, np.zeros(2),
                     float(np.exp(random.normal(np.log(0.2), 0.5))))

    def _clutter(self, random: np.random.Generator) -> list[_Item]:
        """Objects that are so far out of focus that they are none."""
        if random.random() >= _CLUTTER:
            return []
        distance = view.distance_of(0.4)
        items = [self._item(random, (random.uniform(0, 0.5), 0.0), distance, random.uniform(30, 150), None)
                 for _ in range(random.integers(2, 5))]
        return [replace(item, centre=random.uniform(0, SIDE, 2), blur=random.uniform(7, 14)) for item in items]


def _painted(random: np.random.Generator, subject: np.void) -> np.void:
    """The subject, often in other colours: shapes are to be found, not the colours of a corpus, if it has any."""
    if random.random() >= _REPAINTED and np.ptp(subject["colors"].reshape(-1, 3), axis=0).any():
        return subject
    sites = random.normal(0, 0.3, (random.integers(1, _PATCHES + 1), 3))
    stretch = np.exp(random.normal(0, 0.8, 3))  # to slices, or straws
    middle = subject["corners"].mean(axis=1)
    patch = (np.square((middle[:, None] - sites) * stretch).sum(axis=2)).argmin(axis=1)
    colours = srgb_from_linear(np.stack([colour(random) for _ in sites]))
    painted = subject.copy()
    painted["colors"] = np.rint(255 * colours[patch])[:, None]
    return painted


def _size(random: np.random.Generator) -> tuple[int, int]:
    """Width and height of a picture whose longer side is SIDE."""
    if random.random() < 0.4:
        return SIDE, SIDE
    shorter = round(SIDE * random.uniform(0.55, 1))
    return (SIDE, shorter) if random.random() < 0.6 else (shorter, SIDE)


def _place(random: np.random.Generator, item: _Item, size: tuple[int, int], others: list[_Item]) -> _Item | None:
    """The item somewhere in the picture where it covers little of the others, if there is such a place."""
    room = np.array(size) - 2 * item.half
    beyond = random.uniform(0, 0.4) if random.random() < 0.15 else 0.0  # of half the object may be outside
    for _ in range(_TRIES):
        low = np.minimum(room, 0) - beyond * item.half
        high = np.maximum(room, 0) + beyond * item.half
        centre = random.uniform(low, high) + item.half
        if all(_cover(item.half, centre, other) <= _COVERED for other in others):
            return replace(item, centre=centre)
    return None


def _cover(half: np.ndarray, centre: np.ndarray, other: _Item) -> float:
    """What share of the smaller of two boxes the other one covers."""
    both = np.minimum(centre + half, other.centre + other.half) - np.maximum(centre - half, other.centre - other.half)
    return float(np.prod(np.maximum(both, 0)) / min(np.prod(2 * half), np.prod(2 * other.half)))


def _drawn(items: list[_Item]) -> list[np.ndarray]:
    """The items' crops (P, P, 4), linear and premultiplied, at the sizes that they are shown in."""
    found: dict[int, np.ndarray] = {}
    for side in {item.drawn for item in items}:
        which = [number for number, item in enumerate(items) if item.drawn == side]
        shots = [(items[number].subject, items[number].view) for number in which]
        found |= dict(zip(which, shade(scenes_of(shots, [items[number].studio for number in which]), side, 1),
                          strict=True))
    return [_exposed(item, found[number]) for number, item in enumerate(items)]


def _exposed(item: _Item, crop: np.ndarray) -> np.ndarray:
    pixels = max(round(item.pixels), 4)
    crop = cv2.resize(crop, (pixels, pixels), interpolation=cv2.INTER_AREA if pixels < len(crop) else cv2.INTER_LINEAR)
    mean = crop[..., :3].mean() / max(crop[..., 3].mean(), 1e-3)
    crop[..., :3] *= np.clip(item.exposure / max(mean, 1e-3), 0.3, 3)
    crop[..., :3] = np.minimum(crop[..., :3], crop[..., 3:])
    if item.blur:
        margin = int(2 * item.blur)
        crop = np.pad(crop, ((margin, margin), (margin, margin), (0, 0)))
        crop = cv2.GaussianBlur(crop, (0, 0), item.blur)
    return crop


Layer = tuple[_Item, np.ndarray]


def _composed(random: np.random.Generator, size: tuple[int, int], items: Sequence[Layer], clutter: Sequence[Layer]
              ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The picture (SIDE, SIDE, 3) sRGB, who owns each pixel (SIDE, SIDE), and the boxes (MOST, 4)."""
    picture = backdrop(random, SIDE)
    for item, crop in clutter:
        _lay(picture, crop, item.centre)
    if random.random() < 0.7:
        darkness = random.uniform(0.1, 0.8)
        for item, _ in items:
            _shadow(random, picture, item, darkness)
    owner = np.zeros((SIDE, SIDE), np.uint8)
    for number, (item, crop) in enumerate(items, 1):
        alpha = _lay(picture, crop, item.centre)
        owner[alpha >= 0.5] = number
    width, height = size
    owner[height:], owner[:, width:] = 0, 0
    owner, boxes = _numbered(owner)
    image = np.full((SIDE, SIDE, 3), BLANK, np.float32)
    image[:height, :width] = _photo(random, picture[:height, :width])
    return image, owner, boxes


def _lay(picture: np.ndarray, crop: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Lay a crop over a picture; its alpha (SIDE, SIDE) there."""
    alpha = np.zeros(picture.shape[:2], np.float32)
    left, top = (int(value) for value in np.floor(centre - len(crop) / 2 + 0.5))
    rows, columns = (slice(*np.clip((at, at + len(crop)), 0, SIDE)) for at in (top, left))
    part = crop[rows.start - top:rows.stop - top, columns.start - left:columns.stop - left]
    if part.size:
        alpha[rows, columns] = part[..., 3]
        picture[rows, columns] = part[..., :3] + (1 - part[..., 3:]) * picture[rows, columns]
    return alpha


def _shadow(random: np.random.Generator, picture: np.ndarray, item: _Item, darkness: float) -> None:
    """A soft one on what the object stands on, and a dark one where it does."""
    foot = item.centre + [0, item.half[1]]
    axis = np.arange(SIDE) + 0.5
    flat = random.uniform(0.15, 0.5)
    for wide, strength in ((random.uniform(0.8, 1.5), 0.6), (0.7, 1.0)):
        reach = np.array([item.half[0], flat * item.half[0]]) * wide
        x, y = ((axis - at) / max(r, 1.0) for at, r in zip(foot - [0, 0.6 * reach[1]], reach, strict=True))
        shade = np.exp(-2 * x**2)[None, :] * np.exp(-2 * y**2)[:, None]
        picture *= (1 - darkness * strength * shade).astype(np.float32)[..., None]


def _numbered(owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Owners (H, W) without those of whom too little is seen, from 1 on without gaps, and boxes (MOST, 4)."""
    found, boxes = np.zeros_like(owner), np.zeros((MOST, 4), np.float32)
    count = 0
    for number in range(1, MOST + 1):
        seen = owner == number
        if seen.sum() < _LEAST:
            continue
        columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        boxes[count] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        count += 1
        found[seen] = count
    return found, boxes


def _photo(random: np.random.Generator, linear: np.ndarray) -> np.ndarray:
    """What a camera makes of light (H, W, 3): sRGB from 0 to 1."""
    gain = np.exp(random.normal(0, 0.25) + random.normal(0, 0.08, 3))
    photo = srgb_from_linear(np.clip(linear * gain, 0, 1)).astype(np.float32)
    if random.random() < 0.5:
        photo = cv2.GaussianBlur(photo, (0, 0), random.uniform(0.3, 1.2))
    photo += np.float32(random.uniform(0, 0.05)**1.5) * random.standard_normal(photo.shape, np.float32)
    levels = (np.clip(photo, 0, 1) * 255 + 0.5).astype(np.uint8)
    if random.random() < 0.6:
        coded = io.BytesIO()
        Image.fromarray(levels).save(coded, "JPEG", quality=int(random.integers(35, 96)))
        levels = np.asarray(Image.open(coded))
    return levels.astype(np.float32) / np.float32(255)
