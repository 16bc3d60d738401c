"""Boxes: anchors, coding, overlap, suppression and RoIAlign, against hand-worked cases and naive loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maquette.neural.predictors import regions

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


def test_anchors_of_two_places_are_where_they_are_worked_out() -> None:
    found = regions.anchors(1, 2, stride=16, size=8)
    wide, tall = 8 * math.sqrt(2), 8 / math.sqrt(2)
    expected = [[x - w / 2, 8 - h / 2, x + w / 2, 8 + h / 2]
                for x in (8, 24) for w, h in ((wide, tall), (8, 8), (tall, wide))]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_anchors_follow_a_map_by_rows() -> None:
    found = regions.anchors(3, 2, stride=8, size=32).reshape(3, 2, 3, 4)
    centre = (found[..., :2] + found[..., 2:]) / 2
    torch.testing.assert_close(centre[2, 1], torch.tensor([[12.0, 20]]).expand(3, 2))
    torch.testing.assert_close(regions.area(found), torch.full((3, 2, 3), 1024.0))


def test_a_code_is_the_shift_by_the_anchors_size_and_the_logarithm_of_the_growth() -> None:
    anchor, box = torch.tensor([10.0, 20, 30, 60]), torch.tensor([20.0, 20, 60, 40])
    expected = torch.tensor([1.0, -0.25, math.log(2), math.log(0.5)])
    torch.testing.assert_close(regions.encode(box, anchor), expected)
    torch.testing.assert_close(regions.decode(expected, anchor), box)


def test_a_box_grows_by_no_more_than_a_limit() -> None:
    found = regions.decode(torch.tensor([0.0, 0, 50, 50]), torch.tensor([0.0, 0, 16, 16]))
    torch.testing.assert_close(found, torch.tensor([-492.0, -492, 508, 508]))


def test_clipping_takes_what_lies_in_the_picture() -> None:
    boxes = torch.tensor([[[-5.0, 2, 300, 9]], [[40.0, 40, 50, 50]]])
    sizes = torch.tensor([[[256.0, 100]], [[30.0, 256]]])
    assert regions.clip(boxes, sizes).tolist() == [[[0, 2, 256, 9]], [[30, 40, 30, 50]]]


def test_iou_of_boxes_is_what_is_worked_out() -> None:
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 0, 0]])
    b = torch.tensor([[1.0, 1, 3, 3], [0, 0, 2, 1], [5, 5, 6, 6], [2, 0, 4, 2]])
    torch.testing.assert_close(regions.iou(a, b), torch.tensor([[1 / 7, 0.5, 0, 0], [0.0, 0, 0, 0]]))


def greedy(boxes: Tensor, scores: Tensor, threshold: float) -> list[bool]:
    """Non-maximum suppression as the textbook has it: the best box that is left, again and again."""
    kept = [False] * len(boxes)
    for best in sorted(range(len(boxes)), key=lambda i: -scores[i].item()):
        others = [i for i in range(len(boxes)) if kept[i]]
        if scores[best] > -math.inf and all(_overlap(boxes[best], boxes[i]) <= threshold for i in others):
            kept[best] = True
    return kept


def _overlap(a: Tensor, b: Tensor) -> float:
    return regions.iou(a[None], b[None]).item()


def test_suppression_keeps_what_only_a_suppressed_box_overlaps() -> None:
    # The second overlaps both others, the third only the second.
    boxes = torch.tensor([[[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]])
    scores = torch.tensor([[0.9, 0.8, 0.7]])
    assert regions.nms(boxes, scores, 0.3).tolist() == [[True, False, True]]
    assert regions.nms(boxes, scores.flip(1), 0.3).tolist() == [[True, False, True]]
    assert regions.nms(boxes, torch.tensor([[0.7, 0.9, 0.8]]), 0.3).tolist() == [[False, True, False]]


def test_of_equal_scores_the_first_box_is_kept_and_what_has_none_never_is() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10]] * 3])
    assert regions.nms(boxes, torch.zeros(1, 3), 0.5).tolist() == [[True, False, False]]
    assert regions.nms(boxes, torch.tensor([[-math.inf, -math.inf, 0]]), 0.5).tolist() == [[False, False, True]]
    assert regions.nms(torch.zeros(2, 0, 4), torch.zeros(2, 0), 0.5).shape == (2, 0)


def test_suppression_may_take_as_many_rounds_as_there_are_boxes() -> None:
    """Each box overlaps the next one alone: the worst case, and a whole picture of it."""
    left = torch.arange(40.0) * 5
    boxes = torch.stack((left, left * 0, left + 10, left * 0 + 10), dim=1)[None]
    kept = regions.nms(boxes, torch.linspace(1, 0, 40)[None], 0.3)
    assert kept[0].tolist() == [number % 2 == 0 for number in range(40)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.floats(0.05, 0.95))
def test_suppression_of_several_pictures_is_the_greedy_loops(seed: int, count: int, threshold: float) -> None:
    random = torch.Generator().manual_seed(seed)
    low = torch.rand(3, count, 2, generator=random) * 20
    boxes = torch.cat((low, low + torch.rand(3, count, 2, generator=random) * 20), dim=-1)
    scores = (torch.rand(3, count, generator=random) * 8).round()  # many are equal
    scores[scores == 0] = -math.inf
    found = regions.nms(boxes, scores, threshold)
    for picture in range(3):
        assert found[picture].tolist() == greedy(boxes[picture], scores[picture], threshold)


def naive_roi_align(picture: np.ndarray, stride: float, box: list[float], side: int) -> np.ndarray:
    """RoIAlign of one map (C, H, W) sample by sample."""
    left, top, right, bottom = (value / stride - 0.5 for value in box)
    bins = np.zeros((len(picture), side, side))
    for row in range(side):
        for column in range(side):
            for i in (0.25, 0.75):
                for j in (0.25, 0.75):
                    y, x = top + (row + i) * (bottom - top) / side, left + (column + j) * (right - left) / side
                    bins[:, row, column] += naive_sample(picture, y, x) / 4
    return bins


def naive_sample(picture: np.ndarray, y: float, x: float) -> np.ndarray:
    height, width = picture.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(picture))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    found = np.zeros(len(picture))
    for row in {math.floor(y), math.ceil(y)}:
        for column in {math.floor(x), math.ceil(x)}:
            found += picture[:, row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return found


def aligned(maps: list[Tensor], strides: list[int], boxes: list[list[float]], picture: list[int], level: list[int],
            side: int) -> Tensor:
    device = maps[0].device
    return regions.roi_align(maps, strides, torch.tensor(boxes, device=device), torch.tensor(picture, device=device),
                             torch.tensor(level, device=device), side)


@pytest.mark.parametrize("device", DEVICES)
def test_roi_align_of_a_ramp_is_the_ramp_at_the_bins_centres(device: str) -> None:
    """A map whose pixels have their centres' places as values: no half pixel may be lost."""
    x = (torch.arange(16.0) + 0.5) * 4
    ramp = torch.stack((x.expand(16, 16), x[:, None].expand(16, 16)))[None].to(device)
    found = aligned([ramp], [4], [[10.0, 6, 38, 48]], [0], [0], 7).cpu()
    torch.testing.assert_close(found[0, 0], (10 + (torch.arange(7.0) + 0.5) * 4).expand(7, 7))
    torch.testing.assert_close(found[0, 1], (6 + (torch.arange(7.0) + 0.5) * 6)[:, None].expand(7, 7))


@pytest.mark.parametrize("device", DEVICES)
def test_roi_align_is_the_naive_loop_over_levels_pictures_and_borders(device: str) -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 9, 12), torch.randn(2, 3, 5, 6)]
    strides = [8, 16]
    boxes: list[list[float]] = [[3.0, 5, 61, 40], [0, 0, 96, 72], [-30, -20, 20, 90], [50, 60, 130, 100],
                                [33, 20, 34, 21], [40, 9, 40, 9]]
    picture, level = [0, 1, 0, 1, 1, 0], [0, 0, 1, 1, 0, 1]
    found = aligned([m.to(device) for m in maps], strides, boxes, picture, level, 5).cpu()
    for one, box, p, k in zip(found, boxes, picture, level, strict=True):
        expected = naive_roi_align(maps[k][p].double().numpy(), strides[k], box, 5)
        np.testing.assert_allclose(one.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_roi_align_of_no_boxes_is_empty_and_can_be_learnt_from(device: str) -> None:
    picture = torch.randn(1, 3, 8, 8, device=device, requires_grad=True)
    none = torch.zeros(0, dtype=torch.long, device=device)
    found = regions.roi_align([picture], [4], torch.zeros(0, 4, device=device), none, none, 7)
    assert found.shape == (0, 3, 7, 7)
    found.sum().backward()
    assert picture.grad is not None and not picture.grad.any()


@pytest.mark.parametrize("device", DEVICES)
def test_roi_aligns_gradient_is_its_transpose(device: str) -> None:
    """It is linear in the maps: what a pixel gets is what all bins take from it."""
    torch.manual_seed(1)
    fine, coarse = (torch.randn(2, 2, side, side, device=device, requires_grad=True) for side in (6, 3))
    boxes: list[list[float]] = [[1.0, 2, 21, 23], [4, 4, 20, 12], [0, 0, 24, 24]]
    picture, level = [0, 1, 1], [0, 1, 0]
    weight = torch.randn(3, 2, 4, 4, device=device)
    (aligned([fine, coarse], [4, 8], boxes, picture, level, 4) * weight).sum().backward()
    for leaf in (fine, coarse):
        assert leaf.grad is not None
        for index in ((0, 0, 1, 2), (1, 1, 2, 2), (1, 0, 0, 0)):
            unit = [torch.zeros_like(fine), torch.zeros_like(coarse)]
            unit[leaf is coarse][index] = 1
            taken = (aligned(unit, [4, 8], boxes, picture, level, 4) * weight).sum()
            torch.testing.assert_close(leaf.grad[index], taken, atol=1e-5, rtol=1e-5)
    assert fine.grad is not None and fine.grad.abs().sum() > 0


def test_a_pasted_mask_fills_its_box_and_nothing_else() -> None:
    mask = torch.tensor([[[1.0, 0], [1, 0]]])
    found = regions.paste(mask, torch.tensor([[2.0, 1, 6, 3]]), 4, 8)[0]
    # Pixel centres lie 1/8, 3/8, 5/8 and 7/8 across the box, the mask's values at 1/4 and 3/4.
    expected = torch.zeros(4, 8)
    expected[1:3, 2:6] = torch.tensor([1.0, 0.75, 0.25, 0])
    torch.testing.assert_close(found, expected)


def test_a_mask_comes_back_through_roi_align() -> None:
    """`paste` is the inverse of looking into the box."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    disc = (((x - 60.5) / 40) ** 2 + ((y - 50.5) / 30) ** 2 < 1).float()
    box = [18.0, 17, 104, 83]
    seen = aligned([disc[None, None]], [1], [box], [0], [0], 28)
    back = regions.paste(seen[:, 0], torch.tensor([box]), 96, 128)[0] > 0.5
    assert ((back & (disc > 0)).sum() / (back | (disc > 0)).sum()).item() > 0.97
