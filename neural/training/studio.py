"""Random lights and materials."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LIGHTS = 3


class Studio(NamedTuple):
    """What `kernels.shade.Scenes` wants to know of one picture's lights and material."""

    paint: np.ndarray  # (3, 4)
    grain: np.ndarray  # (2,)
    gloss: np.ndarray  # (2,)
    ambient: np.ndarray  # (2, 3)
    lights: np.ndarray  # (LIGHTS, 2, 3)
    hiding: np.ndarray  # (2,)


def random_studio(random: np.random.Generator) -> Studio:
    """A material, and lights above the object's horizon."""
    return Studio(_paint(random), _grain(random), _gloss(random), _ambient(random), _lights(random), _hiding(random))


def _tint(random: np.random.Generator, spread: float) -> np.ndarray:
    """A colour (3,) of mean 1."""
    colour = np.exp(random.normal(0, spread, 3))
    return colour / colour.mean()


def _paint(random: np.random.Generator) -> np.ndarray:
    paint = np.zeros((3, 4))
    kind = random.random()
    if kind < 0.15:  # one colour all over
        paint[:, 3] = random.uniform(0.02, 0.9) * np.minimum(_tint(random, 0.5), 1.2)
        return paint
    matrix = np.eye(3) * _tint(random, 0.1)
    if kind < 0.5:  # other hues: a rotation about grey
        turn = random.uniform(-np.pi, np.pi) if kind < 0.3 else random.normal(0, 0.3)
        cosine, sine = np.cos(turn), np.sin(turn)
        grey = np.full((3, 3), (1 - cosine) / 3)
        skew = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) * sine / np.sqrt(3)
        matrix = (grey + cosine * np.eye(3) + skew) @ matrix
    if kind > 0.85:  # nearly grey
        matrix = 0.2 * matrix + 0.8 / 3
    paint[:, :3] = matrix * np.exp(random.normal(0, 0.25))
    paint[:, 3] = random.uniform(0, 0.04)
    return paint


def _ambient(random: np.random.Generator) -> np.ndarray:
    above = random.uniform(0.15, 0.8) * _tint(random, 0.1)
    return np.stack((above, above * random.uniform(0.2, 0.8) * _tint(random, 0.15)))


def _lights(random: np.random.Generator) -> np.ndarray:
    lights = np.zeros((LIGHTS, 2, 3))
    lights[:, 0, 2] = 1
    strength = random.uniform(0.4, 1.6)
    for light in lights[:random.integers(1, LIGHTS + 1)]:
        toward = random.normal(size=3)
        toward[2] = abs(toward[2]) + 0.2
        light[0] = toward / np.linalg.norm(toward)
        light[1] = strength * _tint(random, 0.15)
        strength *= random.uniform(0.1, 0.6)
    return lights


def _gloss(random: np.random.Generator) -> np.ndarray:
    if random.random() < 0.4:
        return np.zeros(2)
    return np.array([random.uniform(0.02, 0.5)**1.5, np.exp(random.uniform(np.log(4), np.log(150)))])


def _grain(random: np.random.Generator) -> np.ndarray:
    if random.random() < 0.6:
        return np.zeros(2)
    return np.array([random.uniform(0.05, 0.6), np.exp(random.uniform(np.log(4), np.log(40)))])


def _hiding(random: np.random.Generator) -> np.ndarray:
    """Most pictures have shadows, from those of the sun to those of a wide window."""
    sharpness = np.exp(random.uniform(np.log(3), np.log(50))) if random.random() < 0.75 else 0.0
    return np.array([random.uniform(0.5, 1.0), sharpness])
