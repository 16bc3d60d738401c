"""Backgrounds without objects, made by chance: studios, rooms, tables, ground and foliage, more or less out of focus.

All are (side, side, 3) float32 of linear light. None is meant to fool a person: what is learnt from them is that
colours, edges, patterns and shadows alone make no object.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

_OCTAVES = 2, 4, 8, 16, 32, 64, 128  # cells of noise across a picture
_BLOBS = 250  # leaves or pebbles of a texture
Random = np.random.Generator


def backdrop(random: Random, side: int) -> np.ndarray:
    """One of them, evenly or unevenly lit."""
    kind = random.random()
    if kind < 0.3:
        picture = _studio(random, side)
    else:
        picture = texture(random, side)
        if kind < 0.75:
            picture = _with_floor(random, picture)
        if random.random() < 0.5:
            _hang(random, picture)
        if random.random() < 0.6:
            picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.3, 5))
    light = np.exp(random.uniform(0, 0.5) * noise(random, side, steepness=2.5))
    return np.clip(picture * light[..., None], 0, 1).astype(np.float32)


def noise(random: Random, side: int, steepness: float, stretch: float = 1.0) -> np.ndarray:
    """Noise (side, side) of standard deviation 1 or so; steep noise is smooth, stretched noise has a grain."""
    total, power = np.zeros((side, side), np.float32), 0.0
    for cells in _OCTAVES:
        strength = (cells / _OCTAVES[0])**-steepness
        lattice = random.standard_normal((cells + 1, max(int(cells / stretch), 1) + 1), np.float32)
        total += np.float32(strength) * cv2.resize(lattice, (side, side), interpolation=cv2.INTER_LINEAR)
        power += strength**2
    return total / np.float32(np.sqrt(power))


def texture(random: Random, side: int) -> np.ndarray:
    """What a surface may look like from the front."""
    return _TEXTURES[random.integers(len(_TEXTURES))](random, side)


def colour(random: Random) -> np.ndarray:
    """Any colour, (3,) linear, more often a dull one."""
    grey = random.uniform(0, 1)
    return np.clip(grey + random.uniform(0, 1)**2 * random.uniform(-0.5, 0.5, 3), 0.01, 1)**2.2


def _studio(random: Random, side: int) -> np.ndarray:
    """Paper that bends from a wall into a floor, of one colour."""
    paper = colour(random) if random.random() < 0.6 else np.full(3, random.uniform(0.5, 1)**2.2)
    middle, width = random.uniform(0, 1.5), random.uniform(0.02, 0.5)
    y = (np.arange(side) + 0.5) / side
    floor = 1 / (1 + np.exp(-np.clip((y - middle) / width, -30, 30)))
    shade = 1 + random.uniform(-0.4, 0.4) * floor
    return np.broadcast_to(shade[:, None, None] * paper, (side, side, 3)).astype(np.float32)


def _mixed(random: Random, share: np.ndarray) -> np.ndarray:
    """Colours between two by shares (H, W), below 0 and above 1 as at these."""
    one, other = colour(random), colour(random)
    share = np.clip(share, 0, 1).astype(np.float32)[..., None]
    return one.astype(np.float32) + share * (other - one).astype(np.float32)


def _clouded(random: Random, side: int) -> np.ndarray:
    """Plaster, cloth, stone, sky or grass, by how steep the noise is."""
    return _mixed(random, 0.5 + random.uniform(0.05, 0.5) * noise(random, side, random.uniform(0.2, 1.8)))


def _grained(random: Random, side: int) -> np.ndarray:
    """Wood, or brushed metal."""
    grain = noise(random, side, random.uniform(0.2, 1), stretch=random.uniform(5, 30))
    wood = _mixed(random, 0.5 + random.uniform(0.1, 0.4) * grain)
    return wood if random.random() < 0.5 else np.ascontiguousarray(wood.transpose(1, 0, 2))


def _tiled(random: Random, side: int) -> np.ndarray:
    """Tiles, bricks, boards or a chequered cloth: cells in two colours, with joints between them."""
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    wide, tall = np.exp(random.uniform(np.log(side / 24), np.log(side / 2), 2))
    row = (y // tall).astype(int)
    x = x + (row % 2) * wide * random.choice((0.0, 0.5))
    column = (x // wide).astype(int)
    cells = random.random((row.max() + 1, column.max() + 1)) if random.random() < 0.7 else np.indices(
        (row.max() + 1, column.max() + 1)).sum(axis=0) % 2
    picture = _mixed(random, cells[row, column] + 0.1 * noise(random, side, 0.5))
    if random.random() < 0.7:
        joint = random.uniform(0.5, 3)
        picture[(x % wide < joint) | (y % tall < joint)] = colour(random)
    return picture


def _strewn(random: Random, side: int) -> np.ndarray:
    """Leaves, pebbles, petals: blobs over each other."""
    picture = _clouded(random, side)
    colours = _mixed(random, random.random((1, _BLOBS)))[0]
    size = side * np.exp(random.uniform(np.log(0.008), np.log(0.06)))
    thin, turn = random.uniform(0.2, 1), random.uniform(0, 180)
    for blob in colours * random.uniform(0.5, 1.2, (_BLOBS, 1)):
        x, y = random.integers(0, side, 2)
        long = int(size * random.uniform(0.5, 1.5)) + 1
        cv2.ellipse(picture, (int(x), int(y)), (long, max(int(long * thin), 1)), turn + random.normal(0, 50), 0, 360,
                    blob.tolist(), -1, cv2.LINE_AA)
    return picture


def _striped(random: Random, side: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(side) / side, np.arange(side) / side)
    turn, often = random.uniform(0, np.pi), np.exp(random.uniform(np.log(2), np.log(40)))
    bent = random.uniform(0, 0.05) * noise(random, side, 2)
    wave = np.sin(2 * np.pi * often * (x * np.cos(turn) + y * np.sin(turn) + bent))
    return _mixed(random, 0.5 + random.uniform(0.5, 3) * wave)


_TEXTURES: tuple[Callable[[Random, int], np.ndarray], ...] = (_clouded, _clouded, _grained, _tiled, _strewn, _striped)


def _with_floor(random: Random, wall: np.ndarray) -> np.ndarray:
    """A wall with a floor or table before it, seen in perspective."""
    side = len(wall)
    horizon = side * random.uniform(-0.5, 0.75)  # where the floor meets the wall
    ground = texture(random, side)
    lean, spread = random.uniform(-0.5, 0.5) * side, random.uniform(0.5, 3) * side
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    seen = np.array([[lean, horizon], [side + lean, horizon], [side + spread + lean, side + 1],
                     [-spread + lean, side + 1]], np.float32)
    floor = cv2.warpPerspective(ground, cv2.getPerspectiveTransform(corners, seen), (side, side),
                                flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
    y = np.arange(side)[:, None, None] + 0.5
    return np.where(y < horizon, wall, floor).astype(np.float32)


def _hang(random: Random, picture: np.ndarray) -> None:
    """Straight-edged things: frames, doors, shelves, the corner of a room."""
    side = len(picture)
    for _ in range(random.integers(1, 6)):
        size = side * np.exp(random.uniform(np.log(0.04), np.log(1), 2))
        low = random.uniform(-0.3, 1, 2) * side
        box = np.array([low, low + [size[0], 0], low + size, low + [0, size[1]]])
        box += random.normal(0, 0.02, (4, 2)) * side
        cv2.fillConvexPoly(picture, box.astype(np.int32), colour(random).tolist(), cv2.LINE_AA)
        if random.random() < 0.5:
            cv2.polylines(picture, [box.astype(np.int32)], True, colour(random).tolist(), int(random.integers(1, 5)))
