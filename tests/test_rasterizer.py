"""The differentiable rasterizer: what it draws, and both gradients of the silhouette."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from maquette.neural.kernels import dispatch, rasterizer_fused, rasterizer_reference
from maquette.neural.kernels.raster import rasterise
from maquette.neural.kernels.rasterizer import ramp_gradient, visible
from maquette.neural.meshing.raster import sample_texture
from maquette.neural.rendering.rasterizer import interpolate, normals, pixels_of, rasterize, texture

HEIGHT, WIDTH = 20, 27


def soup(seed: int, faces: int = 6, batch: int = 1) -> Tensor:
    """Random triangles in double precision, some of them partly outside the picture."""
    place = torch.rand(batch, faces, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return place * place.new_tensor([WIDTH + 6, HEIGHT + 6, 1]) - place.new_tensor([3, 3, -1])


def ball(rings: int = 12) -> tuple[Tensor, Tensor]:
    """Vertices (V, 3) of radius 0.8 and outward faces (F, 3)."""
    polar, azimuth = torch.meshgrid(torch.linspace(0, math.pi, rings + 1), torch.arange(2 * rings) * math.pi / rings,
                                    indexing="ij")
    vertices = 0.8 * torch.stack((polar.sin() * azimuth.cos(), polar.cos(), -polar.sin() * azimuth.sin()), dim=-1)
    i, j = torch.meshgrid(torch.arange(rings), torch.arange(2 * rings), indexing="ij")
    a, b = i * 2 * rings + j, i * 2 * rings + (j + 1) % (2 * rings)
    quads = torch.stack((a, a + 2 * rings, b + 2 * rings, a, b + 2 * rings, b), dim=-1)
    return vertices.reshape(-1, 3), quads.reshape(-1, 3)


def teapot() -> tuple[Tensor, Tensor]:
    """A ball with a spout, a knob and a handle that leaves a hole: parts that overlap in the picture."""
    body, faces = ball(10)
    slant = torch.tensor([[0.4, 0.3, 0.0], [0.0, 0.08, 0.0], [0.0, 0.0, 0.08]])
    parts = [body * torch.tensor([0.75, 0.6, 0.75]), body * 0.15 + torch.tensor([0.0, 0.55, 0.0]),
             body @ slant + torch.tensor([0.65, 0.15, 0.0])]
    turn = torch.linspace(0, 2 * math.pi, 17)[:-1]
    ring = torch.stack((0.25 * turn.cos() - 0.65, 0.25 * turn.sin(), 0 * turn), dim=-1)
    i, j = torch.arange(16), (torch.arange(16) + 1) % 16
    band = torch.cat((torch.stack((i, j, j + 16), dim=-1), torch.stack((i, j + 16, i + 16), dim=-1)))
    handle = [ring, ring * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([0.0, 0.0, 0.08])]
    starts = [0, len(body), 2 * len(body)]
    return torch.cat([*parts, *handle]), torch.cat([*(faces + s for s in starts), band + 3 * len(body)])


def numeric_gradient(function, corners: Tensor, step: float = 1e-7) -> Tensor:
    """By central differences, one number after the other."""
    found = torch.zeros_like(corners)
    for i in range(corners.numel()):
        move = torch.zeros(corners.numel(), dtype=corners.dtype)
        move[i] = step
        move = move.view_as(corners)
        found.view(-1)[i] = (function(corners + move) - function(corners - move)) / (2 * step)
    return found


def gradient(function, corners: Tensor) -> Tensor:
    corners = corners.clone().requires_grad_()
    function(corners).backward()
    return corners.grad


@pytest.fixture(params=["fused", "reference"])
def either_body(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the test with one body of the kernel, whatever the device."""
    module = {"fused": rasterizer_fused, "reference": rasterizer_reference}[request.param]
    monkeypatch.setattr(dispatch, "body", lambda kernel, device: module)


# ---- what is drawn -----------------------------------------------------------------------------------------------

def test_a_pixel_shows_the_nearest_face_with_weights_that_are_right_in_perspective(either_body):
    # Over a wall at depth 9, a triangle from depth 1 at x = 0 to depth 3 at x = 8. Half way in the picture, 1 / depth
    # is (1 + 1/3) / 2, so depth is 3/2, and 3/4 of the way in space is still to go.
    wall = [[-50.0, -50, 9], [50, -50, 9], [0, 90, 9]]
    near = [[0.0, -99.5, 1], [0, 100.5, 1], [8, 0.5, 3]]
    seen = rasterize(torch.tensor([[wall, near]]), 1, 12, gradient="none")
    assert seen.face[0, 0].tolist() == [1] * 8 + [0] * 4
    middle = rasterize(torch.tensor([[near]]) + torch.tensor([0.5, 0, 0]), 1, 12, gradient="none")
    assert middle.depth[0, 0, 4].item() == pytest.approx(1.5)
    assert middle.weights[0, 0, 4].tolist() == pytest.approx([0.375, 0.375, 0.25])
    assert torch.equal(seen.alpha, torch.ones(1, 1, 12))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12), st.booleans())
def test_both_bodies_draw_what_the_plain_z_buffer_draws(seed: int, faces: int, whole: bool):
    corners = soup(seed, faces)
    corners[..., 2] -= 0.2 * (seed % 4)  # some of it behind the camera
    if whole:
        corners = corners.round()  # corners on each other, borders through pixels' centres, no area
    expected = rasterise(corners[0].numpy(), HEIGHT, WIDTH)
    for body in (rasterizer_fused, rasterizer_reference):
        assert np.array_equal(body.visible(corners, HEIGHT, WIDTH)[0], expected.face)
    drawn = rasterize(corners, HEIGHT, WIDTH, gradient="none")
    hit = expected.face >= 0
    assert np.allclose(drawn.weights[0], expected.weights, atol=1e-5)
    assert np.allclose(drawn.depth[0][torch.from_numpy(hit)], expected.depth[hit], atol=1e-5)
    assert not drawn.depth[0][torch.from_numpy(~hit)].any()


def test_faces_behind_the_camera_without_area_or_not_finite_are_left_out(either_body):
    good = torch.tensor([[2.0, 2, 1], [20, 2, 1], [2, 15, 1]])
    bad = good.repeat(6, 1, 1)
    bad[0, 1, 2] = -1.0
    bad[1, 0, 2] = 0.0
    bad[2, 1] = bad[2, 2]
    bad[3, 0, 0] = torch.nan
    bad[4, 0, 1] = torch.inf
    bad[5] = 1e30
    for gradient in ("soft", "nmr", "none"):
        corners = torch.cat((bad, good[None]))[None].requires_grad_()
        seen = rasterize(corners, HEIGHT, WIDTH, gradient=gradient)
        alone = rasterize(good[None, None], HEIGHT, WIDTH, gradient=gradient)
        assert torch.equal(seen.alpha, alone.alpha) and set(seen.face.unique().tolist()) == {-1, 6}
        (seen.alpha.square().sum() + seen.depth.sum() + seen.weights[..., 0].sum()).backward()
        assert corners.grad.isfinite().all() and not corners.grad[:, :6].any() and corners.grad[:, 6].any()


@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (0, 0)])
@pytest.mark.parametrize("gradient", ["soft", "nmr"])
def test_nothing_is_drawn_of_nothing(either_body, shape: tuple[int, int], gradient):
    corners = torch.zeros(*shape, 3, 3, requires_grad=True)
    seen = rasterize(corners, 4, 5, gradient=gradient)
    assert seen.face.shape == (shape[0], 4, 5) and seen.weights.shape == (shape[0], 4, 5, 3)
    assert (seen.face == -1).all() and not seen.alpha.any()
    assert interpolate(seen, torch.ones(*shape, 3, 2)).shape == (shape[0], 4, 5, 2)
    assert normals(seen, corners).shape == (shape[0], 4, 5, 3)
    (seen.alpha.sum() + seen.depth.sum()).backward()
    assert corners.grad.shape == corners.shape


def test_each_mesh_of_a_batch_is_drawn_as_alone():
    vertices, faces = teapot()
    views = torch.stack([vertices, vertices.flip(-1), vertices * torch.tensor([1.0, -1.0, -1.0])])
    views[1] = torch.nan  # an empty one between others
    corners = pixels_of(views, torch.tensor([2.5, 3.0, 9.0]), 40)[:, faces]
    together = rasterize(corners, 40, 40)
    assert together.alpha[0].sum() > 200 and not together.alpha[1].any()
    for i in range(3):
        alone = rasterize(corners[i:i + 1], 40, 40)
        for name in ("face", "weights", "depth", "alpha"):
            assert torch.allclose(getattr(together, name)[i:i + 1], getattr(alone, name), atol=1e-5)


def test_pixels_of_a_crop_are_where_its_camera_sees_them():
    # At z = 0 the border lies at ±1; a point half way to the camera at distance 2 is seen twice as large.
    points = torch.tensor([[[-1.0, 1, 0], [0.25, -0.25, 1], [0, 0, -3]]])
    assert torch.allclose(pixels_of(points, torch.tensor([2.0]), 100),
                          torch.tensor([[[0.0, 0, 2], [75, 75, 1], [50, 50, 5]]]))


def test_normals_are_those_of_the_faces_that_are_seen():
    vertices, faces = ball()
    corners = pixels_of(vertices[None], torch.tensor([4.0]), 64)[:, faces]
    seen = rasterize(corners, 64, 64)
    normal = normals(seen, vertices[None, faces])
    place = interpolate(seen, vertices[None, faces])
    hit = seen.face >= 0
    assert torch.allclose(normal[hit].norm(dim=-1), torch.ones(int(hit.sum())), atol=1e-5) and not normal[~hit].any()
    assert (functional.cosine_similarity(normal[hit], place[hit]) > 0.98).all()
    assert torch.allclose(seen.depth[hit], 4 - place[hit][:, 2], atol=1e-5)


def test_a_texture_is_looked_up_between_its_pixels_and_repeats():
    image = torch.randint(0, 256, (3, 5, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    corners = torch.tensor([[[[0.0, 0, 1], [60, 0, 2], [0, 60, 3]]]])
    uvs = torch.tensor([[[[-0.4, -0.3], [1.7, 0.2], [0.3, 2.2]]]])
    seen = rasterize(corners, 24, 24)
    found = texture(seen, uvs, image[None].float() / 255)
    uv = interpolate(seen, uvs)
    expected = sample_texture(image.numpy(), uv[0].reshape(-1, 2).numpy()).reshape(24, 24, 2)
    assert np.allclose(found[0], expected * (seen.face[0] >= 0).numpy()[..., None], atol=1e-4)


# ---- gradients ---------------------------------------------------------------------------------------------------

def test_weights_depth_and_normals_have_the_gradient_of_finite_differences():
    corners = soup(4)
    force = torch.randn(1, HEIGHT, WIDTH, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def value(corners: Tensor) -> Tensor:
        seen = rasterize(corners, HEIGHT, WIDTH, gradient="none")
        parts = torch.cat((seen.weights, seen.depth[..., None], normals(seen, corners)), dim=-1)
        return (parts * force).sum()

    assert torch.allclose(gradient(value, corners), numeric_gradient(value, corners), rtol=1e-4, atol=1e-6)


def test_colours_have_the_gradient_of_finite_differences_by_place_and_texture():
    corners, generator = soup(5, faces=3), torch.Generator().manual_seed(0)
    uvs = torch.rand(1, 3, 3, 2, generator=generator, dtype=torch.float64) * 3 - 1
    image = torch.rand(1, 4, 6, 2, generator=generator, dtype=torch.float64)
    force = torch.randn(1, HEIGHT, WIDTH, 2, generator=generator, dtype=torch.float64)

    def value(corners: Tensor, uvs: Tensor, image: Tensor) -> Tensor:
        return (texture(rasterize(corners, HEIGHT, WIDTH, gradient="none"), uvs, image) * force).sum()

    for function, at in ((lambda x: value(x, uvs, image), corners), (lambda x: value(corners, x, image), uvs),
                         (lambda x: value(corners, uvs, x), image)):
        assert torch.allclose(gradient(function, at), numeric_gradient(function, at), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_soft_alpha_has_the_gradient_of_finite_differences(seed: int):
    """Also where outlines cross, at spikes, and at the picture's border."""
    corners = soup(seed)
    force = torch.randn(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def value(corners: Tensor) -> Tensor:
        return (rasterize(corners, HEIGHT, WIDTH, sigma=1.5).alpha * force).sum()

    assert torch.allclose(gradient(value, corners), numeric_gradient(value, corners), rtol=1e-4, atol=1e-5)


def test_soft_alpha_is_one_half_on_the_outline_however_finely_a_shape_is_divided(either_body):
    """A half plane left of x = 9.3: alpha is the logistic function of the distance in units of sigma."""
    rows = torch.linspace(-30, 50, 21)
    strip = [[[-40.0, a, 1], [9.3, a, 1], [9.3, b, 1]] for a, b in zip(rows[:-1], rows[1:], strict=True)]
    strip += [[[-40.0, a, 1], [9.3, b, 1], [-40, b, 1]] for a, b in zip(rows[:-1], rows[1:], strict=True)]
    whole = [[[-900.0, -900, 1], [9.3, -900, 1], [9.3, 900, 1]], [[-900.0, -900, 1], [9.3, 900, 1], [-900, 900, 1]]]
    away = 9.3 - (torch.arange(WIDTH) + 0.5)
    expected = torch.where(away.abs() < 0.7 * math.log(999), torch.sigmoid(away / 0.7), (away > 0).float())
    for triangles in (strip, whole, strip + whole):
        alpha = rasterize(torch.tensor([triangles]), HEIGHT, WIDTH, sigma=0.7).alpha[0]
        assert torch.allclose(alpha, expected.expand(HEIGHT, WIDTH), atol=1e-5)


def test_soft_alpha_follows_the_distance_to_the_outline_of_overlapping_parts():
    """Against the distance in a silhouette drawn eight times as large."""
    from scipy.ndimage import distance_transform_edt
    vertices, faces = teapot()
    corners = pixels_of(vertices[None], torch.tensor([3.0]), 96)[:, faces]
    fine = rasterize(corners * torch.tensor([8.0, 8, 1]), 768, 768, gradient="none").alpha[0].numpy()
    signed = (distance_transform_edt(fine) - distance_transform_edt(1 - fine)) / 8
    expected = 1 / (1 + np.exp(-signed.reshape(96, 8, 96, 8)[:, 3:5, :, 3:5].mean(axis=(1, 3))))
    found = rasterize(corners, 96, 96).alpha[0].numpy()
    error = np.abs(found - expected)
    assert error.mean() < 0.003 and (error > 0.06).mean() < 0.002, (error.mean(), error.max())


GOLDEN = [([(0.8, 0.8), (0.0, -0.5), (0.2, -0.4)], (25, 35), -1.0,
           [(1.6726, -0.2602), (1.4199, -1.6428), (0.0, 0.0)]),
          ([(0.8, 0.8), (-0.5, -0.8), (0.8, -0.8)], (40, 50), 1.0,
           [(0.9865, 1.0463), (-1.0342, -0.1040), (3.0009, -1.5517)])]


@pytest.mark.parametrize(("triangle", "pixel", "force", "expected"), GOLDEN)
def test_the_neural_mesh_renderers_gradient_is_that_of_its_own_tests(either_body, triangle, pixel, force, expected):
    """Kato et al.'s two triangles at 64², whose pixel should be filled, and should be emptied."""
    place = torch.tensor(triangle, dtype=torch.float64)
    corners = torch.cat((place * place.new_tensor([32, -32]) + 32, torch.ones(3, 1)), dim=1)
    to_pixels = place.new_tensor([32, -32])
    by_alpha = torch.zeros(1, 64, 64)
    by_alpha[0][pixel] = force
    found = ramp_gradient(corners[None, None], visible(corners[None, None], 64, 64), by_alpha, 1e-4)[0, 0]
    assert torch.allclose(found[:, :2] * to_pixels, place.new_tensor(expected), atol=2e-4) and not found[:, 2].any()

    def loss(corners: Tensor) -> Tensor:
        alpha = rasterize(corners[None, None], 64, 64, gradient="nmr").alpha[0]
        return (alpha[pixel] - (1.0 if force < 0 else 0.0)).abs()

    assert torch.allclose(gradient(loss, corners)[:, :2] * to_pixels, place.new_tensor(expected), rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("kind", ["soft", "nmr"])
def test_both_bodies_give_a_teapot_the_same_silhouette_and_gradient(monkeypatch: pytest.MonkeyPatch, kind):
    vertices, faces = teapot()
    turned = torch.stack((vertices, vertices @ torch.tensor([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]])))
    target = torch.zeros(2, 64, 64)
    target[:, 10:50, 14:45] = 1
    results = []
    for module in (rasterizer_fused, rasterizer_reference):
        monkeypatch.setattr(dispatch, "body", lambda kernel, device, module=module: module)
        points = turned.clone().requires_grad_()
        alpha = rasterize(pixels_of(points, torch.tensor([3.0, 2.0]), 64)[:, faces], 64, 64, gradient=kind).alpha
        (alpha - target).square().sum().backward()
        results.append((alpha.detach(), points.grad))
    (fused, by_fused), (plain, by_plain) = results
    assert by_fused[..., :2].abs().max() > 1
    assert torch.allclose(fused, plain, atol=1e-5)
    assert (by_fused - by_plain).abs().max() < 1e-3 * by_plain.abs().max()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_both_bodies_agree_on_random_triangles(seed: int, faces: int):
    corners, generator = soup(seed, faces, batch=2), torch.Generator().manual_seed(seed)
    face = rasterizer_fused.visible(corners, HEIGHT, WIDTH)
    by_alpha = torch.randn(2, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    edges, ramps = [], []
    for body in (rasterizer_fused, rasterizer_reference):
        edges.append(body.outline(corners, face, 5.0)[0])
        ramps.append(torch.zeros_like(corners))
        body.add_ramps(corners, 1, face, by_alpha, 0.05, ramps[-1])
        body.add_ramps(corners, 0, face.transpose(1, 2), by_alpha.transpose(1, 2), 0.05, ramps[-1])
    assert (edges[0] != edges[1]).float().mean() < 0.01  # where two edges are as near as each other
    assert torch.allclose(*ramps, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", ["soft", "nmr"])
def test_a_silhouette_is_fitted_to_another(kind):
    """A ball, too small and out of place, becomes the ellipse that is asked for."""
    vertices, faces = ball(8)

    def draw(size: Tensor, place: Tensor) -> Tensor:
        points = vertices * torch.cat((size, size.new_ones(1))) + torch.cat((place, place.new_zeros(1)))
        return rasterize(pixels_of(points[None], torch.tensor([3.0]), 40)[:, faces], 40, 40, gradient=kind).alpha

    wanted = draw(torch.tensor([0.9, 0.6]), torch.tensor([0.12, -0.1])).detach()
    size, place = torch.tensor([0.6, 0.7], requires_grad=True), torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([size, place])
    for step in range(60):
        optimizer.param_groups[0]["lr"] = 0.04 * (1 - step / 60)
        optimizer.zero_grad()
        (draw(size, place) - wanted).square().sum().backward()
        optimizer.step()
    assert torch.allclose(size, torch.tensor([0.9, 0.6]), atol=0.03), size
    assert torch.allclose(place, torch.tensor([0.12, -0.1]), atol=0.03), place


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("kind", ["soft", "nmr"])
def test_cuda_gives_what_the_cpu_gives(kind):
    vertices, faces = teapot()
    results = []
    for device in ("cpu", "cuda"):
        points = vertices[None].to(device).requires_grad_()
        corners = pixels_of(points, torch.tensor([3.0], device=device), 64)[:, faces.to(device)]
        seen = rasterize(corners, 64, 64, gradient=kind)
        (seen.alpha.square().sum() + seen.depth.sum()).backward()
        results.append((seen.alpha.detach().cpu(), seen.depth.detach().cpu(), points.grad.cpu()))
    for on_cpu, on_cuda in zip(*results, strict=True):
        assert torch.allclose(on_cpu, on_cuda, rtol=1e-3, atol=1e-3)
