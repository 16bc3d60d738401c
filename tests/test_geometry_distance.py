"""The exact signed distance of meshes: by hand, in motion, open, overlapping, inside out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats.mesh import Mesh
from maquette.formats.meshes import read_mesh
from maquette.neural.geometry.mesh_distance import MeshDistance
from maquette.recipes.errors import InputError

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
# −x +x −y +y −z +z, two triangles each.
CUBE_FACES = np.array([[(a, b, c), (a, c, d)] for a, b, c, d in (
    (0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))]).reshape(-1, 3)
CUBE = Mesh(CORNERS, CUBE_FACES)
# The centre; half way to a side; 2 beyond a side; 2, 2 beyond an edge; 1, 2, 2 beyond a corner.
POINTS = np.array([[0, 0, 0], [0.5, 0, 0], [3, 0, 0], [3, 3, 0], [-2, 3, 3]], float)
DISTANCES = np.array([-1, -0.5, 2, np.sqrt(8), 3])


def sphere(radius: float, centre=(0, 0, 0), rings: int = 24) -> Mesh:
    """An octahedron's faces divided, all corners on the sphere."""
    corner = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
    parts = []
    for signs in CORNERS:
        i, j = np.meshgrid(np.arange(rings), np.arange(rings), indexing="ij")
        for up, keep in ((1, i + j < rings), (0, i + j < rings - 1)):
            steps = ([(0, 0), (1, 0), (0, 1)] if up else [(1, 0), (1, 1), (0, 1)])
            local = np.stack([np.stack((i[keep] + a, j[keep] + b, rings - i[keep] - j[keep] - a - b), axis=-1)
                              for a, b in steps], axis=1) / rings
            parts.append((local @ corner * signs)[:, ::int(np.prod(signs))])
    triangles = np.concatenate(parts)
    triangles *= radius / np.linalg.norm(triangles, axis=-1, keepdims=True)
    return soup_of(triangles + np.asarray(centre, float))


def soup_of(triangles: np.ndarray) -> Mesh:
    return Mesh(triangles.reshape(-1, 3), np.arange(triangles.size // 3).reshape(-1, 3))


def joined(*meshes: Mesh) -> Mesh:
    return soup_of(np.concatenate([mesh.triangles() for mesh in meshes]))


def at(mesh: Mesh, points) -> np.ndarray:
    return MeshDistance(mesh)(torch.tensor(np.asarray(points), dtype=torch.float32)).numpy()


def test_a_cubes_distances_are_those_worked_by_hand():
    distance = MeshDistance(CUBE)
    assert distance.is_closed and distance.open_edges == 0 and distance.lipschitz == 1
    assert np.array_equal(distance.box, [[-1, -1, -1], [1, 1, 1]])
    values = distance(torch.tensor(POINTS, dtype=torch.float32))
    assert values.dtype == torch.float32 and np.allclose(values, DISTANCES, atol=1e-6)


@pytest.mark.parametrize("mesh", [
    Mesh(CORNERS, CUBE_FACES[:, ::-1]), soup_of(CUBE.triangles()), Mesh(CORNERS, np.concatenate([CUBE_FACES] * 2)),
    Mesh(CORNERS, np.concatenate((CUBE_FACES, CUBE_FACES[:, ::-1]))),
    Mesh(CORNERS, np.concatenate((CUBE_FACES, [[0, 0, 1], [2, 2, 2]])))],
    ids=["inside out", "soup", "every face twice", "every face from both sides", "faces without area"])
def test_a_cube_is_a_cube_in_whatever_way_it_is_written(mesh):
    distance = MeshDistance(mesh)
    assert distance.is_closed
    assert np.allclose(distance(torch.tensor(POINTS, dtype=torch.float32)), DISTANCES, atol=1e-6)


def test_parts_that_run_into_each_other_are_one_solid():
    mesh = joined(sphere(1, (-0.5, 0, 0)), sphere(1, (0.5, 0, 0)))
    rng = np.random.default_rng(0)
    points = rng.uniform(-2, 2, (2000, 3))
    one, other = (np.linalg.norm(points - [x, 0, 0], axis=1) - 1 for x in (-0.5, 0.5))
    values, union = at(mesh, points), np.minimum(one, other)
    clear = np.abs(union) > 0.01
    assert np.array_equal(values[clear] < 0, union[clear] < 0)
    assert np.allclose(values[union > 0.01], union[union > 0.01], atol=5e-3)


def test_a_hollow_with_its_faces_inwards_is_outside():
    inner = sphere(0.5)
    mesh = joined(sphere(1), soup_of(inner.triangles()[:, ::-1]))
    assert np.allclose(at(mesh, [[0, 0, 0], [0.75, 0, 0], [2, 0, 0]]), [0.5, -0.25, 1], atol=5e-3)


def test_a_cube_without_its_lid_is_closed_by_a_film_from_rim_to_rim():
    distance = MeshDistance(Mesh(CORNERS, CUBE_FACES[:10]))
    assert not distance.is_closed and distance.open_edges == 4
    inside = torch.tensor([[0, 0, 0], [0.5, 0.5, -0.5], [0, 0, 0.3], [0.9, 0.9, 0.9]])
    outside = torch.tensor([[0, 0, 2.0], [3, 0, 0], [0, 0, -1.01]])
    assert (distance(inside) < 0).all() and (distance(outside) > 0).all()
    # The value goes through zero where the sign changes: no jump for a mesher to miss.
    line = torch.zeros(400, 3)
    line[:, 2] = torch.linspace(0.2, 1.8, 400)
    values = distance(line)
    assert values.diff().abs().max() < 3 * 1.6 / 399
    film = line[values < 0, 2].max()
    assert (values.abs() <= distance.lipschitz * (line[:, 2] - film).abs() + 0.01).all()


def test_the_film_over_a_round_hole_is_measured_exactly_on_its_axis():
    ball = sphere(1)
    open_below = soup_of(ball.triangles()[ball.triangles()[..., 2].mean(axis=1) > 0])
    height = np.array([-0.9, -0.5, -0.1, 0.1, 0.3])
    values = at(open_below, np.stack((0 * height, 0 * height, height), axis=1))
    assert np.allclose(values, -height, atol=0.02)


def test_a_sheet_has_no_inside():
    sheet = Mesh(CORNERS, CUBE_FACES[:2])
    points = np.random.default_rng(0).uniform(-2, 2, (5000, 3))
    points[:, 0] = -1 + np.geomspace(1e-6, 1, 5000) * np.where(points[:, 1] > 0, 1, -1)
    assert (at(sheet, points) > 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.floats(0.01, 100))
def test_a_rigid_motion_leaves_distances_and_a_scale_multiplies_them(seed, count, scale):
    rng = np.random.default_rng(seed)
    triangles = rng.normal(size=(count, 1, 3)) + 0.5 * rng.normal(size=(count, 3, 3))
    points = 2 * rng.normal(size=(100, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    moved = scale * (triangles @ turn.T + rng.normal(size=3))
    shift = (moved[0, 0] / scale) - triangles[0, 0] @ turn.T
    here = at(soup_of(triangles), points)
    there = at(soup_of(moved), scale * (points @ turn.T + shift))
    assert np.allclose(np.abs(there), scale * np.abs(here), rtol=1e-2, atol=1e-3 * scale)


def test_what_is_no_surface_is_refused_in_one_line():
    with pytest.raises(InputError, match="no faces"):
        MeshDistance(Mesh(CORNERS, np.empty((0, 3))))
    broken = CORNERS.copy()
    broken[3, 1] = np.nan
    with pytest.raises(InputError, match="1 of 8 vertices"):
        MeshDistance(Mesh(broken, CUBE_FACES))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_stored_distances_of_a_cad_part_are_met(number, shared):
    part = MeshDistance(read_mesh(shared / f"data/scans/abc{number}_mesh.ply"))
    with np.load(shared / f"data/scans/abc{number}_sdf.npz", allow_pickle=False) as stored:
        points, truth = stored["points"], stored["sdf"]
    values = part(torch.tensor(points, dtype=torch.float32)).numpy()
    assert np.abs(values - truth).max() < 5e-5
    assert np.array_equal(values < 0, truth < 0)
