"""Cameras moved until their photos agree: one camera, the gauge, the training, the resumed training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from maquette.neural.fields.common import Rendered
from maquette.neural.geometry.alignment import aligned, moved_by, without_bias, without_drift
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.training.corrections import Corrected, Corrections
from maquette.neural.training.grid import GridTrainer
from maquette.neural.training.poses import SHARE, PosesFirst
from maquette.recipes.capture import Capture

CPU = torch.device("cpu")
RECIPE = Capture(method="grid", resolution=24, refine_poses=True)


def turned(view, degrees, shift=(0.0, 0.0, 0.0)):
    """The view with its camera turned about its own axes and shifted along them."""
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = Rotation.from_rotvec(np.radians(degrees)).as_matrix(), shift
    return replace(view, world_from_camera=view.world_from_camera @ motion)


def rendered(view, stride):
    """What a perfect field of the ball of radius 0.5 shows of a view."""
    height, width = view.rgba_srgb.shape[:2]
    x = (np.arange(0, width, stride) + 0.5 - view.cx) / view.fx
    y = -(np.arange(0, height, stride) + 0.5 - view.cy) / view.fy
    directions = np.stack([*np.meshgrid(x, y), -np.ones((len(y), len(x)))], -1)
    world, origin = directions @ view.world_from_camera[:3, :3].T, view.world_from_camera[:3, 3]
    a, b = (world**2).sum(-1), world @ origin
    root = b * b - a * (origin @ origin - 0.25)
    alpha = (root > 0).astype(np.float32)
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.nan)
    normal = np.where(root[..., None] > 0, (origin + np.nan_to_num(depth)[..., None] * world) / 0.5, 0)
    return Rendered((normal * 0.5 + 0.5) * alpha[..., None], alpha, depth, normal)


@pytest.mark.parametrize("degrees, shift", [((1.0, 0, 0), (0, 0, 0)), ((0, -1.5, 0), (0, 0, 0)), ((0, 0, 3.0), (0, 0, 0)),
                                            ((0, 0, 0), (0.03, -0.02, 0.0)), ((0.5, 0.5, -1), (0.02, 0.01, 0.04))])
def test_a_camera_goes_back_to_where_its_photo_was_taken(ball, degrees, shift):
    truth = ball(size=128)[3]
    view = turned(truth, degrees, shift)
    before = moved_by(truth, view.world_from_camera, 1.5)[0]
    for _ in range(3):
        view = aligned(view, rendered(view, 2), 2)
    after = moved_by(truth, view.world_from_camera, 1.5)[0]
    assert after < 0.35 and after < 0.3 * before


def test_a_camera_that_sees_nothing_or_whose_photo_is_plain_stays(ball):
    view = ball(size=64)[3]
    seen = rendered(view, 2)
    empty = Rendered(0 * seen.rgb_srgb, 0 * seen.alpha, np.full_like(seen.depth, np.nan), seen.normal)
    assert aligned(view, empty, 2) is view
    plain = replace(view, rgba_srgb=np.full((64, 64, 4), 0.5, np.float32))
    assert aligned(plain, seen, 2) is plain


def test_a_shift_and_a_turn_are_told_in_pixels_and_degrees(ball):
    view = ball(size=100)[3]  # 120 pixels of focal length
    assert moved_by(view, view.world_from_camera, 2.0) == pytest.approx((0, 0), abs=1e-9)
    shifted = turned(view, (0, 0, 0), (0.05, 0, 0)).world_from_camera
    assert moved_by(view, shifted, 2.0) == pytest.approx((120 * 0.05 / 2, 0), abs=1e-6)
    rolled = turned(view, (0, 0, 2.0)).world_from_camera
    assert moved_by(view, rolled, 2.0)[1] == pytest.approx(2.0)


def poses(count, random):
    result = np.tile(np.eye(4), (count, 1, 1))
    result[:, :3, :3] = Rotation.random(count, random).as_matrix()
    result[:, :3, 3] = random.normal(0, 2, (count, 3))
    return result


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 20), st.integers(0, 999))
def test_what_all_cameras_do_together_is_taken_back(count, seed):
    random = np.random.default_rng(seed)
    old = poses(count, random)
    turn, shift = random.normal(0, 1e-4, 3), random.normal(0, 1e-4, 3)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = (1 + 2e-4) * Rotation.from_rotvec(turn).as_matrix(), shift
    new = world @ old
    new[:, :3, :3] /= 1 + 2e-4
    assert np.abs(without_drift(old, new) - old).max() < 1e-5
    # What each does for itself is kept but for the part in common, and nothing is left to take back.
    new[:, :3, 3] += random.normal(0, 1e-3, (count, 3))
    once = without_drift(old, new)
    assert np.abs(without_drift(old, once) - once).max() < 1e-5
    assert np.abs(once[:, :3, 3].mean(0) - old[:, :3, 3].mean(0)).max() < 1e-6


def disturbed(pictures):
    random = np.random.default_rng(0)
    return [turned(p, random.normal(0, 1.0, 3), random.normal(0, 0.015, 3)) if p.split == "train" else p
            for p in pictures]


def trainer_of(pictures, box=np.array([[-0.6] * 3, [0.6] * 3])):
    train = [p for p in pictures if p.split == "train"]

    def begin(posed):
        return GridTrainer(posed, box, RECIPE, seed=0, device=CPU)

    corrections = Corrections(pictures, 1e6, refine_poses=True)
    return Corrected(PosesFirst(begin, train, box, RECIPE, seed=0, device=CPU, points=None), corrections), corrections


class Ball:
    """A field that shows the ball of radius 0.5 as it is."""

    box = np.array([[-0.5] * 3, [0.5] * 3])

    def render(self, fx, fy, cx, cy, width, height, world_from_camera):
        picture = np.zeros((height, width, 4), np.float32)
        return rendered(PosedPicture("", picture, fx, fy, cx, cy, world_from_camera), 1)


def test_poses_come_near_to_the_truth_and_are_told(ball):
    truth = ball()
    views = disturbed(truth)
    corrections = Corrections(views, 1e6, refine_poses=True)
    train = [p for p in truth if p.split == "train"]

    def off():
        return np.mean([moved_by(p, pose, 1.5)[0] for p, pose in zip(train, corrections.poses, strict=True)])

    before = off()
    for fraction in (0.2, 0.3, 0.4, 0.5):
        corrections.look(Ball(), fraction)
    assert off() < 0.5 * before
    report, warnings = {}, []
    corrections.tell(report, warnings.append, Ball())
    told = report["pose_refinement"]
    assert 0.5 * before < told["mean_px"] < told["max_px"] and 0.5 < told["mean_deg"] < 3
    applied = corrections.applied(views, Ball())
    assert [p.name for p in applied] == [p.name for p in views]
    assert all((p.world_from_camera == q).all()
               for p, q in zip([p for p in applied if p.split == "train"], corrections.poses, strict=True))


def test_what_most_cameras_do_alike_in_their_own_axes_is_taken_back():
    random = np.random.default_rng(0)
    old = poses(9, random)
    back = np.eye(4)
    back[2, 3] = 0.1
    new = old @ back
    own = turned_pose(old[4], 0.05)
    new[4] = own @ back
    result = without_bias(old, new)
    assert np.abs(np.delete(result - old, 4, 0)).max() < 1e-12
    assert np.abs(result[4] - own).max() < 0.01  # a tenth of what is taken back, as it is turned by a twentieth


def turned_pose(pose, radians):
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec([radians, 0, 0]).as_matrix()
    return pose @ motion


@pytest.mark.parametrize("stop", [SHARE - 0.1, SHARE + 0.15])
def test_a_refining_training_goes_on_to_the_bit(ball, stop):
    views = disturbed(ball(size=48))
    (through, _), (stopped, _), (resumed, _) = trainer_of(views), trainer_of(views), trainer_of(views)
    count, at = 40, int(stop * 40)
    for n in range(at):
        through.step(n / count)
        stopped.step(n / count)
    resumed.load_state({name: value.clone() for name, value in stopped.state().items()})
    for n in range(at, at + 6):
        assert through.step(n / count) == pytest.approx(resumed.step(n / count), rel=1e-5)
