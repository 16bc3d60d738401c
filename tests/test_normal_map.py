"""A normal map gives a mesh of few faces the normals of the fine one, in the frames that renderers use."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maquette.formats.mesh import Mesh
from maquette.formats.meshes import joined, read_mesh, write_mesh
from maquette.neural.meshing.decimate import decimate
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.meshing.normal_map import bake_normal_map
from maquette.neural.meshing.normals import smooth_normals
from maquette.neural.meshing.raster import sample_texture
from maquette.neural.meshing.tangents import tangent_frames
from maquette.neural.meshing.unwrap import unwrap


def square(uv_from_xy: np.ndarray) -> Mesh:
    """The unit square of the ground, its texture laid on by a 2×2 matrix."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uv = (corners[:, :2] - 0.5) @ uv_from_xy.T + 0.5
    return smooth_normals(Mesh(corners, faces, corner_uvs=uv[faces]))


def waves(n: int = 200) -> Mesh:
    """The unit square with waves along both axes, whose slopes reach 0.4 and 0.2."""
    x, y = np.meshgrid(*[np.linspace(0, 1, n)] * 2, indexing="ij")
    z = 0.02 * np.sin(20 * x) + 0.02 * np.sin(10 * y)
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = (part.ravel() for part in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    return Mesh(np.stack((x, y, z), axis=-1).reshape(-1, 3), np.concatenate((np.stack((a, b, c), 1), np.stack((a, c, d), 1))))


def shaded(mesh: Mesh, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Unit normals (N, 3) at places on faces, as a renderer gets them from the map."""
    frame = np.einsum("nc,ncak->nak", weights, np.stack(tangent_frames(mesh), axis=2)[face])
    uv = np.einsum("nc,nck->nk", weights, mesh.corner_uvs[face])
    bent = np.einsum("na,nak->nk", 2 * sample_texture(mesh.normal_map, uv) - 1, frame)
    return bent / np.linalg.norm(bent, axis=1, keepdims=True)


def places(mesh: Mesh, count: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    face, weights = rng.integers(0, len(mesh.faces), count), rng.dirichlet([1, 1, 1], count)
    return face, weights, np.einsum("nc,nck->nk", weights, mesh.vertices[mesh.faces[face]])


def degrees(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((one * other).sum(axis=1), -1, 1)))


@pytest.mark.parametrize(("uv_from_xy", "tangent", "bitangent"), [
    (np.eye(2), [1, 0, 0], [0, 1, 0]),
    (np.array([[0, 1], [-1, 0]]), [0, 1, 0], [-1, 0, 0]),  # u grows along y, v against x
    (np.array([[-1, 0], [0, 1]]), [-1, 0, 0], [0, 1, 0]),  # mirrored
])
def test_the_tangent_runs_along_u_and_the_bitangent_along_v(uv_from_xy, tangent, bitangent):
    frames = tangent_frames(square(uv_from_xy))
    for found, expected in zip(frames, (tangent, bitangent, [0, 0, 1]), strict=True):
        assert np.allclose(found, expected, atol=1e-6)


def test_mirrored_halves_share_no_tangent():
    mesh = square(np.eye(2))
    uvs = mesh.corner_uvs.copy()
    uvs[1] = uvs[1][:, ::-1]  # the second triangle lies mirrored at the diagonal, which both share
    tangent, bitangent, _ = tangent_frames(replace(mesh, corner_uvs=uvs))
    assert np.allclose(tangent[0], [1, 0, 0], atol=1e-6) and np.allclose(tangent[1], [0, 1, 0], atol=1e-6)
    assert np.allclose(bitangent[1], [1, 0, 0], atol=1e-6)


def test_a_tangent_is_the_faces_mean_by_their_angles():
    # A right angle with u along x and half of one with u along y meet: (90 x + 45 y) of unit length.
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 1, 0]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uvs = np.array([[[0, 0], [1, 0], [0, 1]], [[0, 0], [1, 0], [1, 1]]], float)
    mesh = Mesh(vertices, faces, np.tile([0, 0, 1.0], (4, 1)), corner_uvs=uvs)
    tangent = tangent_frames(mesh)[0]
    assert np.allclose(tangent[:, 0], np.array([2, 1, 0]) / 5**0.5, atol=1e-6)


@pytest.mark.parametrize("uv_from_xy", [np.eye(2), np.array([[0, 1], [-1, 0]]), np.array([[-1, 0], [0, 1]])])
def test_a_flat_square_gets_the_normals_of_waves_however_its_texture_lies(uv_from_xy):
    mesh = bake_normal_map(square(uv_from_xy), waves(), 256)
    face, weights, point = places(mesh)
    slope = np.stack((0.4 * np.cos(20 * point[:, 0]), 0.2 * np.cos(10 * point[:, 1]), -np.ones(len(point))), axis=1)
    error = degrees(shaded(mesh, face, weights), -slope / np.linalg.norm(slope, axis=1, keepdims=True))
    # The closest point of a slope is not straight above; at the rim it is the rim.
    assert np.median(error) < 1 and error.max() < 12


def test_a_surface_that_has_lost_nothing_gets_a_flat_map():
    mesh = bake_normal_map(square(np.eye(2)), square(np.eye(2)), 32)
    assert np.ptp(mesh.normal_map.reshape(-1, 3), axis=0).max() <= 1 and abs(mesh.normal_map[0, 0, 2] - 255.0) < 1


def test_a_decimated_ball_shades_like_the_fine_one_across_its_seams():
    axis = np.linspace(-1, 1, 60)
    world_from_grid = np.diag([2 / 59] * 3 + [1])
    world_from_grid[:3, 3] = -1
    values = np.sqrt(sum(a**2 for a in np.meshgrid(axis, axis, axis, indexing="ij"))) - 0.7
    fine = marching_cubes(values.astype(np.float32), world_from_grid)
    mesh = bake_normal_map(unwrap(smooth_normals(decimate(fine, 40)), 256), fine, 256)
    face, weights, point = places(mesh)
    true = point / np.linalg.norm(point, axis=1, keepdims=True)
    plain = np.einsum("nc,nck->nk", weights, mesh.normals[mesh.faces[face]])
    before = degrees(plain / np.linalg.norm(plain, axis=1, keepdims=True), true)
    after = degrees(shaded(mesh, face, weights), true)
    assert before.mean() > 1.2 and after.mean() < 0.35 and after.max() < 2


def test_a_wall_behind_does_not_turn_the_normals_round():
    front, back = square(np.eye(2)), square(np.eye(2))
    back = replace(back, vertices=back.vertices - [0, 0, 0.01]).inside_out()
    both = Mesh(np.concatenate((front.vertices + [0, 0, 0.05], back.vertices)),
                np.concatenate((front.faces, back.faces + 4)))
    assert (bake_normal_map(front, both, 16).normal_map[..., 2] > 250).all()  # the back is closer and looks down


def test_files_carry_the_map(tmp_path: Path):
    mesh = bake_normal_map(square(np.eye(2)), waves(40), 16)
    mesh = replace(mesh, texture=np.full((16, 16, 3), 90, np.uint8))
    for name in ("a.glb", "a.npz"):
        write_mesh(mesh, tmp_path / name)
        assert np.array_equal(read_mesh(tmp_path / name).normal_map, mesh.normal_map)
    write_mesh(mesh, tmp_path / "a.obj")
    assert "norm a.normal.png" in (tmp_path / "a.mtl").read_text().splitlines()
    assert (tmp_path / "a.normal.png").exists()


def test_joined_parts_keep_their_maps_where_their_textures_lie():
    texture = np.full((4, 4, 3), 90, np.uint8)
    bumpy = replace(square(np.eye(2)), texture=texture, normal_map=np.full((4, 4, 3), 200, np.uint8))
    strip = joined([bumpy, replace(bumpy, normal_map=None)]).normal_map
    assert (strip[:, :4] == 200).all() and (strip[:, 4:] == [128, 128, 255]).all() and strip.shape == (4, 8, 3)
    assert joined([replace(bumpy, normal_map=None)] * 2).normal_map is None
