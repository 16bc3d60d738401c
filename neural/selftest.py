"""Two seconds of what Maquette does on a device: a small field is trained, and its numbers are checked."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from ..formats.report import plain
from ..recipes import MachineError
from .kernels import hashgrid, hashgrid_reference

LEVELS = hashgrid.Levels((4, 8, 16), 2**13)
STEPS = 400
POINTS = 4096  # of a step
RADIUS = 0.35  # of the ball whose signed distance is learnt, around the middle of the unit cube
# On the CPU the error is 0.001; it is 0.13 where the gradient of the table is lost.
MOST_ERROR = 0.004
MOST_DIFFERENCE = 1e-3  # of the device's distances from those that the CPU's reference computes of the same weights


def run(name: str) -> dict[str, Any]:
    """Train the signed distance of a ball on the device `name` of torch.

    Returns `passed`, `seconds` (without loading torch), `error` (root mean square, of distances in the unit cube),
    `difference` (the largest, from the CPU's reference), and `says` where it has not passed. MachineError where
    torch has no such device, or the device fails.
    """
    try:
        return _run(torch.device(name))
    except (RuntimeError, AssertionError) as error:
        raise MachineError(f"device: torch {torch.__version__} fails on {name!r} ({str(error).splitlines()[0]}); "
                           "`maquette doctor` tells which devices there are") from error


def _run(device: torch.device) -> dict[str, Any]:
    _trained(device, steps=1)  # loads and compiles what the rest is timed with
    began = time.monotonic()
    table, *dense = _trained(device, STEPS)
    points = torch.rand(POINTS, 3, generator=torch.Generator().manual_seed(1))
    found = _field(hashgrid.encode(points.to(device), table, LEVELS), dense).cpu()
    expected = _field(hashgrid_reference.encode(points, table.cpu(), LEVELS), [weight.cpu() for weight in dense])
    error = float((found - _distance(points)).square().mean().sqrt())
    difference = float((found - expected).abs().max())
    said = {"error": round(error, 5), "difference": round(difference, 6)}
    # Written so that a NaN does not pass.
    passed = error <= MOST_ERROR and difference <= MOST_DIFFERENCE
    says = {} if passed else {"says": f"wrong numbers: error {error:.3g} where {MOST_ERROR} is the most, "
                                      f"{difference:.3g} from the CPU's where {MOST_DIFFERENCE} is"}
    return plain({"passed": passed, "seconds": round(time.monotonic() - began, 1), **said, **says})


def _trained(device: torch.device, steps: int) -> list[Tensor]:
    """The rows of the table, and the weights of two dense layers."""
    generator = torch.Generator().manual_seed(0)
    table = 1e-2 * torch.randn(int(LEVELS.starts[-1]), hashgrid.WIDTH, generator=generator)
    weights = [weight.to(device).requires_grad_() for weight in (table, *_dense(generator))]
    adam = torch.optim.Adam(weights, lr=1e-2)
    for _ in range(steps):
        points = torch.rand(POINTS, 3, generator=generator).to(device)
        loss = (_field(hashgrid.encode(points, weights[0], LEVELS), weights[1:]) - _distance(points)).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return [weight.detach() for weight in weights]


def _dense(generator: torch.Generator) -> list[Tensor]:
    wide = 32
    features = 2 * len(LEVELS.resolutions)
    return [torch.randn(features, wide, generator=generator) / features**0.5, torch.zeros(wide),
            torch.randn(wide, 1, generator=generator) / wide**0.5, torch.zeros(1)]


def _field(features: Tensor, weights: list[Tensor]) -> Tensor:
    """Signed distances (N,) of features (N, 2 · L) by two dense layers."""
    first, first_bias, last, last_bias = weights
    return ((features @ first + first_bias).relu() @ last + last_bias)[:, 0]


def _distance(points: Tensor) -> Tensor:
    return (points - 0.5).norm(dim=-1) - RADIUS
