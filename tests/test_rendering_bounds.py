"""Finding the subject in posed pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from maquette.formats import capture as captures
from maquette.formats.inputs import gather_capture
from maquette.neural.kernels.density_reference import contracted
from maquette.neural.rendering.bounds import box_of_points, find_box, seen_cells, visual_hull
from maquette.neural.rendering.lattice import Lattice
from maquette.recipes.capture import Capture, box_of
from maquette.recipes.errors import InputError

FAR = (1000.0, -2000.0, 30.0)


def test_a_lattice_with_a_shell_has_the_box_in_its_middle_and_all_of_space():
    lattice = Lattice.over(np.array([[0.0, 0.0, 0.0], [8.0, 4.0, 3.0]]), 8, 0.5)
    assert lattice.cells == (12, 6, 6) and lattice.voxel == 1
    assert lattice.within.box.tolist() == [[0, 0, -0.5], [8, 4, 3.5]]
    held = lattice.places(np.array([[6.0, 3, 3], [10, 3, 3], [11, 3, 3], [11, 4.25, 3]]))
    assert held[:3].tolist() == [[4, 2, 1.5], [8, 2, 1.5], [12, 2, 1.5]]  # 1.25 half sides are two
    assert held[3].tolist() == pytest.approx([12, 4, 1.5])
    assert lattice.outward(held).tolist() == pytest.approx([0, 1, 2, 2])
    assert Lattice.from_json(lattice.to_json()).within.cells == (8, 4, 4)


@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), FAR])
def test_the_box_is_that_of_the_silhouettes(ball, centre):
    box = find_box(ball(centre=centre))
    assert (box[0] - centre <= -0.5).all() and (box[1] - centre >= 0.5).all()
    assert np.abs(box - centre).max() < 0.6


def test_a_hull_keeps_every_cell_of_the_subject_and_little_else(ball):
    lattice = Lattice.over(np.array([[-0.7] * 3, [0.7] * 3]), 37)
    hull = visual_hull(ball(), lattice)
    centres = lattice.lower + lattice.voxel * (np.argwhere(np.ones(lattice.cells)) + 0.5)
    distance = np.linalg.norm(centres, axis=1).reshape(lattice.cells)
    assert hull[distance < 0.5].all()
    assert not hull[(distance > 0.66) & (distance < 0.72)].any()  # those that every picture shows


def test_blocks_decide_as_single_cells_do(ball):
    pictures = ball()[:6]
    lattice = Lattice.over(np.array([[-0.7] * 3, [0.7] * 3]), 32)
    small = Lattice.over(lattice.box, 32)
    whole = visual_hull(pictures, lattice)
    octant = Lattice(small.lower, small.voxel, (11, 11, 11))  # too few cells for blocks
    assert (visual_hull(pictures, octant) == whole[:11, :11, :11]).all()


def test_what_lies_outside_a_picture_is_not_known_from_it(ball):
    pictures = ball()
    half = replace(pictures[1], rgba_srgb=pictures[1].rgba_srgb[:, :32])  # its right half was never taken
    lattice = Lattice.over(np.array([[-0.7] * 3, [0.7] * 3]), 24)
    assert (visual_hull([half, *pictures[2:]], lattice) >= visual_hull(pictures[1:], lattice)).all()


def test_without_alpha_the_box_is_where_the_cameras_look(ball):
    box = find_box(ball(has_alpha=False, centre=FAR))
    assert np.abs(box.mean(0) - FAR).max() < 0.01
    assert 0.5 < np.abs(box - FAR).max() < 1.5


def test_stray_points_do_not_stretch_the_box_of_points():
    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    points[:5] = 100.0
    box = box_of_points(points)
    assert (np.abs(box) < 1.5).all() and (np.abs(box) > 0.95).all()


def test_without_alpha_the_box_is_that_of_the_points_that_most_cameras_see(ball):
    g = np.random.default_rng(1)
    subject, beside = g.uniform(-0.3, 0.3, (500, 3)), g.uniform(2, 9, (5000, 3))
    box = find_box(ball(has_alpha=False), np.concatenate([subject, beside]))
    assert (np.abs(box) < 0.4).all() and (np.abs(box) > 0.28).all()


def test_a_shell_keeps_what_two_views_see_and_what_one_sees_behind_all_cameras(ball):
    pictures = ball(has_alpha=False)[:3]  # from above, turned away from each other
    lattice = Lattice.over(np.array([[-0.6] * 3, [0.6] * 3]), 64, 0.5)
    kept = seen_cells(pictures, lattice)
    camera = pictures[0].world_from_camera
    before, behind = camera[:3, 3] - 0.3 * camera[:3, 2], camera[:3, 3] + 9 * camera[:3, 2]
    aside = camera[:3, 3] + 30 * (camera[:3, :3] @ np.array([0.4, 0.4, -1.0]))  # a corner of one picture
    places = np.array([[0.0, 0, 0], before, behind, aside])
    at = contracted(torch.from_numpy((places - lattice.lower) / lattice.voxel), lattice.cells, 0.5).floor().long()
    assert kept[tuple(at.T)].tolist() == [True, False, False, True]


def _empty(pictures):
    return [replace(p, rgba_srgb=np.zeros_like(p.rgba_srgb)) for p in pictures]


def _apart(pictures):
    """Every camera sees a subject at a place of its own."""
    moved = []
    for n, p in enumerate(pictures):
        pose = p.world_from_camera.copy()
        pose[:3, 3] += 10.0 * np.array([n, n * n % 7, n % 3])
        moved.append(replace(p, world_from_camera=pose))
    return moved


def _in_one_place(pictures):
    return [replace(p, world_from_camera=pictures[1].world_from_camera) for p in pictures]


def _with_nan(pictures):
    return [replace(p, world_from_camera=p.world_from_camera * np.nan) for p in pictures]


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda p: p[1:3], "too few"), (_empty, "empty"), (_apart, "no place"), (_in_one_place, "one place"),
    (_with_nan, "NaN")])
def test_views_that_show_no_subject_are_refused_in_one_line(ball, spoil, says):
    with pytest.raises(InputError, match=says) as error:
        find_box(spoil(ball()))
    assert "\n" not in str(error.value)


def test_bounds_are_six_numbers_or_the_name_of_something():
    assert box_of("0, -1,2, 1,1.5,3") == [[0, -1, 2], [1, 1.5, 3]]
    assert box_of("Cube") is None and box_of("Box 1,2") is None
    for wrong in ("1,2,3", "0,0,0,1,1,0", "0,0,0,1,1,nan", "0,0,0,inf,1,1"):
        with pytest.raises(InputError, match="bounds"):
            box_of(wrong)


def test_bounds_on_the_command_line_are_the_captures_box(tmp_path):
    source = tmp_path / "capture"
    source.mkdir()
    for n in range(3):
        Image.new("RGB", (8, 8)).save(source / f"{n}.png")
    pose = np.eye(4)
    frames = [{"file_path": f"{n}.png", "transform_matrix": (pose + 0.5 * n * np.eye(4, k=3)).tolist()}
              for n in range(3)]
    (source / "transforms.json").write_text(json.dumps({"camera_angle_x": 0.8, "frames": frames}))
    gather_capture([source], tmp_path / "input", Capture(bounds="0,0,0,1,2,3"))
    assert captures.read(tmp_path / "input" / captures.FILE).box.tolist() == [[0, 0, 0], [1, 2, 3]]
    with pytest.raises(InputError, match="inside Blender"):
        gather_capture([source], tmp_path / "again", Capture(bounds="Cube"))
