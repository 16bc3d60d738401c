"""What lies around a subject in photos without alpha: sparse points, and the shell behind and before a surface."""

import numpy as np
import pytest
import torch

from maquette.neural.fields.around import Around
from maquette.neural.fields.grid import GridField
from maquette.neural.fields.surface import SurfaceField
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.geometry.sparse_points import sparse_points, triangulated
from maquette.neural.kernels import density
from maquette.neural.kernels.density import Rays
from maquette.neural.rendering.lattice import Lattice
from maquette.neural.training import surface as training
from maquette.recipes.capture import Capture

CPU = torch.device("cpu")
BOX = np.array([[-1.0] * 3, [1.0] * 3])


def walls() -> GridField:
    """Opaque red from z = 2 up and opaque green from z = −2 down, clear between; a box of half side 1."""
    lattice = Lattice.over(BOX, 32, 0.5)
    field = GridField(lattice, torch.ones(lattice.cells, dtype=torch.bool), torch.zeros(3))
    z = torch.from_numpy(lattice.places(field.corner_index.numpy().astype(float))[:, 2])
    field.rows.table[:, 0] = torch.where(z.abs() > 2, 30.0, -30.0)
    field.rows.table[:, 0][z.abs() < 0.9] = 30.0  # what fills the box itself is left out
    field.rows.table[:, 1:13:4] = torch.where((z > 0)[:, None], torch.tensor([40.0, -40, -40]),
                                              torch.tensor([-40.0, 40, -40]))
    return field


def test_what_is_behind_the_box_is_seen_behind_it_and_what_is_before_covers():
    around, lattice = Around(walls()), Lattice.over(BOX, 16)
    for z, expected in ((1.8, 1.0), (9.0, 0.0)):  # just above the box, and from behind the red wall
        origin = torch.tensor([[8.0, 8.0, 8 + 8 * z]])
        rays = Rays(origin, torch.tensor([[0.0, 0.0, -1.0]]), torch.tensor([8 * z - 8]), torch.tensor([8 * z + 8]))
        seen = around.seen(rays, lattice)
        assert seen.behind[0].tolist() == pytest.approx([0, 1, 0], abs=0.01)
        assert seen.transmittance.item() == pytest.approx(expected, abs=0.01)
        assert seen.before[0].tolist() == pytest.approx([1 - expected, 0, 0], abs=0.01)
        # The wall at −2 is opaque within a cell of the shell, which is half a metre long there.
        assert seen.distance.item() == 0 if expected else 0 < seen.distance.item() < 7
        assert seen.stopped_behind.item() == pytest.approx(1, abs=0.01)
        assert seen.distance_behind.item() == pytest.approx(z + 2, abs=0.5)


def test_a_ray_past_the_box_sees_everything_behind_it():
    around, lattice = Around(walls()), Lattice.over(BOX, 16)
    rays = Rays(torch.tensor([[40.0, 8.0, 8.0]]), torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([1.0]), torch.tensor([0.0]))
    seen = around.seen(rays, lattice)
    assert seen.transmittance.item() == 1 and not seen.before.any()
    assert seen.behind[0].tolist() == pytest.approx([1, 0, 0], abs=0.01)


def test_a_picture_has_the_depth_of_the_subject_and_of_what_is_around_it():
    lattice = Lattice.over(BOX, 32)
    ball = torch.from_numpy(lattice.corner_points()).norm(dim=-1) - 0.5
    field = SurfaceField(lattice, ball / lattice.voxel, 4.0, 0.2)
    field.around = Around(walls())
    pose = np.eye(4)
    pose[2, 3] = 1.8  # above the ball, looking down; beside it the wall at −2 is seen
    depth = field.render(16.0, 16.0, 8.0, 8.0, 16, 16, pose).depth
    assert depth[7:9, 7:9] == pytest.approx(1.3, abs=0.05) and depth[4, 3] == pytest.approx(3.8, abs=0.5)


def test_what_is_around_comes_back_from_its_tensors():
    around, lattice = Around(walls()), Lattice.over(BOX, 16)
    back = Around.from_tensors(around.tensors())
    rays = Rays(torch.full((1, 3), 8.0), torch.tensor([[0.6, 0.0, 0.8]]), torch.tensor([0.0]), torch.tensor([5.0]))
    for name in ("before", "transmittance", "behind"):
        assert torch.equal(getattr(back.seen(rays, lattice), name), getattr(around.seen(rays, lattice), name))


def before_a_wall(ball, count: int) -> list[PosedPicture]:
    return [p for p in ball(count, has_alpha=False) if p.split == "train"]


def test_a_surface_and_what_is_around_it_explain_photos_without_alpha(ball):
    pictures = before_a_wall(ball, 16)
    trainer = training.make_trainer(pictures, 0.7 * BOX, Capture(resolution=32), seed=0, device=CPU, points=None)
    for n in range(150):
        trainer.step(n / 150)
    field = trainer.result()
    p = pictures[0]
    seen = field.render(p.fx, p.fy, p.cx, p.cy, 64, 64, p.world_from_camera)
    assert (seen.alpha == 1).all() and np.square(seen.rgb_srgb - p.rgba_srgb[..., :3]).mean() < 0.006
    values, world_from_grid = field.level_grid()
    corners = np.argwhere(np.isfinite(values)) @ world_from_grid[:3, :3].T + world_from_grid[:3, 3]
    distance = np.linalg.norm(corners, axis=1).reshape(values.shape)
    assert (values[distance < 0.4] < 0).all()  # what is grey before grey could be anywhere


def test_a_surface_with_a_background_goes_on_from_its_state(ball):
    pictures = before_a_wall(ball, 8)
    begin = lambda: training.make_trainer(pictures, BOX, Capture(resolution=24), seed=0, device=CPU, points=None)  # noqa: E731
    through, resumed = begin(), begin()
    for n in range(12):
        through.step(n / 20)
    resumed.load_state({name: value.clone() for name, value in through.state().items()})
    for n in range(12, 16):
        assert through.step(n / 20) == pytest.approx(resumed.step(n / 20), rel=1e-4)


def dotted(pose: np.ndarray, points: np.ndarray) -> PosedPicture:
    """Blobs of different shapes and sizes at points, before grey."""
    picture = np.full((200, 200, 4), 0.5, np.float32)
    picture[..., 3] = 1
    x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
    columns, rows = 100 - 220 * x / z, 100 + 220 * y / z
    v, u = np.mgrid[:200, :200] + 0.5
    for n, (column, row) in enumerate(zip(columns, rows, strict=True)):
        g = np.random.default_rng(n)
        for _ in range(4):  # a cluster of its own
            dx, dy = g.uniform(-5, 5, 2)
            blob = np.exp(-((u - column - dx)**2 + (v - row - dy)**2) / g.uniform(2, 10))
            picture[..., :3] += (g.choice([-0.5, 0.5]) * blob)[..., None]
    return PosedPicture("dots", picture.clip(0, 1), 220.0, 220.0, 100.0, 100.0, pose, has_alpha=False)


def test_points_are_found_where_two_pictures_show_them():
    points = np.stack(np.meshgrid([-0.9, -0.3, 0.3, 0.9], [-0.9, -0.3, 0.3, 0.9], [0.0]), -1).reshape(-1, 3)
    pictures = []
    for x in (-0.4, 0.0, 0.4):
        pose = np.eye(4)
        pose[:3, 3] = (x, 0.1, 4.0)
        pictures.append(dotted(pose, points))
    found = sparse_points(pictures)
    assert len(found) > 20
    nearest = np.linalg.norm(found[:, None] - points, axis=-1).min(1)
    assert np.median(nearest) < 0.15 and np.median(np.abs(found[:, 2])) < 0.05


def test_what_does_not_fit_both_cameras_is_no_point():
    left, right = np.eye(4), np.eye(4)
    left[:3, 3], right[:3, 3] = (-1, 0, 4), (1, 0, 4)
    a, b = dotted(left, np.zeros((0, 3))), dotted(right, np.zeros((0, 3)))
    in_a = np.array([[155.0, 100], [155, 100], [45, 100], [155.0, 100]])  # the origin is 1 aside and 4 ahead: 55 px
    in_b = np.array([[45.0, 100], [45, 110], [155, 100], [154.9, 100]])
    # The origin; rays 10 pixels past each other; rays that part; rays that are almost parallel.
    assert triangulated(a, in_a, b, in_b).tolist() == [pytest.approx([0, 0, 0], abs=1e-9)]
