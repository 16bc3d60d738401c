"""Surfaces are extracted as closed manifolds and stay so until they are unwrapped."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maquette.formats.mesh import Mesh
from maquette.formats.meshes import read_mesh
from maquette.neural.evaluation.audit import audit
from maquette.neural.meshing.clean import remove_floaters, remove_folds, remove_inner_shells, split_nonmanifold
from maquette.neural.meshing.cubify import cubify
from maquette.neural.meshing.decimate import decimate
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.meshing.normals import smooth_normals
from maquette.neural.meshing.unwrap import unwrap

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "meshes"
needs_meshes = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the test meshes are not at {SHARED}")


def volume(mesh: Mesh) -> float:
    t = mesh.triangles().astype(float)
    return float(np.einsum("ij,ij->", t[:, 0], np.cross(t[:, 1], t[:, 2])) / 6)


def assert_closed_manifold(mesh: Mesh) -> None:
    figures = audit(mesh)
    wrong = {name: figures[name] for name in ("open_edges", "nonmanifold_edges", "flipped_edges",
                                              "nonmanifold_vertices", "zero_area_faces") if figures[name]}
    assert not wrong


def sphere(n: int = 32, radius: float = 0.7, centre: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    axis = np.linspace(-1, 1, n)
    x, y, z = np.meshgrid(*(axis - c for c in centre), indexing="ij")
    world_from_grid = np.diag([2 / (n - 1)] * 3 + [1])
    world_from_grid[:3, 3] = -1
    return marching_cubes(np.sqrt(x * x + y * y + z * z) - radius, world_from_grid)


def joined(*meshes: Mesh) -> Mesh:
    start = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(np.concatenate([m.vertices for m in meshes]),
                np.concatenate([m.faces + s for m, s in zip(meshes, start, strict=False)]))


# ---- marching cubes ----------------------------------------------------------------------------------------------

def test_one_corner_inside_becomes_a_tetrahedrons_cap():
    values = np.ones((2, 2, 2))
    values[0, 0, 0] = -1
    mesh = marching_cubes(values, np.eye(4))
    assert sorted(map(tuple, mesh.vertices.tolist())) == [(0, 0, 0.5), (0, 0.5, 0), (0.5, 0, 0)]
    a, b, c = mesh.triangles()[0]
    assert (np.cross(b - a, c - a) > 0).all()  # faces away from the inside


def test_a_linear_field_is_met_exactly_in_a_grid_of_oblong_cells():
    # Corner (i, j, k) lies at (10 + 0.5 i, −3 + 0.2 j, 2 k); the plane x + 2 y + 0.1 z = 6.03 cuts them obliquely.
    world_from_grid = np.diag([0.5, 0.2, 2.0, 1.0])
    world_from_grid[:3, 3] = 10, -3, 0
    index = np.moveaxis(np.indices((8, 9, 7)), 0, -1)
    point = index @ world_from_grid[:3, :3].T + world_from_grid[:3, 3]
    mesh = marching_cubes(point @ [1, 2, 0.1] - 6.03, world_from_grid)
    assert np.abs(mesh.vertices.astype(float) @ [1, 2, 0.1] - 6.03).max() < 1e-5
    a, b, c = np.moveaxis(mesh.triangles().astype(float), 1, 0)
    assert (np.cross(b - a, c - a) @ [1, 2, 0.1] > 0).all()


def test_there_is_no_half_voxel_shift():
    values = np.broadcast_to(np.arange(5.0)[:, None, None] - 1.25, (5, 3, 3))
    assert np.allclose(marching_cubes(values, np.eye(4)).vertices[:, 0], 1.25)
    assert np.allclose(marching_cubes(values, np.eye(4), level=1.0).vertices[:, 0], 2.25)


def test_a_plane_through_corners_is_met_exactly_and_without_degenerate_faces():
    values = np.broadcast_to(np.arange(5.0)[:, None, None] - 2, (5, 4, 4))
    mesh = marching_cubes(values, np.eye(4))
    assert (mesh.vertices[:, 0] == 2).all() and len(mesh.faces) == 18
    assert audit(mesh)["zero_area_faces"] == 0


def test_a_sphere_has_its_volume_and_a_mirrored_grid_keeps_the_outside_out():
    mesh = sphere(64)
    assert np.allclose(np.linalg.norm(mesh.vertices, axis=1), 0.7, atol=5e-4)
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.7**3, rel=2e-3)
    assert_closed_manifold(mesh)
    values = np.ones((4, 4, 4))
    values[1, 1, 1] = -1
    assert volume(marching_cubes(values, np.diag([-1.0, 1, 1, 1]))) > 0


def test_what_leaves_the_grid_is_open_unless_closed_and_then_ends_at_the_border():
    values = -np.ones((3, 3, 3))
    assert len(marching_cubes(values, np.eye(4)).faces) == 0
    mesh = marching_cubes(values, np.eye(4), closed=True)
    assert_closed_manifold(mesh)
    assert volume(mesh) == pytest.approx(8, abs=0.05)
    assert np.allclose([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], [[0] * 3, [2] * 3], atol=2e-3)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.int8, st.tuples(*[st.integers(2, 6)] * 3), elements=st.integers(-2, 2)))
def test_any_grid_of_whole_numbers_gives_a_closed_manifold(values):
    """Whole numbers bring zeros, ties at saddles and every ambiguous case."""
    mesh = marching_cubes(values.astype(np.float32), np.eye(4), closed=True)
    assert_closed_manifold(mesh)
    assert (len(mesh.faces) > 0) == bool((values < 0).any())
    assert volume(mesh) >= 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_grid_of_noise_gives_a_closed_manifold(seed):
    assert_closed_manifold(marching_cubes(np.random.default_rng(seed).normal(size=(7, 6, 8)), np.eye(4), closed=True))


def test_an_ambiguous_face_is_joined_where_its_saddle_is_inside():
    values = np.full((2, 2, 3), 1.0)
    for strength, components in ((-3.0, 1), (-0.3, 2)):
        values[0, 0, 1], values[1, 1, 1] = strength, strength  # across a face that two cells share
        assert audit(marching_cubes(values, np.eye(4), closed=True))["components"] == components


# ---- cubify ------------------------------------------------------------------------------------------------------

def test_single_voxel_becomes_cube():
    mesh = cubify(np.ones((1, 1, 1)), 0.5, "corner")
    assert len(mesh.vertices) == 8 and len(mesh.faces) == 12
    assert np.array_equal(np.unique(mesh.vertices), [-1, 1])
    assert_closed_manifold(mesh)


def test_full_block_has_no_inner_sides_and_no_inner_vertex():
    mesh = cubify(np.ones((2, 2, 2)), 1.0, "topleft")  # 1 ≥ 1 is filled
    assert len(mesh.vertices) == 26 and len(mesh.faces) == 48
    assert volume(mesh) == pytest.approx(4.0**3)


@pytest.mark.parametrize(("align", "low", "high"), [("topleft", -1, 2), ("corner", -1, 1), ("center", -1.5, 1.5)])
def test_alignments_place_the_lattice_as_pytorch3d_does(align, low, high):
    mesh = cubify(np.ones((3, 3, 3)), 0.5, align)  # topleft: 2 · 3 / 2 − 1 = 2; centre: 2 · 2.5 / 2 − 1 = 1.5
    assert mesh.vertices.min() == pytest.approx(low) and mesh.vertices.max() == pytest.approx(high)


def test_axes_run_x_y_z_and_each_is_scaled_by_its_own_size():
    voxels = np.zeros((2, 4, 8))
    voxels[1, 2, 7] = 1
    mesh = cubify(voxels, 0.5, "corner")
    assert np.allclose([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], [[0, 0, 0.75], [1, 0.5, 1]])


def test_cubify_equals_a_loop_over_voxels():
    voxels = np.random.default_rng(3).random((4, 3, 5))
    filled = {tuple(v) for v in np.argwhere(voxels >= 0.6).tolist()}
    sides = sum((x + dx, y + dy, z + dz) not in filled for x, y, z in filled
                for dx, dy, dz in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)))
    corners = {(x + i, y + j, z + k) for x, y, z in filled for i in (0, 1) for j in (0, 1) for k in (0, 1)}
    inner = {c for c in corners if all((c[0] - i, c[1] - j, c[2] - k) in filled
                                       for i in (0, 1) for j in (0, 1) for k in (0, 1))}
    mesh = cubify(voxels, 0.6, "corner")
    assert len(mesh.faces) == 2 * sides and len(mesh.vertices) == len(corners - inner)
    assert volume(mesh) == pytest.approx(len(filled) * 8 / 60)


def test_voxels_that_touch_along_an_edge_share_it():
    figures = audit(cubify(np.array([[[1, 0], [0, 1]]]), 0.5, "corner"))
    assert figures["nonmanifold_edges"] == 1 and figures["components"] == 1


# ---- cleaning and decimation -------------------------------------------------------------------------------------

def test_floaters_go_by_their_share_of_the_largest_area():
    # Radii 0.5 and 0.1: the small one has 4 % of the area.
    both = joined(sphere(radius=0.5), sphere(radius=0.1, centre=(0.8, 0.8, 0.8)))
    assert audit(remove_floaters(both, 3))["components"] == 2
    cleaned = remove_floaters(both, 5)
    assert audit(cleaned)["components"] == 1 and np.linalg.norm(cleaned.vertices, axis=1).max() < 0.6


def test_shells_inside_others_go_and_those_that_overlap_or_lie_beside_stay():
    outer, inner, beside = sphere(radius=0.6), sphere(radius=0.3), sphere(radius=0.2, centre=(0.5, 0, 0))
    cavity = Mesh(inner.vertices, inner.faces[:, ::-1])
    for shell in (inner, cavity):
        assert audit(joined(outer, shell))["inner_shells"] == 1
        assert len(remove_inner_shells(joined(shell, outer)).faces) == len(outer.faces)
    assert len(remove_inner_shells(joined(outer, beside)).faces) == len(outer.faces) + len(beside.faces)


def test_faces_back_to_back_go_in_pairs():
    faces = np.array([[0, 1, 2], [2, 1, 0], [0, 1, 3], [1, 3, 0], [3, 1, 0], [2, 2, 3]])
    mesh = remove_folds(Mesh(np.eye(4)[:, :3], faces))
    assert len(mesh.faces) == 1 and len(mesh.vertices) == 3  # one of the three on 0, 1, 3 is left over


@pytest.mark.parametrize("voxels", [[[[1, 0], [0, 1]]], [[[1, 0], [0, 0]], [[0, 0], [0, 1]]]])
def test_what_touches_along_an_edge_or_at_a_corner_is_cut_apart(voxels):
    touching = cubify(np.array(voxels), 0.5, "corner")
    parted = split_nonmanifold(touching)
    assert_closed_manifold(parted)
    assert audit(parted)["components"] == 2
    assert len(np.unique(parted.vertices, axis=0)) == len(parted.vertices)  # so that readers do not join them again
    assert volume(parted) == pytest.approx(volume(touching), rel=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_voxels_become_a_manifold_when_cut_apart(seed):
    mesh = split_nonmanifold(cubify(np.random.default_rng(seed).random((4, 4, 4)), 0.5, "corner"))
    figures = audit(mesh)
    assert figures["open_edges"] == figures["nonmanifold_edges"] == figures["nonmanifold_vertices"] == 0


def test_decimation_meets_its_budget_and_stays_near():
    mesh = sphere(64)
    small = decimate(mesh, 1000)
    assert 900 < len(small.faces) <= 1000
    assert_closed_manifold(small)
    assert np.allclose(np.linalg.norm(small.vertices, axis=1), 0.7, atol=1.5e-2)
    assert volume(small) == pytest.approx(volume(mesh), rel=5e-3)
    assert decimate(small, 1000) is small


def test_decimation_of_a_tangle_stays_manifold():
    from scipy.ndimage import gaussian_filter
    noise = gaussian_filter(np.random.default_rng(0).standard_normal((40, 40, 40)), 1.5)
    tangle = marching_cubes(noise, 100 * np.eye(4), closed=True)
    for faces in (10_000, 2_000):
        small = decimate(tangle, faces)
        figures = audit(small)
        assert len(small.faces) <= faces
        assert figures["open_edges"] == figures["nonmanifold_edges"] == figures["nonmanifold_vertices"] == 0


@needs_meshes
@pytest.mark.parametrize(("name", "genus"), [("elephant.ply", 3), ("rocker_arm.ply", 1), ("armadillo.ply", 0)])
def test_real_meshes_keep_their_holes_when_decimated(name, genus):
    small = decimate(read_mesh(SHARED / name), 5000)
    assert len(small.faces) <= 5000
    assert_closed_manifold(small)
    assert audit(small)["genus"] == genus


# ---- normals and texture coordinates -----------------------------------------------------------------------------

def test_normals_do_not_depend_on_how_a_side_is_cut():
    cube = cubify(np.ones((1, 1, 1)), 0.5, "corner")
    normals = smooth_normals(cube).normals
    assert np.allclose(normals, cube.vertices / np.sqrt(3), atol=1e-6)


def test_normals_of_a_sphere_point_outward_and_a_stray_vertex_has_one():
    mesh = sphere()
    lone = smooth_normals(Mesh(np.concatenate((mesh.vertices, [[5, 5, 5]])), mesh.faces))
    assert np.allclose(np.linalg.norm(lone.normals, axis=1), 1, atol=1e-5)
    unit = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert (lone.normals[:-1] * unit).sum(axis=1).min() > 0.99


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_charts_lie_in_the_unit_square_and_do_not_overlap(scale):
    mesh = decimate(sphere(48), 2000)
    mesh = unwrap(Mesh(mesh.vertices * scale + 7, mesh.faces), 512)
    uv = mesh.corner_uvs.astype(float)
    assert uv.shape == (len(mesh.faces), 3, 2) and uv.min() >= 0 and uv.max() <= 1
    a, b, c = np.moveaxis(uv, 1, 0)
    u, v = b - a, c - a
    areas = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2
    assert 0.3 < areas.sum() < 1
    from maquette.neural.kernels.raster import rasterise
    flat = np.concatenate((uv * 512, np.ones((len(uv), 3, 1))), axis=2)
    drawn = (rasterise(flat, 512, 512).face >= 0).mean()
    assert drawn == pytest.approx(areas.sum(), rel=0.03)  # were there overlaps, less would be covered
