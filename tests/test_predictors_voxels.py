"""3D-R2N2's parts, and the surface of a frustum grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maquette.neural.evaluation.audit import audit
from maquette.neural.predictors.frustum import AlongRays, Larger, surface, unpool, within_outline
from maquette.neural.predictors.predictor import Batch
from maquette.neural.predictors.view import frustum_centres, project
from maquette.neural.predictors.voxels import Network, Recurrent


COVERED = torch.ones(16, 16)  # an outline that rules out nothing


def closed(figures: dict[str, int]) -> bool:
    return figures["faces"] > 0 and not any(figures[name] for name in (
        "open_edges", "nonmanifold_edges", "flipped_edges", "inward_components"))


def test_the_recurrent_unit_is_the_one_of_the_paper() -> None:
    """One cell's numbers by hand: only the middle of each convolution acts, and it is told what it reads."""
    unit = Recurrent(features=1, cells=1)
    with torch.no_grad():
        unit.gates.weight.zero_()
        unit.made.weight.zero_()
        unit.gates.weight[0, 0, 1, 1, 1], unit.gates.weight[1, 0, 1, 1, 1], unit.made.weight[0, 0, 1, 1, 1] = 2, -3, 5
        assert (unit.read.bias == 0.1).all()
        read = unit.read.weight.reshape(3, 4, 4, 4)
        read[:, 1, 2, 3] = torch.tensor([0.3, 0.4, -0.5])
        state = torch.full((1, 1, 4, 4, 4), 0.2)
        after = unit(torch.tensor([[2.0]]), state)[0, 0, 1, 2, 3].item()
    kept = 1 / (1 + np.exp(-(0.6 + 0.1 + 2 * 0.2)))
    reset = 1 / (1 + np.exp(-(0.8 + 0.1 - 3 * 0.2)))
    made = np.tanh(-1.0 + 0.1 + 5 * reset * 0.2)
    assert after == pytest.approx(kept * 0.2 + (1 - kept) * made, abs=1e-6)


def test_each_cell_of_the_recurrent_unit_reads_with_weights_of_its_own() -> None:
    unit = Recurrent(features=2, cells=3)
    with torch.no_grad():
        state = unit(torch.tensor([[1.0, -1.0]]), unit.start(1, torch.zeros(1)))
    assert len(state.flatten().unique()) == 3 * 4**3


def test_unpooling_puts_zeros_between() -> None:
    larger = unpool(torch.arange(1.0, 9.0).reshape(1, 1, 2, 2, 2))[0, 0]
    assert larger.shape == (4, 4, 4)
    assert larger[::2, ::2, ::2].flatten().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert larger.sum() == 36


def test_the_transposed_convolution_is_one_of_the_unpooled_volume() -> None:
    stage = Larger(channels=3, made=2, side=8, seen=1)
    x = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    turned = stage.first.weight.flip(2, 3, 4).transpose(0, 1)
    assert torch.allclose(stage.first(x), F.conv3d(unpool(x), turned, stage.first.bias, padding=1), atol=1e-6)


def test_a_pixel_tells_of_the_slices_of_its_ray_alone() -> None:
    along = AlongRays(seen=1, made=2, depth=4)
    with torch.no_grad():
        along.linear.weight.copy_(torch.arange(8.0)[:, None])
        along.linear.bias.zero_()
        seen = torch.zeros(1, 1, 3, 3)
        seen[0, 0, 0, 1] = 1
        volume = along(seen)
    assert volume.shape == (1, 2, 4, 3, 3)
    assert volume[0, :, :, 0, 1].tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert volume.sum() == 28


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(0, 9)] * 3), st.tuples(*[st.integers(3, 6)] * 3), st.floats(1.5, 8))
def test_a_box_of_voxels_comes_back_where_its_voxels_are(first: tuple[int, ...], size: tuple[int, ...],
                                                         far: float) -> None:
    box = tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))
    log_odds = torch.full((16, 16, 16), -9.0)
    log_odds[box] = 9.0
    distance = torch.tensor(far)
    inside = torch.zeros(16, 16, 16, dtype=bool)
    inside[box] = True
    mesh = surface(log_odds, inside.any(dim=0).float(), 0.5, distance)
    assert closed(audit(mesh))
    centres = frustum_centres(16, distance[None])[0]
    seen = project(torch.from_numpy(mesh.vertices)[None], distance[None])[0]
    within = project(centres[inside][None], distance[None])[0]
    # Its sides lie half a voxel beyond the centres, all of them.
    low, high = seen.min(dim=0).values, seen.max(dim=0).values
    assert torch.allclose(low, within.min(dim=0).values - 1 / 16, atol=0.02)
    assert torch.allclose(high, within.max(dim=0).values + 1 / 16, atol=0.02)
    depth = centres[inside][:, 2]
    assert mesh.vertices[:, 2].min() == pytest.approx(float(depth.min()) - 1 / 16, abs=0.02)
    assert mesh.vertices[:, 2].max() == pytest.approx(min(float(depth.max()) + 1 / 16, 0.99 * far), abs=0.02)


def test_where_nothing_is_sure_the_likeliest_is_taken() -> None:
    log_odds = torch.full((16, 16, 16), -3.0)
    log_odds[5:8, 5:8, 5:8] = -2.0
    alpha = torch.zeros(16, 16)
    alpha[4:9, 4:9] = 0.4  # so little that no ray is surely through the object
    mesh = surface(log_odds, alpha, 0.4, torch.tensor(3.0))
    assert closed(audit(mesh))
    assert np.abs(mesh.vertices).max() < 0.4


@pytest.mark.parametrize("value", [-9.0, 0.0, 9.0, torch.nan])
@pytest.mark.parametrize("alpha", [torch.zeros(16, 16), COVERED])
def test_a_grid_without_any_surface_has_one_yet(value: float, alpha: Tensor) -> None:
    assert closed(audit(surface(torch.full((8, 8, 8), value), alpha, 0.4, torch.tensor(3.0))))


def test_what_lies_beside_the_outline_is_outside_and_behind_it_is_something() -> None:
    """Four rays of three slices: half seen, unseen, seen and missed, seen and met."""
    values = torch.tensor([[[3.0, 3.0], [-3.0, 1.0]], [[9.0, 3.0], [-2.0, 2.0]], [[-1.0, 3.0], [-3.0, -1.0]]])
    alpha = torch.tensor([[0.5, 0.0], [1.0, 1.0]])
    found = within_outline(values, alpha.repeat_interleave(8, 0).repeat_interleave(8, 1))
    assert found[:, 0, 0].tolist() == [0, 0, -1]
    assert found[:, 0, 1].tolist() == [-4, -4, -4]
    assert found[:, 1, 0].tolist() == [-0.5, 0.5, -0.5]
    assert found[:, 1, 1].tolist() == [1, 2, -1]


def test_crumbs_and_hollows_are_dropped() -> None:
    log_odds = torch.full((16, 16, 16), -9.0)
    log_odds[3:12, 3:12, 3:12] = 9.0
    log_odds[6:8, 6:8, 6:8] = -9.0
    log_odds[14, 14, 14] = 9.0
    figures = audit(surface(log_odds, COVERED, 0.4, torch.tensor(3.0)))
    assert figures["components"] == 1
    assert figures["inner_shells"] == 0


def test_several_views_are_taken_one_after_the_other(pictured) -> None:
    torch.manual_seed(0)
    network = Network().eval()
    images = torch.cat([pictured([axes]).images for axes in ((0.8, 0.3, 0.3), (0.3, 0.8, 0.3), (0.5, 0.5, 0.5))], 1)
    with torch.no_grad():
        one, three, turned = network(images[:, :1]), network(images), network(images[:, [0, 2, 1]])
    assert one.shape == three.shape == (1, 32, 32, 32)
    assert not torch.allclose(one, three)
    assert not torch.allclose(three, turned)


def test_the_loss_takes_any_number_of_views(pictured) -> None:
    torch.manual_seed(0)
    network = Network(width=4, features=4, cells=4)
    batch = pictured([(0.8, 0.3, 0.3)], grid=32, views=5)
    counts = set()
    network.encoder.register_forward_pre_hook(lambda module, given: counts.add(len(given[0])))
    with torch.no_grad():
        for _ in range(40):
            network.loss(batch, 0.0)
    assert counts == {1, 2, 3, 4, 5}


def test_the_loss_is_the_mean_cross_entropy_of_the_voxels(pictured) -> None:
    network, batch = Network(), pictured([(0.8, 0.3, 0.3)], grid=32)
    with torch.no_grad():
        chance = torch.sigmoid(network(batch.images))
        right = torch.where(batch.filled > 0, chance, 1 - chance)
        assert network.loss(batch, 0.0)[0].item() == pytest.approx(-right.log().mean().item(), rel=1e-5)


def test_it_learns_two_pictures_by_heart(pictured) -> None:
    torch.manual_seed(0)
    network = Network(width=8, features=16, cells=16)
    batch: Batch = pictured([(0.8, 0.3, 0.3), (0.3, 0.8, 0.5)], grid=32)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(70):
        loss = network.loss(batch, 0.0)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    for images, distance, axes in zip(batch.images, batch.distance, [(0.8, 0.3, 0.3), (0.3, 0.8, 0.5)], strict=True):
        mesh = network.predict(images, distance)
        assert closed(audit(mesh))
        assert np.abs(mesh.vertices).max(axis=0) == pytest.approx(axes, abs=0.15)
