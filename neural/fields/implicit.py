"""Networks that are a signed distance: from points of one shape's normalised frame, and the same in the world."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ...jobs import files
from ...recipes.errors import InputError
from ..kernels import hashgrid
from ..kernels.hashgrid import Levels
from .picture import Exact, Sine, initialise_sines

FORMAT = 1  # of the files
MARGIN = 1.1  # the normalised frame [−1, 1]³ is a cube this many times as large as the longest side of the box
BATCH = 2**14  # points evaluated at once


class DeepSDF(nn.Module):
    """Park et al. 2019, figure 4, for one shape, hence without code and dropout: eight layers of 512.

    The points come in again before the fifth layer; weight norm on every layer but the last, tanh at the end. Unlike
    there it begins as about the distance to a ball (Atzmon and Lipman 2020, theorem 1): a minute of a processor is too
    short to find even the sign from where a random network begins.
    """

    RADIUS = 0.5

    def __init__(self, width: int = 512):
        super().__init__()
        inputs, outputs = [3, *[width] * 7], [width] * 8
        outputs[3] -= 3
        self.layers = nn.ModuleList()
        for number, (fan_in, fan_out) in enumerate(zip(inputs, outputs, strict=True)):
            layer = nn.Linear(fan_in, fan_out)
            nn.init.normal_(layer.weight, 0, math.sqrt((1 if number == 4 else 2) / fan_out))  # two inputs of one length
            nn.init.zeros_(layer.bias)
            self.layers.append(Exact(weight_norm(layer)) if number in (0, 4) else weight_norm(layer))
        self.last = nn.Linear(width, 1)
        nn.init.constant_(self.last.weight, math.sqrt(math.pi / width))
        nn.init.constant_(self.last.bias, -self.RADIUS)

    def forward(self, points: Tensor) -> Tensor:
        x = points
        for number, layer in enumerate(self.layers):
            x = torch.relu(layer(torch.cat((x, points), 1) if number == 4 else x))
        return torch.tanh(self.last(x)).squeeze(1)


class Siren(nn.Sequential):
    """Sitzmann et al. 2020: sines of frequency 30, three hidden layers of 256 after the first, their initialisation."""

    def __init__(self, width: int = 256):
        hidden = [layer for _ in range(3) for layer in (nn.Linear(width, width), Sine())]
        super().__init__(Exact(nn.Linear(3, width), Sine()), *hidden, nn.Linear(width, 1), nn.Flatten(0))
        initialise_sines([layer for layer in self.modules() if isinstance(layer, nn.Linear)])


class HashGrid(nn.Module):
    """Müller et al. 2022: features of a pyramid of lattices, and a small network that reads them."""

    LEVELS = Levels((16, 24, 36, 54, 81, 122, 182, 256), 2**18)

    def __init__(self, width: int = 64):
        super().__init__()
        rows = int(self.LEVELS.starts[-1])
        self.table = nn.Parameter(torch.empty(rows, hashgrid.WIDTH).uniform_(-1e-4, 1e-4))
        inputs = len(self.LEVELS.resolutions) * hashgrid.WIDTH
        self.read = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, points: Tensor) -> Tensor:
        features = hashgrid.encode((points + 1) / 2, self.table, self.LEVELS)
        return self.read(features).squeeze(1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {"deepsdf": DeepSDF, "siren": Siren, "hashgrid": HashGrid}


@dataclass(frozen=True)
class Frame:
    """World = centre + scale · normalised."""

    centre: tuple[float, float, float]
    scale: float

    @classmethod
    def around(cls, box: np.ndarray) -> Frame:
        """The frame whose [−1, 1]³ holds the box (2, 3) with a margin."""
        x, y, z = ((box[0] + box[1]) / 2).tolist()
        return cls((x, y, z), float((box[1] - box[0]).max()) / 2 * MARGIN)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Frame:
        """What `asdict` gave; ValueError, TypeError or KeyError where it is anything else."""
        x, y, z = map(float, values["centre"])
        scale = float(values["scale"])
        if not (all(map(math.isfinite, (x, y, z))) and 0 < scale < math.inf):
            raise ValueError(f"a frame has its centre at {(x, y, z)} and the scale {scale}")
        return cls((x, y, z), scale)

    def normalised(self, points: Tensor) -> Tensor:
        return (points - torch.tensor(self.centre, device=points.device)) / self.scale

    def world(self, points: Tensor) -> Tensor:
        return points * self.scale + torch.tensor(self.centre, device=points.device)


@dataclass(frozen=True)
class NeuralDistance:
    """A `Distance` by a network of NETWORKS, evaluated in batches without gradients."""

    name: str
    network: nn.Module
    frame: Frame
    box: np.ndarray  # see `Distance.box`
    lipschitz: float  # of pairs of points one of which is near the surface; measured, see `DistanceTrainer`

    def __call__(self, points: Tensor) -> Tensor:
        """See `Distance`. Outside the normalised cube c, f(x) = √(f(c(x))² + |x − c(x)|²) with c(x) the cube's point
        closest to x: a lower bound of the distance where f is one, since the cube is convex, and never zero."""
        device = next(self.network.parameters()).device
        parts = [points.new_empty(0)]
        with torch.no_grad():
            for batch in points.split(BATCH):
                x = self.frame.normalised(batch.to(device))
                inside = x.clamp(-1, 1)
                value = self.network(inside).float()
                away = (x - inside).norm(dim=1)
                value = torch.where(away > 0, torch.hypot(value.clamp(min=0), away), value)
                parts.append((value * self.frame.scale).to(points.device))
        return torch.cat(parts)

    def to(self, device: torch.device) -> NeuralDistance:
        self.network.to(device)
        return self

    def save(self, path: Path) -> None:
        """Write a safetensors file that `load` reads."""
        about = {"format": FORMAT, "network": self.name, "frame": asdict(self.frame), "box": self.box.tolist(),
                 "lipschitz": self.lipschitz}
        state = {name: value.cpu().contiguous() for name, value in self.network.state_dict().items()}
        files.atomic_write(path, safetensors.torch.save(state, {"maquette": json.dumps(about)}))

    @classmethod
    def load(cls, path: Path, device: torch.device) -> NeuralDistance:
        """Read what `save` has written. Raises InputError where the file is anything else, or damaged."""
        try:
            with safetensors.safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["maquette"])
                state = {name: file.get_tensor(name) for name in file.keys()}
            if about["format"] != FORMAT:
                raise InputError(f"model: {path} has format {about['format']}, this Maquette reads {FORMAT}; "
                                 "fit the shape anew")
            network = NETWORKS[about["network"]]()
            network.load_state_dict(state)
            frame = Frame.from_json(about["frame"])
            box = np.array(about["box"], np.float64).reshape(2, 3)
            return cls(about["network"], network.to(device), frame, box, float(about["lipschitz"]))
        except OSError as error:
            raise InputError(f"model: {path} cannot be read ({error.strerror or error}); give another file") from error
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"model: {path} is not a distance that Maquette has fitted, or damaged; "
                             "fit the shape anew") from error
