"""The grid field, its training, and the loop that every training shares."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maquette.neural.fields.grid import GridField
from maquette.neural.kernels import density, density_reference, dispatch
from maquette.neural.rendering.lattice import Lattice
from maquette.neural.rendering.rays import Camera
from maquette.neural.training import loop
from maquette.neural.training.fit import fit
from maquette.neural.training.grid import GridTrainer
from maquette.recipes.capture import Capture
from maquette.recipes.errors import Cancelled, MachineError

CPU = torch.device("cpu")
BOX = np.array([[-0.55] * 3, [0.55] * 3])


def slab(thick: float) -> GridField:
    """Density `thick` per voxel below z = 1 of a lattice from 0 to 2, in cells of 1/8."""
    lattice = Lattice(np.zeros(3), 0.125, (16, 16, 16))
    field = GridField(lattice, torch.ones(lattice.cells, dtype=torch.bool), torch.zeros(3))
    raw = float(np.log(np.expm1(thick / field.rows.thickness))) - density.SHIFT
    field.rows.table[:, 0] = torch.where(field.corner_index[:, 2] <= 8, raw, -20.0)
    return field


def from_above(field: GridField, **where):
    pose = np.eye(4)
    pose[:3, 3] = (1.0, 1.0, 4.0)
    return field.render(20.0, 20.0, 8.0, 8.0, 16, 16, pose)


def test_an_opaque_slab_is_seen_at_its_depth_with_its_normal():
    seen = from_above(slab(20.0))
    middle = seen.depth[6:10, 6:10]
    assert seen.alpha[6:10, 6:10].min() > 0.99
    assert np.abs(middle - 3.0).max() < 0.125  # along the axis, the same for every pixel
    assert np.abs(seen.normal[6:10, 6:10] - (0, 0, 1)).max() < 1e-3
    assert np.isnan(seen.depth[0, 0]) and seen.alpha[0, 0] == 0
    assert np.allclose(seen.over(1.0)[0, 0], 1.0)


def test_the_level_is_zero_where_a_voxel_stops_half_of_the_light():
    field = slab(float(np.log(2)))
    values, world_from_grid = field.level_grid()
    assert values.shape == (17, 17, 17) and values.dtype == np.float32
    assert np.abs(values[:, :, :9]).max() < 1e-5
    assert (values[:, :, 9:] > 0).all()
    assert np.allclose(world_from_grid @ (16, 16, 16, 1), (2, 2, 2, 1))


def test_what_a_surface_encloses_is_inside_though_no_cell_is_there():
    lattice = Lattice(np.zeros(3), 1.0, (9, 9, 9))
    occupied = torch.ones(lattice.cells, dtype=torch.bool)
    occupied[3:6, 3:6, 3:6] = False  # hollow, as pruning leaves what nobody sees
    field = GridField(lattice, occupied, torch.zeros(3))
    distance = (field.corner_index - 4.5).abs().amax(1)
    field.rows.table[:, 0] = torch.where(distance < 3, 10.0, -10.0)
    values, _ = field.level_grid()
    assert (values[2:8, 2:8, 2:8] < 0).all()
    assert (values[0] > 0).all()


def test_refining_keeps_the_values():
    field = slab(1.0)
    field.rows.table[:, 1:4] = 0.1 * field.corner_index  # linear, so exact between corners
    fine = Lattice.over(field.box, 27)
    refined = field.refined(fine, torch.ones(fine.cells, dtype=torch.bool))
    at = refined.corner_index * fine.voxel / field.lattice.voxel
    torch.testing.assert_close(refined.rows.table[:, 1:4], 0.1 * at, atol=1e-4, rtol=1e-4)


def test_pruning_keeps_values_on_the_corners_of_kept_cells():
    field = slab(1.0)
    field.rows.table.normal_()
    kept = torch.rand(field.lattice.cells) < 0.3
    pruned = field.refined(field.lattice, kept)
    expected = field.rows.table[field.row_at(pruned.corner_index)]
    torch.testing.assert_close(pruned.rows.table, expected, atol=1e-5, rtol=1e-5)


def trainer_of(pictures, resolution=32) -> GridTrainer:
    train = [p for p in pictures if p.split == "train"]
    return GridTrainer(train, BOX, Capture(method="grid", resolution=resolution), seed=0, device=CPU)


def psnr(field, pictures) -> float:
    errors = []
    for p in pictures:
        height, width = p.rgba_srgb.shape[:2]
        seen = field.render(p.fx, p.fy, p.cx, p.cy, width, height, p.world_from_camera)
        errors.append(np.square(seen.over(1.0) - p.rgba_srgb[..., :3] - (1 - p.rgba_srgb[..., 3:])).mean())
    return -10 * np.log10(np.mean(errors))


def test_a_ball_is_learnt_from_its_pictures(ball):
    pictures = ball()
    trainer = trainer_of(pictures)
    for n in range(200):
        trainer.step(n / 200)
    held_out = [p for p in pictures if p.split == "test"]
    assert psnr(trainer.field(), held_out) > 24
    values, world_from_grid = trainer.field().level_grid()
    corners = np.argwhere(np.isfinite(values)) @ world_from_grid[:3, :3].T + world_from_grid[:3, 3]
    distance = np.linalg.norm(corners, axis=1).reshape(values.shape)
    assert (values[distance < 0.4] < 0).all() and (values[distance > 0.56] > 0).all()


def test_without_alpha_a_shell_holds_what_lies_around_the_subject(ball):
    pictures = ball(has_alpha=False)
    trainer = trainer_of(pictures)
    for n in range(200):
        trainer.step(n / 200)
    p, field = pictures[0], trainer.field()
    seen = field.render(p.fx, p.fy, p.cx, p.cy, 64, 64, p.world_from_camera)
    assert (seen.alpha == 1).all()  # all that a photo shows
    assert np.square(seen.rgb_srgb - p.rgba_srgb[..., :3]).mean() < 0.006
    assert np.abs(field.box - BOX).max() < 0.06
    values, world_from_grid = field.level_grid()
    assert np.abs(world_from_grid[:3, 3] - field.box[0]).max() < 1e-9  # the subject's part alone
    assert values.shape == tuple(np.round((field.box[1] - field.box[0]) / field.lattice.voxel).astype(int) + 1)


def test_a_field_in_all_of_space_begins_dense_at_sparse_points(ball):
    train = [p for p in ball(has_alpha=False) if p.split == "train"]
    points = np.array([[0.1, 0.2, -0.3], [3.0, 0.0, 0.0], [1e9, 0.0, 0.0]])
    field = GridTrainer(train, BOX, Capture(resolution=32), seed=0, device=CPU, points=points).field()
    dense = field.corner_index[field.rows.table[:, 0] == field.rows.table[:, 0].max()]
    held = field.lattice.places(dense.numpy().astype(float))
    assert len(held) == 2
    assert np.abs(held[np.argsort(held[:, 0])][0] - points[0]).max() < field.lattice.voxel
    assert np.abs(held[np.argsort(held[:, 0])][1] - points[1]).max() < 1.0  # cells are large where they are far
    rest = field.rows.table[:, 0] != field.rows.table[:, 0].max()
    assert field.rows.table[rest, 0].max() < 0


@pytest.mark.parametrize("has_alpha", [True, False])
def test_a_loaded_state_goes_on_to_the_bit(ball, has_alpha):
    pictures = ball(has_alpha=has_alpha)
    through, stopped = trainer_of(pictures), trainer_of(pictures)
    for n in range(30):
        through.step(n / 60)
        stopped.step(n / 60)
    resumed = trainer_of(pictures)
    resumed.load_state({name: value.clone() for name, value in stopped.state().items()})
    for n in range(30, 60):
        assert through.step(n / 60) == pytest.approx(resumed.step(n / 60), rel=1e-6)
    torch.testing.assert_close(through.field().rows.table, resumed.field().rows.table, atol=1e-5, rtol=1e-5)


def test_the_reference_trains_as_the_fused_body_does(ball, monkeypatch):
    fused, reference = trainer_of(ball(), 20), trainer_of(ball(), 20)
    expected = [fused.step(n / 8) for n in range(8)]
    monkeypatch.setattr(dispatch, "body", lambda kernel, device: density_reference)
    # A ray that meets the field by a rounding alone changes which rays are drawn.
    assert [reference.step(n / 8) for n in range(8)] == pytest.approx(expected, rel=0.05)


def run(pictures, folder, seconds=2.0, on_progress=lambda fraction, message: None, seed=0):
    previews = []
    recipe = Capture(method="grid", seconds=seconds, resolution=32)
    field = fit(pictures, recipe, seed=seed, device=CPU, box=BOX, checkpoint=folder, on_progress=on_progress,
                on_preview=previews.append)
    return field, previews


def test_fit_keeps_to_its_time_and_shows_a_held_out_view(ball, tmp_path):
    said = []
    _, previews = run(ball(), tmp_path, on_progress=lambda *a: said.append(a))
    assert [f for f, _ in said] == sorted(f for f, _ in said) and said[-1][0] == 1
    assert said[-1][1].endswith(" dB")
    assert previews[0].shape == (64, 64, 3) and previews[0].dtype == np.uint8


def test_a_cancelled_fit_goes_on_where_it_stopped(ball, tmp_path):
    def cancel(fraction, message):
        if fraction > 0.5:
            raise Cancelled("cancelled: by the test")

    with pytest.raises(Cancelled):
        run(ball(), tmp_path, on_progress=cancel)
    said = []
    run(ball(), tmp_path, on_progress=lambda *a: said.append(a[0]))
    assert said[1] > 0.5  # after what is said while kernels compile
    said.clear()
    run(ball(), tmp_path, on_progress=lambda *a: said.append(a[0]))
    assert said == [0.0, 1.0]  # all of the time has been used


@pytest.mark.parametrize("spoil", ["seed", "content"])
def test_a_state_of_something_else_is_not_picked_up(ball, tmp_path, spoil):
    run(ball(), tmp_path, seconds=1.0)
    if spoil == "content":
        path = tmp_path / loop.FILE
        path.write_bytes(path.read_bytes()[:1000])
    said = []
    run(ball(), tmp_path, seconds=1.0, seed=int(spoil == "seed"), on_progress=lambda *a: said.append(a[0]))
    assert said and said[0] < 0.9


def test_a_full_disk_ends_training_in_one_line(ball, tmp_path, monkeypatch):
    def full(path, content):
        raise MachineError(f"disk: no space is left for {path}")

    monkeypatch.setattr(loop.files, "atomic_write", full)
    with pytest.raises(MachineError, match="no space"):
        run(ball(), tmp_path, seconds=1.0)


def test_pixels_that_are_not_known_are_not_trained_on(ball):
    pictures = ball()
    lying = [replace(p, rgba_srgb=np.where(np.arange(64)[:, None, None] < 12, 1.0, p.rgba_srgb).astype(np.float32),
                     weight=np.repeat(np.arange(64)[:, None] >= 12, 64, 1).astype(np.float32)) for p in pictures]
    trainer = trainer_of(lying)
    for n in range(200):
        trainer.step(n / 200)
    assert psnr(trainer.field(), [p for p in pictures if p.split == "test"]) > 21


def test_the_albedo_is_the_colour_without_its_view_dependent_part():
    lattice = Lattice(np.array([1.0, 2.0, 3.0]), 0.5, (4, 2, 2))
    occupied = torch.zeros(4, 2, 2, dtype=torch.bool)
    occupied[0] = True
    field = GridField(lattice, occupied, torch.zeros(3))
    field.rows.table[:, 1:13] = 5.0
    wanted = torch.tensor([0.2, 0.5, 0.9])
    field.rows.table[:, 1:13:4] = torch.logit(wanted) / density.SH0
    found = field.albedo(np.array([[1.25, 2.5, 3.5], [2.8, 2.1, 3.9]]))
    assert found[0] == pytest.approx(wanted.numpy(), abs=1e-5)
    assert found[1] == pytest.approx([0.5] * 3)


def test_an_opaque_field_is_painted_before_it_is_carved(ball):
    pictures = [p for p in ball() if p.split == "train"]
    trainer = GridTrainer(pictures, BOX, Capture(resolution=32), seed=0, device=CPU,
                          opaque=lambda points: np.ones(len(points), bool))
    p, field = pictures[0], trainer.field()
    camera, (height, width) = Camera(p.fx, p.fy, p.cx, p.cy, p.world_from_camera), p.rgba_srgb.shape[:2]
    thickness = field.depth_at(camera, width, height, 0.9) - field.depth_at(camera, width, height, 0.1)
    assert np.nanmedian(thickness) < 2 * field.lattice.voxel
    before = trainer.field().rows.table.clone()
    for _ in range(5):
        trainer.step(0.0)
    after = trainer.field().rows.table
    assert (after[:, 0] == before[:, 0]).all() and (after[:, 1:] != before[:, 1:]).any()
