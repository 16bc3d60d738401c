"""A network with its Adam as named tensors, for checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def adam_state(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The network's parameters by their names, and Adam's moments as `NAME:MOMENT`."""
    state: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        moments = optimizer.state[parameter]
        state |= {name: parameter.detach(), **{f"{name}:{key}": value for key, value in moments.items()}}
    return state


def load_adam_state(network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    """Bring a network and an Adam that were made alike to what `adam_state` gave; other names are left alone."""
    for name, parameter in network.named_parameters():
        parameter.data.copy_(state[name])
        # The count of steps of a fused Adam lies on its parameter's device, that of another on the CPU.
        optimizer.state[parameter] = {key.rpartition(":")[2]: value.to(parameter.device)
                                      for key, value in state.items() if key.startswith(f"{name}:")}
