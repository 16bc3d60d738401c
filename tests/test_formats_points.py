"""Point clouds and solids from files: what is read is what was written, and what is damaged is said in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maquette.formats import octree, points, solids
from maquette.formats.grids import Grid
from maquette.formats.mesh import Mesh
from maquette.formats.points import Points, read_points
from maquette.recipes import InputError, recipe_of

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32)
OUTWARD = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0], [0.6, 0, 0.8]], np.float32)


def ply(rows: list[str], properties: str = "x y z", extra: str = "") -> str:
    names = "".join(f"property float {name}\n" for name in properties.split())
    return f"ply\nformat ascii 1.0\nelement vertex {len(rows)}\n{names}{extra}end_header\n" + "\n".join(rows) + "\n"


def rows(*columns: np.ndarray, separator: str = " ") -> list[str]:
    return [separator.join(f"{value:.9g}" for value in row) for row in np.hstack(columns).tolist()]


def written(tmp_path: Path, name: str, columns: np.ndarray) -> Path:
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, columns)
    elif name.endswith(".npz"):
        np.savez(path, points=columns[:, :3], normals=columns[:, 3:])
    elif name.endswith(".ply"):
        path.write_text(ply(rows(columns), "x y z nx ny nz"))
    else:
        path.write_text("\n".join(rows(columns, separator="," if name.endswith(".csv") else " ")) + "\n")
    return path


@pytest.mark.parametrize("name", ["a.ply", "a.xyz", "a.csv", "a.txt", "a.npy", "a.npz"])
def test_points_with_normals_are_read_from_every_form(tmp_path: Path, name: str) -> None:
    found = read_points(written(tmp_path, name, np.hstack((CORNERS, OUTWARD))))
    assert found.normals is not None
    assert np.array_equal(found.positions, CORNERS) and np.allclose(found.normals, OUTWARD, atol=1e-6)


def test_colours_in_the_normals_columns_are_no_normals(tmp_path: Path) -> None:
    path = written(tmp_path, "a.xyz", np.hstack((CORNERS, np.full((4, 3), 128.0))))
    assert read_points(path).normals is None


def test_a_heading_comments_and_a_count_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    path.write_text("# scanner 7\nx;y;z\n4\n" + "\n".join(rows(CORNERS, separator=";")) + "\n\n")
    assert np.array_equal(read_points(path).positions, CORNERS)


def test_vertices_of_an_obj_without_faces_are_points(tmp_path: Path) -> None:
    path = tmp_path / "a.obj"
    path.write_text("\n".join(f"v {row}" for row in rows(CORNERS)))
    found = solids.read_solid(path)
    assert isinstance(found, Points) and np.array_equal(found.positions, CORNERS)


def test_points_that_are_not_finite_are_left_out_and_counted(tmp_path: Path) -> None:
    broken = CORNERS.copy()
    broken[1, 2] = np.nan
    np.save(tmp_path / "a.npy", broken)
    found = read_points(tmp_path / "a.npy")
    assert found.left_out == 1 and np.array_equal(found.positions, CORNERS[[0, 2, 3]])


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.xyz", "1 2 3\n4 five 6\n", "no numbers in line 2 \\('4 five 6'\\); mend"),
    ("a.xyz", "1 2 3\n4 5\n", "2 columns in line 2; give x, y and z"),
    ("a.xyz", "nothing here\n", "has no points; write it again"),
    ("a.xyz", "nan nan nan\n", "has 1 points, none of them finite"),
    ("a.ply", "not a ply", "is not a PLY file with x, y, z"),
    ("a.ply", ply(["1 2"], "x y"), "is not a PLY file with x, y, z \\(it has x, y\\)"),
    ("a.ply", ply(["1 2 3"]).replace("vertex 1", "vertex 7"), "may be damaged or cut short"),
])
def test_damaged_points_are_refused_in_one_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said) as error:
        read_points(tmp_path / name)
    assert "\n" not in str(error.value) and str(tmp_path / name) in str(error.value)


def test_an_array_of_another_shape_and_a_foreign_npz_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 4)))
    np.savez(tmp_path / "b.npz", cloud=np.zeros((5, 3)))
    with pytest.raises(InputError, match=r"shape \(5, 4\) and type float64; give \(N, 3\)"):
        read_points(tmp_path / "a.npy")
    with pytest.raises(InputError, match="no array named points \\(it has cloud\\)"):
        read_points(tmp_path / "b.npz")


@given(st.binary(max_size=300), st.sampled_from([".ply", ".xyz", ".npy", ".npz", ".obj"]))
@settings(deadline=None, max_examples=150)
def test_any_bytes_are_points_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes,
                                                     ending: str) -> None:
    path = tmp_path_factory.mktemp("bytes") / f"a{ending}"
    path.write_bytes((b"ply\n" if ending == ".ply" else b"") + content)
    try:
        assert np.isfinite(read_points(path).positions).all()
    except InputError as error:
        assert "\n" not in str(error).replace(str(path), "")


def test_solids_keep_their_order_and_kind_through_the_jobs_input(tmp_path: Path) -> None:
    mesh = Mesh(CORNERS, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]))
    cloud = Points(CORNERS, OUTWARD, 2)
    grid = Grid(np.linspace(0, 1, 27, dtype=np.float32).reshape(3, 3, 3), np.eye(4), False)
    summary = solids.write_solids([cloud, mesh, grid, mesh], tmp_path / "input")
    assert summary == {"solids": 4, "faces": 8, "points": 4, "voxels": 27}
    found = solids.read_solids(tmp_path / "input")
    assert [type(solid) for solid in found] == [Points, Mesh, Grid, Mesh]
    assert isinstance(found[0], Points) and found[0].left_out == 2 and np.array_equal(found[0].normals, OUTWARD)


def test_what_a_file_holds_decides_what_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "cloud.npy", CORNERS)
    np.save(tmp_path / "grid.npy", np.linspace(0, 1, 27).reshape(3, 3, 3))
    face = "element face 1\nproperty list uchar int vertex_indices\n"
    (tmp_path / "mesh.ply").write_text(ply(rows(CORNERS), extra=face) + "3 0 1 2\n")
    (tmp_path / "cloud.ply").write_text(ply(rows(CORNERS)))
    kinds = [type(solids.read_solid(tmp_path / name)) for name in ("cloud.npy", "grid.npy", "mesh.ply", "cloud.ply")]
    assert kinds == [Points, Grid, Mesh, Points]


def test_no_input_and_foreign_files_are_refused(tmp_path: Path) -> None:
    recipe = recipe_of("sdf")()
    with pytest.raises(InputError, match="^input: none is given; give one or more meshes"):
        solids.gather_solids([], tmp_path, recipe)
    (tmp_path / "a.doc").write_text("x")
    (tmp_path / "b.ply").touch()
    for name, said in (("a.doc", "ending that is not read"), ("b.ply", "is empty"), ("c.ply", "does not exist")):
        with pytest.raises(InputError, match=said):
            solids.gather_solids([tmp_path / name], tmp_path / "input", recipe)


def test_the_points_of_real_scans_are_read(shared: Path) -> None:
    kitten = read_points(shared / "data/scans/kitten.ply")
    mug = read_points(shared / "data/scans/mug_table_stereo.ply")
    assert len(kitten.positions) == 5210 and kitten.normals is not None
    assert len(mug.positions) == 104640 and mug.normals is None
    assert points.ply_faces(shared / "data/scans/abc0_mesh.ply") == 16158


def test_an_octree_is_a_solid(tmp_path: Path) -> None:
    filled = np.zeros((4, 4, 4), bool)
    filled[1:3, 1:3, 1:3] = True
    tree = octree.from_dense(filled, np.eye(4))
    octree.write_octree(tree, tmp_path / "a.octree")
    solids.write_solids([solids.read_solid(tmp_path / "a.octree")], tmp_path / "input")
    [found] = solids.read_solids(tmp_path / "input")
    assert isinstance(found, octree.Octree) and np.array_equal(found.filled(), filled)


def test_what_lies_too_far_from_the_origin_for_its_size_is_refused(tmp_path: Path) -> None:
    cloud = np.random.default_rng(0).random((100, 3))
    solids.write_solids([Points(cloud.astype(np.float32)), Points((cloud + 1000).astype(np.float32))], tmp_path / "near")
    for away in (5.4e6, 1e9):  # a metre there is two steps of float32, and none
        with pytest.raises(InputError, match=r"solid 1 is .* m from the origin, where places are .* m apart; move it"):
            solids.write_solids([Points((cloud + away).astype(np.float32))], tmp_path / "far")
