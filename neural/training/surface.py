"""Training a signed distance with colour from posed pictures.

A density field is fitted first, coarse and briefly: where the views see through the visual hull, it shows how far.
It begins solid where the views agree about the hull and as fog where they do not, so that plain sides stay and
hollows open. The hull carved by that, its almost flat parts drawn flat, is where the signed distance begins; it is
rendered with the weights of NeuS (Wang et al. 2021), from wide to narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ...recipes.capture import Capture
from ..fields.around import Around
from ..fields.common import Field
from ..fields.surface import SurfaceField, redistance
from ..geometry.posed import PosedPicture
from ..kernels import dispatch, surface
from ..kernels.density import Rays
from ..rendering.lattice import Lattice
from ..rendering.rays import Pixels
from .grid import GridTrainer, warm_up_density
from .photo_consistency import agreed
from .surface_film import flattened
from .surface_start import carved, depths_of_density, depths_of_pictures, hull_distances

DENSITY_RESOLUTION = 0.5  # of the recipe's, for the density field that comes first
# Steps, however much time there is: with more, fog explains the pictures and the density's depth gets worse. It
# takes no more than a share of the time, and with too few steps its depth is worth nothing.
DENSITY_STEPS, DENSITY_SHARE, DENSITY_FEWEST = 400, 0.15, 100
# The same without alpha, where the density in the shell goes on as what lies around the subject.
AROUND_SHARE = 0.4  # of the time
UNCOVERED = 0.8  # a pixel counts if more than this share of its light comes from the subject's box or from behind it
DENSITY, AROUND = "density.", "around."  # before the names of their states
DENSITY_UNTIL = 0.19  # of its own schedule: while its steps are still large and its lattice is coarse

START = 0.5  # of the recipe's resolution: the lattice on which the hull is carved
WIDTHS, NARROW = (0.8, 0.2), 0.7  # of NeuS's logistic, voxels: at the begin, and from this share of the time on
RATE, FALL = 0.04, 0.2  # Adam's for the distances, voxels, and what it falls to over the time
COLOR_RATE, COLOR_FALL = 0.03, 0.01  # for colours, which are noisy else
BATCH = 4096  # rays in a step
STEP = 0.7  # voxels between samples
ALPHA = 0.5  # weight of alpha's loss against colour's
LAPLACIAN, EIKONAL = 0.0007, 0.005
DECAY = 2.0  # pull of the view-dependent colour towards none
# Of the order of a distance's gradient: where there is only noise and smoothness, steps stay small.
ADAM_EPS = 0.002
MARGIN = 3  # voxels around the subject's box
SPARE_BAND = 1.5  # voxels that the surface may move before the band follows
REBAND = 0.06  # share of the time after which it does
REFRESH = 40  # steps after which the cells that are seen are found anew
OUTLINE = 6  # pixels around a silhouette that are trained on; those further out see nothing


def make_trainer(pictures: Sequence[PosedPicture], box: np.ndarray, recipe: Capture, *, seed: int,
                 device: torch.device, points: np.ndarray | None) -> SurfaceTrainer:
    """See `trainer`."""
    return SurfaceTrainer(pictures, box, recipe, seed=seed, device=device, points=points)


class SurfaceTrainer:
    """Optimises a `SurfaceField`; before it, for a while, a `GridField` that tells where it begins."""

    def __init__(self, pictures: Sequence[PosedPicture], box: np.ndarray, recipe: Capture, *, seed: int,
                 device: torch.device, points: np.ndarray | None = None):
        self._pictures, self._box, self._recipe, self._seed, self._device = pictures, box, recipe, seed, device
        self._pixels = Pixels(pictures, device)
        self._index = _near_subject(pictures).to(device)
        self._number = 0
        self._has_around = not any(p.has_alpha for p in pictures)
        self._known = depths_of_pictures(pictures) if recipe.depth else []
        self._points = points
        self._hull = hull_distances(pictures, self._lattice(START), box)
        self._surface: _Surface | None = None

    # Both are made at the first step, when all is compiled.
    @cached_property
    def _agree(self) -> Callable[[np.ndarray], np.ndarray]:
        return agreed(self._pictures, self._hull, self._lattice(START))

    @cached_property
    def _density(self) -> GridTrainer:
        coarse = replace(self._recipe, resolution=max(round(DENSITY_RESOLUTION * self._recipe.resolution), 16))
        return GridTrainer(self._pictures, self._box, coarse, seed=self._seed, device=self._device, opaque=self._agree,
                           points=self._points)

    def warm_up(self) -> None:
        """See `Trainer.warm_up`."""
        warm_up_density(self._device)
        _optimise_two_rays(self._device)
        _look_at_a_ball()

    def step(self, fraction: float) -> float:
        """See `Trainer.step`."""
        if self._surface is None:
            share = self._of_density(fraction)
            if share is not None:
                self._number += 1
                return self._density.step(share)
            self._surface = _Surface(self._start(), fraction)
            if self._has_around:
                self._index = self._pixels.meeting(self._surface.field.lattice)
        elif fraction - self._surface.banded >= REBAND:
            self._surface = self._surface.followed(fraction)
        # The narrowest width comes early enough for the colours to settle with it.
        self._surface.field.width = _width(fraction)
        if self._number % REFRESH == 0:
            self._surface.field.refresh()
        return self._optimised(self._surface, fraction)

    def _of_density(self, fraction: float) -> float | None:
        """The share of the density's schedule at which its next step is; None where the surface's turn has come."""
        if self._has_around:
            return fraction / AROUND_SHARE if fraction < AROUND_SHARE else None
        if self._known or self._number >= DENSITY_STEPS or fraction >= DENSITY_SHARE:
            return None
        return DENSITY_UNTIL * self._number / DENSITY_STEPS

    def _optimised(self, current: _Surface, fraction: float) -> float:
        """One step of the surface's optimizer; returns its loss."""
        field, optimizer = current.field, current.optimizer
        random = torch.Generator().manual_seed((self._seed * 0x9E3779B1 + self._number) % 2**63)
        self._number += 1
        index = self._index[torch.randint(len(self._index), (BATCH,), generator=random).to(self._device)]
        index = index[self._pixels.drawn(index, random)]
        offset = torch.rand(len(index), generator=random).to(self._device)
        alpha_weight = ALPHA * self._pixels.has_alpha(index).float()
        rays, target = self._pixels.rays(index, field.lattice), self._pixels.rgba[index]
        background = torch.zeros_like(target[:, :3])
        if field.around is not None:
            beside = field.around.seen(rays, field.lattice)
            seen = beside.transmittance > UNCOVERED
            target = torch.cat([(target[:, :3] - beside.before) / beside.transmittance[:, None], target[:, 3:]], 1)[seen]
            background, alpha_weight, offset = beside.behind[seen], alpha_weight[seen], offset[seen]
            rays = Rays(rays.origins[seen], rays.directions[seen], rays.near[seen], rays.far[seen])
        if not len(target):  # All that was drawn is hidden.
            return 0.0
        loss = surface.add_gradient(field.rows, rays, offset, field.width, STEP, target, background, alpha_weight,
                                    *optimizer.buffers)
        optimizer.step(field, RATE * FALL**fraction, COLOR_RATE * COLOR_FALL**fraction)
        return loss

    def correct(self, pictures: Sequence[PosedPicture], weight: Sequence[float]) -> None:
        """See `Trainer.correct`."""
        self._pictures = pictures
        self._pixels.correct(pictures, weight)
        if self._surface is None:
            self._density.correct(pictures, weight)

    def field(self) -> Field:
        """See `Trainer.field`."""
        if self._surface is None:
            return self._density.field()
        self._surface.field.refresh()
        return self._surface.field

    def result(self) -> Field:
        """See `Trainer.result`."""
        return self._start() if self._surface is None else self.field()

    def state(self) -> dict[str, Tensor]:
        """See `Trainer.state`."""
        number = {"number": torch.tensor(self._number)}
        if self._surface is None:
            return number | {DENSITY + name: value for name, value in self._density.state().items()}
        f = self._surface.field
        f.refresh()  # as load_state does, so that both go on with the same cells
        if f.around is not None:
            number |= {AROUND + name: value for name, value in f.around.tensors().items()}
        about = torch.tensor([f.width, f.band, self._surface.banded])
        return number | {"about": about, "inside": f.inside, "corners": f.corner_index, "sdf": f.rows.sdf,
                         "color": f.rows.color, **self._surface.optimizer.moments}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Trainer.load_state`."""
        self._number = int(state["number"])
        if "about" not in state:
            self._density.load_state({n.removeprefix(DENSITY): v for n, v in state.items() if n.startswith(DENSITY)})
            return
        state = {name: value.to(self._device) for name, value in state.items()}
        width, band, banded = state["about"].tolist()
        values = (band + 2) * (1 - 2 * state["inside"].float())
        field = SurfaceField(self._lattice(1.0), values, band, width, state["corners"])
        field.rows.sdf.copy_(state["sdf"])
        field.rows.color.copy_(state["color"])
        if self._has_around:
            field.around = Around.from_tensors({n.removeprefix(AROUND): v for n, v in state.items()
                                                if n.startswith(AROUND)})
            self._index = self._pixels.meeting(field.lattice)
        field.refresh()
        self._surface = _Surface(field, banded)
        for name, moment in self._surface.optimizer.moments.items():
            moment.copy_(state[name])

    def _start(self) -> SurfaceField:
        """The hull carved by the pictures' depth, or by the density's and drawn flat, in the density's colours."""
        maps = self._known
        if not maps and self._number >= DENSITY_FEWEST:
            maps = depths_of_density(self._density.field(), self._pictures)
        coarse, band = self._lattice(START), _band(WIDTHS[0])
        values = carved(self._hull, maps, coarse, None if self._known else self._agree)
        if not (self._known or self._has_around):
            values = flattened(values, band)
        distances = redistance(torch.from_numpy(values).float().to(self._device))
        field = SurfaceField(coarse, distances, band, WIDTHS[0])
        points = coarse.lower + coarse.voxel * field.corner_index.cpu().numpy()
        field.rows.color[:, :3] = torch.from_numpy(self._density.field().albedo(points)).to(self._device)
        if self._has_around:
            field.around = Around(self._density.field())
        return field.refined(self._lattice(1.0), band, WIDTHS[0])

    def _lattice(self, share: float) -> Lattice:
        """Of this share of the recipe's resolution."""
        resolution = max(round(share * self._recipe.resolution), 8)
        pad = MARGIN * (self._box[1] - self._box[0]).max() / resolution
        return Lattice.over(self._box + pad * np.array([[-1.0], [1.0]]), resolution + 2 * MARGIN)


class _Surface:
    """A field with its optimizer; its band was laid at the share `banded` of the time."""

    def __init__(self, field: SurfaceField, banded: float):
        self.field, self.banded = field, banded
        self.optimizer = _Optimizer(field)

    def followed(self, fraction: float) -> _Surface:
        """The same with its band where the surface is now, as wide as it must be."""
        old = self.field
        new = _Surface(old.refined(old.lattice, _band(old.width), old.width), fraction)
        new.optimizer.take_over(self.optimizer, old, new.field)
        return new


class _Optimizer:
    """Adam for a field's distances and colours; the distances' smoothness is part of every step."""

    def __init__(self, field: SurfaceField):
        sdf, color = field.rows.sdf, field.rows.color
        self.moments = {"sdf.first": torch.zeros_like(sdf), "sdf.second": torch.zeros_like(sdf),
                        "color.first": torch.zeros_like(color), "color.second": torch.zeros_like(color)}
        count = dispatch.threads()
        self.buffers = (sdf.new_zeros(count, *sdf.shape), sdf.new_zeros(count, *color.shape),
                        torch.zeros(count, len(sdf), dtype=torch.uint8, device=sdf.device))
        self._neighbours = field.neighbours()

    def step(self, field: SurfaceField, rate: float, color_rate: float) -> None:
        by_sdf, by_color, touched = self.buffers
        gradient = by_sdf.sum(0)
        by_sdf.zero_()
        surface.add_smoothness(field.rows.sdf, self._neighbours, LAPLACIAN, EIKONAL, gradient)
        first, second, color_first, color_second = self.moments.values()
        first.lerp_(gradient, 1 - surface.BETA1)
        second.lerp_(gradient.square(), 1 - surface.BETA2)
        field.rows.sdf.addcdiv_(first, second.sqrt().add_(ADAM_EPS), value=-rate)
        surface.adam_colors(field.rows.color, color_first, color_second, by_color, touched, color_rate, DECAY)

    def take_over(self, other: _Optimizer, old: SurfaceField, new: SurfaceField) -> None:
        """Copy the moments of the corners that both fields have."""
        rows = old.rows.row[tuple(new.corner_index.T)].long()
        kept = rows >= 0
        for name, moment in self.moments.items():
            moment[kept] = other.moments[name][rows[kept]]


def _width(fraction: float) -> float:
    return WIDTHS[0] * (WIDTHS[1] / WIDTHS[0]) ** min(fraction / NARROW, 1.0)


def _band(width: float) -> float:
    return surface.REACH * width + SPARE_BAND


def _near_subject(pictures: Sequence[PosedPicture]) -> Tensor:
    """Numbers of the known pixels (as `Pixels` counts them) on the subject or close to its outline."""
    near = []
    for p in pictures:
        opaque = p.rgba_srgb[..., 3] > 0.02
        pixels = ndimage.maximum_filter(opaque, 2 * OUTLINE + 1) if p.has_alpha else np.ones_like(opaque)
        near.append(pixels[p.weight > 0] if p.weight is not None else pixels.ravel())
    return torch.from_numpy(np.flatnonzero(np.concatenate(near)))


def _look_at_a_ball() -> None:
    """Compile what tells where views agree."""
    lattice = Lattice(np.full(3, -4.0), 1.0, (8, 8, 8))
    distances = np.linalg.norm(lattice.corner_points(), axis=-1) - 2
    picture = PosedPicture("ball", np.ones((8, 8, 4), np.float32), 8.0, 8.0, 4.0, 4.0, np.eye(4))
    agreed([picture], distances, lattice)


def _optimise_two_rays(device: torch.device) -> None:
    """Compile the kernels on a small field, seen from two sides."""
    lattice = Lattice(np.zeros(3), 1.0, (8, 8, 8))
    centre = torch.tensor([4.0, 4.0, 4.0])
    values = (torch.from_numpy(lattice.corner_points()) - centre).norm(dim=-1) - 2
    field = SurfaceField(lattice, values.to(device), 4.0, 0.5)
    optimizer = _Optimizer(field)
    rays = surface.Rays(torch.tensor([[4.0, 4.0, -1.0], [4.0, -1.0, 4.0]], device=device),
                        torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], device=device),
                        torch.ones(2, device=device), torch.full((2,), 9.0, device=device))
    half = torch.full((2,), 0.5, device=device)
    surface.render(field.rows, rays, half, 0.5)
    surface.add_gradient(field.rows, rays, half, 0.5, STEP, torch.ones(2, 4, device=device), torch.zeros(2, 3, device=device),
                         half, *optimizer.buffers)
    optimizer.step(field, 0.0, 0.0)
