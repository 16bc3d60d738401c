"""Reference bodies of `surface` in plain PyTorch, for every device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .density import Rays, Seen
from .surface import ALPHA_ERROR, BETA1, BETA2, COLOR_ERROR, EPS, STOP, Rows


def render(rows: Rows, rays: Rays, offset: Tensor, width: float, step: float) -> Seen:
    start = rays.near + offset * step
    count = max(int(((rays.far - start) / step).max().item()) + 2, 1) if len(start) else 1
    with torch.no_grad():
        t = start[:, None] + step * torch.arange(count, device=start.device)
        ray, sample = torch.nonzero(t < rays.far[:, None], as_tuple=True)
        points = rays.origins[ray] + t[ray, sample, None] * rays.directions[ray]
        kept = _seen(rows.skip, points)
        ray, sample, points = ray[kept], sample[kept], points[kept]
    corners, weights, slopes = _trilinear(rows.row, points)
    values = rows.sdf[corners]
    f = (weights * values).sum(1)
    log = torch.zeros_like(t).index_put((ray, sample), F.logsigmoid(f / width))
    seen = torch.zeros_like(t, dtype=torch.bool).index_put((ray, sample), torch.ones_like(ray, dtype=torch.bool))
    section = (log[:, 1:] - log[:, :-1]).clamp(max=0) * (seen[:, 1:] & seen[:, :-1])
    through = F.pad(section.cumsum(1), (1, 0)).exp()  # behind each sample
    with torch.no_grad():
        live = through[:, :-1] > STOP  # once too little gets through, nothing follows
    section = torch.where(live, through[:, :-1] - through[:, 1:], 0.0)
    weight = 0.5 * (F.pad(section, (1, 0)) + F.pad(section, (0, 1)))[ray, sample]

    color = (weights[..., None] * rows.color[corners]).sum(1)
    x, y, z = rays.directions[ray].unbind(1)
    rgb = color[:, :3] + y[:, None] * color[:, 3:6] + z[:, None] * color[:, 6:9] + x[:, None] * color[:, 9:]
    normal = F.normalize((slopes * values[..., None]).sum(1).detach(), dim=1, eps=1e-9)

    def composite(what: Tensor) -> Tensor:
        return torch.zeros(len(start), what.shape[1], device=what.device).index_add(0, ray, weight[:, None] * what)

    return Seen(composite(rgb), 1 - section.sum(1), composite(t[ray, sample, None])[:, 0], composite(normal))


def add_gradient(rows: Rows, rays: Rays, offset: Tensor, width: float, step: float, target: Tensor,
                 background: Tensor, alpha_weight: Tensor, sdf_gradient: Tensor, color_gradient: Tensor, touched: Tensor) -> float:
    sdf, color = rows.sdf.detach().requires_grad_(), rows.color.detach().requires_grad_()
    seen = render(Rows(sdf, color, rows.row, rows.skip), rays, offset, width, step)
    error = seen.rgb + seen.transmittance[:, None] * background - target[:, :3]
    alpha_error = 1 - seen.transmittance - target[:, 3]
    # The norm's own derivative at 0 is not defined; Huber's loss is quadratic there.
    square = error.square().sum(1)
    far = square > COLOR_ERROR**2
    length = torch.where(far, square, COLOR_ERROR**2).sqrt()
    loss = torch.where(far, COLOR_ERROR * (length - 0.5 * COLOR_ERROR), 0.5 * square)
    loss = loss + alpha_weight * F.huber_loss(alpha_error, torch.zeros_like(alpha_error), reduction="none",
                                              delta=ALPHA_ERROR)
    by_sdf, by_color = torch.autograd.grad(loss.sum(), (sdf, color))
    sdf_gradient[0] += by_sdf
    color_gradient[0] += by_color
    touched[0] |= (by_color != 0).any(1).to(touched.dtype)
    return square.detach().mean().item() / 3


def add_smoothness(sdf: Tensor, neighbours: Tensor, laplacian: float, eikonal: float, gradient: Tensor) -> float:
    inner = neighbours[:, 0] >= 0
    f = sdf.detach().requires_grad_()
    around = f[neighbours[inner].long()]  # (M, 6)
    delta = around.sum(1) - 6 * f[inner]
    length = (0.5 * (around[:, 1::2] - around[:, ::2])).norm(dim=1)
    loss = (laplacian * (1 + delta.square()).sqrt() + 0.5 * eikonal * (length - 1).square()).sum()
    gradient[inner] += torch.autograd.grad(loss, f)[0][inner]
    return loss.item()


def adam_colors(color: Tensor, first: Tensor, second: Tensor, gradient: Tensor, touched: Tensor, rate: float,
                decay: float) -> None:
    hit = torch.nonzero(touched.any(0))[:, 0]
    g = gradient[:, hit].sum(0)
    first[hit] = m = first[hit] + (1 - BETA1) * (g - first[hit])
    second[hit] = v = second[hit] + (1 - BETA2) * (g.square() - second[hit])
    stepped = color[hit] - rate * m / (v.sqrt() + EPS)
    stepped[:, 3:] *= 1 - rate * decay
    color[hit] = stepped
    gradient.zero_()
    touched.zero_()


def _seen(skip: Tensor, points: Tensor) -> Tensor:
    cell = points.floor().long()
    inside = ((cell >= 0) & (cell < torch.tensor(skip.shape, device=cell.device))).all(1)
    x, y, z = cell.clamp(min=0).minimum(torch.tensor(skip.shape, device=cell.device) - 1).unbind(1)
    return inside & (skip[x, y, z] == 0)


def _trilinear(row: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (S, 8) around points, order 4·x + 2·y + z, their weights, and the weights' derivatives (S, 8, 3)."""
    cell = points.floor()
    high = points - cell
    bits = torch.tensor([[k >> 2, k >> 1 & 1, k & 1] for k in range(8)], device=points.device)
    factors = torch.where(bits == 1, high[:, None], 1 - high[:, None])  # (S, 8, 3)
    signs = 2.0 * bits - 1
    x, y, z = factors.unbind(2)
    slopes = torch.stack([signs[:, 0] * y * z, x * signs[:, 1] * z, x * y * signs[:, 2]], 2)
    at = cell.long()[:, None] + bits
    return row[at[..., 0], at[..., 1], at[..., 2]].long(), x * y * z, slopes
