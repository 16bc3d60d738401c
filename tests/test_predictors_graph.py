"""Graph convolution, features fetched at vertices, and unpooling, against cases worked by hand and dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from maquette.formats.mesh import Mesh
from maquette.neural.evaluation.audit import audit
from maquette.neural.predictors import view
from maquette.neural.predictors.graph import (
    GraphConvolution,
    Packed,
    divided,
    ellipsoid,
    neighbour_mean,
    neighbour_sum,
    pack,
    unpool,
    vert_align,
)

CPU = torch.device("cpu")
TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
FLAP = np.array([[0, 1, 2], [2, 1, 3]])  # two triangles: 0 and 3 are no neighbours


def flap() -> Packed:
    return pack([4], [FLAP], CPU)


def adjacency(graph: Packed) -> torch.Tensor:
    dense = torch.zeros(len(graph.owner), len(graph.owner), dtype=torch.float64)
    for a, b in graph.edges.tolist():
        dense[a, b] = dense[b, a] = 1
    return dense


def test_a_packed_graph_has_each_edge_once_and_every_neighbour() -> None:
    graph = pack([4, 4], [FLAP, TETRAHEDRON], CPU)
    assert graph.edges.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3],
                                    [4, 5], [4, 6], [4, 7], [5, 6], [5, 7], [6, 7]]
    assert graph.degree.tolist() == [2, 3, 3, 2, 3, 3, 3, 3]
    assert [sorted(part.tolist()) for part in graph.neighbours[:10].split([2, 3, 3, 2])] == [
        [1, 2], [0, 2, 3], [0, 1, 3], [1, 2]]
    assert graph.owner.tolist() == [0] * 4 + [1] * 4
    assert graph.faces[2:].tolist() == (TETRAHEDRON + 4).tolist()


def test_a_graph_convolution_worked_by_hand() -> None:
    """With W0 = 2, b0 = 1, W1 = 10, b1 = 0.5: b1 counts once a neighbour."""
    layer = GraphConvolution(1, 1)
    with torch.no_grad():
        for value, parameter in zip((2.0, 1.0, 10.0, 0.5), (layer.own.weight, layer.own.bias,
                                                            layer.other.weight, layer.other.bias), strict=True):
            parameter.fill_(value)
    features = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    # Vertex 0: 2·1 + 1 + 10·(2 + 3) + 2·0.5; vertex 1: 2·2 + 1 + 10·(1 + 3 + 4) + 3·0.5; and so on.
    assert layer(features, flap()).flatten().tolist() == [54.0, 86.5, 78.5, 60.0]
    layer.gather = neighbour_mean
    # Vertex 0: 2·1 + 1 + 10·2.5 + 0.5.
    assert layer(features, flap())[[0, 3]].flatten().tolist() == [28.5, 34.5]


def test_the_sum_over_neighbours_and_its_gradient_are_those_of_the_dense_matrix() -> None:
    graph = pack([4, 156], [TETRAHEDRON, ellipsoid()[1][0]], CPU)
    features = torch.randn(160, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(160, 3, dtype=torch.float64)
    dense = adjacency(graph)
    assert torch.allclose(neighbour_sum(features, graph), dense @ features)
    found, = torch.autograd.grad((neighbour_sum(features, graph) * weights).sum(), features)
    assert torch.allclose(found, dense.T @ weights)
    mean, = torch.autograd.grad((neighbour_mean(features, graph) * weights).sum(), features)
    assert torch.allclose(mean, (dense / dense.sum(dim=1, keepdim=True)).T @ weights)


def test_a_place_at_a_pixels_centre_fetches_that_pixel() -> None:
    side = 4
    maps = torch.arange(2.0 * side * side).reshape(2, 1, side, side)
    row, column = 1, 2
    place = torch.tensor([[(column + 0.5) * 2 / side - 1, (row + 0.5) * 2 / side - 1]])
    graph = pack([4, 4], [FLAP, FLAP], CPU)
    found = vert_align([maps], place.expand(8, -1), graph)
    assert found[:4].flatten().tolist() == [6.0] * 4 and found[4:].flatten().tolist() == [22.0] * 4


def test_between_centres_it_is_linear_and_beyond_the_border_it_goes_on() -> None:
    maps = torch.tensor([[[[0.0, 1.0], [10.0, 11.0]]]])
    places = torch.tensor([[0.0, 0.0], [-1.0, -1.0], [1.0, 0.0], [3.0, 3.0]])
    assert vert_align([maps, 2 * maps], places, flap())[:, 0].tolist() == [5.5, 0.0, 6.0, 11.0]
    assert vert_align([maps, 2 * maps], places, flap())[:, 1].tolist() == [11.0, 0.0, 12.0, 22.0]


def test_a_point_of_the_view_frame_fetches_the_pixel_that_shows_it() -> None:
    """Upper right in the view frame, y up, is the map's first row and last column."""
    distance = torch.tensor([3.0])
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 0, 7] = 1.0
    place = torch.tensor([[[0.875, -0.875]]])
    point = view.unproject(place, torch.tensor([[-0.4]]), distance)
    assert point[0, 0, 1] > 0
    found = vert_align([maps], view.project(point, distance)[0].expand(4, -1), flap())
    assert found.flatten().tolist() == pytest.approx([1.0] * 4, abs=1e-5)


def test_a_grid_is_fetched_from_in_three_directions() -> None:
    grid = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    places = torch.tensor([[-0.5, -0.5, -0.5], [0.5, -0.5, -0.5], [-0.5, 0.5, -0.5], [-0.5, -0.5, 0.5]])
    assert vert_align([grid], places, flap()).flatten().tolist() == [0.0, 1.0, 2.0, 4.0]


def test_unpooling_puts_a_vertex_in_the_middle_of_each_edge() -> None:
    values = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
    found = unpool(values, flap().edges)
    assert found[4:].tolist() == [[1.0, 0.0], [0.0, 2.0], [1.0, 2.0], [2.0, 2.0], [1.0, 4.0]]
    faces = divided(FLAP, flap().edges.numpy(), 4)
    assert sorted(map(sorted, faces.tolist())) == sorted(map(sorted, [
        [0, 4, 5], [1, 4, 6], [2, 5, 6], [4, 5, 6], [2, 6, 8], [1, 6, 7], [3, 7, 8], [6, 7, 8]]))


def test_the_template_has_pixel2meshs_counts_and_is_a_closed_sphere_that_looks_outward() -> None:
    points, levels = ellipsoid()
    vertices = torch.from_numpy(points)
    for faces, counts in zip(levels, ((156, 308), (618, 1232), (2466, 4928)), strict=True):
        found = audit(Mesh(vertices.numpy(), faces))
        assert (found["vertices"], found["faces"]) == counts
        assert found["genus"] == 0 and found["components"] == 1 and found["inward_components"] == 0
        graph = pack([len(vertices)], [faces], CPU)
        assert len(vertices) - len(graph.edges) + len(faces) == 2
        vertices = unpool(vertices, graph.edges)
