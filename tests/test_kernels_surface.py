"""The surface kernels: the check values of NeuS, and the fused bodies against the reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from maquette.neural.kernels import dispatch, surface, surface_reference
from maquette.neural.kernels.density import Rays

pytest.importorskip("numba")
from maquette.neural.kernels import surface_fused  # noqa: E402

CPU = torch.device("cpu")


def sphere(shape=(13, 12, 11), seed=0):
    """Rows of a noisy sphere of radius 3.5 voxels with random colours, some corners of them missing."""
    random = torch.Generator().manual_seed(seed)
    points = torch.stack(torch.meshgrid(*[torch.arange(n + 1.0) for n in shape], indexing="ij"), -1)
    f = (points - torch.tensor([6.2, 5.9, 5.4])).norm(dim=-1) - 3.5
    f = f + 0.1 * torch.randn(f.shape, generator=random)
    has = f.abs() < 3
    row = torch.full(f.shape, -1, dtype=torch.int32)
    row[has] = torch.arange(int(has.sum()), dtype=torch.int32)
    cells = torch.stack([has[x : x + shape[0], y : y + shape[1], z : z + shape[2]]
                         for x, y, z in itertools.product((0, 1), repeat=3)]).all(0)
    skip = (~cells).to(torch.uint8)
    return surface.Rows(f[has].clone(), torch.rand(int(has.sum()), 12, generator=random), row, skip)


def rays_through(shape=(13, 12, 11), number=200, seed=1):
    random = np.random.default_rng(seed)
    start = random.normal(size=(number, 3))
    start = np.array(shape) / 2 + 12 * start / np.linalg.norm(start, axis=1, keepdims=True)
    aim = np.array(shape) / 2 + random.uniform(-4, 4, (number, 3))
    d = aim - start
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    as_tensor = lambda a: torch.from_numpy(a.astype(np.float32))  # noqa: E731
    return Rays(as_tensor(start), as_tensor(d), torch.full((number,), 2.0), torch.full((number,), 24.0))


@pytest.mark.parametrize("body", [surface_fused, surface_reference])
def test_the_weights_are_those_of_the_published_check_values(body):
    # f = (.3, .1, −.1, −.3) along the ray and s = 20: α (.117020, .864665, .979257), w (.117020, .763482, .117020).
    f = torch.tensor([0.3, 0.1, -0.1, -0.3])
    color = torch.zeros(4, 12)
    color[1, 0], color[3, 1] = 1.0, 1.0  # red in the second sample alone, green in the last
    # The last sample lies on the fifth corner's cell.
    ray = Rays(torch.tensor([[0.0, 0.5, 0.5]]), torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1), torch.full((1,), 3.5))
    rows = surface.Rows(torch.cat([f, f[-1:]]), torch.cat([color, color[-1:]]),
                      torch.arange(5, dtype=torch.int32).view(5, 1, 1).expand(5, 2, 2).contiguous(),
                      torch.zeros(4, 1, 1, dtype=torch.uint8))
    seen = body.render(rows, ray, torch.zeros(1), 1 / 20, 1.0)
    w = (0.117020, 0.763482, 0.117020)
    assert 1 - seen.transmittance.item() == pytest.approx(sum(w), abs=2e-5)
    assert seen.rgb[0, 0].item() == pytest.approx((w[0] + w[1]) / 2, abs=2e-5)
    assert seen.rgb[0, 1].item() == pytest.approx(w[2] / 2, abs=2e-5)


def test_the_fused_rendering_is_the_reference():
    rows, rays = sphere(), rays_through()
    offset = torch.rand(len(rays.near), generator=torch.Generator().manual_seed(3))
    ours = surface_fused.render(rows, rays, offset, 0.6, 0.7)
    truth = surface_reference.render(rows, rays, offset, 0.6, 0.7)
    assert (truth.transmittance < 0.1).float().mean() > 0.2
    for name in ("rgb", "transmittance", "distance", "normal"):
        torch.testing.assert_close(getattr(ours, name), getattr(truth, name), atol=3e-4, rtol=1e-4)


def test_the_fused_gradient_is_autograd_of_the_reference():
    rows, rays = sphere(), rays_through()
    random = torch.Generator().manual_seed(4)
    offset, target = torch.rand(len(rays.near), generator=random), torch.rand(len(rays.near), 4, generator=random)
    alpha_weight = torch.rand(len(rays.near), generator=random)
    background = torch.rand(len(rays.near), 3, generator=random)
    found = []
    for body, buffers in ((surface_fused, dispatch.threads()), (surface_reference, 1)):
        sdf, color = torch.zeros(buffers, len(rows.sdf)), torch.zeros(buffers, len(rows.sdf), 12)
        touched = torch.zeros(buffers, len(rows.sdf), dtype=torch.uint8)
        loss = body.add_gradient(rows, rays, offset, 0.6, 0.7, target, background, alpha_weight, sdf, color, touched)
        found.append((loss, sdf.sum(0), color.sum(0)))
    (loss, by_sdf, by_color), (true_loss, true_sdf, true_color) = found
    assert loss == pytest.approx(true_loss, rel=1e-4)
    assert true_sdf.abs().max() > 0.01
    torch.testing.assert_close(by_sdf, true_sdf, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(by_color, true_color, atol=2e-4, rtol=1e-3)


def neighbours_of(row):
    """As `SurfaceField.neighbours` says, corner by corner."""
    around = torch.full((int(row.max()) + 1, 6), -1, dtype=torch.int32)
    for corner in torch.nonzero(row >= 0):
        six = [corner + s * torch.eye(3, dtype=torch.int64)[axis] for axis in range(3) for s in (-1, 1)]
        if all(((c >= 0) & (c < torch.tensor(row.shape))).all() and row[tuple(c)] >= 0 for c in six):
            around[row[tuple(corner)]] = torch.stack([row[tuple(c)] for c in six])
    return around


def test_the_fused_smoothness_is_autograd_of_the_reference():
    rows = sphere()
    around = neighbours_of(rows.row)
    assert (around[:, 0] < 0).any() and (around[:, 0] >= 0).any()
    found = []
    for body in (surface_fused, surface_reference):
        gradient = torch.ones(len(rows.sdf))  # it is added to
        found.append((body.add_smoothness(rows.sdf, around, 0.02, 0.05, gradient), gradient))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert (found[1][1] - 1).abs().max() > 0.01
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("body", [surface_fused, surface_reference])
def test_smoothness_is_least_on_a_plane_of_slope_one(body):
    shape = (5, 5, 5)
    row = torch.arange(125, dtype=torch.int32).view(shape)
    x = torch.arange(5.0).view(5, 1, 1).expand(shape).flatten()
    gradient = torch.zeros(125)
    assert body.add_smoothness(x - 2, neighbours_of(row), 0.5, 0.2, gradient) == pytest.approx(0.5 * 27)
    assert gradient.abs().max() < 1e-6
    # Twice as steep: ½ · 0.2 · (2 − 1)² more at each of the 27 inner corners.
    assert body.add_smoothness(2 * x, neighbours_of(row), 0.5, 0.2, gradient) == pytest.approx(0.5 * 27 + 0.1 * 27)


def test_the_fused_step_of_colours_is_the_reference():
    random = torch.Generator().manual_seed(6)
    start = torch.rand(40, 12, generator=random)
    buffers, touched = torch.randn(2, 40, 12, generator=random), torch.zeros(2, 40, dtype=torch.uint8)
    touched[0, :10], touched[1, 5:20] = 1, 1
    buffers[touched == 0] = 0
    found = []
    for body in (surface_fused, surface_reference):
        color, first, second = start.clone(), torch.zeros(40, 12), torch.zeros(40, 12)
        for _ in range(3):
            gradient, hit = buffers.clone(), touched.clone()
            body.adam_colors(color, first, second, gradient, hit, 0.03, 2.0)
            assert not gradient.any() and not hit.any()
        found.append(color)
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)
    assert (found[0][20:] == start[20:]).all() and (found[0][:20] != start[:20]).all()
