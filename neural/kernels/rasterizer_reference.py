"""All pairs of a face, an edge or a piece of outline with a pixel that it may concern, in plain torch on any device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from .rasterizer import BESIDE, DRAWS, HALF_PIECE

_MOST = 1 << 22  # pairs at a time


def visible(corners: Tensor, height: int, width: int) -> Tensor:
    batch, count = corners.shape[:2]
    none = max(batch * count, 1)
    depth = corners.new_full((batch * height * width,), torch.inf, dtype=torch.float32)
    face = torch.full_like(depth, none, dtype=torch.int64)
    triangles = corners.flatten(0, 1)
    for owner, row, column in _in_boxes(triangles, count, height, width, 0.0):
        a, b, c = (triangles[owner, :, :2] - torch.stack((column, row), dim=-1)[:, None] - 0.5).unbind(dim=1)
        share = torch.stack((_cross(b, c), _cross(c, a), _cross(a, b)), dim=-1) / _area(triangles)[owner, None]
        here = (1 / (share / triangles[owner, :, 2]).sum(dim=-1)).float()
        pixel = (owner // count * height + row) * width + column
        inside = (share >= 0).all(dim=-1)
        depth, face = _lower(depth, face, pixel[inside], here[inside], owner[inside], none)
    return torch.where(face < none, face % max(count, 1), -1).int().reshape(batch, height, width)


def outline(corners: Tensor, face: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    ends = corners[..., :2].flatten(0, 1)
    foot, share = _feet(ends, corners, face)
    beside = torch.nonzero(foot.flatten() >= 0).flatten()
    height, width = face.shape[1:]
    span = int(reach + BESIDE) + 1
    window = torch.arange(-span, span + 1, device=face.device)
    apart = torch.full_like(share.flatten(), reach * reach)
    piece = torch.full_like(apart, len(beside), dtype=torch.int64)
    for part in torch.arange(len(beside), device=face.device).split(max(_MOST // len(window) ** 2, 1)):
        pixel = beside[part]
        row, column = pixel // width % height, pixel % width
        rows = (row[:, None, None] + window[:, None]).expand(-1, -1, len(window))
        columns = (column[:, None, None] + window).expand(-1, len(window), -1)
        within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        number = part[:, None, None].expand_as(within)[within]
        rows, columns, source = rows[within], columns[within], beside[number]
        start, end = _edge(ends, foot.flatten()[source], source // (height * width) * corners.shape[1])
        half = HALF_PIECE / torch.linalg.vector_norm(end - start, dim=-1).clamp(min=1e-12)
        middle = share.flatten()[source]
        _, away = _nearest(start, end, torch.stack((columns, rows), dim=-1) + 0.5,
                           (middle - half).clamp(0, 1), (middle + half).clamp(0, 1))
        target = (source // (height * width) * height + rows) * width + columns
        apart, piece = _lower(apart, piece, target, away, number, len(beside))
    found = piece < len(beside)
    chosen = beside[piece[found]]
    edge = torch.full_like(piece, -1)
    edge[found] = foot.flatten()[chosen]
    source = torch.zeros_like(piece)
    source[found] = chosen % (height * width)
    return edge.reshape(face.shape), source.reshape(face.shape)


def _feet(ends: Tensor, corners: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
    """Of background pixels beside the foreground the nearest edge (B, H, W), else −1, and where on its line."""
    batch, height, width = face.shape
    count = corners.shape[1]
    covered = (face >= 0).float()
    beside = (functional.max_pool2d(covered[:, None], 3, 1, 1)[:, 0] > covered).flatten()
    apart = torch.full_like(beside, torch.inf, dtype=torch.float64)
    none = 3 * batch * count
    edge = torch.full_like(apart, none, dtype=torch.int64)
    for owner, row, column in _in_boxes(corners.flatten(0, 1), count, height, width, BESIDE):
        pixel = (owner // count * height + row) * width + column
        owner, pixel = owner[beside[pixel]], pixel[beside[pixel]]
        owner, pixel = owner.repeat_interleave(3), pixel.repeat_interleave(3)
        candidate = 3 * owner + torch.arange(len(owner), device=owner.device) % 3
        centre = torch.stack((pixel % width, pixel // width % height), dim=-1) + 0.5
        _, away = _nearest(*_edge(ends, candidate, 0), centre, 0.0, 1.0)
        apart, edge = _lower(apart, edge, pixel, (away * DRAWS).round(), candidate, none)
    found = torch.nonzero(edge < none).flatten()
    share = torch.zeros_like(apart)
    centre = torch.stack((found % width, found // width % height), dim=-1) + 0.5
    share[found], _ = _nearest(*_edge(ends, edge[found], 0), centre, 0.0, 1.0)
    edge = torch.where(edge < none, edge % max(3 * count, 1), -1)
    return edge.reshape(face.shape), share.reshape(face.shape)


def add_ramps(corners: Tensor, along: int, face: Tensor, by_alpha: Tensor, epsilon: float, gradient: Tensor) -> None:
    batch, lines, size = face.shape
    count = corners.shape[1]
    shown = torch.nonzero(face >= 0, as_tuple=True)
    seen = torch.unique(shown[0] * count + face[shown])
    places = corners.flatten(0, 1)[seen][..., [along, 1 - along]] - 0.5
    across = gradient.view(-1, 3, 3)[..., 1 - along]
    pull, push = by_alpha.clamp(max=0) * (face < 0), by_alpha.clamp(min=0) * (face >= 0)
    pixels = torch.arange(size, device=face.device)
    for k in range(3):
        ends = places[:, [k, (k + 1) % 3]]
        first = ends[..., 0].amin(dim=1).ceil().clamp(0, lines)
        last = ends[..., 0].amax(dim=1).floor().clamp(-1, lines - 1)
        spans = (last - first + 1).clamp(min=0).long() * (ends[:, 0, 0] != ends[:, 1, 0])
        for owner, step in _numbered(spans, _MOST // size):
            line = first[owner].long() + step
            (a0, d0), (a1, d1) = ends[owner].unbind(dim=1)[0].T, ends[owner].unbind(dim=1)[1].T
            slope = (d1 - d0) / (a1 - a0)
            opposite = places[owner, (k + 2) % 3]
            outward = torch.where(opposite[:, 1] < d0 + slope * (opposite[:, 0] - a0), 1, -1)
            crossing = (d0 + slope * (line - a0)).clamp(-2, size + 1)
            inner = torch.where(outward > 0, crossing.floor(), crossing.ceil()).long()
            outer = inner + outward
            kept = torch.minimum(inner, outer).ge(0) & torch.maximum(inner, outer).lt(size)
            owner, line, outward, crossing, inner, outer, a0, a1 = (
                values[kept] for values in (owner, line, outward, crossing, inner, outer, a0, a1))
            item, own = seen[owner] // count, (seen[owner] % count)[:, None]
            outside = face[item, line, inner, None].eq(own) & ((pixels - outer[:, None]) * outward[:, None] >= 0)
            inside = face[item, line, outer, None].lt(0) & face[item, line].eq(own)
            force = pull[item, line] * outside - push[item, line] * inside
            for corner, other in ((k, a1), ((k + 1) % 3, a0)):
                lever = (a1 - a0) / (other - line) * (1 if corner == k else -1)
                way = lever[:, None] * (pixels - crossing[:, None])
                way = torch.where(way > 0, way + epsilon, way - epsilon)
                pulled = torch.where(other[:, None] == line[:, None], 0, force / way).sum(dim=1)
                across[:, corner].index_add_(0, seen[owner], pulled)


def _in_boxes(triangles: Tensor, count: int, height: int, width: int, margin: float
              ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Number of the face, row and column (P,) of all pixels in the boxes of faces (B · F, 3, 3) that can be seen."""
    size = triangles.new_tensor([width, height])
    low = (triangles[..., :2].amin(dim=1) - 0.5 - margin).ceil().clamp(min=0).minimum(size)
    high = (triangles[..., :2].amax(dim=1) - 0.5 + margin).floor().clamp(min=-1).minimum(size - 1)
    drawn = (triangles[..., 2].amin(dim=1) > 0) & (_area(triangles) != 0)
    sides = torch.where(drawn[:, None], (high - low + 1).clamp(min=0), 0).long()
    for owner, step in _numbered(sides.prod(dim=1), _MOST):
        columns = sides[owner, 0]
        yield owner, low[owner, 1].long() + step // columns, low[owner, 0].long() + step % columns


def _numbered(counts: Tensor, most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Each owner's number counts[owner] times, and 0, 1, … beside it, in parts of about `most`."""
    ends = counts.cumsum(dim=0)
    groups = torch.bincount((ends - counts) // max(most, 1)).tolist()
    start = 0
    for length in groups:
        part = counts[start:start + length]
        owner = torch.repeat_interleave(part)
        step = torch.arange(len(owner), device=counts.device) - (part.cumsum(dim=0) - part)[owner]
        if len(owner):
            yield owner + start, step
        start += length


def _lower(least: Tensor, chosen: Tensor, place: Tensor, value: Tensor, candidate: Tensor, none: int
           ) -> tuple[Tensor, Tensor]:
    """`least` and what was `chosen` for it, where candidates offer less at a place; the lowest of equals wins."""
    better = value < least[place]
    place, value, candidate = place[better], value[better], candidate[better]
    least = least.scatter_reduce(0, place, value, "amin")
    best = value == least[place]
    chosen = chosen.clone()
    chosen[place[best]] = none
    return least, chosen.scatter_reduce(0, place[best], candidate[best], "amin")


def _edge(ends: Tensor, edge: Tensor, first: Tensor | int) -> tuple[Tensor, Tensor]:
    """Both ends (P, 2) of edges 3 · face + k of the triangles (B · F, 3, 2), the face's number counted from first."""
    face = edge // 3 + first
    return ends[face, edge % 3], ends[face, (edge + 1) % 3]


def _nearest(start: Tensor, end: Tensor, centre: Tensor, low: Tensor | float, high: Tensor | float
             ) -> tuple[Tensor, Tensor]:
    """Where on the line of an edge a centre is nearest, and its squared distance to the part from low to high."""
    way = end - start
    length = way.square().sum(dim=-1)
    share = ((centre - start) * way).sum(dim=-1) / torch.where(length > 0, length, 1)
    part = torch.clamp(share, low, high)  # type: ignore[arg-type]
    return share, (start + part[:, None] * way - centre).square().sum(dim=-1)


def _area(triangles: Tensor) -> Tensor:
    a, b, c = triangles[..., :2].unbind(dim=1)
    return _cross(b - a, c - a)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
