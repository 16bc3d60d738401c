"""Voxel grids and meshes become meshes; bad grids one line."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats import grids, octree
from maquette.formats.binvox import read_binvox, write_binvox
from maquette.formats.mesh import Mesh, read_npz, write_npz
from maquette.formats.meshes import write_mesh
from maquette.formats.results import FORMS
from maquette.formats.volume import gather_volume
from maquette.neural.evaluation.audit import audit
from maquette.neural.meshing.voxelise import voxelise
from maquette.neural.tasks import voxels
from maquette.recipes.errors import InputError
from maquette.recipes.voxels import Voxels


class Plain:
    """A job's context that only remembers."""

    def __init__(self, recipe: Voxels, folder: Path) -> None:
        self.recipe, self.input, self.output, self.report = recipe, folder / "input", folder / "output", {}
        self.input.mkdir(parents=True, exist_ok=True)
        self.output.mkdir(exist_ok=True)
        self.pictures: list[np.ndarray] = []
        self.stage = self.progress = self.warn = lambda *_: None
        self.preview = self.pictures.append


def run(path: Path, tmp_path: Path, **recipe) -> tuple[Mesh, dict]:
    context = Plain(Voxels(**recipe), tmp_path)
    context.summary = gather_volume([path], context.input, context.recipe)
    voxels.run(context)
    assert context.pictures[0].shape[2] == 3
    return read_npz(context.output / "mesh.npz"), context.report


def volume(mesh: Mesh) -> float:
    t = mesh.triangles().astype(float)
    return float(np.einsum("ij,ij->", t[:, 0], np.cross(t[:, 1], t[:, 2])) / 6)


def sphere_grid(n: int = 33, radius: float = 0.6) -> np.ndarray:
    axis = (np.arange(n) + 0.5) * 2 / n - 1
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.sqrt(x * x + y * y + z * z) - radius


def test_a_signed_distance_becomes_its_zero_surface(tmp_path):
    np.save(tmp_path / "a.npy", sphere_grid())
    mesh, report = run(tmp_path / "a.npy", tmp_path)
    # Without a place of its own the grid spans −1 to 1, voxels' centres half a voxel inside.
    assert np.allclose(np.linalg.norm(mesh.vertices, axis=1), 0.6, atol=2e-3)
    assert report["grid"]["shape"] == [33, 33, 33] and report["grid"]["values"] == "signed distance"
    assert report["mesh"]["genus"] == 0 and report["mesh"]["open_edges"] == 0
    outward = (mesh.normals * mesh.vertices).sum(axis=1)
    assert (outward > 0.5).all()


def test_an_occupancy_is_closed_at_the_grids_border(tmp_path):
    grid = np.zeros((4, 4, 4), np.uint8)
    grid[:2] = 1  # the half from x = −1 to 0
    np.save(tmp_path / "a.npy", grid)
    mesh, report = run(tmp_path / "a.npy", tmp_path)
    assert report["grid"]["values"] == "occupancy" and report["mesh"]["open_edges"] == 0
    assert np.allclose([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], [[-1, -1, -1], [0, 1, 1]], atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 2, 2), (4, 2, 3)])
def test_cubify_puts_cubes_where_the_voxels_are(tmp_path, shape):
    grid = np.zeros(shape, bool)
    grid[0, 0, 0] = True
    np.save(tmp_path / "a.npy", grid)
    mesh, _ = run(tmp_path / "a.npy", tmp_path, method="cubify")
    cell = 2 / max(shape)
    low = -cell * np.array(shape) / 2  # cubes, not squashed, about the origin
    assert np.allclose([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], [low, low + cell], atol=1e-6)
    assert len(mesh.faces) == 12 and volume(mesh) == pytest.approx(cell**3)


@pytest.mark.parametrize("method", ["marching-cubes", "cubify"])
def test_a_value_at_the_threshold_is_filled(tmp_path, method):
    grid = np.zeros((3, 3, 3), np.float32)
    grid[1, 1, 1] = 0.25
    np.save(tmp_path / "a.npy", grid)
    mesh, _ = run(tmp_path / "a.npy", tmp_path, method=method, threshold=0.25)
    assert volume(mesh) > 0
    with pytest.raises(InputError, match="threshold"):
        run(tmp_path / "a.npy", tmp_path, method=method, threshold=0.26)


def test_a_grid_brings_its_place_and_its_order_of_axes(tmp_path):
    grid = np.zeros((2, 3, 4), np.float32)
    grid[1, 2, 3] = 1
    place = np.diag([1.0, 10.0, 100.0, 1.0])
    place[:3, 3] = 5
    for name, values, axes in (("xyz", grid, "xyz"), ("zyx", grid.T, "zyx")):
        np.savez(tmp_path / f"{name}.npz", grid=values, world_from_grid=place, axes=axes)
        mesh, _ = run(tmp_path / f"{name}.npz", tmp_path, method="cubify")
        assert np.allclose((mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2, [6, 25, 305])
        assert np.allclose(np.ptp(mesh.vertices, axis=0), [1, 10, 100])
        assert volume(mesh) == pytest.approx(1000)


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), st.integers(0, 2**32 - 1),
       st.sampled_from([0.02, 0.5, 1.0]))
def test_binvox_gives_back_its_voxels(tmp_path_factory, shape, seed, share):
    path = tmp_path_factory.mktemp("binvox") / "a.binvox"
    full = np.random.default_rng(seed).random(shape) < share
    write_binvox(full, path, (1.0, -2.0, 0.5), 3.0)
    back, world_from_grid = read_binvox(path)
    assert np.array_equal(back, full)
    cell = 3 / max(shape)
    assert np.allclose(world_from_grid @ [0, 0, 0, 1], [1 + cell / 2, -2 + cell / 2, 0.5 + cell / 2, 1])


def test_binvox_runs_y_fastest_then_z_then_x(tmp_path):
    header = b"#binvox 1\ndim 2 2 2\ntranslate 0 0 0\nscale 2\ndata\n"
    (tmp_path / "a.binvox").write_bytes(header + bytes([0, 1, 1, 1, 0, 6]))  # the second value alone
    filled, _ = read_binvox(tmp_path / "a.binvox")
    assert np.argwhere(filled).tolist() == [[0, 1, 0]]


def test_long_runs_are_cut_into_bytes(tmp_path):
    write_binvox(np.ones((16, 16, 16), bool), tmp_path / "a.binvox")
    assert read_binvox(tmp_path / "a.binvox")[0].all()


def box(low, high) -> Mesh:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * np.subtract(high, low) + low
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(corners, np.array([[(a, b, c), (a, c, d)] for a, b, c, d in quads]).reshape(-1, 3))


@pytest.mark.parametrize("method", ["marching-cubes", "cubify"])
def test_a_mesh_is_made_into_a_grid_and_back(tmp_path, method):
    write_mesh(box((1, 2, 3), (2, 4, 3.5)), tmp_path / "a.ply")
    mesh, report = run(tmp_path / "a.ply", tmp_path, method=method, resolution=32)
    assert report["mesh"]["open_edges"] == 0
    assert np.allclose([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], [[1, 2, 3], [2, 4, 3.5]], atol=0.02)
    assert volume(mesh) == pytest.approx(1.0, rel=0.03)


def test_distances_of_a_mesh_are_exact_near_it_and_signed():
    tree = voxelise(box((0, 0, 0), (1, 1, 1)), 8)
    values, place = tree.dense(tree.values), tree.world_from_grid
    points = np.moveaxis(np.indices(values.shape), 0, -1) @ place[:3, :3].T + place[:3, 3]
    away = np.abs(points - 0.5) - 0.5
    true = np.linalg.norm(np.maximum(away, 0), axis=-1) + np.minimum(away.max(axis=-1), 0)
    near = np.abs(true) < 0.125  # a cell
    assert np.allclose(values[near], true[near], atol=1e-6)
    assert ((values < 0) == (true < 0)).all()


@pytest.mark.parametrize("missing", [8, 9, 10])
def test_a_mesh_with_a_hole_stays_solid_and_leaks_nothing(missing):
    """Without its lower side a box is empty for a line going up, and everything above it is full."""
    whole = box((0, 0, 0), (1, 1, 1))
    inside = voxelise(Mesh(whole.vertices, np.delete(whole.faces, missing, axis=0)), 16).filled()
    assert inside.shape == (20, 20, 20)
    assert inside[2:18, 2:18, 2:18].all()
    assert not inside[[0, -1]].any() and not inside[:, [0, -1]].any() and not inside[:, :, [0, -1]].any()


def test_an_open_sheet_becomes_a_thin_wall(tmp_path):
    sheet = Mesh(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0.01], [0, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    write_mesh(sheet, tmp_path / "a.obj")
    mesh, report = run(tmp_path / "a.obj", tmp_path, resolution=16)
    assert report["mesh"]["open_edges"] == 0 and 0.05 < np.ptp(mesh.vertices[:, 2]) < 0.2


def test_an_open_mesh_keeps_no_hollow_that_nobody_sees():
    outer, inner = box((0, 0, 0), (1, 1, 1)), box((0.3, 0.3, 0.3), (0.7, 0.7, 0.7))
    both = Mesh(np.concatenate((outer.vertices, inner.vertices)),
                np.concatenate((outer.faces[:-1], inner.faces[:, ::-1] + 8)))
    assert audit(voxels.surface(voxelise(both, 24), "marching-cubes"))["components"] == 1


BAD = {
    "no_size.npy": np.zeros((3, 0, 3)), "constant.npy": np.full((4, 4, 4), 0.5), "flat.npy": np.ones((4, 4)),
    "batch.npy": np.ones((1, 4, 4, 4)), "nan.npy": np.array([[[0, np.nan]]]), "text.npy": np.array([[["a", "b"]]]),
    "bytes.npy": np.array([[[0, 255]]]), "complex.npy": np.array([[[0, 1j]]]), "object.npy": np.array([[[{}, 1]]]),
}


@pytest.mark.parametrize("name", [*BAD, "zero.npy", "cut.npy", "noise.npz", "names.npz", "place.npz", "axes.npz",
                                  "huge.npy", "cut.binvox", "head.binvox", "dim.binvox", "huge.binvox", "a.txt",
                                  "absent.npy"])
def test_a_bad_grid_is_one_line(tmp_path, name):
    path = tmp_path / name
    good = np.array([[[0.0, 1.0]]])
    if name in BAD:
        np.save(path, BAD[name], allow_pickle=True)
    elif name == "zero.npy":
        path.write_bytes(b"")
    elif name == "cut.npy":
        np.save(path, np.random.default_rng(0).random((9, 9, 9)))
        path.write_bytes(path.read_bytes()[:-100])
    elif name == "noise.npz":
        path.write_bytes(bytes(range(256)))
    elif name == "names.npz":
        np.savez(path, a=good, b=good)
    elif name == "place.npz":
        np.savez(path, values=good, world_from_grid=np.zeros((4, 4)))
    elif name == "axes.npz":
        np.savez(path, values=good, axes="yxz")
    elif name == "huge.npy":
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False,
                                                        "shape": (5000, 5000, 5000)})
    elif name == "cut.binvox":
        write_binvox(np.eye(3, dtype=bool)[None].repeat(3, axis=0), path)
        path.write_bytes(path.read_bytes()[:-4])
    elif name == "head.binvox":
        path.write_bytes(b"#binvox 1\ndata\n\x01\x01")
    elif name == "dim.binvox":
        path.write_bytes(b"#binvox 1\ndim 0 2 2\ndata\n\x01\x01")
    elif name == "huge.binvox":
        path.write_bytes(b"#binvox 1\ndim 4000 4000 4000\ndata\n\x01\x01")
    elif name == "a.txt":
        path.write_text("1 2 3")
    with pytest.raises(InputError) as error:
        gather_volume([path], tmp_path / "input", Voxels())
    assert "\n" not in str(error.value) and name in str(error.value)


def test_two_inputs_are_refused(tmp_path):
    with pytest.raises(InputError, match="2 inputs"):
        gather_volume([tmp_path / "a.npy", tmp_path / "b.npy"], tmp_path, Voxels())


def test_a_mesh_in_the_jobs_own_form_is_not_taken_for_a_grid(tmp_path):
    write_mesh(box((0, 0, 0), (1, 1, 1)), tmp_path / "a.npz")
    assert gather_volume([tmp_path / "a.npz"], tmp_path / "input", Voxels())["faces"] == 12


def test_the_jobs_grid_is_read_as_it_was_written(tmp_path):
    grid = grids.Grid(np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32), np.eye(4), True)
    grids.write_npz(grid, tmp_path / "grid.npz")
    back = grids.read_npz(tmp_path / "grid.npz")
    assert np.array_equal(back.values, grid.values) and back.signed_distance


def test_checkerboard_of_marching_cubes_is_a_closed_manifold(tmp_path):
    np.save(tmp_path / "a.npy", (np.indices((5, 5, 5)).sum(axis=0) % 2).astype(np.uint8))
    mesh, report = run(tmp_path / "a.npy", tmp_path)
    figures = SimpleNamespace(**audit(mesh))
    assert figures.open_edges == figures.nonmanifold_edges == figures.nonmanifold_vertices == 0
    assert report["mesh"]["faces"] == len(mesh.faces)


def test_an_octree_is_read_meshed_and_written_again(tmp_path):
    tree = voxelise(box((0, 0, 0), (1, 1, 1)), 16)
    octree.write_octree(tree, tmp_path / "a.octree")
    mesh, report = run(tmp_path / "a.octree", tmp_path)
    assert volume(mesh) == pytest.approx(1.0, rel=0.01) and report["mesh"]["genus"] == 0
    assert report["grid"]["levels"] == 6 and report["grid"]["shape"] == [20, 20, 20]
    FORMS["volume"].write(tmp_path / "output" / "mesh.npz", tmp_path / "b.octree")
    assert np.array_equal(octree.read_octree(tmp_path / "b.octree").values, tree.values)


def test_a_budget_and_quads_are_kept(tmp_path):
    np.save(tmp_path / "a.npy", sphere_grid())
    mesh, report = run(tmp_path / "a.npy", tmp_path, budget=200)
    assert 150 < len(mesh.faces) <= 200 and report["mesh"]["faces"] == len(mesh.faces)
    assert report["mesh"]["open_edges"] == report["mesh"]["nonmanifold_edges"] == 0
    for method in ("marching-cubes", "cubify"):
        mesh, report = run(tmp_path / "a.npy", tmp_path, quads=True, method=method)
        assert report["mesh"]["quads"] == mesh.quads == len(mesh.faces) / 2


@pytest.mark.parametrize("method", ["marching-cubes", "cubify"])
def test_quads_keep_their_budget_by_a_lower_resolution(tmp_path, method):
    np.save(tmp_path / "a.npy", sphere_grid())
    mesh, _ = run(tmp_path / "a.npy", tmp_path, quads=True, method=method)
    budget = len(mesh.faces) // 2
    octree.write_octree(voxelise(mesh, 16), tmp_path / "a.octree")
    write_npz(mesh, tmp_path / "a.npz")
    for name in ("a.npy", "a.octree", "a.npz"):
        fewer, report = run(tmp_path / name, tmp_path / name[2:], quads=True, method=method, budget=budget,
                            resolution=24)
        assert budget / 8 < len(fewer.faces) <= budget and fewer.quads == len(fewer.faces) / 2
        assert volume(fewer) == pytest.approx(volume(mesh), rel=0.1)
