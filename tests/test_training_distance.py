"""Fitting a network to a distance: samples, the surface that comes out, its bound, resuming, cancelling."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maquette.neural.evaluation.audit import audit
from maquette.neural.fields.implicit import BATCH, Frame
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.training import distance as fitting
from maquette.neural.training import loop
from maquette.neural.training.distance import DistanceTrainer, Sampler, fit_distance, slice_picture
from maquette.recipes.errors import Cancelled, InputError

CPU = torch.device("cpu")
STEPS = 60


class Torus:
    """Radii 1 and 0.3 around (5, 0, 2), upright axis Z."""

    box = np.array([[3.7, -1.3, 1.7], [6.3, 1.3, 2.3]])
    lipschitz = 1.0

    def __call__(self, points):
        x, y, z = (points - torch.tensor([5.0, 0.0, 2.0])).unbind(1)
        return torch.hypot(torch.hypot(x, y) - 1, z) - 0.3


def fitted(network, steps, monkeypatch, **settings):
    """A trainer that has made so many steps on samples that are made once."""
    monkeypatch.setattr(loop.Paced, "due", lambda paced: False)
    monkeypatch.setitem(fitting.SETTINGS, network,
                        replace(fitting.SETTINGS[network], **{"batch": 2**14, **settings}))
    trainer = DistanceTrainer(Torus(), network, seed=0, device=CPU)
    for number in range(steps):
        trainer.step(number / steps)
    return trainer


@pytest.fixture(scope="module")
def torus():
    """A hash grid after some steps, as the trainer has it."""
    with pytest.MonkeyPatch.context() as patch:
        return fitted("hashgrid", STEPS, patch)


def test_samples_lie_near_the_surface_and_everywhere_with_their_true_distances():
    target, frame = Torus(), Frame.around(Torus.box)
    points, distances = Sampler(target, frame, CPU).mixed(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(distances, target(frame.world(points)) / frame.scale)
    assert points.abs().max() <= 1
    assert points[distances.abs() > 0.3].abs().max() > 0.95
    # Nine in ten come from cells that reach into a band, and a cell of it reaches out of it by its diagonal.
    assert (distances.abs() < 0.07 + 3**0.5 * 0.07).float().mean() > 0.88
    assert (distances.abs() < 0.02 + 3**0.5 * 0.02).float().mean() > 0.6
    assert 0.3 < (distances < 0).float().mean() < 0.6


def test_no_part_of_the_surface_lies_outside_the_cells_that_are_sampled():
    frame = Frame.around(Torus.box)
    turn, roll = 2 * np.pi * torch.rand(2, 5000, generator=torch.Generator().manual_seed(0))
    ring = 1 + 0.3 * roll.cos()
    world = torch.stack((5 + ring * turn.cos(), ring * turn.sin(), 2 + 0.3 * roll.sin()), 1)
    sampler = Sampler(Torus(), frame, CPU)
    for width in fitting.BANDS:
        centres, size = sampler.cells(width)
        assert size <= width
        cells = {tuple(cell) for cell in ((centres + 1) / size).floor().long().tolist()}
        assert all(tuple(cell) in cells for cell in ((frame.normalised(world) + 1) / size).floor().long().tolist())


def test_a_shape_without_a_surface_is_refused_in_one_line():
    class Nothing(Torus):
        def __call__(self, points):
            return torch.full((len(points),), 100.0)

    with pytest.raises(InputError, match="no surface"):
        DistanceTrainer(Nothing(), "hashgrid", seed=0, device=CPU)


def test_a_fitted_torus_has_one_surface_near_the_true_one_and_none_far_away(torus):
    distance = torus.result()
    assert torus.error() < 2e-3  # of the diagonal
    low, cell = np.array([2.0, -3.0, 0.0]), 0.06  # far more than the box
    index = np.stack(np.meshgrid(*map(np.arange, (100, 100, 70)), indexing="ij"), -1).reshape(-1, 3)
    values = distance(torch.from_numpy(low + cell * index).float()).reshape(100, 100, 70).numpy()
    world_from_grid = np.diag([cell, cell, cell, 1.0])
    world_from_grid[:3, 3] = low
    mesh = marching_cubes(values, world_from_grid)
    found = audit(mesh)
    assert (found["components"], found["genus"], found["open_edges"]) == (1, 1, 0)
    assert Torus()(torch.from_numpy(mesh.vertices)).abs().max() < 0.04


@pytest.mark.parametrize(("network", "steps"), [("siren", 30), ("deepsdf", 8)])
def test_the_other_networks_learn_the_torus(network, steps, monkeypatch):
    trainer = fitted(network, 1, monkeypatch, batch=256)
    first = trainer.error()
    for number in range(1, steps):
        trainer.step(number / steps)
    assert trainer.error() < 0.8 * first


def test_no_point_near_the_surface_has_a_steeper_slope_to_any_other_than_the_bound(torus):
    distance = torus.result()
    assert 1 <= distance.lipschitz < 4
    generator = torch.Generator().manual_seed(77)
    points = torus._sampler.draw(fitting.BANDS[-1], 2**14, generator)
    for apart in (0.01, 0.1, 1.0):
        ends = points, points + apart * torch.randn(points.shape, generator=generator)
        a, b = (torus._frame.world(end) for end in ends)
        slope = (distance(a) - distance(b)).abs() / (a - b).norm(dim=1).clamp(min=4e-3 * torus._frame.scale)
        assert slope.max() <= distance.lipschitz


def test_a_batch_more_changes_nothing(torus):
    distance = torus.result()
    points = torus._frame.world(2 * torch.rand(BATCH + 5, 3) - 1)
    torch.testing.assert_close(distance(points)[-5:], distance(points[-5:]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("network", ["hashgrid", "siren"])
def test_a_resumed_fitting_goes_on_exactly(network, monkeypatch, tmp_path):
    whole = fitted(network, 6, monkeypatch, batch=1024)
    part = DistanceTrainer(Torus(), network, seed=0, device=CPU)
    for number in range(3):
        part.step(number / 6)
    saved = loop.Checkpoint(tmp_path, {}, 0)
    saved.save(part, 1.5, 0.5)
    again = DistanceTrainer(Torus(), network, seed=0, device=CPU)
    assert saved.load(again) == (1.5, 0.5)
    for number in range(3, 6):
        again.step(number / 6)
    for name, value in whole.state().items():
        torch.testing.assert_close(again.state()[name], value, atol=0, rtol=0)


def test_cancelling_keeps_what_was_fitted_and_the_next_run_goes_on(tmp_path):
    def run(until):
        shares = []

        def progress(share, message):
            shares.append(share)
            if share > until:
                raise Cancelled("cancelled")

        with pytest.raises(Cancelled):
            fit_distance(Torus(), network="siren", seconds=200.0, seed=1, device=CPU, checkpoint=tmp_path,
                         on_progress=progress, on_preview=lambda picture: None)
        return [share for share in shares if share > 0]

    first = run(0.0)
    assert (tmp_path / loop.FILE).exists()
    assert run(first[-1])[0] >= first[-1]


def test_however_short_the_time_is_some_of_it_is_fitting(tmp_path):
    said: list = []
    pictures: list = []
    distance = fit_distance(Torus(), network="siren", seconds=0.1, seed=2, device=CPU, checkpoint=tmp_path,
                            on_progress=lambda share, message: said.append((share, message)),
                            on_preview=pictures.append)
    assert said[-1][0] == 1.0
    assert "% of the diagonal off" in said[-1][1]
    assert pictures[-1].shape == (128, 128, 3)
    assert (distance.box == Torus.box).all()


def test_a_slice_shows_the_inside_blue_the_outside_orange_and_the_surface_white():
    picture = slice_picture(Torus(), Torus.box).astype(int)
    assert picture.shape == (128, 128, 3)
    # The picture is 2.73 wide: the tube's middle stands 1 from the centre, its outer side 1.3.
    column = 64 + round(1 / 2.73 * 127)
    assert picture[64, column, 2] > picture[64, column, 0] + 30
    assert picture[64, 64, 0] > picture[64, 64, 2] + 30
    assert picture[64, 64 + round(1.3 / 2.73 * 127)].min() > 180
