"""Boxes in pictures: anchors, how boxes are told by others, suppression, and what a network sees in a box.

Boxes (…, 4) are left, top, right and bottom in pixels; the first pixel reaches from 0 to 1. The conventions are those
of Faster R-CNN (Ren et al. 2015), Mask R-CNN (He et al. 2017) and, where half pixels matter, of Detectron2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

RATIOS = 0.5, 1.0, 2.0  # of an anchor's height to its width
SAMPLES = 2  # along each side of a bin of RoIAlign
LARGEST_GROWTH = math.log(1000 / 16)  # of a box against its anchor, as Detectron has it


def anchors(rows: int, columns: int, stride: int, size: float) -> Tensor:
    """Boxes of size² pixels around the places of a map: (rows · columns · 3, 4), a place's three ratios in a row."""
    ratio = torch.tensor(RATIOS).sqrt()
    half = torch.stack((size / ratio, size * ratio), dim=-1) / 2  # (3, 2) of width and height
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) * stride, (torch.arange(columns) + 0.5) * stride, indexing="ij")
    centre = torch.stack((x, y), dim=-1)[..., None, :]
    return torch.cat((centre - half, centre + half), dim=-1).reshape(-1, 4)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """How boxes (…, 4) differ from anchors (…, 4): shift by the anchor's size and logarithm of the growth."""
    centre, size = _centre_and_size(boxes)
    from_centre, from_size = _centre_and_size(anchors)
    return torch.cat(((centre - from_centre) / from_size, (size / from_size).log()), dim=-1)


def decode(codes: Tensor, anchors: Tensor) -> Tensor:
    """The boxes (…, 4) of which `encode` tells; they grow by 1000 / 16 at most."""
    from_centre, from_size = _centre_and_size(anchors)
    centre = from_centre + codes[..., :2] * from_size
    half = from_size * codes[..., 2:].clamp(max=LARGEST_GROWTH).exp() / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """What of boxes (…, 4) lies in a picture whose width and height is `size` (…, 2)."""
    return torch.minimum(boxes.clamp(min=0), torch.cat((size, size), dim=-1))


def area(boxes: Tensor) -> Tensor:
    """In square pixels, of boxes (…, 4)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union (…, N, M) of boxes (…, N, 4) and others (…, M, 4); 0 where both are empty."""
    low = torch.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    high = torch.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    both = (high - low).clamp(min=0).prod(dim=-1)
    return both / (area(boxes)[..., :, None] + area(others)[..., None, :] - both).clamp(min=1e-9)


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Which of boxes (B, N, 4) greedy non-maximum suppression keeps, (B, N) bool, in each picture for itself.

    A box is dropped when its IoU with one that is kept and scores higher is above the threshold; of equal scores
    (B, N) the first is the higher, and a score of −inf is never kept. Greedy suppression is the one solution of
    "kept is what nothing kept suppresses"; looking for it from all boxes at once takes as many rounds as the longest
    chain of boxes that suppress each other, a handful, where going through the boxes would take N.
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    ranked = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    suppresses = (iou(ranked, ranked) > threshold).triu(1)
    candidate = scores.gather(1, order) > -math.inf
    kept = candidate
    while True:
        found = candidate & ~(suppresses & kept[:, :, None]).any(dim=1)
        if found.equal(kept):
            return torch.zeros_like(kept).scatter(1, order, kept)
        kept = found


def roi_align(maps: list[Tensor], strides: list[int], boxes: Tensor, picture: Tensor, level: Tensor, side: int
              ) -> Tensor:
    """What maps show in boxes: (R, C, side, side) of boxes (R, 4), each in its `picture` (R,) and `level` (R,).

    maps: (B, C, H, W) of each level, of which a pixel covers as many of the picture's as `strides` says. Mask R-CNN's
    RoIAlign: nothing is rounded, each of the side² bins is the mean of 2 × 2 bilinear samples, pixels have their values
    at their centres. Samples farther than a pixel from the outermost centres are 0, and between those two the border
    counts, as in the common implementations. Gradients are the maps' alone; boxes have none.
    """
    table = torch.cat([x.movedim(1, -1).flatten(0, 2) for x in maps]).float()  # a row for each pixel of all maps
    extent = torch.tensor([x.shape[2:] for x in maps], device=table.device)
    pixels = extent.prod(dim=1)
    first = (len(maps[0]) * pixels).cumsum(0) - len(maps[0]) * pixels
    height, width = extent[level].unbind(dim=1)
    scaled = boxes.detach().float() / torch.tensor(strides, device=table.device)[level, None]
    row, of_row = _samples(scaled[:, 1], scaled[:, 3], height, side)
    column, of_column = _samples(scaled[:, 0], scaled[:, 2], width, side)
    index = (first[level] + picture * pixels[level]).view(-1, 1, 1, 1, 1) + (
        row[:, :, None, :, None] * width.view(-1, 1, 1, 1, 1) + column[:, None, :, None, :])
    weight = of_row[:, :, None, :, None] * of_column[:, None, :, None, :]
    # A bin is a weighted sum of 16 rows of the table.
    bins = F.embedding_bag(index.flatten(0, 2).flatten(1), table, per_sample_weights=weight.flatten(0, 2).flatten(1),
                           mode="sum")
    return bins.view(len(boxes), side, side, table.shape[1]).movedim(-1, 1)


def _samples(low: Tensor, high: Tensor, extent: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Which pixels along an axis a bin's samples lie between, (R, side, 4), and their weights, of sum 1 or less."""
    step = (torch.arange(side * SAMPLES, device=low.device) + 0.5) / (side * SAMPLES)
    at = low[:, None] + (high - low)[:, None] * step - 0.5
    last = (extent - 1)[:, None]
    inside = (at >= -1) & (at <= last + 1)
    at = torch.minimum(at.clamp(min=0), last)
    before = at.floor()
    share = at - before
    index = torch.stack((before, torch.minimum(before + 1, last)), dim=-1).long()
    weight = torch.stack((1 - share, share), dim=-1) * inside[..., None] / SAMPLES
    return index.view(len(low), side, 2 * SAMPLES), weight.view(len(low), side, 2 * SAMPLES)


def paste(masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Masks (N, S, S) that fill boxes (N, 4) as masks (N, height, width) of the picture, 0 outside the boxes."""
    low, size = boxes[:, :2], (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    x = (torch.arange(width, device=boxes.device) + 0.5 - low[:, :1]) / size[:, :1] * 2 - 1
    y = (torch.arange(height, device=boxes.device) + 0.5 - low[:, 1:]) / size[:, 1:] * 2 - 1
    places = torch.stack((x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)), dim=-1)
    found = F.grid_sample(masks[:, None], places, padding_mode="border", align_corners=False)[:, 0]
    return found * (places.abs() <= 1).all(dim=-1)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low
