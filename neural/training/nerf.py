"""Training the networks of Mildenhall et al. 2020 (NeRF) from posed pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...recipes.capture import Capture
from ..fields.implicit import Frame
from ..fields.nerf import COARSE, FINE, NerfField, Samples
from ..fields.nerf_network import Networks
from ..fields.nerf_published import FRAME, read_networks
from ..geometry.posed import PosedPicture
from ..kernels.density import Rays
from ..rendering.bounds import visual_hull
from ..rendering.lattice import Lattice
from ..rendering.rays import Pixels
from .grid import ALPHA, warm_up_density
from .state import adam_state, load_adam_state

# Rays of a step: on a GPU as in the authors' code for synthetic scenes; on a processor, where a step of so many takes
# many seconds, fewer.
BATCH, BATCH_OF_GPU = 128, 1024
RATE, FALL = 5e-4, 0.1  # Adam's and what it falls to by the end (section 5.3)
BACKGROUND_RATE = 0.02  # of the background's colour, where it is learnt
CHUNK = 2**16  # rays that are tested at once for what they meet


def make_trainer(pictures: Sequence[PosedPicture], box: np.ndarray, recipe: Capture, *, seed: int,
                 device: torch.device, points: np.ndarray | None = None) -> NerfTrainer:
    """See `trainer`."""
    return NerfTrainer(pictures, box, recipe, seed=seed, device=device)


class NerfTrainer:
    """Optimises a `NerfField` for its pictures' squared error, as both networks see them (equation 6).

    Pixels are premultiplied by alpha and compared over a colour as in `GridTrainer`, alpha has a loss where it is
    known. Rays that meet nothing of the hull are not drawn.
    """

    def __init__(self, pictures: Sequence[PosedPicture], box: np.ndarray, recipe: Capture, *, seed: int,
                 device: torch.device):
        self._seed, self._device, self._number = seed, device, 0
        self._pixels = Pixels(pictures, device)
        self._learns_background = not all(p.has_alpha for p in pictures)
        self._batch = BATCH if device.type == "cpu" else BATCH_OF_GPU
        self._meeting: Tensor | None = None  # pixels whose rays meet the hull, found at the first step
        lattice = Lattice.over(box, recipe.resolution)
        hull = torch.from_numpy(visual_hull(pictures, lattice)).to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks = Networks()
        self._begin(NerfField(networks.to(device), Frame.around(box), lattice, hull))

    def start_from(self, path: Path) -> None:
        """See `Startable.start_from`: networks in the world of the pictures, as published ones are."""
        self._begin(NerfField(read_networks(path).to(self._device), FRAME, self._field.lattice, self._field.hull))

    def warm_up(self) -> None:
        """See `Trainer.warm_up`."""
        warm_up_density(self._device)

    def step(self, fraction: float) -> float:
        """See `Trainer.step`."""
        random = torch.Generator().manual_seed((self._seed * 0x9E3779B1 + self._number) % 2**63)
        self._number += 1
        if self._meeting is None:
            self._meeting = self._find_meeting()
        index = self._meeting[torch.randint(len(self._meeting), (self._batch,), generator=random).to(self._device)]
        index = index[self._pixels.drawn(index, random)]
        within = torch.rand(len(index), COARSE, generator=random).to(self._device)
        shares = torch.rand(len(index), FINE, generator=random).to(self._device)
        weights, background = self._optimizer.param_groups
        weights["lr"], background["lr"] = RATE * FALL**fraction, BACKGROUND_RATE * FALL**fraction
        self._optimizer.zero_grad()
        rays = self._field.meeting(self._pixels.rays(index, self._field.lattice))
        coarse = self._field.coarse(rays, within)
        fine = self._field.fine(rays, coarse, shares)
        loss = self._loss(coarse, index) + self._loss(fine, index)
        loss.backward()
        self._optimizer.step()
        return loss.item()

    def correct(self, pictures: Sequence[PosedPicture], weight: Sequence[float]) -> None:
        """See `Trainer.correct`."""
        if self._pixels.correct(pictures, weight):
            self._meeting = None

    def field(self) -> NerfField:
        """See `Trainer.field`: a draft."""
        f = self._field
        return NerfField(f.networks, f.frame, f.lattice, f.hull, draft=True)

    def result(self) -> NerfField:
        """See `Trainer.result`."""
        return self._field

    def state(self) -> dict[str, Tensor]:
        """See `Trainer.state`."""
        return {"number": torch.tensor(self._number), **adam_state(self._field.networks, self._optimizer)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Trainer.load_state`."""
        self._number = int(state["number"])
        load_adam_state(self._field.networks, self._optimizer, state)

    def _begin(self, field: NerfField) -> None:
        self._field, networks = field, field.networks
        networks.background.requires_grad_(self._learns_background)
        groups = [{"params": [*networks.coarse.parameters(), *networks.fine.parameters()]},
                  {"params": [networks.background]}]
        self._optimizer = torch.optim.Adam(groups, eps=1e-7, fused=True)

    def _find_meeting(self) -> Tensor:
        found = []
        for index in torch.arange(len(self._pixels), device=self._device).split(CHUNK):
            rays = self._field.meeting(self._pixels.rays(index, self._field.lattice))
            found.append(index[rays.far > rays.near])
        return torch.cat(found)

    def _loss(self, seen: Samples, index: Tensor) -> Tensor:
        """The mean over the pixels `index` (R,)."""
        rgba, background = self._pixels.rgba[index], self._field.networks.background
        # Over the same colour on both sides; the alpha's share stands for the mean over black and white.
        error = seen.rgb - rgba[:, :3] + (seen.transmittance - (1 - rgba[:, 3]))[:, None] * background
        of_alpha = ALPHA * self._pixels.has_alpha(index) * (seen.transmittance - (1 - rgba[:, 3])).square()
        return (error.square().sum(1) + of_alpha).mean()
