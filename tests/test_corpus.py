"""Models made subjects to learn from: what is kept of a mesh, the solid it stands for, variants, the split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maquette.formats.mesh import Mesh
from maquette.formats.meshes import write_mesh
from maquette.formats.shapes import gather_shapes, read_shape, write_shapes
from maquette.neural.evaluation.audit import audit, is_closed
from maquette.neural.geometry.mesh_distance import MeshDistance
from maquette.neural.meshing import topology
from maquette.neural.training import corpus as corpora
from maquette.neural.training.corpus import Corpus, draw_of, group_of, key_of, prepare
from maquette.neural.training.subject import (FACES, POINTS, REACH, SIDE, Unfit, corner_normals, outer_surface,
                                              subject_of)
from maquette.neural.training.twins import NEARNESS, described, twin_groups, twins
from maquette.recipes.shape_train import ShapeTrain

CUBE = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
FACES_OF_CUBE = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                          [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])
BOTTOM = FACES_OF_CUBE[8:10]


def box(size: tuple[float, float, float] = (1, 1, 1), centre: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    return Mesh(CUBE * size + centre, FACES_OF_CUBE)


def together(*parts: Mesh) -> Mesh:
    start = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return Mesh(np.concatenate([part.vertices for part in parts]),
                np.concatenate([part.faces + first for part, first in zip(parts, start, strict=False)]))


def ball(rings: int = 40) -> Mesh:
    """A ball of longitudes and latitudes."""
    around, along = np.meshgrid(np.arange(2 * rings) * np.pi / rings, np.arange(1, rings) * np.pi / rings)
    grid = np.stack((np.sin(along) * np.cos(around), np.sin(along) * np.sin(around), np.cos(along)), axis=-1)
    vertices = np.concatenate((grid.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]))
    n, top = 2 * rings, len(vertices) - 2
    i = np.arange(n)
    rows = [np.stack((top + 0 * i, i, (i + 1) % n), 1)]
    for ring in range(rings - 2):
        a, b = ring * n + i, ring * n + (i + 1) % n
        rows += [np.stack((a, a + n, b + n), 1), np.stack((a, b + n, b), 1)]
    last = (rings - 2) * n
    rows.append(np.stack((last + i, top + 1 + 0 * i, last + (i + 1) % n), 1))
    return Mesh(vertices, np.concatenate(rows))


def distance_of(subject: np.void) -> tuple[np.ndarray, np.ndarray]:
    """The grid's points (N, 3) and values (N,)."""
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    points = np.stack(np.meshgrid(*(axis * step for step in subject["spacing"]), indexing="ij"), axis=-1)
    return points.reshape(-1, 3), subject["grid"].reshape(-1) * (REACH / 127)


def test_a_subject_is_centred_and_its_longest_side_is_one() -> None:
    subject = subject_of(box((4, 2, 1), (10, 20, 30)))[0]
    corners = subject["corners"].reshape(-1, 3)
    np.testing.assert_allclose(corners.min(axis=0), [-0.5, -0.25, -0.125], atol=1e-6)
    np.testing.assert_allclose(corners.max(axis=0), [0.5, 0.25, 0.125], atol=1e-6)
    assert sorted(map(tuple, subject["hull"].tolist())) == sorted(set(map(tuple, corners.tolist())))


def test_the_grid_has_the_distance_of_the_solid() -> None:
    subject = subject_of(box((4, 2, 1)))[0]
    points, values = distance_of(subject)
    away = np.abs(points) - [0.5, 0.25, 0.125]
    true = np.linalg.norm(np.maximum(away, 0), axis=1) + np.minimum(away.max(axis=1), 0)
    assert ((values < 0) == (true < 0))[np.abs(true) > 1e-6].all()
    near = np.abs(true) < subject["spacing"].max()
    assert np.abs(values - true)[near].max() <= REACH / 127 + 1e-6
    # Farther off it is a neighbour's.
    assert np.abs(values - np.clip(true, -REACH, REACH)).max() <= 4 * np.linalg.norm(subject["spacing"])


def test_points_and_normals_lie_on_the_surface() -> None:
    subject = subject_of(box((4, 2, 1)))[0]
    points, normals = subject["points"], subject["normals"] / 127
    side = (np.abs(np.abs(points) - [0.5, 0.25, 0.125])).argmin(axis=1)
    off = np.abs(np.abs(points)[range(POINTS), side] - np.array([0.5, 0.25, 0.125])[side])
    # But for a few at the edges, which the grid cuts.
    assert np.quantile(off, 0.98) < 1e-4 and off.max() < 0.01
    assert np.quantile((normals * np.sign(points))[range(POINTS), side], 0.02) > 0.99
    # Evenly: the shares are the sides' areas, 2 of 14, 4 of 14 and 8 of 14.
    np.testing.assert_allclose(np.bincount(side) / POINTS, [2 / 14, 4 / 14, 8 / 14], atol=0.02)


def test_parts_that_run_into_each_other_are_one_solid() -> None:
    subject = subject_of(together(box((1, 0.3, 0.3)), box((0.3, 1, 0.3))))[0]
    surface = outer_surface(subject)
    assert is_closed(audit(surface))
    inner = (np.abs(subject["points"][:, :2]) < 0.14).all(axis=1) & (np.abs(subject["points"][:, 2]) < 0.14)
    assert not inner.any()
    points, values = distance_of(subject)
    assert (values[(np.abs(points) < 0.13).all(axis=1)] < 0).all()


def test_an_open_bottom_gets_a_film() -> None:
    whole = box()
    bare = ~(FACES_OF_CUBE[:, None] == BOTTOM[None]).all(axis=2).any(axis=1)
    subject = subject_of(Mesh(whole.vertices, whole.faces[bare]))[0]
    bottom = np.abs(subject["points"][:, 2] + 0.5) < 0.01
    assert bottom.mean() == pytest.approx(1 / 6, abs=0.03)
    assert (subject["normals"][bottom, 2] < -100).mean() > 0.9
    assert len(subject["corners"]) == 10  # what is looked at stays open


def test_a_hollow_is_filled_and_its_wall_is_not_learnt() -> None:
    subject = subject_of(together(box(), box((0.6, 0.6, 0.6)).inside_out()))[0]
    assert np.abs(subject["points"]).max(axis=1).min() > 0.49
    points, values = distance_of(subject)
    assert (values[(np.abs(points) < 0.45).all(axis=1)] < 0).all()


def test_a_mesh_that_is_inside_out_is_meant_the_other_way_round() -> None:
    subject = subject_of(box().inside_out())[0]
    assert (subject["points"] * subject["normals"]).sum(axis=1).min() > 0


@pytest.mark.parametrize("mesh, why", [
    (Mesh(CUBE * [1, 1, 0], FACES_OF_CUBE), "flat"),
    (Mesh(np.zeros((0, 3)), np.zeros((0, 3))), "no faces"),
    (Mesh([[0, 0, 0], [1, 0, 0.2], [0, 1, 0.3]], [[0, 1, 2]]), "volume"),
    (together(box((0.2, 0.2, 0.2)), Mesh([[-1, -1, 0], [1, -1, 0], [1, 1, 0.4], [-1, 1, 0.4]], [[0, 1, 2], [0, 2, 3]])),
     "sheets"),
])
def test_what_bounds_no_solid_is_refused(mesh: Mesh, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        subject_of(mesh)


def test_corners_keep_the_colours_of_vertices_and_of_textures() -> None:
    colors = np.random.default_rng(0).random((8, 3))
    kept = subject_of(replace(box(), colors=colors))[0]["colors"]
    assert np.abs(kept / 255 - colors[FACES_OF_CUBE]).max() <= 0.5 / 255 + 1e-6
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[:, 1] = 200
    uvs = np.zeros((12, 3, 2)) + [0.25, 0.5]
    uvs[6:, :, 0] = 0.75
    painted = subject_of(replace(box(), corner_uvs=uvs, texture=texture))[0]["colors"]
    # Quartered four times to 3,072 faces, half of them of each colour; the surface is the same.
    assert len(painted) == 12 * 4**4
    assert {tuple(face) for face in painted.reshape(-1, 9).tolist()} == {(0,) * 9, (200,) * 9}
    assert (painted == 200).mean() == 0.5


def test_quarters_of_a_face_cover_it_and_face_the_same_way() -> None:
    mesh = replace(box(), corner_uvs=np.full((12, 3, 2), 0.5), texture=np.full((1, 1, 3), 99, np.uint8))
    corners = subject_of(mesh)[0]["corners"].astype(float)
    whole = Mesh(corners.reshape(-1, 3), np.arange(corners.size // 3).reshape(-1, 3))
    assert topology.face_areas(whole).sum() == pytest.approx(6, abs=1e-5)
    a, b, c = np.moveaxis(corners, 1, 0)
    assert (np.cross(b - a, c - a) * corners.mean(axis=1)).sum(axis=1).min() > 0


def test_too_many_faces_are_reduced_and_keep_their_colours() -> None:
    mesh = ball(60)
    colors = np.where(mesh.vertices[:, 2:] > 0, [1.0, 0, 0], [0, 0, 1.0])
    assert len(mesh.faces) > FACES
    subject = subject_of(replace(mesh, colors=colors))[0]
    assert len(subject["corners"]) <= FACES
    up = subject["corners"][..., 2].min(axis=1) > 0.05
    assert (subject["colors"][up, :, 0] > 200).all() and (subject["colors"][up, :, 2] < 50).all()


def test_normals_are_smooth_where_the_surface_is_and_sharp_at_edges() -> None:
    smooth = ball(20)
    np.testing.assert_allclose((corner_normals(smooth) * smooth.triangles()).sum(axis=2), 1, atol=0.01)
    sharp = box()
    assert (np.abs(corner_normals(sharp)).max(axis=2) == 1).all()


def test_symmetry_is_told_for_each_axis() -> None:
    both = subject_of(box((1, 0.5, 0.5)))[0]["symmetry"]
    assert both.min() > 0.98
    leaning = together(box((1, 0.2, 0.2)), box((0.2, 0.2, 0.6), (0.3, 0, 0.3)))
    along, across = subject_of(leaning)[0]["symmetry"]
    assert along < 0.8 and across > 0.98


def test_names_of_variants_are_of_one_group() -> None:
    assert group_of("corpus/food/kenney_donut-chocolate") != group_of("corpus/food/kenney_donut-sprinkles")
    same = ["food/kenney_cup-red", "food/kenney_cup-2", "food/kenney_cup_blue_03", "my/food/kenney_cup-a"]
    assert {group_of(name) for name in same} == {"food/kenney-cup"}
    assert group_of("food/7") == "food/7"


def test_the_draw_of_a_group_is_fixed() -> None:
    assert draw_of("food/kenney-cup") == pytest.approx(0.50082, abs=1e-5)
    draws = np.array([draw_of(f"things/{number}") for number in range(4000)])
    assert abs((draws < 0.1).mean() - 0.1) < 0.02


def test_twins_are_found_mirrored_turned_and_scaled() -> None:
    shape = together(box((1, 0.4, 0.3)), box((0.2, 0.3, 0.6), (0.35, 0.2, 0.3)))
    turn = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    variants = [shape, shape.transformed(np.diag([3.0, 3, 3, 1])), shape.transformed(np.diag([-1.0, 1, 1, 1])),
                shape.transformed(turn), shape.transformed(np.diag([1.0, -1, 1, 1]) @ turn), box((1, 0.4, 0.5)),
                shape.transformed(np.diag([1.0, 1, -1, 1]))]
    records = [subject_of(mesh)[0] for mesh in variants]
    found = set(zip(*(part.tolist() for part in twins(np.stack([described(one) for one in records]))), strict=True))
    assert found == {(i, j) for i in range(5) for j in range(5) if i != j}
    assert twin_groups(records, list("aabcdef")).tolist() == [0, 0, 0, 0, 0, 1, 2]
    assert NEARNESS < np.abs(described(records[0]) - described(records[5])).mean()


def write_corpus(folder: Path, names: list[str], meshes: list[Mesh]) -> None:
    write_shapes(zip(names, meshes, strict=True), folder)


def test_a_twin_of_what_is_trained_on_is_not_held_out(tmp_path: Path) -> None:
    names = [f"things/{word}" for word in ("anvil", "barrel", "candle", "drum", "easel")]
    meshes = [box((1, 0.2 + 0.15 * number, 0.5)) for number in range(4)] + [box((1, 0.2, 0.5))]
    write_corpus(tmp_path / "input", names, meshes)
    corpus = prepare(tmp_path / "input", tmp_path / "subjects", tmp_path / "index.json")
    draws = {entry.name: entry.draw for entry in corpus.entries}
    first, last = draw_of("things/anvil"), draw_of("things/easel")
    assert draws["things/anvil"] == draws["things/easel"] == max(first, last)
    assert draws["things/drum"] == draw_of("things/drum")
    between = 100 * (min(first, last) + max(first, last)) / 2  # one of the two alone would be held out
    train, held_out = corpus.split(between)
    assert {0, 4} <= set(train)
    assert sorted(train + held_out) == list(range(5))


def test_preparing_goes_on_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a/one", "a/two", "b/sheet", "b/three"]
    sheet = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0.5]], [[0, 1, 2]])
    write_corpus(tmp_path / "input", names, [box(), box((1, 0.5, 0.5)), sheet, box((1, 0.2, 0.2))])
    made: list[int] = []

    def counted(mesh: Mesh) -> np.ndarray:
        made.append(len(mesh.faces))
        if len(made) == 3:
            raise KeyboardInterrupt
        return subject_of(mesh)

    monkeypatch.setattr(corpora, "subject_of", counted)
    paths = tmp_path / "input", tmp_path / "subjects", tmp_path / "index.json"
    with pytest.raises(KeyboardInterrupt):
        prepare(*paths)
    assert not (tmp_path / "index.json").exists()
    told: list[float] = []
    corpus = prepare(*paths, told.append)
    assert len(made) == 5 and told[-1] == 1
    assert [entry.name for entry in corpus.entries] == ["a/one", "a/two", "b/three"]
    assert corpus.families == ["a", "b"]
    assert len(corpus.left_out) == 1 and corpus.left_out[0].startswith("b/sheet: it")
    assert prepare(*paths).entries == corpus.entries and len(made) == 5
    assert corpus[1]["grid"].shape == (SIDE, SIDE, SIDE)
    assert isinstance(Corpus(*reversed(paths[1:]))[0], np.void)


def test_the_key_depends_on_all_that_a_mesh_is_made_of() -> None:
    mesh = box()
    colored = replace(mesh, colors=np.zeros((8, 3)))
    keys = {key_of(one) for one in (mesh, colored, replace(colored, colors=np.ones((8, 3))), box((2, 1, 1)),
                                    mesh.inside_out())}
    assert len(keys) == 5
    assert key_of(mesh) == key_of(box())


def test_gathered_meshes_keep_colours_that_meet_at_a_vertex(tmp_path: Path) -> None:
    triangles = box().triangles().reshape(-1, 3)
    colors = np.repeat(np.tile([[1.0, 0, 0], [0, 0, 1.0]], (6, 1)), 3, axis=0)
    (tmp_path / "things").mkdir()
    write_mesh(Mesh(triangles, np.arange(36).reshape(-1, 3), colors=colors), tmp_path / "things" / "cube.glb")
    gather_shapes([tmp_path / "things"], tmp_path / "input", ShapeTrain())
    mesh = read_shape(tmp_path / "input", 0)
    assert mesh.colors is not None
    found = mesh.colors[mesh.faces]
    assert (found == found[:, :1]).all() and len(np.unique(found.reshape(-1, 3), axis=0)) == 2
    assert (MeshDistance(mesh).is_closed) and not topology.edges(mesh.faces).count.max() > 2
