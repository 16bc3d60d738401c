"""The paper's NeRF: its equations by hand, its field, its training, and weights that others have published."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from maquette.neural.fields import nerf_network
from maquette.neural.fields.implicit import Frame
from maquette.neural.fields.nerf import NerfField, sample_pdf, weights_of
from maquette.neural.fields.nerf_network import Architecture, Networks, encode, positive
from maquette.neural.fields.nerf_published import read_networks
from maquette.neural.rendering.lattice import Lattice
from maquette.neural.training import nerf as training
from maquette.neural.training.fit import fit
from maquette.neural.training.nerf import NerfTrainer
from maquette.recipes.capture import Capture
from maquette.recipes.errors import InputError

CPU = torch.device("cpu")
BOX = np.array([[-0.55] * 3, [0.55] * 3])
SMALL = Architecture(width=32, depth=3, skips=(2,), frequencies=4, directions=2)


def test_an_encoding_is_the_place_then_sine_and_cosine_of_doubled_frequencies():
    x = torch.tensor([[0.5, 0.0, -1.0]])
    expected = [[0.5, 0.0, -1.0], *(f(k * x[0]).tolist() for k in (1, 2) for f in (torch.sin, torch.cos))]
    assert encode(x, 2)[0].tolist() == pytest.approx(sum(expected, []))
    assert encode(x, 10).shape == (1, 63) and encode(x, 4).shape == (1, 27)


def test_the_paper_s_network_has_its_layers():
    shapes = {name: tuple(value.shape) for name, value in Networks().fine.named_parameters() if "weight" in name}
    trunk = [shapes[f"trunk.{n}.weight"] for n in range(8)]
    assert trunk == [(256, 63), *[(256, 256)] * 4, (256, 319), *[(256, 256)] * 2]
    assert [shapes[f"{name}.weight"] for name in ("sigma", "bottleneck", "directed", "rgb")] == [
        (1, 256), (256, 256), (128, 283), (3, 128)]
    assert sum(p.numel() for p in Networks().fine.parameters()) == 595_844


def test_weights_along_a_ray_are_those_of_equation_3():
    weights = weights_of(torch.tensor([[0.0, 0.5, 2.0]]))
    assert weights[0].tolist() == pytest.approx([0, 0.393469, 0.524446], abs=1e-6)
    assert weights.sum().item() == pytest.approx(0.917915, abs=1e-6)
    assert (weights * torch.tensor([2.0, 3.0, 4.0])).sum().item() == pytest.approx(3.278191, abs=1e-5)
    endless = weights_of(torch.tensor([[0.0, 0.5, 2e10]]))
    assert endless[0].tolist() == pytest.approx([0, 0.393469, 0.606531], abs=1e-6)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=40))
def test_weights_and_what_gets_through_are_one(thickness):
    thickness = torch.tensor([thickness])
    assert weights_of(thickness).sum().item() == pytest.approx(1 - np.exp(-thickness.sum().item()), abs=1e-5)


def test_shares_fall_where_the_weights_are():
    edges = torch.tensor([[0.0, 1.0, 2.0, 4.0]])
    at = sample_pdf(edges, torch.tensor([[1.0, 0.0, 3.0]]), torch.tensor([[0.0, 0.125, 0.25, 0.625, 1.0]]))
    assert at[0, [0, 1, 3, 4]].tolist() == pytest.approx([0, 0.5, 3, 4])
    assert 1 <= at[0, 2] <= 2  # anywhere in the bin without weight


@given(st.lists(st.tuples(st.floats(0.01, 5), st.floats(1e-5, 1)), min_size=1, max_size=62),
       st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(deadline=None)
def test_drawing_is_the_inverse_of_the_cumulative_distribution(bins, shares):
    sides, weights = (np.array(part) for part in zip(*bins, strict=True))
    edges = np.cumsum([2.0, *sides])
    at = sample_pdf(*(torch.tensor(part, dtype=torch.float64)[None] for part in (edges, weights, shares)))
    cumulated = np.cumsum([0.0, *weights / weights.sum()])
    assert np.interp(at[0].numpy(), edges, cumulated) == pytest.approx(shares, abs=1e-6)


def test_a_density_below_zero_is_none_and_can_come_back():
    raw = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    density = positive(raw)
    density.sum().backward()
    assert density.tolist() == [0, 0, 2]
    assert raw.grad.tolist() == pytest.approx([np.exp(-1), 1, 1])


def field_of(bottom: float, slope: float, hull=None) -> NerfField:
    """Density `bottom` + `slope` · z a metre, one colour, in [0, 2]³ of a frame that is twice as large."""
    networks = Networks(SMALL, SMALL)
    for network in (networks.coarse, networks.fine):
        for parameter in network.parameters():
            parameter.data.zero_()
        first, second, third = (layer.weight.data for layer in network.trunk)
        first[0, 2], first[1, 2] = 1, -1  # what a ReLU leaves of z and of −z
        second[:2, :2] = third[:2, 27:29] = torch.eye(2)  # after the place itself in the third
        network.sigma.weight.data[0, :2] = 4 * slope * torch.tensor([1.0, -1.0])
        network.sigma.bias.data[:] = 2 * (bottom + slope)
        network.rgb.bias.data.copy_(torch.logit(torch.tensor([0.2, 0.5, 0.9])))
    lattice = Lattice(np.zeros(3), 0.125, (16, 16, 16))
    hull = torch.ones(lattice.cells, dtype=torch.bool) if hull is None else hull
    return NerfField(networks, Frame((1.0, 1.0, 1.0), 2.0), lattice, hull)


def from_above(field: NerfField, focal: float):
    pose = np.eye(4)
    pose[:3, 3] = (1.0, 1.0, 4.0)
    return field.render(focal, focal, 8.0, 8.0, 16, 16, pose)


def test_fog_lets_through_what_its_density_says():
    seen = from_above(field_of(0.5, 0.0), 1000.0)
    fog = 2 - 2 / 64 / 2  # metres, from the first sample on, which is in the middle of its bin
    assert seen.alpha[8, 8] == pytest.approx(1 - np.exp(-fog / 2), abs=1e-4)
    assert seen.rgb_srgb[8, 8] == pytest.approx(seen.alpha[8, 8] * np.array([0.2, 0.5, 0.9]), abs=3e-3)
    # The mean of e^(−s/2) s ds over [0, 2] metres of fog, which begins 2 metres before the camera.
    assert seen.depth[8, 8] == pytest.approx(2 + (2 - 4 * np.exp(-1)) / (1 - np.exp(-1)), abs=0.02)


def test_where_the_pictures_leave_nothing_no_density_counts():
    hull = torch.zeros(16, 16, 16, dtype=torch.bool)
    hull[:, :, 2:4] = hull[:, :, 6:8] = True
    seen = from_above(field_of(2.0, 0.0, hull), 1000.0)
    assert seen.alpha[8, 8] == pytest.approx(1 - np.exp(-1), abs=0.03)


def test_a_slab_is_seen_at_its_depth_with_its_normal():
    seen = from_above(field_of(400.0, -400.0), 20.0)  # from z = 1 down
    assert seen.alpha[6:10, 6:10].min() > 0.99
    assert np.abs(seen.depth[6:10, 6:10] - 3.063).max() < 0.03  # along the axis, the same for every pixel
    assert np.abs(seen.normal[6:10, 6:10] - (0, 0, 1)).max() < 1e-3
    assert np.isnan(seen.depth[0, 0]) and seen.alpha[0, 0] == 0 and (seen.normal[0, 0] == 0).all()


def test_the_level_is_zero_where_a_voxel_stops_half_of_the_light():
    slope = np.log(2) / 0.125 / 0.0625  # that density half a voxel below z = 1
    values, world_from_grid = field_of(slope, -slope).level_grid()
    assert values.shape == (17, 17, 17) and values.dtype == np.float32
    assert np.abs(values[:, :, 8] - 1).max() < 0.02 and np.abs(values[:, :, 7] + 1).max() < 0.02
    assert np.allclose(world_from_grid @ (16, 16, 16, 1), (2, 2, 2, 1))


@pytest.fixture
def trainer_of(monkeypatch):
    """A small network learns within seconds what the paper's takes minutes for."""
    monkeypatch.setattr(training, "Networks", lambda: Networks(SMALL, SMALL))
    monkeypatch.setattr(training, "RATE", 5e-3)
    monkeypatch.setattr(training, "BATCH", 32)

    def make(pictures, **fields) -> NerfTrainer:
        train = [p for p in pictures if p.split == "train"]
        return NerfTrainer(train, BOX, Capture(method="nerf", resolution=32, **fields), seed=0, device=CPU)

    return make


def psnr(field, pictures, background=1.0) -> float:
    errors = []
    for p in pictures:
        height, width = p.rgba_srgb.shape[:2]
        seen = field.render(p.fx, p.fy, p.cx, p.cy, width, height, p.world_from_camera)
        errors.append(np.square(seen.over(background) - p.rgba_srgb[..., :3]
                                - (1 - p.rgba_srgb[..., 3:]) * background).mean())
    return -10 * np.log10(np.mean(errors))


def test_a_ball_is_learnt_from_its_pictures(ball, trainer_of):
    pictures = ball(16, 32)
    trainer = trainer_of(pictures)
    for n in range(100):
        trainer.step(n / 100)
    held_out = [p for p in pictures if p.split == "test"]
    fine, draft = psnr(trainer.result(), held_out), psnr(trainer.field(), held_out)
    assert fine > 22 and draft > 20 and fine != draft
    values, world_from_grid = trainer.result().level_grid()
    corners = np.argwhere(np.isfinite(values)) @ world_from_grid[:3, :3].T + world_from_grid[:3, 3]
    distance = np.linalg.norm(corners, axis=1).reshape(values.shape)
    assert (values[distance < 0.4] < 0).all() and (values[distance > 0.65] > 0).all()


def test_a_field_that_has_become_empty_comes_back(ball, trainer_of):
    trainer = trainer_of(ball(16, 32))
    for network in (trainer.result().networks.coarse, trainer.result().networks.fine):
        network.sigma.bias.data.fill_(-3.0)
    for n in range(40):
        loss = trainer.step(n / 40)
        if n == 0:
            empty = loss
    assert loss < empty / 4


def test_without_alpha_the_background_is_learnt(ball, trainer_of):
    pictures = [replace(p, rgba_srgb=np.where(p.rgba_srgb == 0.5, 0.9, p.rgba_srgb).astype(np.float32))
                for p in ball(16, 32, has_alpha=False)]
    trainer = trainer_of(pictures)
    for n in range(60):
        trainer.step(n / 60)
    background = trainer.result().networks.background.detach().numpy()
    assert np.abs(background - 0.9).max() < 0.1
    assert psnr(trainer.result(), [p for p in pictures if p.split == "test"], background) > 16


def test_a_loaded_state_goes_on_to_the_bit(ball, trainer_of):
    pictures = ball(16, 32)
    through, stopped, resumed = trainer_of(pictures), trainer_of(pictures), trainer_of(pictures)
    for n in range(4):
        through.step(n / 8)
        stopped.step(n / 8)
    resumed.load_state({name: value.clone() for name, value in stopped.state().items()})
    for n in range(4, 8):
        assert through.step(n / 8) == resumed.step(n / 8)
    for name, value in through.state().items():
        assert torch.equal(value, resumed.state()[name]), name


def as_published(names: dict[str, str], architecture: Architecture, seed: int) -> dict[str, torch.Tensor]:
    """Random weights of the paper's network under another program's names."""
    generator = torch.Generator().manual_seed(seed)
    ours = Networks(architecture, architecture).fine.named_parameters()
    return {names[name.rpartition(".")[0]] + name[name.rindex("."):]: torch.randn(value.shape, generator=generator) / 6
            for name, value in ours}


def names_of(trunk: str, sigma: str, bottleneck: str, directed: str, rgb: str, first: int = 0) -> dict[str, str]:
    return {"sigma": sigma, "bottleneck": bottleneck, "directed": directed, "rgb": rgb,
            **{f"trunk.{n}": trunk.format(n + first) for n in range(12)}}


YENCHENLIN = names_of("pts_linears.{}", "alpha_linear", "feature_linear", "views_linears.0", "rgb_linear")
NERF_PL = names_of("xyz_encoding_{}.0", "sigma", "xyz_encoding_final", "dir_encoding.0", "rgb.0", 1)
KRRISH = {**names_of("layers_xyz.{}", "fc_alpha", "fc_feat", "layers_dir.0", "fc_rgb", -1), "trunk.0": "layer1"}


def write(path, coarse, fine, prefixes=("network_coarse.", "network_fine.")):
    arrays = {prefix + name: value.clone() for prefix, state in zip(prefixes, (coarse, fine), strict=True)
              for name, value in state.items()}
    safetensors.torch.save_file(arrays, path)
    return path


@pytest.mark.parametrize("architecture", [Architecture(width=16, frequencies=3), Architecture(64, 12, (3, 6), 5, 2)])
@pytest.mark.parametrize("names, prefixes", [
    (YENCHENLIN, ("network_fn_state_dict.", "network_fine_state_dict.")), (NERF_PL, ("nerf_coarse.", "nerf_fine.")),
    (YENCHENLIN, ("z.network_coarse.", "a.network_fine."))])
def test_published_weights_are_found_by_their_shapes(tmp_path, names, prefixes, architecture):
    coarse, fine = (as_published(names, architecture, seed) for seed in (0, 1))
    found = read_networks(write(tmp_path / "w.safetensors", coarse, fine, prefixes))
    assert found.coarse.architecture == found.fine.architecture == architecture
    for network, state in ((found.coarse, coarse), (found.fine, fine)):
        for name, value in network.state_dict().items():
            layer, _, kind = name.rpartition(".")
            assert torch.equal(value, state[f"{names[layer]}.{kind}"]), name


def forward(state, places, directions, *, moved_relu):
    """Colour and density by a network of 3 layers without skips, written out as its program has it."""
    def layer(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def encoded(x, frequencies):
        return torch.cat([x, *(f(2.0**k * x) for k in range(frequencies) for f in (torch.sin, torch.cos))], 1)

    names = KRRISH if moved_relu else YENCHENLIN
    x = layer(names["trunk.0"], encoded(places, 3))
    x = x if moved_relu else x.relu()
    x = layer(names["trunk.2"], layer(names["trunk.1"], x).relu()).relu()
    features = layer(names["bottleneck"], x)
    features = features.relu() if moved_relu else features
    colour = layer(names["directed"], torch.cat([features, encoded(directions, 2)], 1)).relu()
    return layer(names["rgb"], colour).sigmoid(), layer(names["sigma"], x)[:, 0]


@pytest.mark.parametrize("moved_relu", [False, True])
def test_published_networks_compute_what_their_programs_do(tmp_path, monkeypatch, moved_relu):
    monkeypatch.setattr(nerf_network, "has_fast_bfloat16", lambda device: False)
    architecture = Architecture(16, 3, (), 3, 2)
    state = as_published(KRRISH if moved_relu else YENCHENLIN, architecture, 0)
    network = read_networks(write(tmp_path / "w.safetensors", state, state)).fine
    places, directions = torch.randn(20, 3), torch.randn(20, 3)
    raw, features = network.density(places)
    found = network.color(features, directions, torch.arange(20)), raw
    for one, other in zip(found, forward(state, places, directions, moved_relu=moved_relu), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_one_network_alone_is_both(tmp_path):
    safetensors.torch.save_file(as_published(YENCHENLIN, SMALL, 0), tmp_path / "w.safetensors")
    networks = read_networks(tmp_path / "w.safetensors")
    assert torch.equal(networks.coarse.rgb.weight, networks.fine.rgb.weight)
    assert networks.coarse.rgb.weight is not networks.fine.rgb.weight


def without(name):
    return lambda state: state.pop(name)


def with_(name, *shape):
    return lambda state: state.update({name: torch.zeros(shape)})


@pytest.mark.parametrize("spoil, message", [
    (without("alpha_linear.weight"), "0 of its layers have one output"),
    (without("alpha_linear.bias"), "alpha_linear.bias does not fit"),
    (without("rgb_linear.weight"), "0 of its layers are for colour"),
    (without("views_linears.0.weight"), "0 of its layers are for directions"),
    (without("feature_linear.weight"), "the bottleneck"),
    (with_("more.weight", 16, 7), "it has 8 layers, of which 7 are known"),
    (with_("views_linears.0.weight", 16, 32 + 14), "14 numbers are no encoding"),
])
def test_other_networks_are_refused_in_one_line(tmp_path, spoil, message):
    state = as_published(YENCHENLIN, SMALL, 0)
    spoil(state)
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=message) as error:
        read_networks(tmp_path / "w.safetensors")
    assert "\n" not in str(error.value)


def test_which_network_is_the_fine_one_its_name_must_say(tmp_path):
    state = as_published(YENCHENLIN, SMALL, 0)
    with pytest.raises(InputError, match="'a.' and 'b.'"):
        read_networks(write(tmp_path / "w.safetensors", state, state, ("a.", "b.")))


def test_training_begins_with_published_weights_in_the_pictures_world(ball, trainer_of, tmp_path):
    coarse, fine = as_published(YENCHENLIN, SMALL, 0), as_published(YENCHENLIN, SMALL, 1)
    path = write(tmp_path / "w.safetensors", coarse, fine)
    trainer = trainer_of(ball(16, 32))
    trainer.start_from(path)
    field = trainer.result()
    assert torch.equal(field.networks.fine.rgb.weight, fine["rgb_linear.weight"])
    point = (np.array([0.1, 0.2, -0.3]) - field.lattice.lower) / field.lattice.voxel
    assert field._places(torch.tensor(point).float()).numpy() == pytest.approx([0.1, 0.2, -0.3], abs=1e-5)
    trainer.step(0.0)
    assert not torch.equal(field.networks.fine.sigma.weight, fine["alpha_linear.weight"])


def test_methods_without_networks_take_no_weights(ball, tmp_path):
    with pytest.raises(InputError, match="^model: the method grid begins with no weights"):
        fit(ball(16, 32), Capture(method="grid", resolution=16), seed=0, device=CPU, box=BOX, model=tmp_path / "w",
            checkpoint=tmp_path, on_progress=lambda *a: None, on_preview=lambda rgb: None)
