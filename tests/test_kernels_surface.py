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
    found = []
    for body, buffers in ((surface_fused, dispatch.threads()), (surface_reference, 1)):
        sdf, color = torch.zeros(buffers, len(rows.sdf)), torch.zeros(buffers, len(rows.sdf), 12)
        touched = torch.zeros(buffers, len(rows.sdf), dtype=torch.uint8)
        loss = body.add_gradient(rows, rays, offset, 0.6, 0.7, target, alpha_weight, sdf, color, touched)
        found.append((loss, sdf.sum(0), color.sum(0)))
    (loss, by_sdf, by_color), (true_loss, true_sdf, true_color) = found
    assert loss == pytest.approx(true_loss, rel=1e-4)
    assert true_sdf.abs().max() > 0.01
    torch.testing.assert_close(by_sdf, true_sdf, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(by_color, true_color, atol=2e-4, rtol=1e-3)
