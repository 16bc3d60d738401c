import numpy as np
from maquette.neural.training.surface_film import FLAT, flattened

HALF, BULGE = 16.0, 0.75  # voxels
CENTRE = 24.0


def centred() -> np.ndarray:
    return np.stack(np.meshgrid(*3 * [np.arange(49.0) - CENTRE], indexing="ij"), -1)


def box_with_a_tent() -> np.ndarray:
    """A box whose upper side bulges as a hull's does: cut by planes through its edges."""
    x, y, z = np.moveaxis(centred(), -1, 0)
    upper = z - HALF - BULGE * (1 - np.maximum(np.abs(x), np.abs(y)) / HALF)
    return np.max([np.abs(x) - HALF, np.abs(y) - HALF, -z - HALF, upper], axis=0)


def height(distances: np.ndarray, x: float, y: float) -> float:
    """Of the surface over the centre of the box, at x and y."""
    column = distances[int(CENTRE + x), int(CENTRE + y), int(CENTRE):]
    last = np.flatnonzero(column < 0)[-1]
    return last + column[last] / (column[last] - column[last + 1])


def test_a_side_that_bulges_between_its_edges_becomes_flat():
    bulging = box_with_a_tent()
    flat = flattened(bulging, 5.0)
    assert height(bulging, 0, 0) == HALF + BULGE
    # The film's rim stays about six voxels from the edges, where the bulge is 6/16 of its height.
    assert abs(height(flat, 0, 0) - HALF) < 0.45 * BULGE
    assert abs(height(flat, 0, 0) - height(flat, 6, -5)) < 0.1 * BULGE


def test_flat_sides_and_edges_stay_where_they_are():
    bulging = box_with_a_tent()
    flat = flattened(bulging, 5.0)
    edge = (np.abs(np.abs(centred()) - HALF) < 1).sum(axis=-1) >= 2
    assert np.abs(flat - bulging)[edge].max() < 0.05
    below = centred()[..., 2] < -HALF + 2
    assert np.abs(flat - bulging)[below].max() < 0.05


def test_what_is_round_is_left_alone():
    ball = np.linalg.norm(centred(), axis=-1) - 15
    assert 1 / 15 > FLAT
    assert np.array_equal(flattened(ball, 5.0), ball)


def test_values_far_from_the_surface_stay():
    bulging = box_with_a_tent()
    far = np.abs(bulging) >= 2
    assert np.array_equal(flattened(bulging, 2.0)[far], bulging[far])


def test_a_surface_of_few_vertices_or_none_is_left_alone():
    for distances in (np.ones((9, 9, 9)), np.linalg.norm(np.indices((9, 9, 9)) - 4.0, axis=0) - 0.5):
        assert np.array_equal(flattened(distances, 5.0), distances)
