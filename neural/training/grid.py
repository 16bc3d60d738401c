"""Training density and colour on a sparse grid from posed pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...recipes.capture import Capture
from ..fields.grid import GridField
from ..geometry.posed import PosedPicture
from ..kernels import density, dispatch
from ..kernels.density import Rays, Steps
from ..kernels.density_reference import contracted, outward
from ..rendering.bounds import free_cells, seen_cells, visual_hull
from ..rendering.lattice import Lattice
from ..rendering.rays import FAR, Pixels

# From which share of the time on the lattice has which share of the recipe's resolution. Every stage begins with
# the cells that the one before has left, so that a stage of the same resolution is a pruning.
STAGES = ((0.0, 0.4), (0.1, 0.7), (0.2, 0.7), (0.3, 1.0), (0.5, 1.0))
SEEN = 0.01  # a cell stays if it or a neighbour has had this weight in a pixel since the stage began
BATCH = 4096  # rays in a step
# Adam's rates for density, for colour of degree 0 and of degree 1, and what they fall to by the end.
RATES, FALL = (0.3, 0.1, 0.05), 0.1
EPS = 1e-8  # Adam's
# A field that begins opaque has this density in the hull, and its colours alone are fitted for so many steps. What
# would carve it must be a gradient larger than that of noise, times the longest side's cells squared, since a row
# is the smaller a part of the picture the finer the lattice.
OPAQUE, PAINTED, NOISE = 4.0, 100, 6e-4
# Over this grey and with this weight of alpha, a pixel's loss is the mean of those over black and over white.
GREY, ALPHA = 0.5, 0.75
# Without alpha, a shell around the box holds all that is seen beside the subject. Its fog begins thinner than that
# within, so that it hides nothing, and is dense where sparse points are known. A distortion of this weight gathers
# what a ray sees in one place: few photos are explained by fog before the cameras as well.
SHELL, FOG, AT_POINTS, DISTORTION = 0.5, (-4.0, -2.0), 3.0, 0.2
# There all light stops somewhere, by this weight of what does not: else the one colour far behind, which is learnt,
# takes the place of a plain floor. And the weight of light that does not end at a known depth, to a share of it.
ENCLOSED, ASTRAY, PRECISION = 0.1, 0.2, 0.02
CHUNK = 2**16  # rays that are tested at once for what they meet


def make_trainer(pictures: Sequence[PosedPicture], box: np.ndarray, recipe: Capture, *, seed: int,
                 device: torch.device, points: np.ndarray | None) -> GridTrainer:
    """See `trainer`."""
    return GridTrainer(pictures, box, recipe, seed=seed, device=device, points=points)


class GridTrainer:
    """Optimises a `GridField` for its pictures' squared error, coarse to fine.

    Where the alpha of some picture is not known, what the field lets through shows one colour, which is learnt; where
    no alpha is known, the field is in all of space, and begins at the sparse `points` (N, 3), if there are any. Where
    pictures have depth, rays are made to end there, and cells before it that are sure to be free are left out.
    `opaque` tells of world points (N, 3) whether the hull begins solid there, in place of thin fog that condenses:
    plain parts then stay as the silhouettes have them. The colours are those of all directions then, so that gloss
    does not pass for depth.
    """

    def __init__(self, pictures: Sequence[PosedPicture], box: np.ndarray, recipe: Capture, *, seed: int,
                 device: torch.device, opaque: Callable[[np.ndarray], np.ndarray] | None = None,
                 points: np.ndarray | None = None):
        self._box, self._resolution, self._seed = box, recipe.resolution, seed
        self._shell = 0.0 if any(p.has_alpha for p in pictures) else SHELL
        self._opaque = None if self._shell else opaque
        self._with_depth = [p for p in pictures if p.depth is not None]
        self._pixels = Pixels(pictures, device)
        self._among = torch.arange(len(self._pixels), device=device)
        self._learns_background = not all(p.has_alpha for p in pictures)
        self._background = torch.full((3,), GREY, device=device)
        self._stage, self._number = 0, 0
        self._rays: _RayTable | None = None  # found at the first step of a stage
        lattice = self._lattice()
        occupied = seen_cells(pictures, lattice) if lattice.shell else visual_hull(pictures, lattice)
        self._empty(occupied, lattice)
        self._begin(GridField(lattice, torch.from_numpy(occupied).to(device), self._background))
        if lattice.shell:
            self._field.rows.table[:, 0] = _first_density(self._field, points)
        elif opaque is not None:
            corners = lattice.lower + lattice.voxel * self._field.corner_index.cpu().numpy()
            self._field.rows.table[:, 0] = OPAQUE * torch.from_numpy(opaque(corners)).to(device)

    def warm_up(self) -> None:
        """See `Trainer.warm_up`."""
        warm_up_density(self._background.device)

    def step(self, fraction: float) -> float:
        """See `Trainer.step`."""
        while self._stage + 1 < len(STAGES) and fraction >= STAGES[self._stage + 1][0]:
            self._stage += 1
            self._refine()
        if self._rays is None:
            self._rays = _RayTable(self._pixels, self._among, self._field, self._seed)
            self._among = self._rays.index  # What meets nothing now will not later: cells only go.
        index, rays = self._rays.batch(self._number)
        rgba = self._pixels.rgba[index]
        let_through = 1 - rgba[:, 3]
        offset = torch.rand(len(index), generator=_generator(self._seed, self._number)).to(rgba.device)
        ends = self._pixels.ends(index, self._field.lattice, PRECISION, ASTRAY)
        alpha_weight = torch.where(self._pixels.has_alpha(index), ALPHA, ENCLOSED if ends and self._shell else 0.0)
        loss, by_background = density.add_gradient(
            self._field.rows, rays, offset, rgba[:, :3] + let_through[:, None] * self._background, let_through,
            self._background, alpha_weight, *self._optimizer.buffers, DISTORTION if self._shell else 0.0, ends)
        fall = FALL**fraction
        if self._learns_background:
            self._background.sub_(fall * by_background.to(rgba.device)).clamp_(0, 1)
        rates, eps = RATES, EPS
        if self._opaque is not None:
            rates = (RATES[0] * (self._number >= PAINTED), RATES[1], 0.0)
            eps = NOISE / max(self._field.lattice.cells)**2
        rate = torch.tensor(_per_column(*rates), device=rgba.device) * fall
        self._optimizer.step(self._field, rate, eps)
        self._number += 1
        return loss

    def correct(self, pictures: Sequence[PosedPicture], weight: Sequence[float]) -> None:
        """See `Trainer.correct`."""
        if self._pixels.correct(pictures, weight):
            self._among, self._rays = torch.arange(len(self._pixels), device=self._background.device), None

    def field(self) -> GridField:
        """See `Trainer.field`."""
        return self._field

    def result(self) -> GridField:
        """See `Trainer.result`."""
        return self._field

    def state(self) -> dict[str, Tensor]:
        """See `Trainer.state`."""
        optimizer = self._optimizer
        return {"table": self._field.rows.table, "first": optimizer.first, "second": optimizer.second,
                "peak": optimizer.peak.amax(0), "occupied": self._field.occupied, "background": self._background,
                "among": self._among.int(),
                "counts": torch.tensor([self._stage, self._number, optimizer.number])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Trainer.load_state`."""
        device = self._background.device
        self._stage, self._number, steps = state["counts"].tolist()
        self._background.copy_(state["background"])
        self._among = state["among"].long().to(device)
        self._begin(GridField(self._lattice(), state["occupied"].to(device), self._background))
        self._field.rows.table.copy_(state["table"])
        self._optimizer.number = steps
        self._optimizer.first.copy_(state["first"])
        self._optimizer.second.copy_(state["second"])
        self._optimizer.peak[0] = state["peak"]

    def _lattice(self) -> Lattice:
        return Lattice.over(self._box, max(round(STAGES[self._stage][1] * self._resolution), 8), self._shell)

    def _begin(self, field: GridField) -> None:
        self._field, self._optimizer = field, _Optimizer(field)
        self._rays = None

    def _empty(self, occupied: np.ndarray, lattice: Lattice) -> None:
        """Clear the cells of a lattice that are free by the pictures' depth."""
        cells = np.argwhere(occupied)
        occupied[tuple(cells[free_cells(self._with_depth, lattice, cells, PRECISION)].T)] = False

    def _refine(self) -> None:
        """Go on with the cells that have been seen, on the stage's lattice."""
        old, optimizer = self._field, self._optimizer
        kept = torch.zeros_like(old.occupied)
        kept[old.occupied] = optimizer.peak.amax(0) > SEEN
        kept = (F.max_pool3d(kept[None].float(), 3, 1, 1)[0] > 0) & old.occupied
        lattice = self._lattice()
        if not kept.any():  # Nothing has been seen yet, as in a training of a few steps.
            kept = old.occupied
        kept = old.lattice.resampled(kept, lattice)
        if lattice.cells != old.lattice.cells:
            self._empty(kept.numpy(), lattice)
        self._begin(old.refined(lattice, kept))
        if lattice.cells == old.lattice.cells:
            self._optimizer.take_over(optimizer, old, self._field)


class _Optimizer:
    """Adam's moments of a field's rows, and the buffers that gradients are gathered in."""

    def __init__(self, field: GridField):
        table, buffers = field.rows.table, dispatch.threads()
        self.first, self.second = torch.zeros_like(table), torch.zeros_like(table)
        self.number = 0
        self.peak = table.new_zeros(buffers, len(field.rows.corners))
        self._gradient = table.new_zeros(buffers, *table.shape)
        self._touched = table.new_zeros(buffers, len(table), dtype=torch.uint8)

    @property
    def buffers(self) -> tuple[Tensor, Tensor, Tensor]:
        """What `density.add_gradient` writes to."""
        return self._gradient, self._touched, self.peak

    def step(self, field: GridField, rate: Tensor, eps_of_density: float) -> None:
        self.number += 1
        eps = torch.full_like(rate, EPS)
        eps[0] = eps_of_density
        density.adam(field.rows.table, self.first, self.second, self._gradient, self._touched,
                     Steps(rate, self.number, eps))

    def take_over(self, other: _Optimizer, old: GridField, new: GridField) -> None:
        """The moments of the rows that a field on the same lattice has kept."""
        rows = old.row_at(new.corner_index)
        self.first.copy_(other.first[rows])
        self.second.copy_(other.second[rows])
        self.number = other.number


class _RayTable:
    """The pixels `among` (M,) whose rays meet the field, in an order that depends on the seed alone."""

    def __init__(self, pixels: Pixels, among: Tensor, field: GridField, seed: int):
        self._pixels, self._lattice, self._seed = pixels, field.lattice, seed
        self._round, self._order = -1, torch.zeros(0)
        self.index, self._extent = among, None
        if field.lattice.shell:  # A field in all of space is met by every ray.
            return
        found = []
        for index in among.split(CHUNK):
            near, far = density.extent(field.rows.cell, field.rows.blocks, pixels.rays(index, field.lattice))
            meets = far > near
            found.append((index[meets], near[meets], far[meets]))
        self.index, *self._extent = (torch.cat(parts) for parts in zip(*found, strict=True))

    def batch(self, number: int) -> tuple[Tensor, Rays]:
        """The pixels of step `number` and their rays; every pixel comes once a round."""
        rounds, at = divmod(number, max(len(self.index) // BATCH, 1))
        if rounds != self._round:
            self._round = rounds
            self._order = torch.randperm(len(self.index), generator=_generator(self._seed, -1 - rounds))
        pick = self._order[at * BATCH:(at + 1) * BATCH].to(self.index.device)
        pick = pick[self._pixels.drawn(self.index[pick], _generator(self._seed, number))]
        index = self.index[pick]
        rays = self._pixels.rays(index, self._lattice)
        if self._extent is not None:
            near, far = self._extent
            rays = Rays(rays.origins, rays.directions, near[pick], far[pick])
        return index, rays


def _first_density(field: GridField, points: np.ndarray | None) -> Tensor:
    """Where a field in all of space begins: (R,) thin, and dense at sparse points (N, 3) of the world."""
    lattice = field.lattice
    corners = field.corner_index
    density = torch.where(outward(corners.float(), lattice.cells, lattice.shell) > 1, *FOG)
    if points is not None:
        index = torch.from_numpy((points - lattice.lower) / lattice.voxel).to(corners.device)
        at = contracted(index, lattice.cells, lattice.shell).round().long()
        there = torch.zeros(lattice.corners, dtype=torch.bool, device=corners.device)
        there[tuple(at[outward(index, lattice.cells, lattice.shell) < FAR].T)] = True
        density[there[tuple(corners.T)]] = AT_POINTS
    return density


def _generator(seed: int, number: int) -> torch.Generator:
    """Random numbers that depend on the step alone, so that a resumed training draws the same."""
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + number) % 2**63)


def _per_column(of_density: float, of_degree_0: float, of_degree_1: float) -> list[float]:
    colour = [of_degree_0] + [of_degree_1] * 3
    return [of_density, *colour, *colour, *colour] + [0.0] * (density.WIDTH - density.USED)


def warm_up_density(device: torch.device) -> None:
    """Run every kernel of density once."""
    lattice = Lattice(np.zeros(3), 1.0, (1, 1, 1))
    field = GridField(lattice, torch.ones(lattice.cells, dtype=torch.bool, device=device), torch.zeros(3))
    optimizer = _Optimizer(field)
    one, colour = torch.ones(1, device=device), torch.zeros(1, 3, device=device)
    rays = Rays(colour + 0.5, colour + torch.tensor([0.0, 0.0, 1.0], device=device), 0 * one, one)
    density.extent(field.rows.cell, field.rows.blocks, rays)
    density.render(field.rows, rays, 0 * one)
    density.add_gradient(field.rows, rays, 0 * one, colour, one, colour[0], one, *optimizer.buffers)
    optimizer.step(field, one.expand(density.WIDTH).contiguous(), EPS)
