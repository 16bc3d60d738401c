"""Edges and components are found as by sorting and by scipy's graphs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maquette.formats.mesh import Mesh
from maquette.neural.kernels import connections_reference
from maquette.neural.kernels.connections import components, sides_by_edge
from maquette.neural.meshing import topology

some_faces = st.integers(1, 12).flatmap(
    lambda count: arrays.arrays(np.int32, st.tuples(st.integers(0, 30), st.just(3)), elements=st.integers(0, count)))


def assert_equal(fast, slow) -> None:
    for one, other in zip(fast, slow, strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)


def test_two_faces_that_share_an_edge_have_five():
    found = topology.edges(np.array([[0, 1, 2], [2, 1, 3]]))
    assert found.ends.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    assert found.count.tolist() == [1, 1, 2, 1, 1]
    assert found.corner.tolist() == [0, 2, 1, 3, 4, 5] and found.forward.tolist() == [1, 0, 1, 0, 1, 0]
    assert np.concatenate(list(topology.neighbours(found))).tolist() == [[1, 3]]


@settings(max_examples=60, deadline=None)
@given(some_faces)
def test_sides_are_sorted_as_by_their_keys(faces):
    """Sides of no length, edges of many sides and vertices without a face among them."""
    assert_equal(sides_by_edge(faces), connections_reference.sides_by_edge(faces))


def test_a_vertex_with_many_sides_is_sorted_alike():
    rng = np.random.default_rng(0)
    star = np.stack([np.zeros(500, int), *(rng.integers(1, 300, 500) for _ in range(2))], axis=1).astype(np.int32)
    assert_equal(sides_by_edge(star), connections_reference.sides_by_edge(star))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_components_are_numbered_as_scipy_numbers_them(count, seed, edges):
    pairs = np.random.default_rng(seed).integers(0, count, (3, 2, edges))
    assert_equal([components(count, map(tuple, pairs))], [connections_reference.components(count, map(tuple, pairs))])


@pytest.mark.parametrize("at_once", [1, 3, 1 << 18])
def test_what_is_done_in_chunks_does_not_depend_on_them(at_once, monkeypatch):
    rng = np.random.default_rng(1)
    mesh = Mesh(rng.normal(size=(40, 3)), rng.integers(0, 40, (31, 3)))
    monkeypatch.setattr(topology, "_AT_ONCE", at_once)
    _, wanted = np.unique(connections_reference.components(
        40, [(mesh.faces[:, 0], mesh.faces[:, 1]), (mesh.faces[:, 1], mesh.faces[:, 2])])[mesh.faces[:, 0]],
        return_inverse=True)
    assert np.array_equal(topology.face_components(mesh), wanted)
    found = topology.edges(mesh.faces)
    edge = np.repeat(np.arange(len(found.count)), found.count)
    for most in (None, 2):
        pairs = [pair for pair in zip(range(len(edge)), range(1, len(edge)), strict=False) if edge[pair[0]] ==
                 edge[pair[1]] and (most is None or found.count[edge[pair[0]]] <= most)]
        assert np.array_equal(np.concatenate(list(topology.neighbours(found, most))), found.corner[np.array(pairs)])
    fan = topology.fans(mesh.faces, topology.neighbours(found))
    assert np.array_equal(topology.vertex_of_fans(mesh.faces, fan)[fan], mesh.faces.reshape(-1))
    assert np.array_equal(np.flatnonzero(topology.used_vertices(mesh)), np.unique(mesh.faces))
    a, b, c = np.moveaxis(mesh.triangles().astype(float), 1, 0)
    assert np.array_equal(topology.face_areas(mesh), np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)
