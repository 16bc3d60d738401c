"""Fit a network to one shape's signed distance."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...recipes.errors import InputError
from ..fields.implicit import BATCH, FORMAT, NETWORKS, Frame, NeuralDistance
from ..geometry.distance import Distance
from . import loop
from .precision import has_fast_bfloat16

# Samples lie evenly within these distances of the surface, in the normalised frame (DeepSDF, section 5, takes
# Gaussians of these deviations), and in the whole frame: so many of each kind in a hundred.
BANDS, SHARES = (0.07, 0.02), (30, 60, 10)
CHUNK = 2**16  # samples made at once
CAPACITY = 40  # chunks kept
SAMPLING = 0.3  # share of the time spent on new samples
EPS = 0.01  # distance up to which the loss is absolute; it is relative beyond (Müller et al. 2022, section 5.2)
# The slope is looked for between so many pairs of points, from this far apart to 1; and some are steeper.
PAIRS, APART, STEEPER = 2**16, 4e-3, 1.25
PREVIEW_SIDE = 128  # pixels


@dataclass(frozen=True)
class Settings:
    """What a network is fitted with."""

    batch: int  # samples a step
    rate: float  # Adam's at the start
    fall: float  # and what it falls to, as a share
    betas: tuple[float, float] = (0.9, 0.999)
    bfloat16: bool = False  # products in half the bits where the device is faster so; sums and places stay exact


SETTINGS = {"deepsdf": Settings(2**11, 5e-4, 0.02, bfloat16=True),
            "siren": Settings(2**11, 5e-4, 0.02, bfloat16=True),
            "hashgrid": Settings(2**15, 1e-2, 0.02, betas=(0.9, 0.99))}


def fit_distance(target: Distance, *, network: str, seconds: float, seed: int, device: torch.device,
                 checkpoint: Path, on_progress: Callable[[float, str], None],
                 on_preview: Callable[[np.ndarray], None]) -> NeuralDistance:
    """The network (a name of NETWORKS) that is the target's signed distance, after `seconds` of wall time.

    Everything counts but compiling; preparing samples for at most half of the time. A folder `checkpoint` is written
    every few seconds, and picked up where it holds a state of the same network, box, time and seed; the seconds used
    until then count. `on_progress` gets the share of the time used, and the mean error near the surface; `on_preview`
    gets a slice of the distance (H, W, 3) uint8.
    An exception that either raises ends the fitting and passes on. Raises InputError where the target has no surface.
    """
    start = time.monotonic()
    trainer = DistanceTrainer(target, network, seed=seed, device=device)
    fitted = {"format": FORMAT, "network": network, "seconds": seconds, "box": target.box.tolist()}
    saved = loop.Checkpoint(checkpoint, fitted, seed)
    loop.run(trainer, trainer.look, seconds, time.monotonic() - start, saved, on_progress, on_preview)
    return trainer.result()


class DistanceTrainer:
    """Optimises one network; see `Steps`."""

    def __init__(self, target: Distance, network: str, *, seed: int, device: torch.device):
        self._name, self._settings, self._device, self._seed = network, SETTINGS[network], device, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = NETWORKS[network]().to(device)
        self._optimizer = torch.optim.Adam(self._network.parameters(), betas=self._settings.betas, eps=1e-15,
                                           fused=True)
        self._frame, self._box = Frame.around(target.box), target.box
        self._sampler = Sampler(target, self._frame, device)
        self._points = torch.empty(0, 3, device=device)
        self._distances = torch.empty(0, device=device)
        self._chunks, self._pace = 0, loop.Paced(0.0, SAMPLING)
        self._steps = 0
        self._held_out = self._sampler.near(BANDS[-1], PREVIEW_SIDE**2, _generator(seed, -1))

    def warm_up(self) -> None:
        """See `Steps.warm_up`."""
        self._network(torch.zeros(8, 3, device=self._device)).sum().backward()
        self._optimizer.zero_grad()

    def step(self, fraction: float) -> float:
        """See `Steps.step`."""
        if not self._chunks or self._pace.due():
            start = time.monotonic()
            self._add_chunk()
            self._pace.did(start)
        s = self._settings
        index = torch.randint(len(self._points), (s.batch,), generator=_generator(self._seed, self._steps))
        index = index.sort().values.to(self._device)  # neighbours read the same rows
        self._steps += 1
        halved = s.bfloat16 and has_fast_bfloat16(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=halved):
            values = self._network(self._points[index])
        truth = self._distances[index]
        loss = ((values.float() - truth).abs() / (truth.abs() + EPS)).mean()
        self._optimizer.param_groups[0]["lr"] = s.rate * s.fall**fraction
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.item()

    def look(self) -> tuple[np.ndarray, str]:
        """A slice through the middle, and the mean error near the surface in words."""
        return slice_picture(self._distance(1.0), self._box), f"{100 * self.error():.3f} % of the diagonal off"

    def error(self) -> float:
        """Mean error of samples near the surface that are not trained on, in diagonals of the box."""
        points, truth = self._held_out
        with torch.no_grad():
            error = (self._network(points) - truth).abs().mean().item()
        return error * self._frame.scale / float(np.linalg.norm(self._box[1] - self._box[0]))

    def result(self) -> NeuralDistance:
        """The network as it is now, with a bound of its slope."""
        return self._distance(self._steepest())

    def _distance(self, lipschitz: float) -> NeuralDistance:
        return NeuralDistance(self._name, self._network, self._frame, self._box, lipschitz)

    def _steepest(self) -> float:
        """The largest slope between many pairs of points, one of them near the surface, with a margin.

        This is what leaving out blocks without a surface asks: two points far from it may differ by more. Found by
        looking, not proven: a proven bound, the product of the layers' norms, is too large to be of use.
        """
        generator = _generator(self._seed, -1)
        points = self._sampler.draw(BANDS[-1], PAIRS, generator)
        directions = torch.nn.functional.normalize(torch.randn(PAIRS, 3, generator=generator), dim=1)
        apart = APART ** torch.rand(PAIRS, 1, generator=generator)
        ends = points.clamp(-1, 1), (points + apart * directions).clamp(-1, 1)
        with torch.no_grad():
            values = [torch.cat([self._network(part.to(self._device)).cpu() for part in end.split(BATCH)])
                      for end in ends]
        slopes = (values[0] - values[1]).abs() / (ends[0] - ends[1]).norm(dim=1).clamp(min=APART)
        return max(STEEPER * slopes.max().item(), 1.0)

    def state(self) -> dict[str, Tensor]:
        """See `Steps.state`."""
        state = {"counts": torch.tensor([self._steps, self._chunks])}
        for name, parameter in self._network.named_parameters():
            moments = self._optimizer.state[parameter]
            state |= {name: parameter.detach(), **{f"{name}:{key}": value for key, value in moments.items()}}
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Steps.load_state`."""
        self._steps, chunks = state["counts"].tolist()
        for name, parameter in self._network.named_parameters():
            parameter.data.copy_(state[name])
            self._optimizer.state[parameter] = {
                key.rpartition(":")[2]: value.to(self._device)
                for key, value in state.items() if key.startswith(f"{name}:")}
        self._chunks = max(chunks - CAPACITY, 0)
        while self._chunks < chunks:
            self._add_chunk()

    def _add_chunk(self) -> None:
        points, distances = self._sampler.mixed(CHUNK, _generator(self._seed, -2 - self._chunks))
        place = self._chunks % CAPACITY
        if place * CHUNK == len(self._points):
            self._points = torch.cat((self._points, points))
            self._distances = torch.cat((self._distances, distances))
        else:
            self._points[place * CHUNK:(place + 1) * CHUNK] = points
            self._distances[place * CHUNK:(place + 1) * CHUNK] = distances
        self._chunks += 1


class Sampler:
    """Draws points in the normalised frame and asks the target how far they are from its surface."""

    def __init__(self, target: Distance, frame: Frame, device: torch.device):
        self._target, self._frame, self._device = target, frame, device
        self._bands = {width: self.cells(width) for width in BANDS}

    def mixed(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` points (N, 3) near the surface and everywhere, along a curve that fills space, and distances (N,)."""
        shares = [count * share // 100 for share in SHARES[:-1]]
        parts = [self.draw(width, n, generator) for width, n in zip(BANDS, shares, strict=True)]
        parts.append(2 * torch.rand(count - sum(shares), 3, generator=generator) - 1)
        points = torch.cat(parts)
        return self._measured(points[_along_curve(points)])

    def near(self, width: float, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points and distances of one band."""
        return self._measured(self.draw(width, count, generator))

    def draw(self, width: float, count: int, generator: torch.Generator) -> Tensor:
        """Points (N, 3) within about `width` of the surface, on the CPU."""
        centres, size = self._bands[width]
        pick = torch.randint(len(centres), (count,), generator=generator)
        return centres[pick] + size * (torch.rand(count, 3, generator=generator) - 0.5)

    def _measured(self, points: Tensor) -> tuple[Tensor, Tensor]:
        points = points.to(self._device)
        return points, self._target(self._frame.world(points)) / self._frame.scale

    def cells(self, width: float) -> tuple[Tensor, float]:
        """Centres (M, 3) of the cells, no larger than `width`, that may hold points so close to the surface."""
        axis = torch.arange(-7.5, 8) / 8
        centres, size = torch.cartesian_prod(axis, axis, axis), 1 / 8
        while True:
            reach = width + self._slope * size * 3**0.5 / 2
            centres = centres[self._measured(centres)[1].abs().cpu() <= reach]
            if not len(centres):
                raise InputError("shape: it has no surface to fit a network to; look at what it is made of")
            if size <= width:
                return centres, size
            size /= 2
            corners = torch.tensor(list(itertools.product((-size / 2, size / 2), repeat=3)))
            centres = (centres[:, None] + corners).reshape(-1, 3)

    @property
    def _slope(self) -> float:
        return min(self._target.lipschitz, 2.0)


def slice_picture(distance: Distance, box: np.ndarray) -> np.ndarray:
    """The distance on the upright plane through the middle, seen from the front (H, W, 3) uint8.

    Blue inside, orange outside, darker by the distance with lines every twentieth of the box, the surface white.
    """
    side = PREVIEW_SIDE
    centre, half = (box[0] + box[1]) / 2, float((box[1] - box[0]).max()) / 2 * 1.05
    axis = torch.linspace(-half, half, side)
    z, x = torch.meshgrid(-axis, axis, indexing="ij")
    points = torch.stack((x + centre[0], torch.full_like(x, centre[1]), z + centre[2]), -1).reshape(-1, 3)
    d = distance(points.float()).reshape(side, side, 1).numpy() / half
    color = np.where(d < 0, [0.35, 0.6, 0.95], [0.95, 0.6, 0.3]) * np.exp(-1.5 * np.abs(d))
    color *= 0.9 + 0.1 * np.cos(2 * np.pi * 10 * d)
    surface = np.clip(1.5 - np.abs(d) * side / 2, 0, 1)
    return ((color * (1 - surface) + surface) * 255 + 0.5).astype(np.uint8)


def _along_curve(points: Tensor) -> Tensor:
    """The order of points in [−1, 1]³ along a Z curve of 128³ cells."""
    cells = ((points + 1) * 64).long().clamp(0, 127)
    code = torch.zeros(len(points), dtype=torch.int64)
    for bit in range(7):
        for axis in range(3):
            code |= (cells[:, axis] >> bit & 1) << (3 * bit + axis)
    return code.argsort()


def _generator(seed: int, number: int) -> torch.Generator:
    """Random numbers that depend on the seed and a number alone, so that a resumed fitting draws the same."""
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + number) % 2**63)
