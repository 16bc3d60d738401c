"""Poses refined by bundle adjustment: the solver, the gauge, tracks, pictures, and what a capture does with them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from maquette.formats import capture as captures
from maquette.neural.geometry.bundle import Bundle, adjusted, onto
from maquette.neural.geometry.epipolar import epipolar_errors
from maquette.neural.geometry.pose_refinement import Refined, _tracks, moved_by, refined_poses
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.tasks import capture as task


def turned(view, degrees, shift=(0.0, 0.0, 0.0)):
    """The view with its camera turned about its own axes and shifted along them."""
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = Rotation.from_rotvec(np.radians(degrees)).as_matrix(), shift
    return replace(view, world_from_camera=view.world_from_camera @ motion)


@pytest.fixture(scope="module")
def marble():
    """Ten pictures of a marbled ball of radius 0.5 in the corner of a marbled room, from 2 away, 160 pixels a side."""
    random, size = np.random.default_rng(0), 160
    stone = gaussian_filter(random.normal(0, 1, (3, 90, 90, 90)), (0, 1.2, 1.2, 1.2))
    stone = np.clip(0.5 + 0.25 * stone / stone.std(), 0, 1)
    pictures = []
    for n in range(10):
        back = np.array([np.cos(0.13 * n + 0.2), np.sin(0.13 * n + 0.2), 0.5 + 0.25 * np.sin(2.0 * n)])
        back /= np.linalg.norm(back)
        right = np.cross([0, 0, 1.0], back) / np.linalg.norm(np.cross([0, 0, 1.0], back))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = np.stack([right, np.cross(back, right), back], 1), 2.0 * back
        at = (np.arange(2 * size) + 0.5) / 2 - size / 2  # four samples a pixel
        rays = np.stack([*np.meshgrid(at, -at), np.full((2 * size, 2 * size), -1.2 * size)], -1) @ pose[:3, :3].T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        root = (rays @ pose[:3, 3]) ** 2 - (4 - 0.25)
        ball = np.where(root > 0, -(rays @ pose[:3, 3]) - np.sqrt(np.maximum(root, 0)), np.inf)
        with np.errstate(divide="ignore"):
            walls = (-0.6 - pose[:3, 3]) / rays
        depth = np.minimum(ball, np.where(walls > 0, walls, np.inf).min(-1))
        place = 26 * (pose[:3, 3] + depth[..., None] * rays) + 30
        rgb = np.stack([map_coordinates(one, np.moveaxis(place, -1, 0), order=1, mode="mirror") for one in stone], -1)
        rgb = rgb.reshape(size, 2, size, 2, 3).mean((1, 3))
        rgba = np.dstack([rgb, np.ones((size, size))]).astype(np.float32)
        pictures.append(PosedPicture(f"{n}.png", rgba, 1.2 * size, 1.2 * size, size / 2, size / 2, pose,
                                     has_alpha=False))
    return pictures


def disturbed(pictures, degrees=1.0):
    """Each camera turned by about so much, and shifted by as many hundredths of its distance."""
    random = np.random.default_rng(0)
    return [turned(p, degrees / 3**0.5 * random.normal(0, 1, 3), 0.02 * degrees / 3**0.5 * random.normal(0, 1, 3))
            for p in pictures]


def poses_of(pictures):
    return np.array([p.world_from_camera for p in pictures])


def error(pictures, poses):
    """Mean error in pixels and degrees but for what all cameras have in common."""
    moved = onto(poses_of(pictures), poses)
    return np.mean([moved_by(p, pose, 1.7) for p, pose in zip(pictures, moved, strict=True)], axis=0)


def test_poses_that_are_off_by_a_degree_come_near_to_the_truth(marble):
    views = disturbed(marble)
    before = error(marble, poses_of(views))
    assert 2 < before[0] < 6 and 0.6 < before[1] < 1.4
    shares = []
    refined = refined_poses(views, shares.append)
    after = error(marble, refined.poses)
    assert after[0] < 0.6 and after[1] < 0.25
    assert refined.warning is None and shares == sorted(shares) and shares[-1] == 1
    figures = refined.figures
    assert figures["views_refined"] == 10 and figures["views_kept"] == 0
    assert figures["epipolar_px_after"] < 0.3 < 1 < figures["epipolar_px_before"]
    assert 2 < figures["mean_px"] < figures["max_px"] < 15 and 0.6 < figures["mean_deg"] < figures["max_deg"] < 3
    # What the check of cameras measures, on pictures of its own choice.
    now = [replace(v, world_from_camera=pose) for v, pose in zip(views, refined.poses, strict=True)]
    assert np.median(epipolar_errors(now)) < 0.2 * np.median(epipolar_errors(views))
    # Kept and read again it is the same.
    read = Refined.from_json(refined.to_json())
    assert (read.poses == refined.poses).all() and read.figures == figures and read.warning is None


def test_a_view_in_which_nothing_matches_keeps_its_pose(marble):
    views = disturbed(marble)[:5]
    views[2] = replace(views[2], rgba_srgb=np.full_like(views[2].rgba_srgb, 0.5))
    refined = refined_poses(views)
    assert refined.figures["views_kept"] == 1
    assert (refined.poses[2] == views[2].world_from_camera).all()
    others = [0, 1, 3, 4]
    assert np.linalg.norm((refined.poses - poses_of(views))[others], axis=(1, 2)).min() > 1e-3
    assert refined_poses(views).poses.tolist() == refined.poses.tolist()  # to the bit


def test_where_nothing_matches_poses_stay_and_one_sentence_says_so(ball):
    views = ball(count=6)
    refined = refined_poses(views)
    assert (refined.poses == poses_of(views)).all() and refined.figures == {}
    assert refined.warning == "poses: nothing matches in the pictures by which to refine them; they stay as given"


def test_poses_that_come_out_no_better_stay_and_one_sentence_has_both_errors(marble, monkeypatch):
    from maquette.neural.geometry import pose_refinement

    views = disturbed(marble)[:4]
    monkeypatch.setattr(pose_refinement, "_adjusted",
                        lambda pictures, poses, tracks: (poses_of(disturbed(views, 3.0)), np.full(4, 1.7)))
    refined = refined_poses(views)
    assert (refined.poses == poses_of(views)).all() and refined.figures == {}
    assert "px from where the given cameras have them" in refined.warning and "stay as given" in refined.warning


def some_poses(count, random):
    result = np.tile(np.eye(4), (count, 1, 1))
    result[:, :3, :3] = Rotation.random(count, random).as_matrix()
    result[:, :3, 3] = random.normal(0, 2, (count, 3))
    return result


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 20), st.floats(0.2, 5), st.integers(0, 999))
def test_what_all_cameras_do_together_is_taken_back(count, size, seed):
    random = np.random.default_rng(seed)
    old = some_poses(count, random)
    world = some_poses(1, random)[0]
    new = old.copy()
    new[:, :3, 3] = size * old[:, :3, 3] @ world[:3, :3].T + world[:3, 3]
    new[:, :3, :3] = world[:3, :3] @ old[:, :3, :3]
    assert np.abs(onto(old, new) - old).max() < 1e-9
    new[:, :3, 3] += random.normal(0, 0.01, (count, 3))
    once = onto(old, new)
    assert np.abs(onto(old, once) - once).max() < 1e-9
    assert np.abs(once[:, :3, 3].mean(0) - old[:, :3, 3].mean(0)).max() < 1e-9
    assert np.linalg.det(once[:, :3, :3]) == pytest.approx(1)


def test_cameras_at_one_place_are_turned_back_and_not_scaled():
    old = some_poses(5, np.random.default_rng(0))
    old[:, :3, 3] = (1, 2, 3)
    turn = Rotation.from_rotvec([0.1, 0.2, -0.3]).as_matrix()
    new = old.copy()
    new[:, :3, :3], new[:, :3, 3] = turn @ old[:, :3, :3], (7, 8, 9)
    assert np.abs(onto(old, new) - old).max() < 1e-12


def test_a_bundle_with_exact_places_is_solved_in_spite_of_wrong_matches():
    random = np.random.default_rng(1)
    points = random.uniform(-0.5, 0.5, (60, 3))
    turns = Rotation.from_rotvec(random.normal(0, 0.3, (6, 3))).as_matrix()
    shifts = np.array([0, 0, 3.0]) + random.normal(0, 0.2, (6, 3))
    camera, point = (a.ravel() for a in np.meshgrid(np.arange(6), np.arange(60)))
    bundle = Bundle(turns, shifts, points, camera, point, np.zeros((360, 2)), np.full((360, 2), 1.3))
    bundle = replace(bundle, seen=bundle.residuals())
    assert np.abs(adjusted(bundle, 0.01).points - points).max() < 1e-12  # where all fits nothing moves
    seen = bundle.seen.copy()
    wrong = random.choice(360, 20, replace=False)
    seen[wrong] += random.uniform(-0.3, 0.3, (20, 2))
    off = replace(bundle, seen=seen, points=points + random.normal(0, 0.03, points.shape),
                  turns=Rotation.from_rotvec(random.normal(0, 0.02, (6, 3))).as_matrix() @ turns)
    solved = adjusted(off, 0.002)
    assert np.abs(np.delete(off.residuals(), wrong, 0)).mean() > 0.01
    assert np.abs(np.delete(solved.residuals(), wrong, 0)).max() < 2e-4


def test_tracks_join_what_matches_and_leave_out_what_is_in_one_picture_twice():
    places = [np.array([[n, p] for p in range(3)], float) for n in range(3)]
    pairs = {(0, 1): (np.array([0, 1]), np.array([1, 2])), (1, 2): (np.array([1, 2]), np.array([0, 2])),
             (0, 2): (np.array([2]), np.array([2]))}
    # 0:0 – 1:1 – 2:0 is one point; 0:1 – 1:2 – 2:2 – 0:2 would be one with two places in picture 0.
    tracks = _tracks(places, pairs)
    assert tracks.point.tolist() == [0, 0, 0] and tracks.picture.tolist() == [0, 1, 2]
    assert tracks.place.tolist() == [[0, 0], [1, 1], [2, 0]]


def test_a_shift_and_a_turn_are_told_in_pixels_and_degrees(ball):
    view = ball(size=100)[3]  # 120 pixels of focal length
    assert moved_by(view, view.world_from_camera, 2.0) == pytest.approx((0, 0), abs=1e-9)
    shifted = turned(view, (0, 0, 0), (0.05, 0, 0)).world_from_camera
    assert moved_by(view, shifted, 2.0) == pytest.approx((120 * 0.05 / 2, 0), abs=1e-6)
    rolled = turned(view, (0, 0, 2.0)).world_from_camera
    assert moved_by(view, rolled, 2.0)[1] == pytest.approx(2.0)


class Context:
    """What the worker gives a task, as far as the refining asks for it."""

    def __init__(self, folder):
        self.input, self.output, self.checkpoint = (folder / name for name in ("input", "output", "checkpoint"))
        for path in (self.input, self.output, self.checkpoint):
            path.mkdir(exist_ok=True)
        self.report, self.warnings = {}, []
        self.warn = self.warnings.append

    def progress(self, fraction, message=""):
        """Nobody looks."""


def test_a_job_refines_once_and_its_capture_has_the_refined_cameras(tmp_path, marble, monkeypatch):
    views = disturbed(marble)[:4]
    camera = captures.Camera(160, 160, 192, 192, 80, 80)
    given = captures.Capture(tmp_path / "input", tuple(captures.View(v.name, camera, v.world_from_camera, v.name)
                                                       for v in views))
    first = Context(tmp_path)
    captures.write(given, first.input / captures.FILE)
    refined = task._refined(first, views)
    kept = captures.read(first.output / captures.FILE)
    assert [v.picture for v in kept.views] == [v.name for v in views] and first.warnings == []
    assert poses_of(kept.views).tolist() == poses_of(refined).tolist() != poses_of(views).tolist()
    monkeypatch.setattr(task, "refined_poses", None)  # resumed, it is not called
    again = Context(tmp_path)
    assert poses_of(task._refined(again, views)).tolist() == poses_of(refined).tolist()
    assert again.report == first.report and again.report["pose_refinement"]["views_refined"] == 4


def test_a_job_whose_poses_stay_says_so_and_writes_no_cameras(tmp_path, ball):
    context, views = Context(tmp_path), ball(count=6)
    assert task._refined(context, views) is views
    assert len(context.warnings) == 1 and context.report == {} and not (context.output / captures.FILE).exists()
