"""Density and colour along rays: fused and reference bodies, and NeRF's worked example."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from maquette.neural.kernels import density, density_reference, dispatch
from maquette.neural.kernels.density import Ends, Rays, Rows, Steps

density_fused = pytest.importorskip("maquette.neural.kernels.density_fused")
CPU = torch.device("cpu")


def rows_of(occupied: torch.Tensor, generator: torch.Generator) -> Rows:
    """A field of random values, a row for each corner of each occupied cell."""
    index = occupied.nonzero()
    cell = torch.full(occupied.shape, -1, dtype=torch.int32)
    cell[occupied] = torch.arange(len(index), dtype=torch.int32)
    corners = index[:, None] + torch.tensor(list(itertools.product((0, 1), repeat=3)))
    x, y, z = occupied.shape
    flat = (corners[..., 0] * (y + 1) + corners[..., 1]) * (z + 1) + corners[..., 2]
    unique, row = flat.unique(return_inverse=True)
    table = torch.zeros(len(unique), density.WIDTH)
    table[:, : density.USED] = 2 * torch.randn(len(unique), density.USED, generator=generator)
    table[:, 0] += 2
    blocks = torch.nn.functional.max_pool3d(occupied[None].float(), 4, ceil_mode=True)[0] > 0
    return Rows(table, cell, row.int().contiguous(), blocks, 0.8)


@pytest.fixture
def scene():
    """A field with holes of all sizes, and rays through it, past it and from within."""
    g = torch.Generator().manual_seed(3)
    occupied = torch.rand(11, 9, 14, generator=g) < 0.4
    occupied[:5, :4, :6] = False
    size = torch.tensor(occupied.shape)
    origins = torch.rand(400, 3, generator=g) * size + 9 * torch.randn(400, 3, generator=g)
    targets = torch.rand(400, 3, generator=g) * size
    targets[0] = origins[0] + torch.tensor([0.0, 0.0, 1.0])  # along an axis
    directions = torch.nn.functional.normalize(targets - origins, dim=1)
    rays = Rays(origins, directions, torch.zeros(400), torch.full((400,), 60.0))
    return rows_of(occupied, g), rays, torch.rand(400, generator=g), g


@pytest.fixture
def all_of_space(scene):
    """The same field with a shell of half a half side, seen from within and from far outside."""
    rows, rays, offset, g = scene
    near = 0.1 * (rays.origins - torch.tensor(rows.cell.shape) / 2).norm(dim=1)
    return replace(rows, shell=0.5), replace(rays, near=near, far=torch.full((400,), 300.0)), offset, g


def test_the_fused_body_serves_the_processor_and_the_reference_everything_else():
    assert dispatch.body("density", CPU) is density_fused
    assert dispatch.body("density", torch.device("cuda")) is density_reference


def test_fused_and_reference_find_the_same_extent(scene):
    rows, rays, _, _ = scene
    near, far = density_fused.extent(rows.cell, rows.blocks, rays)
    expected_near, expected_far = density_reference.extent(rows.cell, rows.blocks, rays)
    assert (far < near).any() and (far > near).any()
    torch.testing.assert_close(near, expected_near, atol=1e-4, rtol=0)
    torch.testing.assert_close(far, expected_far, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["scene", "all_of_space"])
@pytest.mark.parametrize("step", [1.0, 0.5])
def test_fused_and_reference_render_the_same(name, step, request):
    rows, rays, offset, _ = request.getfixturevalue(name)
    seen = density_fused.render(rows, rays, offset, step)
    expected = density_reference.render(rows, rays, offset, step)
    assert 0.1 < expected.transmittance.mean() < 0.9
    for name in ("rgb", "transmittance", "distance", "normal"):
        torch.testing.assert_close(getattr(seen, name), getattr(expected, name), atol=1e-4, rtol=1e-4)


def test_a_shell_holds_a_place_where_mip_nerf_360_contracts_it():
    """A box of 4 × 8 × 8 cells in a shell of half its half sides, at most 2 half sides from the middle, is 6 × 12 × 12."""
    points = torch.tensor([[3.0, 6.0, 6.0], [5.0, 6.0, 6.0], [7.0, 6.0, 6.0], [3.0, 6.0, 14.0], [3.0, 6.0, 4e6],
                           [7.0, 8.0, 6.0]])
    n = density_reference.outward(points, (6, 12, 12), 0.5)
    assert n.tolist() == pytest.approx([0.0, 1.0, 2.0, 2.0, 1e6, 2.0], rel=1e-4)
    held = density_reference.contracted(points, (6, 12, 12), 0.5)
    # Two half sides out are 1 + 0.5 · (1 − 1 / 2) = 1.25 half sides; what is aside goes along.
    assert held.flatten().tolist() == pytest.approx(
        [3, 6, 6, 5, 6, 6, 5.5, 6, 6, 3, 6, 11, 3, 6, 12, 5.5, 7.25, 6], abs=1e-4)


def gradient(body, scene, distortion=0.0, end_weight=0.0):
    rows, rays, offset, g = scene
    g.manual_seed(4)
    buffers = dispatch.threads()
    into = torch.zeros(buffers, *rows.table.shape)
    touched = torch.zeros(buffers, len(rows.table), dtype=torch.uint8)
    peak = torch.zeros(buffers, len(rows.corners))
    ends = None
    if end_weight:
        share = torch.rand(400, generator=g)
        ends = Ends(rays.near + share * (rays.far - rays.near), 0.3 + 2 * torch.rand(400, generator=g),
                    end_weight * (torch.rand(400, generator=g) < 0.7))
    loss, by_background = body.add_gradient(
        rows, rays, offset, torch.rand(400, 3, generator=g), torch.rand(400, generator=g),
        torch.tensor([0.2, 0.5, 0.7]), torch.rand(400, generator=g), into, touched, peak, distortion, ends)
    return loss, by_background, into, touched, peak


@pytest.mark.parametrize("opacity", [0.25, 0.9])
def test_fused_and_reference_lose_light_at_the_same_distance(scene, opacity):
    rows, rays, offset, _ = scene
    found = density_fused.distance_at(rows, rays, offset, opacity, 0.5)
    expected = density_reference.distance_at(rows, rays, offset, opacity, 0.5)
    assert found.isfinite().any() and found.isinf().any()
    assert ((found - expected).abs().nan_to_num(0) < 1e-4).float().mean() > 0.99  # a sample may fall on the threshold
    assert (found.isinf() == expected.isinf()).float().mean() > 0.99


@pytest.mark.parametrize(("name", "distortion", "end_weight"),
                         [("scene", 0.0, 0.0), ("scene", 3.0, 0.0), ("scene", 0.0, 2.0), ("all_of_space", 3.0, 2.0)])
def test_fused_and_reference_have_the_same_loss_and_gradients(name, distortion, end_weight, request):
    scene = request.getfixturevalue(name)
    loss, by_background, into, touched, peak = gradient(density_fused, scene, distortion, end_weight)
    expected = gradient(density_reference, scene, distortion, end_weight)
    assert loss == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(by_background, expected[1], atol=1e-6, rtol=1e-4)
    largest = expected[2].abs().max()
    torch.testing.assert_close(into.sum(0) / largest, expected[2].sum(0) / largest, atol=1e-5, rtol=1e-4)
    assert (touched.any(0) == expected[3].any(0)).all()
    torch.testing.assert_close(peak.amax(0), expected[4].amax(0), atol=1e-5, rtol=0)


def test_gradients_repeat_to_the_bit(scene):
    first, second = gradient(density_fused, scene), gradient(density_fused, scene)
    assert first[0] == second[0]
    assert torch.equal(first[2], second[2])


@pytest.mark.parametrize("body", [density_fused, density_reference])
def test_adam_moves_touched_rows_alone_and_by_its_rate_at_first(body):
    g = torch.Generator().manual_seed(5)
    table, into = torch.randn(6, 16, generator=g), torch.randn(2, 6, 16, generator=g)
    touched = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 0, 1, 1, 0, 0]], dtype=torch.uint8)
    into[touched == 0] = 0
    old, total = table.clone(), into.sum(0)
    rate = torch.linspace(0.1, 0.4, 16)
    body.adam(table, torch.zeros(6, 16), torch.zeros(6, 16), into, touched, Steps(rate, 1, torch.full((16,), 1e-8)))
    used = slice(density.USED)
    torch.testing.assert_close(table[:, used], (old - rate * total.sign())[:, used], atol=1e-5, rtol=0)
    assert not into[..., used].any() and not touched.any()


@pytest.mark.parametrize("body", [density_fused, density_reference])
def test_a_gradient_of_the_size_of_eps_moves_by_half_the_rate(body):
    table, into, touched = torch.zeros(1, 16), torch.full((1, 1, 16), 0.01), torch.ones(1, 1, dtype=torch.uint8)
    eps = torch.full((16,), 1e-8)
    eps[0] = 0.01
    body.adam(table, torch.zeros(1, 16), torch.zeros(1, 16), into, touched, Steps(torch.full((16,), 0.3), 1, eps))
    assert table[0, 0].item() == pytest.approx(-0.15, rel=1e-4) and table[0, 1].item() == pytest.approx(-0.3, rel=1e-4)


@pytest.mark.parametrize("body", [density_fused, density_reference])
def test_rendering_matches_nerfs_worked_example(body):
    """σ = (0, 0.5, 2) over three unit cells, seen at t = 2, 3, 4 (systems reference, 13.1)."""
    occupied = torch.tensor([False, True, True]).view(3, 1, 1)
    rows = replace(rows_of(occupied, torch.Generator()), thickness=1.0)
    half, two = (float(np.log(np.expm1(s))) - density.SHIFT for s in (0.5, 2.0))
    rows.table.zero_()
    by_x = {1: half, 2: half, 3: 2 * two - half}  # the middle of each cell is the mean of its two planes
    for k in range(8):
        for c in range(2):
            rows.table[rows.corners[c, k], 0] = by_x[1 + c + k // 4]
    rays = Rays(torch.tensor([[-1.5, 0.5, 0.5]]), torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([1.5]),
                torch.tensor([4.5]))
    seen = body.render(rows, rays, torch.tensor([0.5]), 1.0)
    assert seen.transmittance.item() == pytest.approx(0.082085, abs=1e-5)
    assert seen.distance.item() == pytest.approx(3.278191, abs=1e-5)
    assert seen.rgb[0].tolist() == pytest.approx([0.5 * 0.917915] * 3, abs=1e-5)
    found = [body.distance_at(rows, rays, torch.tensor([0.5]), opacity, 1.0).item() for opacity in (0.3, 0.5, 0.95)]
    assert found == [3.0, 4.0, float("inf")]  # 0.39 and 0.92 of the light are lost after the two cells
    into, touched, peak = torch.zeros(1, 12, 16), torch.zeros(1, 12, dtype=torch.uint8), torch.zeros(1, 2)
    black, clear = torch.zeros(3), seen.transmittance
    losses = [body.add_gradient(rows, rays, torch.tensor([0.5]), seen.rgb, clear, black, torch.ones(1), into, touched,
                                peak, weight, None)[0] for weight in (0.0, 1.0)]
    # The middle is 3 away from the ray's origin: the samples are at 3 / 6 and 4 / 7.
    assert losses == pytest.approx([0.0, 2 * 0.393469 * 0.524446 * (4 / 7 - 3 / 6)], abs=1e-5)
    # Should the light end at 4 ± 1, that at 3 counts e^{−1/2} = 0.606531 of 0.393469.
    ends = Ends(torch.tensor([4.0]), torch.ones(1), torch.tensor([2.0]))
    loss, _ = body.add_gradient(rows, rays, torch.tensor([0.5]), seen.rgb, clear, black, torch.ones(1), into, touched,
                                peak, 0.0, ends)
    assert loss == pytest.approx(2 * (1 - 0.524446 - 0.606531 * 0.393469), abs=1e-5)
    weights = seen.distance.item() - 3 * 0.917915, 4 * 0.917915 - seen.distance.item()
    assert weights == pytest.approx((0.524446, 0.393469), abs=1e-5)
    assert seen.normal[0].tolist() == pytest.approx([-0.524446, 0.0, 0.0], abs=1e-5)
