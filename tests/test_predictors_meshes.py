"""Mesh R-CNN and Pixel2Mesh: from voxels to the view frame, what their losses measure, and that they learn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from maquette.formats.mesh import Mesh
from maquette.formats.model import write_model
from maquette.neural.evaluation.audit import audit
from maquette.neural.predictors import mesh_loss, mesh_rcnn, occupancy, view
from maquette.neural.predictors.graph import ellipsoid, pack
from maquette.neural.predictors.mesh_rcnn import VoxelBranch, ends_loss, vertex_normals
from maquette.neural.predictors.predictor import Batch, Predictor, load, network_of, packed

CPU = torch.device("cpu")
TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
SMALL = {"mesh-rcnn": {"width": 8, "hidden": 16}, "pixel2mesh": {"width": 8, "hidden": 16}}


def small(method: str) -> Predictor:
    torch.manual_seed(0)
    return network_of(method)(**SMALL[method])


def ellipsoids(count: int) -> Batch:
    """Pictures of ellipsoids whose brightness is their depth, and the truth."""
    generator = torch.Generator().manual_seed(3)
    radii = torch.rand(count, 3, generator=generator) * 0.4 + 0.4
    distance = torch.full((count,), view.distance_of(math.radians(40)))

    def inside(points: torch.Tensor) -> torch.Tensor:
        return (points / radii.reshape(count, 1, 1, 1, 3)).square().sum(dim=-1) < 1

    filled = inside(view.frustum_centres(32, distance)).float()
    fine = inside(view.frustum_centres(view.SIDE, distance))
    depth = torch.linspace(1, 0, view.SIDE)[None, :, None, None].expand_as(fine).where(fine, 0).amax(dim=1)
    rgba = torch.stack((depth, depth, depth, fine.any(dim=1).float()), dim=1)
    unit = torch.nn.functional.normalize(torch.randn(count, 1024, 3, generator=generator), dim=-1)
    normals = torch.nn.functional.normalize(unit / radii[:, None], dim=-1)
    return Batch(view.with_rays(rgba, distance)[:, None], distance, unit * radii[:, None], normals, filled,
                 torch.zeros(count, 4))


@pytest.fixture(scope="module")
def batch() -> Batch:
    return ellipsoids(2)


def test_a_filled_box_comes_back_where_it_was() -> None:
    """Columns 8 to 23, rows 4 to 11, slices 0 to 15 of 32: no shift by half a voxel on any axis."""
    probability = np.zeros((32, 32, 32), np.float32)
    probability[0:16, 4:12, 8:24] = 1
    mesh = occupancy.cubes(occupancy.solid(probability, 0.5))
    assert mesh.vertices.min(axis=0).tolist() == [-0.5, 0.25, 0.0]
    assert mesh.vertices.max(axis=0).tolist() == [0.5, 0.75, 1.0]
    found = audit(mesh)
    assert found["genus"] == 0 and found["inward_components"] == 0


def test_the_unrefined_mesh_lies_in_the_view_frame_where_its_voxels_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets are 0 at first: the mesh is the voxels' own, and holds their centres and no others."""
    monkeypatch.setattr(mesh_rcnn, "SMOOTHINGS", 0)
    network = small("mesh-rcnn")
    filled = ellipsoids(1).filled
    distance = torch.tensor([2.0])
    mesh = occupancy.cubes(filled[0].numpy() > 0)
    maps = [torch.zeros(1, channels, 8, 8) for channels in network.picture.channels]
    stages, _ = network._refine([mesh], maps, 20 * filled - 10, distance)
    assert all(torch.equal(stage, stages[0]) for stage in stages)
    centres = view.frustum_centres(32, distance)[0]
    step = 2 / 32
    for voxel in torch.nonzero(filled[0])[::50]:
        centre = centres[tuple(voxel)]
        corners = view.unproject(
            torch.tensor([[[(voxel[2] + i) * step - 1, (voxel[1] + j) * step - 1] for i in (0, 1) for j in (0, 1)]]),
            torch.full((1, 4), float(1 - voxel[0] * step)), distance)[0]
        assert torch.allclose(corners[:, :2].mean(dim=0) / (2 - (1 - voxel[0] * step)),
                              centre[:2] / (2 - centre[2]), atol=1e-6)
        if not filled[0, max(int(voxel[0]) - 1, 0), voxel[1], voxel[2]]:  # its near side is on the surface
            assert torch.cdist(corners, stages[0]).amin(dim=1).max() < 1e-5


def test_the_corners_of_the_cubes_are_smoothed_away() -> None:
    network = small("mesh-rcnn")
    filled = ellipsoids(1).filled
    mesh = occupancy.cubes(filled[0].numpy() > 0)
    maps = [torch.zeros(1, channels, 8, 8) for channels in network.picture.channels]
    stages, graph = network._refine([mesh], maps, 20 * filled - 10, torch.tensor([2.0]))
    normals = mesh_rcnn.vertex_normals(stages[0], graph)
    rough = mesh_rcnn.vertex_normals(torch.from_numpy(mesh.vertices), graph)
    start, end = graph.edges.T
    bends = [(1 - (n[start] * n[end]).sum(dim=1)).mean() for n in (rough, normals)]
    assert bends[1] < 0.3 * bends[0]


def test_log_odds_are_positive_between_front_and_back_and_in_one_voxel_at_least() -> None:
    """Eight slices with centres at z = 7/8, 5/8 …: a front at 0.6 and a back at −0.1, and both at 0.35."""
    branch = VoxelBranch(8, 8)
    with torch.no_grad():
        for thickness, middle, inside in ((0.35, 0.25, [2, 3]), (1e-4, 0.35, [2])):
            branch.layers[-1].bias[8] = middle
            branch.layers[-1].bias[9] = math.log(math.expm1(thickness)) + 1
            log_odds, ends = branch(torch.zeros(1, 8, 8, 8))
            assert torch.nonzero(log_odds[0, :, 3, 5] > 0).flatten().tolist() == inside
            assert ends[0, :, 0, 0].tolist() == pytest.approx([middle + thickness, middle - thickness], abs=1e-5)


def test_fronts_and_backs_are_compared_where_there_is_something() -> None:
    filled = torch.zeros(1, 4, 4, 4)
    filled[0, 1:3, 0, 0] = 1  # from z = 0.5 to −0.5
    filled[0, 3, 1, 1] = 1  # from −0.5 to −1
    ends = torch.zeros(1, 2, 4, 4)
    assert ends_loss(ends, filled).item() == pytest.approx(((0.5 + 0.5) + (0.5 + 1)) / 2)
    assert ends_loss(ends, torch.zeros_like(filled)).item() == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
def test_whatever_voxels_are_filled_their_surface_is_a_closed_manifold(seed: int, share: float) -> None:
    probability = np.random.default_rng(seed).random((5, 6, 7))
    filled = occupancy.solid(probability, 1 - share)
    found = audit(occupancy.cubes(filled))
    assert found["open_edges"] == found["nonmanifold_edges"] == found["nonmanifold_vertices"] == 0
    assert found["inner_shells"] == found["inward_components"] == 0
    assert (occupancy.well_composed(filled, probability) == filled).all()


def test_the_likelier_voxel_joins_two_that_touch_along_an_edge() -> None:
    probability = np.zeros((2, 2, 2))
    probability[0] = [[0.9, 0.3], [0.2, 0.9]]
    filled = occupancy.well_composed(probability > 0.5, probability)
    assert filled[0].tolist() == [[True, True], [False, True]] and not filled[1].any()


def test_crumbs_and_hollows_go_and_an_empty_grid_becomes_the_middle() -> None:
    probability = np.zeros((12, 12, 12))
    probability[2:8, 2:8, 2:8] = 1
    probability[4, 4, 4] = 0
    probability[11, 11, 11] = 1
    filled = occupancy.solid(probability, 0.5)
    assert filled.sum() == 6**3 and filled[4, 4, 4] and not filled[11, 11, 11]
    middle = occupancy.solid(np.zeros((8, 8, 8)), 0.5)
    assert middle.sum() == 64 and middle[2:6, 2:6, 2:6].all()


def test_something_is_behind_each_pixel_that_shows_the_object_and_nothing_behind_others() -> None:
    """Four columns of three voxels: seen and sure, seen and unsure, half unseen and unsure, unseen."""
    probability = np.array([[0.9, 0.1, 0.1, 0.9], [0.2, 0.2, 0.2, 0.9], [0.2, 0.05, 0.0, 0.9]])[:, None]
    found = occupancy.behind_outline(probability, np.array([[1.0, 0.8, 0.3, 0.0]]))
    assert found[:, 0].T == pytest.approx(np.array(
        [[0.9, 0.2, 0.2], [0.35, 0.7, 0.175], [0.1, 0.2, 0.0], [0.0, 0.0, 0.0]]))


def test_soft_iou_worked_by_hand() -> None:
    truth = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    probability = torch.tensor([1.0, 0.5, 0.5, 0.0]).reshape(1, 1, 2, 2)
    assert occupancy.soft_iou(probability, truth).item() == pytest.approx(1.5 / (2 + 2 - 1.5))


def test_chamfer_worked_by_hand_with_its_gradient() -> None:
    """Two points against three on a line: 0 and 3 against 1, 2 and 5."""
    points = torch.tensor([[[0.0, 0, 0], [3.0, 0, 0]]], requires_grad=True)
    truth = torch.tensor([[[1.0, 0, 0], [2.0, 0, 0], [5.0, 0, 0]]])
    matched = mesh_loss.match(points, truth)
    assert matched.there.tolist() == [[1.0, 1.0]] and matched.back.tolist() == [[1.0, 1.0, 4.0]]
    assert mesh_loss.chamfer_l2sq_sum(matched).item() == 1 + 2
    assert mesh_loss.chamfer_l1_mean(matched).item() == pytest.approx((1 + 4 / 3) / 2)
    found, = torch.autograd.grad(mesh_loss.chamfer_l2sq_sum(matched), points)
    # 0: 2·(0 − 1)/2 there and 2·(0 − 1)/3 back; 3: 2·(3 − 2)/2 there, 2·(3 − 2)/3 and 2·(3 − 5)/3 back.
    assert found[0, :, 0].tolist() == pytest.approx([-5 / 3, 1 / 3])


def test_chamfer_is_that_of_all_pairs() -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(3, 40, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    truth = torch.randn(3, 50, 3, generator=generator, dtype=torch.float64)
    square = (points[:, :, None] - truth[:, None]).square().sum(dim=-1)
    naive = square.amin(dim=2).mean() + square.amin(dim=1).mean()
    found = mesh_loss.chamfer_l2sq_sum(mesh_loss.match(points, truth))
    assert torch.allclose(found, naive)
    assert torch.allclose(*(torch.autograd.grad(loss, points)[0] for loss in (found, naive)))


def test_points_that_meet_have_a_finite_gradient() -> None:
    points = torch.zeros(1, 1, 3, requires_grad=True)
    loss = mesh_loss.chamfer_l1_mean(mesh_loss.match(points, torch.zeros(1, 1, 3)))
    assert torch.isfinite(torch.autograd.grad(loss, points)[0]).all()


def test_normals_are_compared_both_ways_with_their_sign() -> None:
    points, truth = torch.zeros(1, 1, 3), torch.tensor([[[0.0, 0, 0], [1.0, 0, 0]]])
    up, slanted = [0.0, 0, 1], [0.0, 0.6, -0.8]
    matched = mesh_loss.match(points, truth)
    loss = mesh_loss.normal_loss(matched, torch.tensor([[up]]), torch.tensor([[slanted, up]]))
    assert loss.item() == pytest.approx(1 - (-0.8 + (-0.8 + 1) / 2) / 2)
    # A predicted point far off: the second true one is nearest to the first still.
    matched = mesh_loss.match(torch.tensor([[[0.0, 0, 0], [5.0, 0, 0]]]), truth)
    loss = mesh_loss.normal_loss(matched, torch.tensor([[up, slanted]]), torch.tensor([[slanted, up]]))
    assert loss.item() == pytest.approx(1 - (-0.8 + (-0.8 + 1) / 2) / 2)


def test_edges_and_laplacians_worked_by_hand() -> None:
    """A tetrahedron at the axes' ends, and one twice as large: each counts as much."""
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    graph = pack([4, 4], [TETRAHEDRON, TETRAHEDRON], CPU)
    vertices = torch.cat((corners, 2 * corners))
    once = (3 * 1 + 3 * 2) / 6
    assert mesh_loss.edge_loss(vertices, graph).item() == pytest.approx((once + 4 * once) / 2)
    third = torch.full((3,), 1 / 3)
    assert torch.allclose(mesh_loss.laplacian(vertices, graph)[0], -third)
    assert torch.allclose(mesh_loss.laplacian(vertices, graph)[1], torch.tensor([1, -1 / 3, -1 / 3]))
    lengths = (math.sqrt(1 / 3) + 3 * math.sqrt(1 + 2 / 9)) / 4
    assert mesh_loss.laplacian_loss(vertices, graph).item() == pytest.approx(1.5 * lengths)


def test_means_over_meshes_do_not_depend_on_their_sizes() -> None:
    owner = torch.tensor([0, 0, 0, 1])
    assert mesh_loss.mean_by_mesh(torch.tensor([1.0, 2.0, 3.0, 10.0]), owner, 2).item() == pytest.approx(6)


def test_a_surface_is_sampled_evenly_by_area_with_its_normals() -> None:
    """A box of 2 × 1 × 1 with a tetrahedron beside it in the pack."""
    box = occupancy.cubes(np.ones((1, 1, 2), bool))
    vertices = torch.from_numpy(box.vertices * np.float32([1, 0.5, 0.5]))
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) + 5
    graph = pack([4, len(vertices)], [TETRAHEDRON, box.faces], CPU)
    torch.manual_seed(0)
    points, normals = mesh_loss.sample_surface(torch.cat((corners, vertices)), graph, 4000)
    assert points[0].min() >= 5 and points[1].abs().max() <= 1
    for axis, area in ((0, 1.0), (1, 2.0), (2, 2.0)):
        on = normals[1, :, axis].abs() > 0.5
        assert on.float().mean().item() == pytest.approx(2 * area / 10, abs=0.01)
        assert torch.allclose(normals[1, on, axis] * [1, 0.5, 0.5][axis], points[1, on, axis])
    slanted = normals[0].amin(dim=1) > 0.1
    assert slanted.float().mean().item() == pytest.approx(math.sqrt(3) / (math.sqrt(3) + 3), abs=0.01)


def test_a_sampled_point_moves_with_its_corners() -> None:
    graph = pack([4], [TETRAHEDRON], CPU)
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], requires_grad=True)
    points, _ = mesh_loss.sample_surface(corners, graph, 100)
    found, = torch.autograd.grad(points[..., 0].sum(), corners)
    assert found[:, 0].sum().item() == pytest.approx(100) and found[:, 1:].abs().sum() == 0
    assert (found[:, 0] > 0).all()


def test_vertex_normals_of_a_sphere_look_outward() -> None:
    points, levels = ellipsoid()
    vertices = torch.from_numpy(points)
    cosine = (vertex_normals(vertices, pack([156], [levels[0]], CPU)) * vertices).sum(dim=1)
    assert cosine.min() > 0.97


@pytest.mark.parametrize("method", SMALL)
def test_what_is_predicted_is_a_closed_manifold_even_of_nothing(method: str, batch: Batch) -> None:
    network = small(method).eval()
    for images in (batch.images[0], torch.zeros_like(batch.images[0])):
        found = audit(network.predict(images, batch.distance[0]))
        assert found["open_edges"] == found["nonmanifold_edges"] == found["nonmanifold_vertices"] == 0
        assert found["inward_components"] == 0 and found["faces"] > 0


@pytest.mark.parametrize("method", SMALL)
def test_a_model_file_gives_the_same_mesh_again(method: str, batch: Batch, tmp_path: Path) -> None:
    network = small(method).half().float().eval()  # files keep 16 bits
    path = tmp_path / "model.safetensors"
    write_model(packed(network, {}), path)
    read = load(path, method, CPU)
    assert read.architecture == SMALL[method]
    one, other = (each.predict(batch.images[0], batch.distance[0]) for each in (network, read))
    assert np.array_equal(one.vertices, other.vertices) and np.array_equal(one.faces, other.faces)


def test_mesh_rcnn_learns_a_batch_by_heart(batch: Batch) -> None:
    """First its voxels alone; then meshes nearer than the voxels that they are made of."""
    network = small("mesh-rcnn")
    parts = train(network, batch, 0.0, 40)
    assert set(parts[0]) == {"voxels", "iou", "ends"}
    assert parts[-1]["voxels"] < 0.5 * parts[0]["voxels"]
    parts = train(network, batch, 0.5, 25)
    assert parts[-1]["chamfer"] < 0.7 * parts[0]["chamfer"]
    mesh = network.eval().predict(batch.images[0], batch.distance[0])
    assert chamfer(mesh, batch) < 0.05


def test_pixel2mesh_learns_a_batch_by_heart(batch: Batch) -> None:
    network = small("pixel2mesh")
    parts = train(network, batch, 0.5, 25)
    assert parts[-1]["chamfer"] < 0.4 * parts[0]["chamfer"]
    assert chamfer(network.eval().predict(batch.images[0], batch.distance[0]), batch) < 0.1


def train(network: Predictor, batch: Batch, fraction: float, steps: int) -> list[dict[str, float]]:
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    found = []
    for _ in range(steps):
        loss, parts = network.loss(batch, fraction)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(parts)
    return found


def chamfer(mesh: Mesh, batch: Batch) -> float:
    graph = pack([len(mesh.vertices)], [mesh.faces], CPU)
    points, _ = mesh_loss.sample_surface(torch.from_numpy(mesh.vertices), graph, 1024)
    return mesh_loss.chamfer_l1_mean(mesh_loss.match(points, batch.points[:1])).item()
