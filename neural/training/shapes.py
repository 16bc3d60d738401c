"""Training a decoder together with one code for each shape: DeepSDF's auto-decoder (Park et al. 2019, section 4)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..predictors.deepsdf import Architecture, AutoDecoder, decode, shape_loss
from .precision import has_fast_bfloat16
from .state import adam_state, load_adam_state

# Adam's rates for the decoder and the codes, twice the authors', and how often they are halved in a training.
RATES, HALVINGS = (1e-3, 2e-3), 6
REGULARISER, WARM_UP = 1e-4, 0.05  # of the codes; it grows over this share of the time
SHAPES = 256  # at most, in a step
POINTS = {"cpu": 2**11, "cuda": 2**16}  # in a step, of all shapes together


class ShapeTrainer:
    """Fits a decoder and codes to samples (S, 2, N, 4) of `shape_samples.sample_shape`; see `Steps`.

    The paper's training has two thousand rounds over all samples, and halves its rates three times; this one may
    have fifty, and halves them until they are small.
    """

    def __init__(self, samples: Tensor, architecture: Architecture, *, seed: int, device: torch.device):
        self._samples, self._seed, self._device = samples, seed, device
        self.network = AutoDecoder(architecture, len(samples), torch.Generator().manual_seed(seed)).to(device)
        self._optimizer = torch.optim.Adam([{"params": list(self.network.decoder.parameters())},
                                            {"params": [self.network.codes]}], fused=True)
        self._half = has_fast_bfloat16(device)
        self.losses: list[float] = []  # of every step

    def warm_up(self) -> None:
        """Nothing is compiled."""

    def step(self, fraction: float) -> float:
        """See `Steps.step`."""
        shapes, rows = self._batch()
        for group, rate in zip(self._optimizer.param_groups, RATES, strict=True):
            group["lr"] = rate * 0.5**(HALVINGS * fraction)
        codes = self.network.codes[shapes]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            distances = decode(self.network.decoder.layers(), codes, rows[..., :3])
        loss = shape_loss(distances, rows[..., 3], codes, REGULARISER * min(fraction / WARM_UP, 1.0))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.network.shorten_codes()
        self.losses.append(loss.item())
        return self.losses[-1]

    def state(self) -> dict[str, Tensor]:
        """See `Steps.state`."""
        return {"losses": torch.tensor(self.losses), **adam_state(self.network, self._optimizer)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Steps.load_state`."""
        self.losses = state["losses"].tolist()
        load_adam_state(self.network, self._optimizer, state)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Numbers (s,) of shapes and as many points inside as outside of each, (s, P, 4)."""
        # Of the step alone, so that a resumed training draws the same.
        generator = torch.Generator().manual_seed((self._seed * 0x9E3779B1 + len(self.losses)) % 2**63)
        count, _, points, _ = self._samples.shape
        shapes = torch.randperm(count, generator=generator)[:SHAPES]
        each = max(POINTS[self._device.type] // (2 * len(shapes)), 1)
        pick = torch.randint(points, (len(shapes), 2, each), generator=generator)
        rows = self._samples[shapes[:, None, None], torch.arange(2)[:, None], pick]
        return shapes.to(self._device), rows.flatten(1, 2).to(self._device)


def held_out(names: Sequence[str], percent: float, seed: int) -> list[int]:
    """Which of the shapes to measure on instead of training on: at most `percent`, whole groups of variants.

    A shape whose name begins with another's words is its variant (table and table-large, chair-a and chair-b):
    single letters and digits say nothing. So nearly equal shapes never lie on both sides.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    words = [_words(name) for name in names]
    known = set(words)
    for index, own in enumerate(words):
        first = next(own[:n] for n in range(1, len(own) + 1) if own[:n] in known)
        groups.setdefault(first, []).append(index)
    keys = sorted(groups)
    room = int(len(names) * percent / 100)
    chosen: list[int] = []
    for key in np.random.default_rng(seed).permutation(len(keys)):
        if len(groups[keys[key]]) <= room - len(chosen):
            chosen += groups[keys[key]]
    return sorted(chosen)


def _words(name: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[^a-z]+", name.lower()) if len(word) > 1) or (name,)
