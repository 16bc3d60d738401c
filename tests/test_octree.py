"""Octrees: what dense grids become and come back from, keys, files, and the surfaces of trees."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats import octree
from maquette.formats.octree import EMPTY, FULL, MIXED, Octree
from maquette.neural.tasks.voxels import surface
from maquette.recipes.errors import InputError

SHAPES = st.tuples(st.integers(1, 11), st.integers(1, 11), st.integers(1, 11))


def blobs(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Voxels with both large full parts and single ones."""
    random = np.random.default_rng(seed)
    full = random.random(shape) < random.choice([0.02, 0.5, 0.98])
    low, high = np.sort(random.integers(0, np.array(shape) + 1, (2, 3)), axis=0)
    full[tuple(map(slice, low, high))] = random.random() < 0.8
    return full


def tree_of(values: np.ndarray, **about) -> Octree:
    """From values (X, Y, Z), +inf or what is given beyond them."""
    beyond = np.float32(about.get("outside", np.inf))
    return octree.from_blocks(lambda low, high: octree.padded_block(values, low, high, beyond), values.shape,
                              np.eye(4), **about)


def ball(n: int, radius: float) -> np.ndarray:
    away = np.indices((n, n, n)) - (n - 1) / 2
    return (np.linalg.norm(away, axis=0) - radius).astype(np.float32)


def test_one_full_voxel_of_eight_is_a_root_with_eight_children():
    full = np.zeros((2, 2, 2), bool)
    full[1, 0, 1] = True  # child 1 | 4
    tree = octree.from_dense(full, np.eye(4))
    assert tree.keys.tolist() == [1, 8, 9, 10, 11, 12, 13, 14, 15] and tree.depth == 1
    assert tree.states.tolist() == [MIXED, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, FULL, EMPTY, EMPTY]


@pytest.mark.parametrize("state", [EMPTY, FULL])
def test_a_uniform_grid_merges_to_its_root(state):
    tree = octree.from_dense(np.full((64, 64, 64), state == FULL), np.eye(4))
    assert tree.keys.tolist() == [1] and tree.states.tolist() == [state] and tree.depth == 6


def test_levels_are_counted_by_hand():
    """A full eighth of 4³ voxels and one full voxel more: 8 cells at level 1, of which one has children."""
    full = np.zeros((4, 4, 4), bool)
    full[:2, :2, :2] = full[3, 3, 3] = True
    tree = octree.from_dense(full, np.eye(4))
    assert [tree.level(level).stop - tree.level(level).start for level in range(3)] == [1, 8, 8]
    assert tree.states[tree.level(1)].tolist() == [FULL, *[EMPTY] * 6, MIXED]
    assert tree.states[tree.level(2)].tolist() == [*[EMPTY] * 7, FULL]


def test_a_tree_grows_beyond_one_block_of_its_reader():
    full = np.zeros((130, 65, 1), bool)
    full[:128, :64] = full[129, 64] = True
    tree = octree.from_dense(full, np.eye(4))
    assert tree.depth == 8 and np.array_equal(tree.filled(), full)


@given(st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_keys_give_back_their_cells(level, seed):
    cells = np.random.default_rng(seed).integers(0, 2**level, (20, 3))
    keys = octree.keys_of(cells, level)
    assert np.array_equal(octree.cells_of(keys), cells)
    assert all(int(key).bit_length() == 3 * level + 1 for key in keys)
    if level:
        assert np.array_equal(octree.keys_of(cells // 2, level - 1), keys >> 3)


def test_a_key_interleaves_x_y_and_z():
    # x = 01, y = 10, z = 11, from the highest bits z y x: 110, 101, behind the leading 1.
    assert octree.keys_of(np.array([[1, 2, 3]]), 2).tolist() == [0b1_110_101]


@settings(deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_a_dense_grid_comes_back_from_its_tree(shape, seed):
    full = blobs(shape, seed)
    tree = octree.from_dense(full, np.eye(4))
    assert np.array_equal(tree.filled(), full)
    assert (np.diff(tree.keys) > 0).all()
    assert np.array_equal(octree.keys_from(tree.states, tree.depth), tree.keys)
    # No eight children are equal leaves: the tree is the least one.
    children = tree.states[1:].reshape(-1, 8)
    assert ((children != children[:, :1]).any(axis=1) | (children[:, 0] == MIXED)).all()


@settings(deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_a_voxel_is_found_in_the_leaf_that_has_it(shape, seed):
    full = blobs(shape, seed)
    tree = octree.from_dense(full, np.eye(4))
    voxels = np.argwhere(np.ones(shape, bool))
    leaf = tree.find(octree.keys_of(voxels, tree.depth), tree.depth)
    assert np.array_equal(tree.states[leaf] == FULL, full.reshape(-1)) and (tree.states[leaf] != MIXED).all()


@settings(deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_iou_is_that_of_the_expanded_grids(shape, seed, other_seed):
    one, other = blobs(shape, seed), blobs(shape, other_seed)
    expected = (one & other).sum() / (one | other).sum() if (one | other).any() else 1
    trees = [octree.from_dense(full, np.eye(4)) for full in (one, other)]
    assert octree.iou(*trees) == pytest.approx(expected)


def test_values_stay_where_the_surface_needs_them():
    values = ball(40, 13.3)
    tree = tree_of(values)
    assert np.array_equal(tree.filled(), values < 0)
    kept = tree.dense(tree.values)
    # The eight corners of every cell that has both signs.
    crossed = np.zeros(values.shape, bool)
    for x, y, z in np.ndindex(39, 39, 39):
        cell = (slice(x, x + 2), slice(y, y + 2), slice(z, z + 2))
        if 0 < (values[cell] < 0).sum() < 8:
            crossed[cell] = True
    assert np.array_equal(kept[crossed], values[crossed])
    assert len(tree.keys) < values.size / 4
    # A merged leaf has the value of its voxel nearest to the surface.
    top = tree.keys[tree.level(3)][tree.states[tree.level(3)] == FULL][0]
    low = 8 * octree.cells_of(np.array([top]))[0]
    block = values[tuple(slice(n, n + 8) for n in low)]
    assert tree.values[tree.find(np.array([top]), 3)][0] == block.max()


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1), st.booleans())
def test_a_file_gives_back_its_tree(tmp_path_factory, shape, seed, has_values):
    path = tmp_path_factory.mktemp("octree") / "a.octree"
    full = blobs(shape, seed)
    full[0, 0, 0] = True
    place = np.diag([2.0, 3, 4, 1])
    noise = np.random.default_rng(seed).random(shape).astype(np.float32) + 0.1
    tree = tree_of(np.where(full, -noise, noise), outside=0.3, signed_distance=False) if has_values else \
        octree.from_dense(full, place)
    octree.write_octree(tree, path)
    back = octree.read_octree(path)
    for name in ("keys", "states", "values", "world_from_grid"):
        assert np.array_equal(getattr(back, name), getattr(tree, name)), name
    for name in ("depth", "shape", "outside", "signed_distance"):
        assert getattr(back, name) == getattr(tree, name), name


def good() -> dict[str, np.ndarray]:
    return {"format": np.int64(1), "states": np.array([2, 0, 0, 0, 0, 0, 0, 0, 1], np.uint8), "depth": np.int64(1),
            "shape": np.array([2, 2, 2]), "world_from_grid": np.eye(4), "outside": np.float64(1),
            "signed_distance": np.bool_(True), "values": np.array([1, 1, 1, 1, 1, 1, 1, -1], np.float32)}


BAD = {
    "newer": {"format": np.int64(2)},
    "deep": {"depth": np.int64(21)},
    "negative": {"depth": np.int64(-1)},
    "short": {"states": good()["states"][:-1]},
    "long": {"states": np.append(good()["states"], np.uint8(0))},
    "unfinished": {"states": np.array([2, 0, 0, 0, 0, 0, 0, 0, 2], np.uint8)},
    "orphans": {"states": np.array([1, 0, 0, 0, 0, 0, 0, 0, 1], np.uint8)},  # children below a full root
    "unknown": {"states": np.array([2, 0, 0, 0, 0, 0, 0, 0, 3], np.uint8)},
    "empty": {"states": np.zeros(1, np.uint8), "values": np.ones(1, np.float32)},
    "nothing": {"states": np.zeros(0, np.uint8), "values": np.ones(0, np.float32)},
    "signs": {"values": np.ones(8, np.float32)},
    "nan": {"values": np.array([1, 1, 1, 1, 1, 1, np.nan, -1], np.float32)},
    "few": {"values": np.ones(3, np.float32)},
    "shape": {"shape": np.array([3, 2, 2])},
    "axes": {"shape": np.array([2, 2])},
    "place": {"world_from_grid": np.zeros((4, 4))},
    "object": {"states": np.array([{}, 1], object)},
    "text": {"depth": np.array("one")},
    "huge": {"states": np.broadcast_to(np.uint8(0), 2**28 + 1)},
}


def test_the_file_that_the_bad_ones_differ_from_is_good(tmp_path):
    np.savez(tmp_path / "a.npz", **good())
    assert octree.read_octree(tmp_path / "a.npz").filled().sum() == 1


@pytest.mark.parametrize("name", [*BAD, "cut", "zero", "noise", "absent", "missing"])
def test_a_bad_tree_is_one_line(tmp_path, name):
    path: Path = tmp_path / f"{name}.octree"
    if name in ("zero", "noise"):
        path.write_bytes(b"" if name == "zero" else bytes(range(256)))
    elif name != "absent":
        arrays = good() | BAD.get(name, {})
        if name == "missing":
            del arrays["world_from_grid"]
        with open(path, "wb") as file:
            np.savez_compressed(file, **arrays)
        if name == "cut":
            path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError) as error:
        octree.read_octree(path)
    assert "\n" not in str(error.value) and f"{name}.octree" in str(error.value)


def test_a_halved_tree_has_the_means_of_eight_voxels():
    values = np.random.default_rng(3).normal(size=(5, 6, 8)).astype(np.float32)
    tree = octree.from_blocks(lambda low, high: octree.padded_block(values, low, high, 0.25), values.shape,
                              np.diag([0.5, 0.5, 0.5, 1]), outside=0.25, signed_distance=False)
    half = octree.halved(tree)
    fine = np.pad(tree.dense(tree.values), ((0, 1), (0, 0), (0, 0)), constant_values=0.25)
    wanted = fine.reshape(3, 2, 3, 2, 4, 2).mean(axis=(1, 3, 5))
    assert half.shape == (3, 3, 4) and np.allclose(half.dense(half.values), wanted, atol=1e-6)
    assert np.array_equal(half.filled(), half.dense(half.values) < 0)
    assert np.allclose(half.world_from_grid @ [0, 0, 0, 1], [0.25, 0.25, 0.25, 1])


def test_a_ball_stays_in_its_place_when_its_tree_is_halved_twice():
    axis = np.linspace(-1, 1, 48)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    world_from_grid = np.diag([2 / 47] * 3 + [1])
    world_from_grid[:3, 3] = -1
    ball = (np.sqrt(x * x + y * y + z * z) - 0.7).astype(np.float32)
    exact = octree.from_blocks(lambda low, high: octree.padded_block(ball, low, high, np.inf), ball.shape,
                               world_from_grid)
    for tree in (exact, octree.from_dense(ball < 0, world_from_grid)):
        vertices = surface(octree.halved(octree.halved(tree))).vertices
        assert np.linalg.norm(vertices, axis=1) == pytest.approx(0.7, abs=0.25 * 8 / 47)
