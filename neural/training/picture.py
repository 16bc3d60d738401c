"""Fitting a network to a picture's pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...recipes.picture import Picture
from ..evaluation.pictures import psnr
from ..fields.picture import extent_of, make_network, pixel_centres, sample
from . import loop
from .precision import has_fast_bfloat16
from .state import adam_state, load_adam_state

BATCH = 2048  # pixels in a step
# Adam's rate at the beginning; it falls to `FALL` of that along a cosine. The papers' are 1e-3 for Fourier features
# and 1e-4 for SIREN, over thousands of steps on a GPU that see the whole picture each: a step on a part of it that is
# to bring as much within half a minute must be longer.
RATES, FALL = {"relu": 5e-3, "fourier": 5e-3, "siren": 1e-3}, 0.01


class PictureTrainer:
    """Optimises a network for the mean squared error of a picture's pixels (H, W, C) float32, or of those that
    `among` (H, W) bool chooses."""

    def __init__(self, pixels: np.ndarray, recipe: Picture, *, seed: int, device: torch.device,
                 among: np.ndarray | None = None):
        height, width, channels = pixels.shape
        self.extent = extent_of(width, height)
        self._truth, self._device, self._seed, self._number = pixels, device, seed, 0
        places, colours = pixel_centres(width, height, self.extent), torch.from_numpy(pixels).view(-1, channels)
        if among is not None:
            chosen = torch.from_numpy(among).view(-1)
            places, colours = places[chosen], colours[chosen]
        self._places, self._colours = places.to(device), colours.to(device)
        self._in_bfloat16 = has_fast_bfloat16(device)
        self._rate, self._order = RATES[recipe.network], torch.zeros(0, dtype=torch.long)
        self.network: nn.Module = make_network(recipe.network, channels, self.extent, width=recipe.width,
                                               layers=recipe.layers, sigma=recipe.sigma, seed=seed).to(device)
        self._optimizer = torch.optim.Adam(self.network.parameters(), fused=device.type != "mps")

    def warm_up(self) -> None:
        """See `Steps`: nothing is compiled."""

    def step(self, fraction: float) -> float:
        """See `Steps.step`."""
        pick = self._batch()
        fall = FALL + (1 - FALL) * (0.5 + 0.5 * math.cos(math.pi * fraction))
        self._optimizer.param_groups[0]["lr"] = self._rate * fall
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._in_bfloat16):
            seen = self.network(self._places[pick])
        loss = F.mse_loss(seen.float(), self._colours[pick])
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._number += 1
        return loss.item()

    def _batch(self) -> Tensor:
        """The pixels of the next step: every pixel comes once a round, in an order that the seed and the round give."""
        rounds, at = divmod(self._number, max(len(self._places) // BATCH, 1))
        if at == 0 or not len(self._order):
            generator = torch.Generator().manual_seed((self._seed * 0x9E3779B1 + rounds) % 2**63)
            self._order = torch.randperm(len(self._places), generator=generator).to(self._device)
        return self._order[at * BATCH:(at + 1) * BATCH]

    def state(self) -> dict[str, Tensor]:
        """See `Steps.state`."""
        return adam_state(self.network, self._optimizer) | {"number": torch.tensor(self._number)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Steps.load_state`."""
        self._number = int(state["number"])
        load_adam_state(self.network, self._optimizer, state)

    def look(self) -> tuple[np.ndarray, str]:
        """See `loop.run`: a small picture over white, and its PSNR at every n-th pixel of every n-th row."""
        stride = math.ceil(max(self._truth.shape[:2]) / loop.PREVIEW_SIDE)
        truth = self._truth[::stride, ::stride]
        height, width = self._truth.shape[:2]
        places = pixel_centres(width, height, self.extent).view(height, width, 2)[::stride, ::stride]
        with torch.no_grad():
            seen = self.network(places.reshape(-1, 2).to(self._device)).clip(0, 1).cpu().numpy().reshape(truth.shape)
        return over_white(seen), f"{psnr(seen, truth):.1f} dB"


def over_white(pixels: np.ndarray) -> np.ndarray:
    """Colour, premultiplied where there is alpha, (H, W, 3 or 4) float 0 to 1: (H, W, 3) uint8."""
    rgb = pixels[..., :3] + (1 - pixels[..., 3:]) if pixels.shape[2] == 4 else pixels
    return (rgb.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def fit_picture(pixels: np.ndarray, recipe: Picture, *, seed: int, device: torch.device, checkpoint: Path,
                on_progress: Callable[[float, str], None], on_preview: Callable[[np.ndarray], None]) -> nn.Module:
    """The network that shows a picture (H, W, 3 or 4) float32 after `recipe.seconds`; colour sRGB, premultiplied.

    The checkpoint, progress and preview are those of `fit.fit`.
    """
    trainer = PictureTrainer(pixels, recipe, seed=seed, device=device)
    saved = loop.Checkpoint(checkpoint, recipe.to_json(), seed)
    loop.run(trainer, trainer.look, recipe.seconds, 0.0, saved, on_progress, on_preview)
    return trainer.network
