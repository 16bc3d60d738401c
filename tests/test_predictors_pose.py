"""From where a picture shows its object."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from maquette.neural.predictors.pose import Network
from maquette.neural.predictors.predictor import Batch


@pytest.fixture
def batch(pictured) -> Batch:
    return pictured([(0.8, 0.3, 0.3), (0.3, 0.8, 0.5)])


def told(network: Network, sine: float, doubled: tuple[float, float], logit: float) -> Network:
    """A network that says the same of every picture."""
    with torch.no_grad():
        network.head[-1].weight.zero_()
        network.head[-1].bias.copy_(torch.tensor([math.atanh(sine), *doubled, logit]))
    return network


def test_an_estimate_is_in_radians(batch: Batch) -> None:
    turn = math.radians(50)
    pose = told(Network(), 0.5, (0.4 * math.cos(2 * turn), 0.4 * math.sin(2 * turn)), 0.0).estimate(batch.images[0])
    assert pose.elevation == pytest.approx(math.radians(30), abs=1e-5)
    assert pose.azimuth == pytest.approx(turn, abs=1e-5)
    assert pose.symmetry == pytest.approx(0.5)


def test_the_azimuth_counts_as_much_as_an_object_is_symmetric(batch: Batch) -> None:
    network = told(Network(), 0.3, (1.0, 0.0), 0.0)
    pose = torch.tensor([[0.3, 1.0, 0.0, 0.75], [0.3, -1.0, 0.0, 0.25]])
    parts = network.loss(replace(batch, pose=pose), 0.0)[1]
    assert parts["elevation"] == pytest.approx(0, abs=1e-9)
    assert parts["azimuth"] == pytest.approx(0.75 * 0 + 0.25 * 4)
    # Half against ¾ and against ¼ is as far: ¾ log (¾ / ½) + ¼ log (¼ / ½).
    assert parts["symmetry"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_without_a_symmetric_object_the_azimuth_is_not_learnt(batch: Batch) -> None:
    pose = batch.pose.clone()
    pose[:, 3] = 0
    assert Network().loss(replace(batch, pose=pose), 0.0)[1]["azimuth"] == 0


def test_the_loss_is_nothing_where_all_is_said_right(batch: Batch) -> None:
    loss, _ = told(Network(), 0.3, (1.0, 0.0), 40.0).loss(batch, 0.0)
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_it_learns_the_poses_of_a_few_pictures(batch: Batch) -> None:
    torch.manual_seed(0)
    network = Network()
    batch = replace(batch, pose=torch.tensor([[0.2, 0.6, 0.8, 1.0], [0.7, -1.0, 0.0, 0.2]]))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    for _ in range(60):
        loss = network.loss(batch, 0.0)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pose = network.estimate(batch.images[0])
    assert loss.item() < 0.01
    assert pose.elevation == pytest.approx(math.asin(0.2), abs=0.05)
    assert pose.azimuth == pytest.approx(math.atan2(0.8, 0.6) / 2, abs=0.05)
    assert pose.symmetry > 0.9
