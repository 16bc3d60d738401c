"""Training a network that makes shapes of pictures, on views that are rendered while it learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from ..predictors.predictor import Predictor, Tensors
from .precision import has_fast_bfloat16
from .processes import Processes
from .state import adam_state, load_adam_state

RATE, WEIGHT_DECAY = 1e-3, 1e-2
WARM_UP = 0.02  # of the time in which the rate rises; after it, half a cosine leads to 0
STEEPEST = 1.0  # norm at which gradients are cut
POINTS = 2048  # of each object's surface, in a step
AHEAD = 2  # batches that are rendered while the network learns from those before


class Pictures(Protocol):
    """What a batch is drawn from, a function of the step alone; `photographer.Photographer` is one."""

    def batch(self, step: int, count: int, *, views: int, points: int, grid: int, reach: float) -> Tensors: ...


class ImageTrainer:
    """Fits a predictor to pictures by AdamW; see `Steps`.

    Among several processes each takes its part of every batch, and gradients are the mean of all.
    """

    def __init__(self, network: Predictor, pictures: Pictures, batch: int, *, seed: int, device: torch.device,
                 processes: Processes):
        self.network = network.to(device).train()
        self.losses: list[float] = []  # of every step
        self.parts: dict[str, float] = {}  # of the last step's loss
        self._seed, self._device, self._processes = seed, device, processes
        self._half = has_fast_bfloat16(device)
        share = processes.share(batch)
        self._draw: Callable[[int], Tensors] = lambda step: pictures.batch(
            step * processes.count + processes.rank, share, views=network.views, points=POINTS, grid=network.grid,
            reach=network.reach)
        self._optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
        self._renderer = ThreadPoolExecutor(1)
        self._rendered: dict[int, Future[Tensors]] = {}
        processes.same(self.network)

    def warm_up(self) -> None:
        """Compile the renderer and what the losses need."""
        self._loss(self._batch(len(self.losses)), 0.0)[0].backward()
        self.network.zero_grad()

    def step(self, fraction: float) -> float:
        """See `Steps.step`."""
        batch = self._batch(len(self.losses))
        torch.manual_seed((self._seed * self._processes.count + self._processes.rank) * 2**32 + len(self.losses))
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * rate(fraction)
        loss, self.parts = self._loss(batch, fraction)
        self._optimizer.zero_grad()
        loss.backward()
        self._processes.mean_gradients(self.network)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), STEEPEST)
        self._optimizer.step()
        self.losses.append(self._processes.mean(loss.item()))
        return self.losses[-1]

    def state(self) -> dict[str, Tensor]:
        """See `Steps.state`."""
        buffers = {f"buffer:{name}": value for name, value in self.network.named_buffers()}
        return {"losses": torch.tensor(self.losses), **adam_state(self.network, self._optimizer), **buffers}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Steps.load_state`."""
        self.losses = state["losses"].tolist()
        load_adam_state(self.network, self._optimizer, state)
        for name, value in self.network.named_buffers():
            value.copy_(state[f"buffer:{name}"])

    def _loss(self, batch: Tensors, fraction: float) -> tuple[Tensor, dict[str, float]]:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            return self.network.loss(batch, fraction)

    def _batch(self, step: int) -> Tensors:
        """The batch of a step, on the device; the next ones are begun."""
        self._rendered = {s: drawn for s, drawn in self._rendered.items() if s >= step}
        for ahead in range(step, step + AHEAD + 1):
            if ahead not in self._rendered:
                self._rendered[ahead] = self._renderer.submit(self._draw, ahead)
        return self._rendered.pop(step).result().to(self._device)


def rate(fraction: float) -> float:
    """Of the highest rate: up in a line, then down by half a cosine."""
    if fraction < WARM_UP:
        return fraction / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (fraction - WARM_UP) / (1 - WARM_UP)))
