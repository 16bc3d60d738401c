"""Reference bodies of `density` in plain PyTorch, for every device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .density import BETA1, BETA2, SH0, SH1, SHIFT, SLOW, STOP, THIN, USED, Ends, Rays, Rows, Seen, Steps

SAMPLES = 2**24  # that are looked up at once


def render(rows: Rows, rays: Rays, offset: Tensor, step: float) -> Seen:
    return _march(rows, rays, offset, step)[0]


def distance_at(rows: Rows, rays: Rays, offset: Tensor, opacity: float, step: float) -> Tensor:
    reached = _sample(rows, rays, offset, step)[-1] <= 1 - opacity
    t = _parameters(rows, rays, offset, step).gather(1, reached.float().argmax(1, keepdim=True))[:, 0]
    return torch.where(reached.any(1), t, torch.inf)


def outward(points: Tensor, cells: Sequence[int], shell: float) -> Tensor:
    """How far points (..., 3) are from the middle of a lattice, in half sides of the box within its shell."""
    size = torch.tensor(cells, dtype=points.dtype, device=points.device)
    return ((points - size / 2).abs() / size).amax(-1) * (2 * (1 + shell))


def contracted(points: Tensor, cells: Sequence[int], shell: float) -> Tensor:
    """Where a lattice with a shell holds points (..., 3)."""
    if shell == 0:
        return points
    n = outward(points, cells, shell).clamp(min=1)[..., None]
    middle = torch.tensor(cells, dtype=points.dtype, device=points.device) / 2
    return middle + (points - middle) * ((1 + shell - shell / n) / n)


def stretch(n: Tensor) -> Tensor:
    """How much longer a step is where a point is `outward` by n (N,)."""
    return torch.maximum(n, n * n / SLOW).clamp(min=1)


def _parameters(rows: Rows, rays: Rays, offset: Tensor, step: float) -> Tensor:
    """The samples' parameters (N, C), as many as the longest ray has; more than far beyond a ray's end."""
    if rows.shell == 0:
        start = rays.near + offset * step
        count = max(int(((rays.far - start) / step).max().item()) + 1, 1) if len(start) else 1
        return start[:, None] + step * torch.arange(count, device=start.device)

    def longer(t: Tensor) -> Tensor:
        return step * stretch(outward(rays.origins + t[:, None] * rays.directions, rows.cell.shape, rows.shell))

    found = [rays.near + offset * longer(rays.near)]
    while (found[-1] < rays.far).any():
        found.append(found[-1] + longer(found[-1]))
    return torch.stack(found, 1)


def _sample(rows: Rows, rays: Rays, offset: Tensor, step: float) -> tuple[Tensor, ...]:
    """Of all samples in cells their ray, number, parameter, cell, place in the cell, the rows around and their mean;
    and what of each ray gets through until after every sample (N, C)."""
    with torch.no_grad():
        t = _parameters(rows, rays, offset, step)
        ray, sample = torch.nonzero(t < rays.far[:, None], as_tuple=True)
        count, t = t.shape[1], t[ray, sample]
        points = contracted(rays.origins[ray] + t[:, None] * rays.directions[ray], rows.cell.shape, rows.shell)
        cells = _cell(rows.cell, points)
        kept = cells >= 0
        ray, sample, t, points, cells = (a[kept] for a in (ray, sample, t, points, cells))
    fraction = points - points.floor()
    values = rows.table[rows.corners[cells].long()]  # (S, 8, 16)
    weights = _trilinear(fraction)
    mixed = (weights[..., None] * values).sum(1)
    tau = F.softplus(mixed[:, 0] + SHIFT) * (rows.thickness * step)
    tau = torch.where(tau < THIN, 0.0, tau)
    dense = tau.new_zeros(len(rays.near), count).index_put((ray, sample), tau)
    return ray, sample, t, cells, fraction, values, mixed, torch.exp(-dense.cumsum(1))


def _march(rows: Rows, rays: Rays, offset: Tensor, step: float,
           ends: Ends | None = None) -> tuple[Seen, Tensor, Tensor, Tensor, Tensor]:
    """What the rays see, the cells (S,) of all samples with their weights (S,), the rays' distortion (N,) and what
    does not end where it should (N,)."""
    ray, sample, t, cells, fraction, values, mixed, through = _sample(rows, rays, offset, step)
    before = F.pad(through, (1, 0), value=1.0)[:, :-1]
    with torch.no_grad():
        reached = before > STOP
    dense = torch.where(reached, before - through, 0.0)
    weight = dense[ray, sample]
    colour = torch.sigmoid((mixed[:, 1:USED].view(-1, 3, 4) * _harmonics(rays.directions)[ray][:, None]).sum(-1))

    def composite(values: Tensor) -> Tensor:
        return values.new_zeros(len(through), values.shape[1]).index_add(0, ray, weight[:, None] * values)

    normal = F.normalize(-_slope(fraction, values[..., 0].detach()), dim=1)
    seen = Seen(composite(colour), 1 - dense.sum(1), composite(t[:, None])[:, 0], composite(normal).detach())
    parameter = torch.zeros_like(dense).index_put((ray, sample), t)
    middle = torch.tensor(rows.cell.shape, device=t.device) / 2
    s = parameter / (parameter + (rays.origins - middle).norm(dim=1, keepdim=True))
    moment = dense * s
    spread = 2 * (moment * (dense.cumsum(1) - dense) - dense * (moment.cumsum(1) - moment)).sum(1)
    return seen, cells, weight, spread, _astray(ends, parameter, dense)


def _astray(ends: Ends | None, parameter: Tensor, weight: Tensor) -> Tensor:
    if ends is None:
        return torch.zeros_like(weight[:, 0])
    off = (parameter - ends.distance[:, None]) / ends.deviation[:, None]
    return ends.weight * (1 - (weight * torch.exp(-0.5 * off.square())).sum(1))


def add_gradient(rows: Rows, rays: Rays, offset: Tensor, target: Tensor, transmittance: Tensor, background: Tensor,
                 alpha_weight: Tensor, gradient: Tensor, touched: Tensor, peak: Tensor,
                 distortion: float, ends: Ends | None) -> tuple[float, Tensor]:
    table, behind = rows.table.detach().requires_grad_(), background.detach().requires_grad_()
    with torch.enable_grad():
        seen, cells, weight, spread, astray = _march(replace(rows, table=table), rays, offset, 1.0, ends)
        error = seen.rgb + seen.transmittance[:, None] * behind - target
        alpha_error = seen.transmittance - transmittance
        loss = (error.square().sum(1) + alpha_weight * alpha_error.square() + distortion * spread + astray).mean()
        by_table, by_background = torch.autograd.grad(loss, (table, behind))
    gradient[0] += by_table
    touched[0] |= by_table.any(1)
    peak[0].scatter_reduce_(0, cells.long(), weight.detach(), "amax")
    return loss.item(), by_background


def extent(cell: Tensor, blocks: Tensor, rays: Rays) -> tuple[Tensor, Tensor]:
    first, last = torch.ones_like(rays.near), torch.zeros_like(rays.far)
    count = max(int((2 * (rays.far - rays.near)).max().item()) + 1, 1) if len(first) else 1
    indices = torch.arange(count, device=cell.device)
    batch = max(SAMPLES // count, 1)
    for start in range(0, len(first), batch):
        part = slice(start, start + batch)
        near, far = rays.near[part, None], rays.far[part, None]
        t = near + 0.5 * indices
        points = rays.origins[part, None] + t[..., None] * rays.directions[part, None]
        found = (t < far) & (_cell(cell, points.view(-1, 3)).view(t.shape) >= 0)
        lowest = torch.where(found, indices, count).amin(1, keepdim=True)
        highest = torch.where(found, indices, -1).amax(1, keepdim=True)
        some = highest >= 0
        first[part] = torch.where(some, torch.maximum(near + 0.5 * (lowest - 1), near), 1.0)[:, 0]
        last[part] = torch.where(some, torch.minimum(near + 0.5 * (highest + 1), far), 0.0)[:, 0]
    return first, last


def adam(table: Tensor, first: Tensor, second: Tensor, gradient: Tensor, touched: Tensor, steps: Steps) -> None:
    rows = torch.nonzero(touched.any(0))[:, 0]
    total = gradient[:, rows].sum(0)
    m = BETA1 * first[rows] + (1 - BETA1) * total
    v = BETA2 * second[rows] + (1 - BETA2) * total.square()
    first[rows], second[rows] = m, v
    table[rows] -= steps.rate * m / (1 - BETA1**steps.number) / ((v / (1 - BETA2**steps.number)).sqrt() + steps.eps)
    gradient[:, rows] = 0
    touched.zero_()


def _cell(cell: Tensor, points: Tensor) -> Tensor:
    """The numbers of the cells (N,) that hold points (N, 3), −1 where empty or outside."""
    index = points.floor().long()
    size = torch.tensor(cell.shape, device=cell.device)
    within = ((index >= 0) & (index < size)).all(-1)
    x, y, z = index.clamp(min=0).minimum(size - 1).unbind(-1)
    return torch.where(within, cell[x, y, z], -1)


def _trilinear(fraction: Tensor) -> Tensor:
    """The weights (N, 8) of a cell's corners, order 4·x + 2·y + z."""
    x, y, z = (torch.stack([1 - fraction[:, a], fraction[:, a]], 1) for a in range(3))
    return (x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]).flatten(1)


def _slope(fraction: Tensor, values: Tensor) -> Tensor:
    """The gradient (N, 3) of trilinear values (N, 8) within their cell."""
    cube = values.view(-1, 2, 2, 2)
    x, y, z = (torch.stack([1 - fraction[:, a], fraction[:, a]], 1) for a in range(3))
    return torch.stack([((cube[:, 1] - cube[:, 0]) * y[:, :, None] * z[:, None, :]).sum((1, 2)),
                        ((cube[:, :, 1] - cube[:, :, 0]) * x[:, :, None] * z[:, None, :]).sum((1, 2)),
                        ((cube[:, :, :, 1] - cube[:, :, :, 0]) * x[:, :, None] * y[:, None, :]).sum((1, 2))], 1)


def _harmonics(directions: Tensor) -> Tensor:
    """Real spherical harmonics of degrees 0 and 1, (N, 4), signs as in Sloan 2008."""
    x, y, z = directions.unbind(-1)
    return torch.stack([torch.full_like(x, SH0), -SH1 * y, SH1 * z, -SH1 * x], -1)
