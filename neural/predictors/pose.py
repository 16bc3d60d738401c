"""From where a picture shows its object: how high the camera stands, and how it is turned against the mirror plane.

That is what brings a predicted shape upright, and lets its two sides be told. The azimuth is known only where the
object is symmetric, and then only up to half a turn: front and back of a mirror plane are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.mirror import LEAST_SYMMETRY
from .encoder import Encoder
from .predictor import Batch, Predictor


@dataclass(frozen=True)
class Pose:
    elevation: float  # radians, of the camera above the object's horizon
    azimuth: float  # radians against the mirror plane, in (−π/2, π/2]
    symmetry: float  # 0 to 1: how much the object is the mirror image of itself

    def numbers(self) -> np.ndarray:
        """As `Batch.pose` has it (see `geometry.mirror`), (4,)."""
        return np.array([math.sin(self.elevation), math.cos(2 * self.azimuth), math.sin(2 * self.azimuth),
                         self.symmetry])


class Network(Predictor):
    """Its `predict` makes no shape; `estimate` says what it is for."""

    method = "pose"

    def __init__(self, width: int = 16, features: int = 128) -> None:
        super().__init__(width=width, features=features)
        self.encoder = Encoder(width)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(self.encoder.flat, features), nn.ReLU(),
                                  nn.Linear(features, 4))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of pictures (B, 6, S, S) the elevation's sine (B,), the doubled azimuth's cosine and sine (B, 2), not of
        unit length where they are unsure, and the symmetry's logit (B,)."""
        found = self.head(self.encoder(images)[-1]).float()
        return torch.tanh(found[:, 0]), found[:, 1:3], found[:, 3]

    def loss(self, batch: Batch, fraction: float) -> tuple[Tensor, dict[str, float]]:
        sine, doubled, logit = self(batch.images[:, 0])
        symmetry = batch.pose[:, 3]
        elevation = F.mse_loss(sine, batch.pose[:, 0])
        apart = (doubled - batch.pose[:, 1:3]).square().sum(dim=1)
        azimuth = (symmetry * apart).sum() / symmetry.sum().clamp(min=1e-6)
        # What is left where the symmetry itself is said, between 0 and 1, is taken off.
        symmetric = F.binary_cross_entropy_with_logits(logit, symmetry) - _entropy(symmetry)
        return elevation + azimuth + symmetric, {"elevation": elevation.item(), "azimuth": azimuth.item(),
                                                 "symmetry": symmetric.item()}

    @torch.no_grad()
    def estimate(self, images: Tensor) -> Pose:
        """The pose of the first of pictures (V, 6, S, S)."""
        sine, doubled, logit = self(images[:1])
        cos, sin = doubled[0].tolist()
        return Pose(math.asin(sine.item()), math.atan2(sin, cos) / 2, torch.sigmoid(logit).item())

    def errors(self, batch: Batch) -> dict[str, float]:
        """How far the estimate of a batch of one object is off: elevation, and the mirror plane of what is symmetric.

        In degrees.
        """
        found, true = self.estimate(batch.images[0]), batch.pose[0].cpu()
        errors = {"elevation_degrees": abs(math.degrees(found.elevation - math.asin(true[0].item())))}
        if true[3] >= LEAST_SYMMETRY:
            turned = found.azimuth - math.atan2(true[2].item(), true[1].item()) / 2
            errors["mirror_degrees"] = abs(math.degrees(math.remainder(turned, math.pi)))
        return errors


def _entropy(chance: Tensor) -> Tensor:
    """The mean of −p log p − (1 − p) log (1 − p)."""
    return -(torch.xlogy(chance, chance) + torch.xlogy(1 - chance, 1 - chance)).mean()
