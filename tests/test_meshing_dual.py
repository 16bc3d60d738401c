"""Dual contouring gives one oriented manifold of quads, on the surface, with the edges that a solid has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats.mesh import Mesh
from maquette.formats.meshes import read_mesh
from maquette.neural.evaluation.audit import audit
from maquette.neural.evaluation.metrics import compare, face_normals
from maquette.neural.geometry.mesh_distance import MeshDistance
from maquette.neural.meshing.cells import Cells
from maquette.neural.meshing.dual_contouring import contour
from maquette.neural.meshing.marching_cubes import marching_cubes, triangulate
from maquette.neural.meshing.near_surface import near_surface
from maquette.neural.meshing.sheets import find_sheets

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "meshes"
SOUND = {"open_edges": 0, "nonmanifold_edges": 0, "flipped_edges": 0, "nonmanifold_vertices": 0, "zero_area_faces": 0}


class Shape:
    """A Distance from a function of points (N, 3) float64; counts how many it is asked for."""

    lipschitz = 1.0
    box = np.array([[-1.0, -1, -1], [1, 1, 1]])

    def __init__(self, function) -> None:
        self.function, self.asked = function, 0

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        self.asked += len(points)
        return self.function(points.double()).float()


def cells_of(values: torch.Tensor, world: np.ndarray) -> Cells:
    """All cells of a dense grid (X, Y, Z)."""
    points = torch.cartesian_prod(*(torch.arange(n, dtype=torch.int32) for n in values.shape))
    index = torch.arange(values.numel(), dtype=torch.int32).reshape(values.shape)
    x, y, z = (n - 1 for n in values.shape)
    corners = [index[c & 1:(c & 1) + x, c >> 1 & 1:(c >> 1 & 1) + y, c >> 2 & 1:(c >> 2 & 1) + z].reshape(-1)
               for c in range(8)]
    return Cells(points, values.float().reshape(-1), torch.stack(corners, dim=1), world)


def sampled(shape: Shape, resolution: int, world: np.ndarray | None = None) -> Cells:
    """The cells of the cube from −1 to 1, or of what `world` makes of it."""
    to_cube = np.diag([2 / resolution] * 3 + [1.0])
    to_cube[:3, 3] = -1
    matrix = torch.as_tensor((np.eye(4) if world is None else world) @ to_cube)
    points = torch.cartesian_prod(*[torch.arange(resolution + 1).double()] * 3)
    values = shape((points @ matrix[:3, :3].T + matrix[:3, 3]).float())
    shape.asked = 0
    return cells_of(values.reshape([resolution + 1] * 3), matrix.numpy())


def trilinear(values: torch.Tensor) -> Shape:
    def function(points: torch.Tensor) -> torch.Tensor:
        first = points.floor().long().clamp(torch.zeros(3).long(), torch.tensor(values.shape) - 2)
        total = torch.zeros(len(points)).double()
        for offset in torch.cartesian_prod(*[torch.arange(2)] * 3):
            weight = torch.where(offset.bool(), points - first, 1 - (points - first)).prod(dim=1)
            total += weight * values.double()[(first + offset).unbind(1)]
        return total
    return Shape(function)


def of_grid(values: np.ndarray, sharp: bool) -> Mesh:
    tensor = torch.as_tensor(values, dtype=torch.float32)
    return contour(cells_of(tensor, np.eye(4)), trilinear(tensor), sharp=sharp)


def faults(mesh: Mesh) -> dict[str, int]:
    found = audit(mesh)
    return {name: found[name] for name in SOUND}


def turned(angle: float = 0.5) -> torch.Tensor:
    """A rotation (3, 3) about no axis of the lattice."""
    skew = torch.tensor([[0, -0.3, 0.9], [0.3, 0, -0.5], [-0.9, 0.5, 0]]).double()
    return torch.linalg.matrix_exp(angle * skew)


def box(size: tuple[float, float, float] = (0.6, 0.5, 0.4)) -> Shape:
    """The exact distance of a turned box."""
    def function(points: torch.Tensor) -> torch.Tensor:
        beyond = (points @ turned()).abs() - torch.tensor(size).double()
        return beyond.clamp(min=0).norm(dim=1) + beyond.amax(dim=1).clamp(max=0)
    return Shape(function)


def torus() -> Shape:
    return Shape(lambda p: torch.hypot(torch.hypot(p[:, 0], p[:, 1]) - 0.6, p[:, 2]) - 0.25)


def volume(mesh: Mesh) -> float:
    a, b, c = np.moveaxis(mesh.triangles().astype(np.float64), 1, 0)
    return float((a * np.cross(b, c)).sum() / 6)


def test_one_inside_corner_becomes_a_cube_of_six_quads():
    values = torch.ones(3, 3, 3)
    values[1, 1, 1] = -1
    cube = Shape(lambda p: (p - 1).abs().amax(dim=1) - 0.5)
    mesh = contour(cells_of(values, np.eye(4)), cube, sharp=True)
    assert (len(mesh.vertices), mesh.quads, len(mesh.faces)) == (8, 6, 12)
    assert np.allclose(np.sort(np.unique(mesh.vertices.round(4))), [0.5, 1.5])
    assert volume(mesh) == pytest.approx(1, abs=1e-4)
    smooth = contour(cells_of(values, np.eye(4)), cube, sharp=False)
    assert audit(smooth)["genus"] == 0 and 0 < volume(smooth) < 1


def test_nothing_crossed_is_an_empty_mesh():
    mesh = of_grid(np.ones((3, 3, 3)), sharp=True)
    assert mesh.vertices.shape == (0, 3) and mesh.faces.shape == (0, 3) and mesh.quads == 0


@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
@settings(max_examples=15, deadline=None)
def test_noise_becomes_a_closed_oriented_manifold(seed, signs_alone, sharp):
    values = np.random.default_rng(seed).standard_normal((7, 6, 5))
    values = np.sign(values) if signs_alone else values
    mesh = of_grid(np.pad(values, 1, constant_values=1), sharp)
    assert faults(mesh) == SOUND and 2 * mesh.quads == len(mesh.faces)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_what_leaves_the_lattice_is_open_and_manifold_all_the_same(seed):
    mesh = of_grid(np.random.default_rng(seed).standard_normal((6, 5, 4)), sharp=False)
    assert {**faults(mesh), "open_edges": 0} == SOUND


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
@settings(max_examples=8, deadline=None)
def test_unions_of_balls_are_closed_oriented_manifolds(seed, count):
    rng = np.random.default_rng(seed)
    centres, radii = torch.as_tensor(rng.uniform(-0.5, 0.5, (count, 3))), torch.as_tensor(rng.uniform(0.03, 0.3, count))
    shape = Shape(lambda p: (torch.cdist(p, centres) - radii).amin(dim=1))
    for sharp in (False, True):
        assert faults(contour(sampled(shape, 16), shape, sharp=sharp)) == SOUND


def all_signs_of_two_cells() -> np.ndarray:
    """A grid with each of the 4096 patterns of 3 × 2 × 2 corners, apart from each other."""
    patterns = np.arange(4096)[:, None] >> np.arange(12) & 1
    blocks = np.pad(np.where(patterns, -1.0, 1.0).reshape(64, 64, 3, 2, 2), [(0, 0)] * 2 + [(1, 1)] * 3,
                    constant_values=1)
    return blocks.transpose(0, 2, 1, 3, 4).reshape(64 * 5, 64 * 4, 4)


@pytest.mark.parametrize("inner", [0.5, 1.0, 2.0])
def test_no_two_sheets_meet_twice_whatever_the_signs_of_two_cells(inner):
    values = all_signs_of_two_cells()
    values = torch.as_tensor(np.where(values < 0, inner * values, values))  # decides the saddles
    around = find_sheets(cells_of(values, np.eye(4))).around.numpy()
    assert around.min() >= 0
    pairs = np.sort(np.concatenate([around[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
    count = np.unique(pairs[:, 0] * (around.max() + 1) + pairs[:, 1], return_counts=True)[1]
    assert (count == 2).all()


def test_a_vertex_lies_in_the_cell_of_its_sheet_and_the_smooth_ones_on_the_surface():
    shape = torus()
    cells = sampled(shape, 24)
    sheets = find_sheets(cells)
    first = cells.points[cells.corners[sheets.cell, 0].long()].numpy()
    for sharp, within in ((False, 0.01), (True, 0.1)):
        mesh = contour(cells, shape, sharp=sharp)
        assert len(mesh.vertices) == len(sheets.cell)
        place = (mesh.vertices + 1) * 12 - first
        assert place.min() > 0 and place.max() < 1
        assert shape(torch.from_numpy(mesh.vertices)).abs().max() < within / 12


def test_the_topology_is_that_of_marching_cubes():
    shape = torus()
    cells = sampled(shape, 24)
    mesh = contour(cells, shape, sharp=False)
    primal = marching_cubes(cells.values.reshape(25, 25, 25).numpy(), cells.world_from_lattice)
    assert audit(mesh)["genus"] == audit(primal)["genus"] == 1
    assert mesh.quads == len(primal.vertices)  # a quad for each crossing


@pytest.mark.parametrize("sharp", [False, True])
def test_outside_stays_outside_in_a_mirrored_lattice(sharp):
    shape = torus()
    expected = 2 * np.pi**2 * 0.6 * 0.25**2
    for world in (np.eye(4), np.diag([-1.0, 1, 1, 1]), np.diag([1, 1.1, -1.2, 1])):
        mesh = contour(sampled(shape, 32, world), shape, sharp=sharp)
        assert faults(mesh) == SOUND and volume(mesh) == pytest.approx(expected, rel=0.02)


def test_sharp_vertices_reach_the_corners_and_edges_of_a_box_and_the_others_cut_them():
    shape, cell = box(), 2 / 24
    cells = sampled(shape, 24)
    corners = np.array([[x, y, z] for x in (-0.6, 0.6) for y in (-0.5, 0.5) for z in (-0.4, 0.4)]) @ turned().T.numpy()
    missing = {}
    for sharp in (False, True):
        mesh = contour(cells, shape, sharp=sharp)
        missing[sharp] = np.linalg.norm(corners[:, None] - mesh.vertices, axis=2).min(axis=1) / cell
        assert faults(mesh) == SOUND
    # A corner that pokes less than that through a face of its cell is not seen beyond.
    assert missing[True].max() < 0.2 and np.median(missing[True]) < 0.1 < 0.5 < missing[False].min()
    assert volume(mesh) == pytest.approx(8 * 0.6 * 0.5 * 0.4, rel=1e-3)


def test_the_diagonals_run_along_ridges_and_no_face_is_folded():
    """Each triangle lies in one of the box's sides: its middle is on the surface and its normal is the side's."""
    shape = box()
    mesh = contour(sampled(shape, 24), shape, sharp=True)
    middle = torch.from_numpy(mesh.triangles().mean(axis=1))
    assert shape(middle).abs().max() < 0.1 * 2 / 24
    along = np.abs(face_normals(mesh) @ turned().numpy()).max(axis=1)
    assert np.mean(along > 0.99) > 0.975


def test_sharp_normals_are_nearer_to_the_solids_than_those_of_marching_cubes():
    """A box with a cylinder cut out of it: flat, curved, convex and concave."""
    whole = box()
    shape = Shape(lambda p: torch.maximum(whole(p).double(), 0.25 - torch.hypot(*(p @ turned())[:, :2].T)))
    cells = sampled(shape, 32)
    primal = marching_cubes(cells.values.reshape(33, 33, 33).numpy(), cells.world_from_lattice)
    wrong = [normal_error(mesh, shape) for mesh in (contour(cells, shape, sharp=True), primal)]
    assert wrong[0] < 0.2 * wrong[1]


def normal_error(mesh: Mesh, shape: Shape) -> float:
    """Mean 1 − cosine between faces and the field's gradient at their middles."""
    middle = torch.from_numpy(mesh.triangles().mean(axis=1)).double()
    steps = 1e-3 * torch.eye(3).double()
    gradient = torch.stack([shape.function(middle + s) - shape.function(middle - s) for s in steps], dim=1)
    gradient /= gradient.norm(dim=1, keepdim=True)
    return float(1 - (gradient.numpy() * face_normals(mesh)).sum(axis=1).mean())


def test_the_order_of_cells_does_not_matter():
    shape = box()
    cells = sampled(shape, 16)
    generator = torch.Generator().manual_seed(0)
    mixed = replace(cells, corners=cells.corners[torch.randperm(len(cells.corners), generator=generator)])
    one, other = (contour(c, shape, sharp=True) for c in (cells, mixed))
    triangles = [sorted(map(tuple, m.triangles().astype(float).round(4).reshape(-1, 9).tolist())) for m in (one, other)]
    assert np.allclose(*triangles, atol=1e-4)


def test_the_distance_is_asked_near_the_surface_alone():
    shape = torus()
    cells = sampled(shape, 24)
    mesh = contour(cells, shape, sharp=False)
    assert shape.asked == 8 * len(mesh.vertices)
    shape.asked = 0
    mesh = contour(cells, shape, sharp=True)
    assert 7 * mesh.quads < shape.asked < 11 * mesh.quads


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the test meshes are not at {SHARED}")
def test_a_machine_part_comes_out_nearer_than_by_marching_cubes():
    truth = read_mesh(SHARED / "fandisk.ply")
    distance = MeshDistance(truth)
    cells, _ = near_surface(distance, 64)
    meshes = contour(cells, distance, sharp=True), triangulate(cells)
    sharp, primal = (compare(mesh, truth, samples=20_000) for mesh in meshes)
    assert sharp["normal_consistency"] > 0.998 > 0.985 > primal["normal_consistency"]
    assert sharp["chamfer"] < 0.25 * primal["chamfer"]
