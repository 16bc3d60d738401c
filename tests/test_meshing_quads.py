"""Triangles are paired to quads without a change of the surface."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats.mesh import Mesh
from maquette.neural.evaluation.audit import audit
from maquette.neural.meshing.clean import keep_faces
from maquette.neural.meshing.decimate import decimate
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.meshing.quads import pair_quads
from maquette.neural.meshing.unwrap import unwrap


def strip(columns: int = 3) -> Mesh:
    """A flat strip of unit squares, each cut once; the triangles in mixed order and turns."""
    vertices = np.array([[x, y, 0] for x in range(columns + 1) for y in (0, 1)], np.float32)
    squares = [(2 * i, 2 * i + 2, 2 * i + 3, 2 * i + 1) for i in range(columns)]
    faces = [(a, b, c) for a, b, c, d in squares] + [(d, a, c) for a, b, c, d in squares]
    return Mesh(vertices, np.array(faces))


def blob(seed: int = 0) -> Mesh:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 16)] * 3, indexing="ij"), axis=-1)
    centres = rng.uniform(-0.4, 0.4, (3, 3))
    values = np.min([np.linalg.norm(grid - c, axis=-1) - 0.4 for c in centres], axis=0)
    return marching_cubes(values, np.eye(4))


def turned_first(faces: np.ndarray) -> set:
    """Faces as they run, from the least vertex on: free of order and turn."""
    return {tuple(np.roll(face, -int(face.argmin())).tolist()) for face in faces}


def test_a_cut_strip_becomes_its_squares():
    paired = pair_quads(strip())
    assert paired.quads == 3 and len(paired.faces) == 6
    corners = paired.faces.reshape(-1)[paired.polygons()[0]]
    assert turned_first(corners) == {(0, 2, 3, 1), (2, 4, 5, 3), (4, 6, 7, 5)}


def test_what_bends_or_is_cut_by_a_seam_stays_triangles():
    flat = strip(1)
    bent = replace(flat, vertices=flat.vertices + [[0, 0, 0], [0, 0, 2], [0, 0, 0], [0, 0, 0]])
    assert pair_quads(flat).quads == 1 and pair_quads(bent).quads == 0
    uvs = flat.vertices[flat.faces][..., :2]
    whole = pair_quads(replace(flat, corner_uvs=uvs))
    assert whole.quads == 1 and np.array_equal(whole.corner_uvs, whole.triangles()[..., :2])
    uvs[1] += 0.5
    assert pair_quads(replace(flat, corner_uvs=uvs)).quads == 0


def test_quads_that_are_there_stay():
    once = pair_quads(blob())
    again = pair_quads(once.chosen_faces(np.ones(len(once.faces), bool), whole=np.arange(once.quads) % 2 == 0))
    assert again.quads >= once.quads / 2 and turned_first(again.faces) == turned_first(once.faces)
    assert pair_quads(once).quads == once.quads


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_surface_stays_and_no_two_triangles_that_fit_are_left(seed):
    mesh = blob(seed)
    paired = pair_quads(mesh)
    assert turned_first(paired.faces) == turned_first(mesh.faces)
    assert {**audit(paired), "quads": 0} == {**audit(mesh), "quads": 0}
    left = Mesh(paired.vertices, paired.faces[2 * paired.quads:])
    assert pair_quads(left).quads == 0
    assert paired.quads / (len(paired.faces) - paired.quads) > 0.5


def test_quads_outlive_cleaning_and_unwrapping_where_they_stay_whole_and_not_decimation():
    paired = pair_quads(blob())
    keep = np.ones(len(paired.faces), bool)
    keep[[0, 3, -1]] = False
    assert keep_faces(paired, keep).quads == paired.quads - 2
    unwrapped = unwrap(paired, 256)
    assert 0.5 * paired.quads < unwrapped.quads <= paired.quads
    quads, _ = unwrapped.polygons()
    assert np.array_equal(unwrapped.corner_uvs[0:2 * unwrapped.quads:2, [0, 2]],
                          unwrapped.corner_uvs[1:2 * unwrapped.quads:2, :2])
    assert decimate(paired, 100).quads == 0
