"""Octree Generating Networks' keys, trees, propagation and loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats import octree as stored
from maquette.neural.evaluation.audit import audit
from maquette.neural.predictors.octree import (
    SIDES,
    Cells,
    Network,
    SparseConvolution,
    expanded,
    keys_of,
    neighbours,
    places_of,
    states_of,
)

LEVELS = st.integers(0, 10)


def cells_of(draw: st.DrawFn, level: int) -> list[tuple[int, int, int, int]]:
    side = st.integers(0, (1 << level) - 1)
    return draw(st.lists(st.tuples(st.integers(0, 40), side, side, side), min_size=1, max_size=20))


@st.composite
def levels_and_cells(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int, int]]]:
    level = draw(LEVELS)
    return level, cells_of(draw, level)


@settings(deadline=None)
@given(levels_and_cells())
def test_keys_and_places_are_each_other_s_inverse(given_cells: tuple[int, list[tuple[int, int, int, int]]]) -> None:
    level, rows = given_cells
    places = torch.tensor(rows).unbind(dim=1)
    keys = keys_of(places, level)
    assert all(torch.equal(one, other) for one, other in zip(places_of(keys, level), places, strict=True))
    # The object stands above the leading one; what is below is the key that files have.
    assert torch.equal(keys >> 3 * level + 1, places[0])
    below = (keys & (2 << 3 * level) - 1).numpy()
    assert np.array_equal(below, stored.keys_of(np.array(rows)[:, 1:], level))


@settings(deadline=None)
@given(levels_and_cells())
def test_parents_and_children_are_shifts(given_cells: tuple[int, list[tuple[int, int, int, int]]]) -> None:
    level, rows = given_cells
    number, *cell = torch.tensor(rows).unbind(dim=1)
    keys = keys_of((number, *cell), level)
    for child in range(8):
        object_, *finer = places_of(keys << 3 | child, level + 1)
        assert torch.equal(object_, number)
        for axis in range(3):
            assert torch.equal(finer[axis], 2 * cell[axis] + (child >> axis & 1))
    if level:
        coarser = keys_of((number, *[along // 2 for along in cell]), level - 1)
        assert torch.equal(keys >> 3, coarser)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.5, 0.98, 0.0, 1.0]))
def test_a_dense_grid_s_tree_is_the_one_that_files_have(depth: int, seed: int, share: float) -> None:
    side = 1 << depth
    voxels = np.random.default_rng(seed).random((side, side, side)) < share
    tree = stored.from_dense(voxels, np.eye(4))
    states = states_of(torch.from_numpy(voxels)[None].float())
    for level in range(depth + 1):
        here = tree.level(level)
        cells = stored.cells_of(tree.keys[here])
        assert np.array_equal(states[level][0].numpy()[tuple(cells.T)], tree.states[here])


def cells(level: int, rows: list[tuple[int, int, int, int]], states: list[int]) -> Cells:
    """Cells that are surely what `states` say, in the order of their keys."""
    places = torch.tensor(rows).unbind(dim=1)
    keys, order = keys_of(places, level).sort()
    scores = 6.0 * F.one_hot(torch.tensor(states), 3).float()
    return Cells(level, keys, places_of(keys, level), torch.zeros(len(keys), 0), scores[order])


def test_a_tree_is_expanded_to_the_voxels_of_its_leaves() -> None:
    """Level 1: the cell at the origin is full, its neighbour along the last axis mixed, all others empty."""
    rows = [(0, x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    coarse = cells(1, rows, [1, 2, 0, 0, 0, 0, 0, 0])
    fine = cells(2, [(0, x, y, 2 + z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], [1, 0, 1, 0, 0, 0, 0, 0])
    filled = expanded([coarse, fine], 1)[0] > 0
    expected = torch.zeros(4, 4, 4, dtype=torch.bool)
    expected[:2, :2, :2] = True
    expected[0, 0, 2] = expected[0, 1, 2] = True
    assert torch.equal(filled, expected)


def test_of_each_object_the_voxels_are_its_own() -> None:
    rows = [(number, x, y, z) for number in (0, 1) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    filled = expanded([cells(1, rows, [0] * 8 + [1] * 8)], 2) > 0
    assert not filled[0].any()
    assert filled[1].all()


def test_neighbours_are_found_across_parents_and_not_across_objects() -> None:
    generator = torch.Generator().manual_seed(0)
    level = 2
    grid = torch.rand(3, 4, 4, 4, generator=generator) < 0.4  # which parents of three objects are there
    parents = keys_of(grid.nonzero().unbind(dim=1), level).sort().values
    keys = (parents[:, None] << 3 | torch.arange(8)).flatten()
    found = neighbours(parents, level)
    place = {tuple(row): index for index, row in enumerate(torch.stack(places_of(keys, level + 1), 1).tolist())}
    for (number, x, y, z), row in zip(place, found.tolist(), strict=True):
        around = [(number, x + i, y + j, z + k) for i, j, k in SIDES]
        assert row == [place.get(other, -1) for other in around]


def test_a_sparse_convolution_is_the_dense_one_with_zeros_where_no_cell_is() -> None:
    torch.manual_seed(0)
    convolution = SparseConvolution(2)
    grid = torch.rand(2, 4, 4, 4) < 0.5
    parents = keys_of(grid.nonzero().unbind(dim=1), 2).sort().values
    keys = (parents[:, None] << 3 | torch.arange(8)).flatten()
    number, x, y, z = places_of(keys, 3)
    features = torch.randn(len(keys), 2)
    dense = torch.zeros(2, 2, 8, 8, 8)
    dense[number, :, x, y, z] = features
    weight = torch.zeros(2, 2, 3, 3, 3)
    for side, of_side in zip(SIDES, convolution.linear.weight.reshape(2, 7, 2).unbind(dim=1), strict=True):
        weight[:, :, *[1 + step for step in side]] = of_side
    expected = F.conv3d(dense, weight, convolution.linear.bias, padding=1)[number, :, x, y, z]
    assert torch.allclose(convolution(features, neighbours(parents, 2)), expected, atol=1e-5)


def network_of(levels: int = 6) -> Network:
    torch.manual_seed(0)
    return Network(width=4, levels=levels)


def test_known_mixed_cells_and_no_others_have_children(pictured) -> None:
    network, batch = network_of(), pictured([(0.8, 0.3, 0.3), (0.2, 0.6, 0.4)], grid=64)
    states = states_of(batch.filled)
    with torch.no_grad():
        levels = network(batch.images[:, 0], states)
    assert [cells.level for cells in levels] == [4, 5, 6]
    assert len(levels[0].keys) == 2 * 16**3
    for coarse, fine in zip(levels, levels[1:], strict=False):
        assert (fine.keys.diff() > 0).all()
        mixed = coarse.keys[states[coarse.level][coarse.places] == stored.MIXED]
        assert torch.equal(fine.keys[::8] >> 3, mixed)
        assert len(fine.keys) == 8 * len(mixed)


def test_to_predict_those_go_on_that_the_network_finds_mixed(pictured) -> None:
    network, batch = network_of(), pictured([(0.8, 0.3, 0.3)])
    with torch.no_grad():
        levels = network(batch.images[:, 0])
        for coarse, fine in zip(levels, levels[1:], strict=False):
            mixed = coarse.keys[coarse.scores.argmax(dim=1) == stored.MIXED]
            assert torch.equal(fine.keys, (mixed[:, None] << 3 | torch.arange(8)).flatten())
        assert levels[-1].scores[:, stored.MIXED].eq(-torch.inf).all()


@pytest.mark.parametrize("state", [stored.EMPTY, stored.FULL])
def test_where_the_network_finds_nothing_mixed_there_is_no_finer_cell_and_yet_a_mesh(pictured, state: int) -> None:
    network, batch = network_of(), pictured([(0.8, 0.3, 0.3)])
    with torch.no_grad():
        network.dense_scores.bias.copy_(100.0 * F.one_hot(torch.tensor(state), 3))
    levels = network(batch.images[:, 0])
    assert [len(cells.keys) for cells in levels] == [16**3, 0, 0]
    figures = audit(network.predict(batch.images[0], batch.distance[0]))
    assert figures["faces"] > 0
    assert figures["open_edges"] == figures["nonmanifold_edges"] == 0


def test_the_loss_asks_at_each_level_only_of_the_cells_that_are_there(pictured) -> None:
    network, batch = network_of(), pictured([(0.8, 0.3, 0.3), (0.2, 0.6, 0.4)], grid=64)
    states = states_of(batch.filled)
    expected = 0.0
    with torch.no_grad():
        for cells in network(batch.images[:, 0], states):
            chance = cells.scores.softmax(dim=1)
            dense = states[cells.level].tolist()
            true = [dense[a][x][y][z] for a, x, y, z in zip(*(each.tolist() for each in cells.places), strict=True)]
            each = [-chance[n, state].log().item() for n, state in enumerate(true)]
            expected += float(np.mean(each))
        assert network.loss(batch, 0.0)[0].item() == pytest.approx(expected, rel=1e-4)


def test_an_object_of_which_nothing_is_mixed_can_be_learnt(pictured) -> None:
    batch = pictured([(1e-3, 1e-3, 1e-3)], grid=64)
    loss, parts = network_of().loss(batch, 0.0)
    loss.backward()
    assert parts["16³"] > 0
    assert parts["32³"] == parts["64³"] == 0


def test_finer_levels_teach_nothing_about_cells_that_are_not_mixed(pictured) -> None:
    network, batch = network_of(), pictured([(0.8, 0.3, 0.3)], grid=64)
    states = states_of(batch.filled)
    levels = network(batch.images[:, 0], states)
    levels[0].features.retain_grad()
    sum(cells.scores[:, :2].sum() for cells in levels[1:]).backward()
    gradient = levels[0].features.grad
    assert gradient is not None
    mixed = states[4][levels[0].places] == stored.MIXED
    assert not gradient[~mixed].any()
    assert gradient[mixed].any()


def test_one_more_level_is_twice_as_fine(pictured) -> None:
    network = network_of(levels=7)
    assert network.grid == 128
    batch = pictured([(0.3, 0.2, 0.2)], grid=128)
    with torch.no_grad():
        levels = network(batch.images[:, 0], states_of(batch.filled))
        assert expanded(levels, 1).shape == (1, 128, 128, 128)
    assert network.loss(batch, 0.0)[1].keys() == {"16³", "32³", "64³", "128³"}


def test_it_learns_two_pictures_by_heart(pictured) -> None:
    torch.manual_seed(0)
    network = Network(width=8)
    axes = [(0.8, 0.3, 0.3), (0.3, 0.6, 0.5)]
    batch = pictured(axes, grid=64)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(50):
        loss = network.loss(batch, 0.0)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for images, distance, half in zip(batch.images, batch.distance, axes, strict=True):
        mesh = network.eval().predict(images, distance)
        figures = audit(mesh)
        assert figures["open_edges"] == figures["nonmanifold_edges"] == 0
        assert np.abs(mesh.vertices).max(axis=0) == pytest.approx(half, abs=0.1)
