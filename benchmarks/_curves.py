"""Curves as a picture, drawn with Pillow, which the backend has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Curve = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 720, 520  # of a panel, pixels
LEFT, RIGHT, TOP, BOTTOM = 60, 130, 70, 70  # its margins
COLORS = ("#1b6ca8", "#d1495b", "#3f8f4f", "#8a5aa8", "#c98a1b", "#555555")


def crossing(curve: Curve, level: float) -> float | None:
    """Where a curve of points (x, y) first reaches a level, between two points on a logarithmic scale of x.

    None where it does not; the first x where it begins there.
    """
    before: tuple[float, float] | None = None
    for x, y in curve:
        if y >= level:
            if before is None or y == before[1]:
                return x
            return before[0] * (x / before[0]) ** ((level - before[1]) / (y - before[1]))
        before = x, y
    return None


def write_png(path: Path, panels: Mapping[str, Mapping[str, Curve]], x_name: str, y_name: str, level: float) -> None:
    """One panel of named curves beside the other, x on a logarithmic scale, with a line at a level of y."""
    picture = Image.new("RGB", (WIDTH * len(panels), HEIGHT), "white")
    for number, (title, curves) in enumerate(panels.items()):
        picture.paste(_panel(title, curves, x_name, y_name, level), (WIDTH * number, 0))
    picture.save(path)


def _panel(title: str, curves: Mapping[str, Curve], x_name: str, y_name: str, level: float) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(18)
    points = [point for curve in curves.values() for point in curve]
    x_low, x_high = math.log(min(x for x, _ in points)), math.log(max(x for x, _ in points))
    y_low, y_high = min(level, *(y for _, y in points)) - 1, max(level, *(y for _, y in points)) + 1

    def at(x: float, y: float) -> tuple[float, float]:
        return (LEFT + (math.log(x) - x_low) / max(x_high - x_low, 1e-9) * (WIDTH - LEFT - RIGHT),
                TOP + (y_high - y) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM))

    draw.text((LEFT, 12), title, "black", ImageFont.load_default(22))
    draw.text((LEFT, TOP - 8), y_name, "black", font, anchor="lb")
    draw.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12), x_name, "black", font, anchor="mb")
    for y in range(math.ceil(y_low / 2) * 2, math.floor(y_high) + 1, 2):
        draw.line((at(math.exp(x_low), y), at(math.exp(x_high), y)), "#dddddd")
        draw.text((LEFT - 10, at(1, y)[1]), str(y), "black", font, anchor="rm")
    for x in sorted({x for x, _ in points}):
        draw.text((at(x, y_low)[0], HEIGHT - BOTTOM + 8), f"{x:g}", "black", font, anchor="mt")
    draw.line((at(math.exp(x_low), level), at(math.exp(x_high), level)), "#888888", 2)
    labels = _apart([at(*curve[-1])[1] for curve in curves.values()])
    for color, (name, curve), label in zip(COLORS, curves.items(), labels, strict=False):
        places = [at(*point) for point in curve]
        draw.line(places, color, 4)
        for across, down in places:
            draw.ellipse((across - 5, down - 5, across + 5, down + 5), color)
        draw.text((places[-1][0] + 12, label), name, color, font, anchor="lm")
    return picture


def _apart(places: Sequence[float], least: float = 20) -> list[float]:
    """The places, moved up as far as they must be to lie at least so many pixels apart."""
    moved = list(places)
    for lower, upper in pairwise(sorted(range(len(moved)), key=lambda n: -moved[n])):
        moved[upper] = min(moved[upper], moved[lower] - least)
    return moved
