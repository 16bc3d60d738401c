"""`maquette sdf`: soups, sheets, scans and several solids become one closed mesh; what can't is said in one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from maquette.formats.mesh import Mesh, read_npz
from maquette.formats.meshes import write_mesh
from maquette.formats.points import Points
from maquette.formats.solids import Solid, write_solids
from maquette.neural.tasks import sdf
from maquette.recipes import InputError, recipe_of

QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)


def cube(place: tuple[float, float, float] = (0, 0, 0), half: float = 1.0) -> Mesh:
    return Mesh(CORNERS * half + np.array(place, np.float32), np.concatenate((QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]])))


def sheet(side: float = 2.0) -> Mesh:
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) * side / 2
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))


def run(tmp_path: Path, *solids: Solid, **recipe: Any) -> tuple[Mesh, dict[str, Any], list[str]]:
    """The task on these solids: its mesh, report and warnings."""
    warnings: list[str] = []
    context: Any = SimpleNamespace(
        recipe=recipe_of("sdf")(**{"resolution": 32, **recipe}), seed=0, device=torch.device("cpu"), report={},
        input=tmp_path / "input", output=tmp_path / "output", checkpoint=tmp_path / "checkpoint",
        stage=lambda *_: None, progress=lambda *_: None, preview=lambda rgb: None, warn=warnings.append)
    write_solids(solids, context.input)
    for folder in (context.output, context.checkpoint):
        folder.mkdir()
    sdf.run(context)
    return read_npz(context.output / "mesh.npz"), context.report, warnings


def volume(mesh: Mesh) -> float:
    a, b, c = np.moveaxis(mesh.triangles().astype(np.float64), 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def is_clean(report: dict[str, Any]) -> bool:
    names = ("open_edges", "nonmanifold_edges", "flipped_edges", "nonmanifold_vertices", "inner_shells")
    return not any(report["mesh"][name] for name in names)


def box(mesh: Mesh) -> np.ndarray:
    return np.stack((mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)))


def test_cubes_that_run_into_each_other_in_one_mesh_become_one_solid(tmp_path: Path) -> None:
    one, other = cube(), cube((1, 1, 1))
    soup = Mesh(np.concatenate((one.vertices, other.vertices)), np.concatenate((one.faces, other.faces + 8)))
    mesh, report, warnings = run(tmp_path, soup, sharp=True)
    assert is_clean(report) and report["mesh"]["components"] == 1 and report["mesh"]["genus"] == 0
    assert volume(mesh) == pytest.approx(8 + 8 - 1, rel=0.005), "two cubes of 8 with one of 1 in common"
    assert not warnings and report["extraction"]["evaluations_share"] < 1


@pytest.mark.parametrize(("combine", "wanted"), [("union", 12), ("difference", 4), ("intersection", 4)])
def test_two_solids_are_combined_in_their_order(tmp_path: Path, combine: str, wanted: float) -> None:
    """Cubes of 8 that share a half of each: 8 + 8 − 4, 8 − 4 and 4."""
    mesh, report, _ = run(tmp_path, cube(), cube((1, 0, 0)), combine=combine, sharp=True)
    assert is_clean(report) and volume(mesh) == pytest.approx(wanted, rel=0.01)
    if combine == "difference":
        np.testing.assert_allclose(box(mesh), [[-1, -1, -1], [0, 1, 1]], atol=0.02)


def test_a_blend_adds_volume_where_solids_meet(tmp_path: Path) -> None:
    sharp, _, _ = run(tmp_path / "a", cube(), cube((1.5, 1.5, 0)))
    blended, report, _ = run(tmp_path / "b", cube(), cube((1.5, 1.5, 0)), blend=0.5)
    assert is_clean(report) and volume(blended) > volume(sharp) + 0.1


def test_an_offset_moves_every_side_and_rounds_outer_corners(tmp_path: Path) -> None:
    """A cube of side 2 grown by r has volume 8 + 24 r + 12 · ¼πr² · 2 + 4⁄3 πr³ (Steiner)."""
    r = 0.25
    mesh, report, _ = run(tmp_path, cube(), offset=r, resolution=64)
    assert is_clean(report)
    np.testing.assert_allclose(box(mesh), [[-1.25] * 3, [1.25] * 3], atol=0.02)
    assert volume(mesh) == pytest.approx(8 + 24 * r + 6 * np.pi * r**2 + 4 / 3 * np.pi * r**3, rel=0.01)


def test_a_shell_is_a_wall_with_a_hollow(tmp_path: Path) -> None:
    mesh, report, warnings = run(tmp_path, cube(), shell=0.25, resolution=64)
    assert report["mesh"]["components"] == 2 and report["mesh"]["inner_shells"] == 1 and not warnings
    assert volume(mesh) == pytest.approx(8 - 1.5**3, rel=0.02)


def test_a_sheet_becomes_a_wall_of_the_thickness_asked_for(tmp_path: Path) -> None:
    mesh, report, _ = run(tmp_path, sheet(), shell=0.2, resolution=64)
    assert is_clean(report) and np.ptp(mesh.vertices[:, 2]) == pytest.approx(0.2, abs=0.01)


def test_a_hole_is_closed_and_warned_of(tmp_path: Path) -> None:
    whole = cube()
    lidless = Mesh(whole.vertices, np.delete(whole.faces, [3, 9], axis=0))
    mesh, report, warnings = run(tmp_path, lidless)
    assert is_clean(report) and 0.5 * 8 < volume(mesh) < 8.1
    assert len(warnings) == 1 and "4 open edges" in warnings[0] and "--shell" in warnings[0]


def test_faces_that_look_the_wrong_way_are_warned_of(tmp_path: Path) -> None:
    whole = cube()
    faces = whole.faces.copy()
    faces[3] = faces[3, ::-1]
    _, report, warnings = run(tmp_path, Mesh(whole.vertices, faces))
    assert is_clean(report) and len(warnings) == 1 and "look the wrong way" in warnings[0]


def test_the_audit_follows_the_budget_and_quads_are_counted(tmp_path: Path) -> None:
    mesh, report, _ = run(tmp_path / "a", cube(), budget=500)
    assert len(mesh.faces) == report["mesh"]["faces"] <= 500 and is_clean(report)
    _, report, _ = run(tmp_path / "b", cube(), quads=True)
    assert report["mesh"]["quads"] * 2 > 0.9 * report["mesh"]["faces"] and is_clean(report)
    _, report, _ = run(tmp_path / "c", cube(), quads=True, budget=1500)
    assert report["mesh"]["quads"] * 2 > 0.9 * report["mesh"]["faces"] <= 0.9 * 1500 and is_clean(report)
    assert report["extraction"]["resolution"] < 32


def test_a_grid_of_signed_distances_is_taken_at_its_place(tmp_path: Path) -> None:
    from maquette.formats.grids import Grid
    axis = np.linspace(-1.5, 1.5, 31, dtype=np.float32)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    world_from_grid = np.diag([0.1, 0.1, 0.1, 1.0])
    world_from_grid[:3, 3] = (3.5, -1.5, -1.5)
    grid = Grid(np.sqrt(x * x + y * y + z * z) - 1, world_from_grid, True)
    mesh, report, _ = run(tmp_path, grid)
    assert is_clean(report) and np.linalg.norm(mesh.vertices - [5, 0, 0], axis=1) == pytest.approx(1, abs=0.02)


def test_a_network_fitted_for_seconds_is_a_closed_mesh_near_the_solid(tmp_path: Path) -> None:
    mesh, report, _ = run(tmp_path, cube(), method="neural", seconds=4.0)
    assert report["mesh"]["open_edges"] == 0 and volume(mesh) == pytest.approx(8, rel=0.25)


def test_a_scan_of_a_ball_becomes_the_ball(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(4000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    mesh, report, warnings = run(tmp_path, Points(normals.astype(np.float32), None, 3))
    assert is_clean(report) and np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(1, abs=0.05)
    assert "points: 3 that are not finite are left out" in warnings


@pytest.mark.parametrize(("solids", "recipe", "said"), [
    ((Mesh(np.eye(3), np.array([[0, 1, 2]])),), {}, "nothing is inside"),
    ((cube(), cube((9, 0, 0))), {"combine": "intersection"}, "nothing is inside"),
    ((cube(half=0.0),), {}, "has no size"),
    ((Points(np.zeros((2, 3), np.float32)),), {}, "points: .*2"),
    ((Mesh(np.full((3, 3), np.nan), np.array([[0, 1, 2]])),), {}, "not finite"),
])
def test_what_holds_no_solid_is_said_in_one_line(tmp_path: Path, solids: tuple[Solid, ...], recipe: dict[str, Any],
                                                 said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        run(tmp_path, *solids, **recipe)
    assert "\n" not in str(error.value) and ";" in str(error.value)


def test_the_command_line_takes_several_inputs(tmp_path: Path) -> None:
    from maquette import cli
    write_mesh(cube(), tmp_path / "a.ply")
    write_mesh(cube((1, 0, 0)), tmp_path / "b.stl")
    out = tmp_path / "out.obj"
    words = ["sdf", str(tmp_path / "a.ply"), str(tmp_path / "b.stl"), "-o", str(out), "--combine", "difference",
             "--resolution", "24", "--sharp", "--quads", "--quiet"]
    assert cli.main(words) == 0
    assert any(len(line.split()) == 5 for line in out.read_text().splitlines() if line.startswith("f "))
