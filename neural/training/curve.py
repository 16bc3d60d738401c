"""What a training looks like while it runs: its loss over the steps, and what has been learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..predictors.deepsdf import decode

if TYPE_CHECKING:
    from .shapes import ShapeTrainer

SIDE = 256  # pixels of the curve and of the slices beside it
TILES = 3  # shapes along a side of the slices
_INK, _GRID = (40, 90, 160), (225, 225, 225)


def loss_curve(losses: list[float], side: int = SIDE) -> np.ndarray:
    """The losses of all steps, (side, side, 3) uint8: the logarithm upward, with a line at each power of ten."""
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    values = np.log10(np.maximum(losses, 1e-12))
    if not len(values):
        return np.asarray(picture)
    # A mean over what falls on one column, so that the noise of single steps does not hide the way down.
    means = [part.mean() for part in np.array_split(values, min(side, len(values)))]
    low, high = np.floor(min(means)), max(np.ceil(max(means)), np.floor(min(means)) + 1)
    for power in np.arange(low, high + 1):
        y = (side - 1) * (high - power) / (high - low)
        draw.line([(0, y), (side, y)], fill=_GRID)
        draw.text((3, min(y + 1, side - 12)), f"1e{power:.0f}", fill=(120, 120, 120))
    x = np.linspace(0, side - 1, len(means))
    y = (side - 1) * (high - np.array(means)) / (high - low)
    draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=_INK, width=2)
    return np.asarray(picture)


def training_picture(trainer: ShapeTrainer) -> tuple[np.ndarray, str]:
    """The curve with slices of the first shapes beside it (SIDE, 2 SIDE, 3) uint8, and the loss in words."""
    recent = float(np.mean(trainer.losses[-100:]))
    return np.concatenate((loss_curve(trainer.losses), _slices(trainer)), axis=1), f"loss {recent:.5f}"


@torch.no_grad()
def _slices(trainer: ShapeTrainer) -> np.ndarray:
    """Upright slices through the middle of some shapes: blue inside, orange outside."""
    known = trainer.network.codes
    codes = known[torch.linspace(0, len(known) - 1, TILES**2, device=known.device).round().long()]
    side = SIDE // TILES
    axis = torch.linspace(-1, 1, side, device=codes.device)
    z, x = torch.meshgrid(-axis, axis, indexing="ij")
    points = torch.stack((x, torch.zeros_like(x), z), dim=-1).reshape(1, -1, 3)
    values = decode(trainer.network.decoder.layers(), codes, points.expand(len(codes), -1, -1))
    tiled = values.reshape(TILES, TILES, side, side).permute(0, 2, 1, 3).reshape(TILES * side, -1, 1).cpu().numpy()
    color = np.where(tiled < 0, [90, 150, 240], [245, 170, 90]) * np.exp(-4 * np.abs(tiled))
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    picture[:TILES * side, :TILES * side] = color.astype(np.uint8)
    return picture
