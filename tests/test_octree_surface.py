"""What is made of octrees, and octrees of meshes: the same as of dense grids, with less memory."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats import octree
from maquette.formats.grids import Grid
from maquette.formats.mesh import Mesh
from maquette.neural.evaluation.audit import audit
from maquette.neural.kernels.closest import closest_triangles
from maquette.neural.kernels.columns import column_windings
from maquette.neural.meshing import cubify, marching_cubes
from maquette.neural.meshing.octree import neighbours
from maquette.neural.meshing.voxelise import voxelise
from maquette.neural.tasks import voxels

PLACE = np.array([[0.5, 0, 0, 1], [0, 0.5, 0.1, 2], [0, 0, 0.5, 3], [0, 0, 0, 1]])

SHAPES = st.tuples(st.integers(1, 11), st.integers(1, 11), st.integers(1, 11))


def blobs(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Voxels with both large full parts and single ones."""
    random = np.random.default_rng(seed)
    full = random.random(shape) < random.choice([0.02, 0.5, 0.98])
    low, high = np.sort(random.integers(0, np.array(shape) + 1, (2, 3)), axis=0)
    full[tuple(map(slice, low, high))] = random.random() < 0.8
    return full


def ball(n: int, radius: float) -> np.ndarray:
    away = np.indices((n, n, n)) - (n - 1) / 2
    return (np.linalg.norm(away, axis=0) - radius).astype(np.float32)


def triangles_of(mesh: Mesh) -> np.ndarray:
    """The triangles in an order that depends on nothing but where they are."""
    corners = np.round(mesh.triangles().astype(np.float64), 4) + 0.0
    first = np.lexsort(np.moveaxis(corners, 2, 0)[::-1], axis=1)[:, 0]
    turned = np.stack([np.take_along_axis(corners, ((first + k) % 3)[:, None, None], 1)[:, 0] for k in range(3)], 1)
    flat = turned.reshape(-1, 9)
    return flat[np.lexsort(flat.T[::-1])]


def same(one: Mesh, other: Mesh) -> bool:
    return len(one.faces) == len(other.faces) and np.allclose(triangles_of(one), triangles_of(other), atol=2e-4)


@pytest.mark.parametrize("n", [32, 64])
@pytest.mark.parametrize("shape", ["ball", "cut", "noise"])
def test_a_signed_distance_has_the_dense_grids_surface(n, shape):
    values = ball(n, 0.37 * n if shape == "ball" else 0.6 * n)  # the second one leaves the grid
    if shape == "noise":
        values = np.random.default_rng(n).normal(size=(n, n // 2, 5)).astype(np.float32)
    dense = marching_cubes.marching_cubes(values, PLACE, closed=True)
    sparse = voxels.surface(voxels.tree_of(Grid(values, PLACE, True), 0.5), "marching-cubes")
    assert same(dense, sparse)


@pytest.mark.parametrize("n", [32, 64])
def test_an_occupancy_has_the_dense_grids_surface(n):
    values = np.clip(0.5 - ball(n, 0.6 * n) / 4, 0, 1)
    padded = np.pad(0.3 - values, 1, constant_values=0.3)
    place = PLACE @ np.array([[1, 0, 0, -1], [0, 1, 0, -1], [0, 0, 1, -1], [0, 0, 0, 1]])
    dense = marching_cubes.marching_cubes(padded, place, closed=True)
    sparse = voxels.surface(voxels.tree_of(Grid(values, PLACE, False), 0.3), "marching-cubes")
    assert same(dense, sparse)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_cubes_are_those_of_the_dense_grid_and_quads(shape, seed):
    full = blobs(shape, seed)
    sparse = voxels.surface(octree.from_dense(full, np.eye(4)), "cubify")
    half = np.array(shape) / 2
    grid_from_cube = np.diag([*half, 1.0])
    grid_from_cube[:3, 3] = half - 0.5
    assert same(cubify.cubify(full, 0.5, "corner").transformed(grid_from_cube), sparse)
    assert 2 * sparse.quads == len(sparse.faces)


def test_leaves_of_two_levels_meet_without_a_crack():
    """A full eighth of 8³ beside single voxels: sides of leaves four voxels and one voxel large."""
    full = np.zeros((8, 8, 8), bool)
    full[:4, :4, :4] = full[4, 1, 1] = full[1, 4, 2] = True
    tree = octree.from_dense(full, np.eye(4))
    assert [np.diff([tree.level(n).start, tree.level(n).stop])[0] for n in range(4)] == [1, 8, 16, 16]
    for method in ("cubify", "marching-cubes"):
        figures = audit(voxels.surface(tree, method))
        assert figures["open_edges"] == figures["nonmanifold_edges"] == figures["flipped_edges"] == 0
        assert figures["genus"] == 0 and figures["components"] == 1
    # Six sides of 16, less the two that voxels cover, and five of each of these.
    assert voxels.surface(tree, "cubify").quads == 6 * 16 - 2 + 2 * 5


@settings(max_examples=30, deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2]), st.sampled_from([-1, 1]))
def test_neighbours_are_those_that_a_search_finds(shape, seed, axis, step):
    tree = octree.from_dense(blobs(shape, seed), np.eye(4))
    found = neighbours(tree, axis, step)
    for level in range(tree.depth + 1):
        here = tree.level(level)
        beyond = octree.cells_of(tree.keys[here]) + step * np.eye(3, dtype=np.int32)[axis]
        within = ((beyond >= 0) & (beyond < 1 << level)).all(axis=1)
        assert (found[here][~within] == -1).all()
        sought = tree.find(octree.keys_of(beyond[within], level), level)
        assert np.array_equal(found[here][within], sought)


def tetrahedra(seed: int) -> Mesh:
    """A few closed surfaces that run into each other."""
    random = np.random.default_rng(seed)
    corners = random.normal(size=(3, 4, 3))
    turned = np.linalg.det(corners[:, 1:] - corners[:, :1]) < 0
    corners[turned] = corners[turned][:, [1, 0, 2, 3]]
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    return Mesh(corners.reshape(-1, 3), np.concatenate([faces + 4 * i for i in range(3)]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_mesh_gets_the_signs_and_near_distances_of_every_voxel_asked_alone(seed):
    mesh = tetrahedra(seed)
    tree = voxelise(mesh, 40)
    voxel = tree.world_from_grid[0, 0]
    triangles = (mesh.triangles() - tree.world_from_grid[:3, 3]) / voxel
    inside = column_windings(triangles, tree.shape) != 0
    assert np.array_equal(tree.filled(), inside)
    points = np.argwhere(np.ones(tree.shape, bool))
    distance = closest_triangles(points.astype(float), triangles)[0].reshape(tree.shape)
    near = distance <= 1
    signed = np.where(inside, -distance, distance) * voxel
    assert np.allclose(tree.dense(tree.values)[near], signed[near], atol=1e-6)
    # Farther off the values keep their sign and are no nearer than a voxel.
    assert (np.abs(tree.dense(tree.values)[~near]) >= 0.999 * voxel).all()


def test_sides_with_two_signs_stay_at_the_finest_level():
    tree = voxels.tree_of(Grid(ball(64, 20.2), PLACE, True), 0.5)
    crossed = np.zeros(tree.shape, bool)
    inside = tree.filled()
    for axis in range(3):
        change = np.diff(inside, axis=axis)
        low, high = ([slice(None)] * 3 for _ in range(2))
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        crossed[tuple(low)] |= change
        crossed[tuple(high)] |= change
    found = tree.find(octree.keys_of(np.argwhere(crossed), tree.depth), tree.depth)
    assert (found >= tree.level(tree.depth).start).all()


PEAK = """
import resource, sys
import numpy as np
from maquette.formats.mesh import Mesh
from maquette.neural.meshing.voxelise import voxelise
from maquette.neural.tasks.voxels import surface

def torus(n):
    u, v = np.meshgrid(np.arange(n) * 2 * np.pi / n, np.arange(n) * 2 * np.pi / n, indexing="ij")
    ring = 1 + 0.4 * np.cos(v)
    points = np.stack((ring * np.cos(u), ring * np.sin(u), 0.4 * np.sin(v)), axis=-1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    a, b, c, d = (((i + x) % n * n + (j + y) % n).ravel() for x, y in ((0, 0), (1, 0), (1, 1), (0, 1)))
    return Mesh(points, np.concatenate((np.stack((a, b, c), 1), np.stack((a, c, d), 1))))

mesh = surface(voxelise(torus(200), int(sys.argv[1])), "marching-cubes")
print(len(mesh.faces), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def measured(resolution: int) -> tuple[int, int]:
    pytest.importorskip("resource")
    said = subprocess.run([sys.executable, "-c", PEAK, str(resolution)], capture_output=True, text=True, check=True)
    faces, peak = said.stdout.split()
    return int(faces), int(peak)


@pytest.mark.slow
def test_memory_grows_with_the_surface():
    """At 512³ a dense float32 grid has 512 MB, and its masks and winding numbers more than that again."""
    (few, base), (many, peak) = measured(32), measured(512)
    assert many > 100 * few and peak - base < 256


@pytest.mark.slow
def test_a_mesh_at_1024_takes_a_gigabyte_at_most():
    faces, peak = measured(1024)
    assert faces > 1_000_000 and peak < 1024
