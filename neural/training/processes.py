"""Several processes that train one network, as torchrun starts them: each on its own part of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from ...recipes.errors import InputError
from .trainer import Steps

_JOB = "maquette/job"


def tell_job(path: Path) -> None:
    """Tell the other processes where the job is that they share; they must see the same folders."""
    _store().set(_JOB, str(path))


def job_told() -> Path:
    """Where the job is, as soon as the first process has said so."""
    return Path(_store().get(_JOB).decode())


def _store() -> dist.TCPStore:
    """What torchrun keeps for its processes."""
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)


class Processes:
    """The processes of one training; one alone where torchrun has not started several.

    The first has the clock: it says how much of the time is over, and the others follow.
    """

    def __init__(self) -> None:
        self.count, self.rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        if self.count > 1:
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, batch: int) -> int:
        """How much of a batch is this process's."""
        if batch % self.count:
            raise InputError(f"batch: {batch} cannot be divided among {self.count} processes; give a multiple of that")
        return batch // self.count

    def same(self, network: nn.Module) -> None:
        """Give all processes the first one's parameters and buffers."""
        if self.count > 1:
            for value in (*network.parameters(), *network.buffers()):
                dist.broadcast(value.data, 0)

    def told(self, value: float) -> float:
        """The first process's value."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self._device())
        dist.broadcast(told, 0)
        return told.item()

    def mean(self, value: float) -> float:
        """The mean of all processes' values."""
        if self.count == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=self._device())
        dist.all_reduce(total)
        return total.item() / self.count

    def mean_gradients(self, network: nn.Module) -> None:
        """Make each gradient the mean of all processes'; one that a process lacks counts as 0."""
        if self.count == 1:
            return
        parameters = list(network.parameters())
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters])
        dist.all_reduce(flat)
        for p, part in zip(parameters, (flat / self.count).split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p).clone()

    def follow(self, trainer: Steps) -> None:
        """Take every step that the first process takes."""
        while (fraction := self.told(0.0)) >= 0:
            trainer.step(fraction)

    @contextmanager
    def leading(self, trainer: Steps) -> Iterator[Steps]:
        """The trainer for the first process: its steps are those of all others too, which end when this does."""
        if self.count == 1:
            yield trainer
            return
        try:
            yield _Leading(trainer, self)
        finally:
            self.told(-1.0)

    @staticmethod
    def _device() -> torch.device:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _Leading:
    """A trainer that says, before each of its steps, how much of the time is over."""

    def __init__(self, trainer: Steps, processes: Processes) -> None:
        self._trainer, self._processes = trainer, processes
        self.warm_up, self.state, self.load_state = trainer.warm_up, trainer.state, trainer.load_state

    def step(self, fraction: float) -> float:
        """See `Steps.step`."""
        return self._trainer.step(self._processes.told(fraction))
