"""Finding the code of a shape that is new to a decoder (Park et al. 2019, section 4.2), and its place where unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..predictors.deepsdf import CLAMP, AutoDecoder, Layers, decode
from .precision import has_fast_bfloat16

STEPS = 800
RATES = 5e-3, 5e-4  # Adam's for the codes, before and from the middle on
PLACING_RATE = 2e-3  # for the places, at the start
PRIOR = 1e-4  # of the codes' mean squared number
PLACING_PRIOR = 0.05  # of the squares of what a place changes by
Progress = Callable[[float, str], None]


@dataclass
class Placing:
    """Where shapes lie in a frame: unit = scale · turn(point) + shift, a turn about Z."""

    log_scale: Tensor  # (S,)
    angle: Tensor  # (S,) radians
    shift: Tensor  # (S, 3)

    @classmethod
    def none(cls, count: int, device: torch.device) -> Placing:
        return cls(torch.zeros(count, device=device), torch.zeros(count, device=device),
                   torch.zeros(count, 3, device=device))

    def unit(self, points: Tensor) -> Tensor:
        """Points (S, P, 3) of the frame in each shape's own."""
        cos, sin = torch.cos(self.angle)[:, None], torch.sin(self.angle)[:, None]
        x, y, z = points.unbind(-1)
        turned = torch.stack((cos * x - sin * y, sin * x + cos * y, z), dim=-1)
        return turned * self.log_scale.exp()[:, None, None] + self.shift[:, None]

    def parts(self) -> list[Tensor]:
        return [self.log_scale, self.angle, self.shift]

    def chosen(self, index: Tensor) -> Placing:
        return Placing(*(part[index] for part in self.parts()))


def fit_codes(layers: Layers, start: Tensor, samples: Tensor, placing: Placing | None = None, *, steps: int = STEPS,
              points: int = 512, seed: int = 0,
              on_progress: Progress = lambda fraction, message: None) -> tuple[Tensor, Tensor]:
    """Codes (S, C) whose shapes have the distances of samples (S, N, 4), and how far off they are (S,).

    `points` of the samples are drawn anew each step. Where `placing` is given it is fitted too, in place: errors are
    then measured in the samples' frame, or shrinking everything would make them small. The error is the mean of the
    last tenth of the steps. Of several shapes codes are found in half precision where it is fast.
    """
    half = len(start) > 1 and has_fast_bfloat16(start.device)
    layers = [(weight.detach(), bias.detach()) for weight, bias in layers]
    codes = start.detach().clone().requires_grad_()
    groups: list[dict[str, Any]] = [{"params": [codes], "lr": RATES[0]}]
    if placing is not None:
        groups.append({"params": [part.requires_grad_() for part in placing.parts()], "lr": PLACING_RATE})
    begun = [] if placing is None else [part.detach().clone() for part in placing.parts()]
    optimizer = torch.optim.Adam(groups)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(codes), device=codes.device)
    for step in range(steps):
        if step == steps // 2:
            for group in optimizer.param_groups:
                group["lr"] *= RATES[1] / RATES[0]
        pick = torch.randint(samples.shape[1], (points,), generator=generator).to(samples.device)
        with torch.autocast(codes.device.type, torch.bfloat16, enabled=half):
            error = sample_error(layers, codes, samples[:, pick], placing).mean(dim=1)
        loss = error.sum() + PRIOR * codes.square().mean(dim=1).sum()
        if placing is not None:
            loss = loss + PLACING_PRIOR * sum((part - first).square().sum() for part, first
                                              in zip(placing.parts(), begun, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= steps - math.ceil(steps / 10):
            total += error.detach() / math.ceil(steps / 10)
        on_progress((step + 1) / steps, f"{error.mean().item():.5f}")
    if placing is not None:
        for part in placing.parts():
            part.requires_grad_(False)
    return codes.detach(), total


def sample_error(layers: Layers, codes: Tensor, samples: Tensor, placing: Placing | None = None) -> Tensor:
    """|clamp(f) − clamp(distance)| (S, P) in the frame of the samples (S, P, 4)."""
    if placing is None:
        values = decode(layers, codes, samples[..., :3])
    else:
        # A decoder's values are distances in its own frame.
        values = decode(layers, codes, placing.unit(samples[..., :3])) / placing.log_scale.exp()[:, None]
    return (values.clamp(-CLAMP, CLAMP) - samples[..., 3].clamp(-CLAMP, CLAMP)).abs()


def fitting_error(network: AutoDecoder, samples: Tensor, seed: int, on_progress: Progress) -> float:
    """Mean error at the samples (S, 2, N, 4) of shapes that the network was not trained on, once their codes are found.

    In the unit sphere's frame, distances clamped; a quarter of the samples is kept from the fitting.
    """
    samples = samples.to(network.codes.device)
    kept = samples.shape[2] // 4
    layers = network.decoder.layers()
    mean = network.codes.detach().mean(dim=0).expand(len(samples), -1)
    codes, _ = fit_codes(layers, mean, samples[:, :, kept:].flatten(1, 2), steps=STEPS // 2, seed=seed,
                         on_progress=on_progress)
    with torch.no_grad():
        measured = samples[:, :, :min(kept, 2048)].flatten(1, 2)
        return sample_error(layers, codes, measured).mean().item()
