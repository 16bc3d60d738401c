"""A capture that comes with depth or with its true surface: what the report says of it, in numbers worked by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maquette.formats.mesh import Mesh, read_npz, write_npz
from maquette.neural.evaluation.depth import depth_figures, depth_pairs
from maquette.neural.evaluation.metrics import compare
from maquette.neural.evaluation.visibility import visible
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.meshing.raster import render
from maquette.neural.tasks import capture as task
from maquette.recipes.capture import Capture


def box(half: float) -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(corners, np.array([[(a, b, c), (a, c, d)] for a, b, c, d in quads]).reshape(-1, 3))


def both(one: Mesh, other: Mesh) -> Mesh:
    return Mesh(np.concatenate((one.vertices, other.vertices)),
                np.concatenate((one.faces, other.faces + len(one.vertices))))


def seen_from(mesh: Mesh, eye: tuple[float, float, float], side: int = 64) -> PosedPicture:
    """The mesh's view and depth from a camera that looks at the origin."""
    z = np.array(eye) / np.linalg.norm(eye)
    x = np.cross([0.01, 0.02, 1.0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack((x, np.cross(z, x), z), axis=1)
    pose[:3, 3] = eye
    drawn = render(mesh, 1.2 * side, 1.2 * side, side / 2, side / 2, side, side, pose, supersampling=1)
    rgba = np.dstack((drawn.rgb_srgb, drawn.alpha)).astype(np.float32)
    return PosedPicture("view", rgba, 1.2 * side, 1.2 * side, side / 2, side / 2, pose, depth=drawn.depth)


def from_all_sides(mesh: Mesh) -> list[PosedPicture]:
    # A little askew: no pixel's centre lies on a face's diagonal.
    return [seen_from(mesh, tuple(3 * side + [0.03, 0.05, 0.07])) for side in np.vstack((np.eye(3), -np.eye(3)))]


def test_depth_errors_are_relative_to_the_truth_and_what_is_not_seen_is_wholly_wrong():
    truth = np.array([[2.0, 4.0, np.nan, 0.0], [10.0, 8.0, 5.0, 1.0]], np.float32)
    rgba = np.ones((2, 4, 4), np.float32)
    rgba[1, 3, 3] = 0.5  # half covered: of neither side
    view = PosedPicture("", rgba, 1, 1, 0, 0, np.eye(4), depth=truth)
    rendered = np.array([[2.01, 4.1, 7.0, 7.0], [10.0, np.nan, 4.5, 9.0]], np.float32)
    pairs = depth_pairs(view, rendered)
    assert pairs.tolist() == np.array([[2.01, 2], [4.1, 4], [10, 10], [0, 8], [4.5, 5]], np.float32).tolist()
    figures = depth_figures(pairs)
    assert figures["pixels"] == 5 and figures["median_error"] == pytest.approx(0.025, rel=1e-4)
    assert figures["median_error_m"] == pytest.approx(0.1, rel=1e-4)
    assert figures["within"] == {"1%": 0.4, "5%": 0.6}


def test_pixels_outside_an_undistorted_picture_and_views_without_depth_do_not_count():
    view = PosedPicture("", np.ones((1, 2, 4), np.float32), 1, 1, 0, 0, np.eye(4), depth=np.full((1, 2), 3.0),
                        weight=np.array([[1.0, 0.0]]))
    assert len(depth_pairs(view, np.full((1, 2), 3.0))) == 1
    assert len(depth_pairs(replace(view, depth=None), np.full((1, 2), 3.0))) == 0


def test_around_a_mesh_a_photo_without_alpha_does_not_count_and_unknown_pixels_never_do():
    covered = np.array([[1.0, 0.0, 1.0]], np.float32)
    photo = PosedPicture("", np.ones((1, 3, 4), np.float32), 1, 1, 0, 0, np.eye(4), has_alpha=False,
                         weight=np.array([[1.0, 1.0, 0.0]]))
    assert task._counted(photo, covered, of_mesh=True).tolist() == [[True, False, False]]
    assert task._counted(photo, covered, of_mesh=False).tolist() == [[True, True, False]]
    assert task._counted(replace(photo, has_alpha=True), covered, of_mesh=True).tolist() == [[True, True, False]]
    assert task._counted(photo, 0 * covered, of_mesh=True).tolist() == [[True, True, False]]


def test_only_the_sides_towards_a_camera_are_visible():
    points = np.array([[0.5, 0.1, 0.2], [-0.5, 0.1, 0.2], [0.0, 0.0, 0.5], [0.2, 0, 0]])  # three sides and within
    from_right, from_above = (seen_from(box(0.5), eye) for eye in ((3, 0, 0), (0, 0, 3)))
    assert visible(points, [from_right]).tolist() == [True, False, False, False]
    assert visible(points, [from_right, from_above]).tolist() == [True, False, True, False]
    assert visible(points, [replace(from_above, depth=None)]).tolist() == [False] * 4
    turned = replace(from_right, world_from_camera=np.diag([-1.0, 1, -1, 1]) @ from_right.world_from_camera)
    assert not visible(points + [9, 0, 0], [turned]).any()  # behind the camera


def test_what_stands_behind_an_outline_is_hidden_to_its_last_pixel():
    """A wall two metres away on the left half of the picture; points three metres away behind its edge."""
    depth = np.full((8, 8), np.nan, np.float32)
    depth[:, :4] = 2.0
    view = PosedPicture("", np.ones((8, 8, 4), np.float32), 8, 8, 4, 4, np.eye(4), depth=depth)
    column = np.array([3.9, 5.0])  # over the wall's last column, and a pixel beyond it
    points = np.stack([(column - 4) / 8 * 3, [0.0, 0.0], [-3.0, -3.0]], 1)
    assert visible(points, [view]).tolist() == [False, True]


def test_what_lies_inside_and_no_camera_sees_does_not_count_against_a_result():
    truth, views = both(box(0.5), box(0.2)), from_all_sides(box(0.5))
    blind = compare(box(0.5), truth, samples=4000)
    figures = compare(box(0.5), truth, samples=4000, views=views)
    assert blind["f_score"]["1%"] < 0.95 and "seen" not in blind  # the inner box has 14 % of the area
    assert figures["f_score"]["1%"] == 1 and figures["normal_consistency"] == pytest.approx(1)
    assert figures["seen"] == pytest.approx(1 / 1.16, abs=0.02)


def test_a_missing_side_that_cameras_see_still_counts():
    views = from_all_sides(box(0.5))
    open_box = Mesh(box(0.5).vertices, box(0.5).faces[2:])
    assert compare(open_box, box(0.5), samples=4000, views=views)["f_score"]["1%"] == pytest.approx(10 / 11, abs=0.02)


# ---- the capture task, with a ball that is known in the place of what training would make ------------------------

class Ball:
    """A field of a ball of radius 0.5."""

    def __init__(self, mesh: Mesh):
        self.mesh = mesh

    def render(self, *camera):
        return render(self.mesh, *camera)

    def level_grid(self):
        axis = np.linspace(-0.6, 0.6, 40)
        world_from_grid = np.diag([1.2 / 39] * 3 + [1.0])
        world_from_grid[:3, 3] = -0.6
        x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
        return (np.sqrt(x * x + y * y + z * z) - 0.5).astype(np.float32), world_from_grid


class Context:
    """What the worker gives a task, as far as the capture's asks for it."""

    def __init__(self, folder: Path):
        self.recipe, self.seed, self.device = Capture(faces=500, hold_out=0), 0, "cpu"
        self.input, self.output, self.checkpoint = (folder / name for name in ("input", "output", "checkpoint"))
        self.report: dict = {}
        self.blender = "no-such-blender"
        self.input.mkdir(parents=True)
        self.output.mkdir()

    def stage(self, *_): ...
    progress = preview = warn = stage


def test_a_captures_report_has_the_depths_the_truth_and_the_texture(tmp_path: Path, monkeypatch, ball):
    context, pictures = Context(tmp_path), ball(16, 64)
    values, world_from_grid = Ball(box(1)).level_grid()
    true = marching_cubes(values, world_from_grid)
    pictures = [replace(p, depth=render(true, p.fx, p.fy, p.cx, p.cy, 64, 64, p.world_from_camera).depth)
                for p in pictures]
    monkeypatch.setattr(task, "_capture", lambda context: None)
    monkeypatch.setattr(task, "_views", lambda *_: (pictures, None, None))
    monkeypatch.setattr(task, "fit", lambda *_, **__: Ball(true))
    monkeypatch.setattr(task.stored, "save", lambda *_: None)
    write_npz(true, context.input / task.ORIGINAL)
    task.run(context)
    report, made = context.report, read_npz(context.output / "mesh.npz")
    assert report["depth"]["median_error"] < 1e-3 < report["mesh_depth"]["median_error"] < 0.01
    assert report["truth"]["f_score"]["1%"] > 0.99 and report["truth"]["seen"] > 0.95
    assert report["texture"] == len(made.texture) == len(made.normal_map) == 256 and len(made.faces) <= 500
    assert report["mesh_psnr_db"] > 20
    assert "no-such-blender" in report["blender_unchecked"] and "blender_psnr_db" not in report
