"""The radiance field of Mildenhall et al. 2020 (NeRF): what it asks its networks along rays.

Equations, sections and figures are those of the paper (arXiv:2003.08934v2). What is around it is the house's: samples
where the pictures' alpha leaves nothing are not asked, and a ray goes from where it enters that hull to where it
leaves it, in place of a near and a far that somebody gives.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import density
from ..kernels.density import Rays
from ..rendering.lattice import Lattice
from ..rendering.rays import Camera, picture_rays
from .common import Rendered, filled, packed, unpacked
from .implicit import Frame
from .nerf_network import Architecture, Networks, RadianceNetwork, positive

COARSE, FINE = 64, 128  # samples on a ray: even ones, and those where they say that something is (section 5.3)
FLOOR = 1e-5  # that the authors' code adds to every weight before it draws by them
RAYS, RAYS_OF_GPU = 128, 4096  # that are seen at once: what stays in a processor's cache, what keeps a GPU busy
POINTS = 2**15  # corners that are asked at once
THICK = 98  # percentile of the densities at a lattice's corners
NORMALS = 8  # samples of a ray, those of the largest weights, that its normal is of


@dataclass(frozen=True)
class Samples:
    """What one network shows along rays."""

    rgb: Tensor  # (R, 3) premultiplied by 1 − transmittance
    transmittance: Tensor  # (R,)
    weights: Tensor  # (R, S)
    distances: Tensor  # (R, S) along the rays, voxels


def weights_of(thickness: Tensor) -> Tensor:
    """The weights w of samples (R, S) of optical thickness σδ, front to back: T (1 − e^(−σδ)), where T = e^(−Σσδ)
    over what is before the sample (equation 3)."""
    before = F.pad(thickness[:, :-1], (1, 0)).cumsum(1)
    return torch.exp(-before) * -torch.expm1(-thickness)


def sample_pdf(edges: Tensor, weights: Tensor, shares: Tensor) -> Tensor:
    """Where the shares (R, N) in [0, 1] of the weights (R, B) between edges (R, B + 1) are reached: (R, N).

    The inverse of the cumulative distribution that is constant within a bin (section 5.2).
    """
    cumulated = F.pad((weights / weights.sum(1, keepdim=True)).cumsum(1), (1, 0))
    upper = torch.searchsorted(cumulated, shares, right=True).clamp(1, weights.shape[1])
    low, high = cumulated.gather(1, upper - 1), cumulated.gather(1, upper)
    within = ((shares - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(edges.gather(1, upper - 1), edges.gather(1, upper), within)


class NerfField:
    """Two networks in a frame, seen in the cells `hull` (X, Y, Z) bool of a lattice, before one colour.

    A `draft` is rendered by the coarse network alone, in a quarter of the time.
    """

    def __init__(self, networks: Networks, frame: Frame, lattice: Lattice, hull: Tensor, draft: bool = False):
        self.networks, self.frame, self.lattice, self.hull, self._draft = networks, frame, lattice, hull, draft
        self._cell = hull.int() - 1
        self._blocks = F.max_pool3d(hull[None].float(), 4, ceil_mode=True)[0] > 0
        self._size = torch.tensor(lattice.cells, device=hull.device)
        offset = (lattice.lower - np.array(frame.centre)) / frame.scale
        self._offset = torch.from_numpy(offset).float().to(hull.device)
        self._scale = lattice.voxel / frame.scale  # of the frame's unit, in which densities are, per voxel

    @property
    def box(self) -> np.ndarray:
        return self.lattice.box

    def meeting(self, rays: Rays) -> Rays:
        """The rays from where they enter the hull to where they leave it, far < near where they pass by."""
        near, far = density.extent(self._cell, self._blocks, rays)
        return Rays(rays.origins, rays.directions, near, far)

    def coarse(self, rays: Rays, within: Tensor) -> Samples:
        """What the coarse network shows along rays that meet the hull; `within` (R, COARSE) in [0, 1) says where in
        its bin each stratified sample is (equation 2)."""
        bins = torch.arange(COARSE, device=within.device)
        t = torch.lerp(rays.near[:, None], rays.far[:, None], (bins + within) / COARSE)
        return self._composite(self.networks.coarse, rays, t)

    def fine(self, rays: Rays, coarse: Samples, shares: Tensor) -> Samples:
        """What the fine network shows at the coarse samples and where these shares (R, FINE) of their weights are."""
        with torch.no_grad():
            t = coarse.distances
            more = sample_pdf((t[:, 1:] + t[:, :-1]) / 2, coarse.weights[:, 1:-1] + FLOOR, shares)
            t = torch.cat((t, more), 1).sort(1).values
        return self._composite(self.networks.fine, rays, t)

    def render(self, fx: float, fy: float, cx: float, cy: float, width: int, height: int,
               world_from_camera: np.ndarray) -> Rendered:
        """See `Field.render`."""
        camera = Camera(fx, fy, cx, cy, np.asarray(world_from_camera, np.float64))
        device = self.hull.device
        at_once = RAYS if device.type == "cpu" else RAYS_OF_GPU
        parts = [self._see(rays, axial).cpu()
                 for rays, axial in picture_rays(camera, width, height, self.lattice, device, at_once)]
        image = torch.cat(parts).view(height, width, 8).numpy()
        return Rendered(image[..., :3], image[..., 3], image[..., 4], image[..., 5:])

    def level_grid(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Field.level_grid`: the surface is where a voxel stops half of the light, as in `GridField`, or in what
        is still fog, after little training, where there is half of the density of its thick parts.

        Values are that level less the fine network's density before its ReLU, in units of the level.
        """
        near_hull = F.max_pool3d(F.pad(self.hull[None].float(), (1,) * 6), 2, 1)[0] > 0
        corners = torch.nonzero(near_hull)
        with torch.no_grad():
            raw = torch.cat([self.networks.fine.density(self._places(part.float()))[0].cpu()
                             for part in corners.split(POINTS)]).numpy()
        level = min(np.log(2) / self._scale, max(np.percentile(raw, THICK) / 2, 1e-6))
        values = np.ones(self.lattice.corners, np.float32)
        values[tuple(corners.cpu().numpy().T)] = (1 - raw / level).clip(-1, 1)
        return filled(values), self.lattice.world_from_grid

    def tensors(self) -> dict[str, Tensor]:
        """See `Field.tensors`."""
        return {"hull": packed(self.hull), **self.networks.state_dict()}

    def about(self) -> dict[str, Any]:
        """See `Field.about`."""
        return {"lattice": self.lattice.to_json(), "frame": asdict(self.frame),
                "coarse": asdict(self.networks.coarse.architecture), "fine": asdict(self.networks.fine.architecture)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], about: dict[str, Any]) -> NerfField:
        """See `Field.from_tensors`."""
        lattice, frame = Lattice.from_json(about["lattice"]), Frame.from_json(about["frame"])
        weights = dict(tensors)
        hull = unpacked(weights.pop("hull"), lattice.cells)
        with torch.device("meta"):  # Nothing of an untrusted size is made; the weights' shapes are compared.
            networks = Networks(*(Architecture.from_json(about[name]) for name in ("coarse", "fine")))
        networks.load_state_dict({name: values.float() for name, values in weights.items()}, assign=True)
        return cls(networks, frame, lattice, hull)

    def _places(self, points: Tensor) -> Tensor:
        """Of points (..., 3) in corner indices, in the networks' frame."""
        return points * self._scale + self._offset

    def _composite(self, network: RadianceNetwork, rays: Rays, t: Tensor) -> Samples:
        """Samples at distances t (R, S), the last of which reaches to where the ray leaves the hull."""
        points = rays.origins[:, None] + t[..., None] * rays.directions[:, None]
        index = points.floor().long()
        within = ((index >= 0) & (index < self._size)).all(-1)
        index = index.clamp(min=0).minimum(self._size - 1)
        ray, sample = torch.nonzero(within & self.hull[tuple(index.unbind(-1))], as_tuple=True)
        raw, features = network.density(self._places(points[ray, sample]))
        sigma = torch.zeros_like(t).index_put((ray, sample), positive(raw))
        weights = weights_of(sigma * torch.diff(t, append=rays.far[:, None]) * self._scale)
        seen = weights[ray, sample, None] * network.color(features, rays.directions, ray)
        rgb = torch.zeros_like(rays.origins).index_add(0, ray, seen)
        return Samples(rgb, 1 - weights.sum(1), weights, t)

    def _see(self, rays: Rays, axial: Tensor) -> Tensor:
        """Colour, alpha, depth and normal of rays: (R, 8)."""
        rays = self.meeting(rays)
        image = torch.zeros(len(axial), 8, device=axial.device)
        image[:, 4] = torch.nan
        meets = torch.nonzero(rays.far > rays.near)[:, 0]
        rays = Rays(rays.origins[meets], rays.directions[meets], rays.near[meets], rays.far[meets])
        with torch.no_grad():
            seen = self.coarse(rays, torch.full((len(meets), COARSE), 0.5, device=axial.device))
            if not self._draft:
                shares = torch.linspace(0, 1, FINE, device=axial.device).expand(len(meets), FINE).contiguous()
                seen = self.fine(rays, seen, shares)
        alpha = 1 - seen.transmittance
        depth = (seen.weights * seen.distances).sum(1) / alpha.clamp(min=1e-6) * axial[meets] * self.lattice.voxel
        there = alpha > 0.01
        depth = torch.where(there, depth, torch.nan)
        normal = self._normals(rays, seen) * there[:, None]
        image[meets] = torch.cat([seen.rgb, alpha[:, None], depth[:, None], normal], 1)
        return image

    def _normals(self, rays: Rays, seen: Samples) -> Tensor:
        """Unit normals (R, 3): against the gradient of the density, the mean over the samples that count most."""
        weights, which = seen.weights.topk(NORMALS)
        t = seen.distances.gather(1, which)
        points = self._places(rays.origins[:, None] + t[..., None] * rays.directions[:, None]).requires_grad_()
        network = self.networks.coarse if self._draft else self.networks.fine
        with torch.enable_grad():
            raw, _ = network.density(points.view(-1, 3))
            gradient, = torch.autograd.grad(raw.sum(), points)
        return F.normalize((weights[..., None] * F.normalize(-gradient, dim=-1)).sum(1), dim=1)
