"""Reference body of `hashgrid` in plain PyTorch, for every device."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from .hashgrid import PRIMES, WIDTH, Levels


def encode(points: Tensor, table: Tensor, levels: Levels) -> Tensor:
    starts = levels.starts.tolist()
    features = []
    for level, resolution in enumerate(levels.resolutions):
        place = points * resolution
        first = place.floor().clamp(0, resolution - 1)
        fraction = place - first
        total = points.new_zeros(len(points), WIDTH)
        for corner in itertools.product((0, 1), repeat=3):
            near = torch.tensor(corner, device=points.device)
            x, y, z = (first.long() + near).unbind(1)
            if levels.hashed(level):
                row = (x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]) & levels.most - 1
            else:
                row = (x * (resolution + 1) + y) * (resolution + 1) + z
            weight = torch.where(near.bool(), fraction, 1 - fraction).prod(1, keepdim=True)
            total = total + weight * table[starts[level] + row]
        features.append(total)
    return torch.cat(features, 1)
