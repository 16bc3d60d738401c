"""Networks that are a signed distance: their shapes, the hash grid's two bodies, the world around them, their files."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.neural.fields.implicit import FORMAT, NETWORKS, DeepSDF, Frame, NeuralDistance, Siren
from maquette.neural.kernels import dispatch, hashgrid, hashgrid_reference
from maquette.neural.kernels.hashgrid import Levels
from maquette.recipes.errors import InputError

CPU = torch.device("cpu")
BOX = np.array([[1.0, 2.0, 3.0], [3.0, 3.0, 4.0]])


class Ball(torch.nn.Module):
    """The distance to a ball of radius 0.4 in the normalised frame, with a parameter as every network has."""

    def __init__(self):
        super().__init__()
        self.radius = torch.nn.Parameter(torch.tensor(0.4))

    def forward(self, points):
        return points.norm(dim=1) - self.radius


def test_a_frame_takes_the_box_with_a_margin_to_the_cube_and_back():
    frame = Frame.around(BOX)
    assert frame.centre == (2.0, 2.5, 3.5)
    assert frame.scale == pytest.approx(1.1)
    corners = torch.tensor([[3.0, 2.5, 3.5], [2.0, 2.5, 4.0]])
    torch.testing.assert_close(frame.normalised(corners), torch.tensor([[1 / 1.1, 0, 0], [0, 0, 0.5 / 1.1]]))
    torch.testing.assert_close(frame.world(frame.normalised(corners)), corners)


def test_a_level_of_corners_interpolates_what_is_linear_exactly():
    levels = Levels((2,), 32)  # 27 corners, none hashed
    assert levels.starts.tolist() == [0, 27]
    x, y, z = torch.meshgrid(*[torch.arange(3.0)] * 3, indexing="ij")
    table = torch.stack((x + 10 * y + 100 * z, 1 - x), -1).reshape(27, 2)
    points = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.25, 0.75], [0.1, 0.9, 0.3]])
    expected = torch.stack((2 * (points @ torch.tensor([1.0, 10.0, 100.0])), 1 - 2 * points[:, 0]), 1)
    torch.testing.assert_close(hashgrid.encode(points, table, levels), expected)


def test_levels_that_have_more_corners_than_rows_share_them_by_the_hash():
    levels = Levels((2, 4), 64)  # 27 and 125 corners
    assert [levels.hashed(0), levels.hashed(1)] == [False, True]
    assert levels.starts.tolist() == [0, 27, 91]
    table = torch.zeros(91, 2)
    row = (1 ^ (2 * 2654435761) ^ (3 * 805459861)) % 64  # of the corner 1, 2, 3
    table[27 + row, 0] = 1
    features = hashgrid.encode(torch.tensor([[0.25, 0.5, 0.75]]), table, levels)
    torch.testing.assert_close(features, torch.tensor([[0.0, 0.0, 1.0, 0.0]]))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 2**31))
def test_fused_and_reference_encode_and_differentiate_alike(resolutions, seed):
    pytest.importorskip("numba")
    levels = Levels(tuple(resolutions), 256)
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(int(levels.starts[-1]), 2, generator=generator, requires_grad=True)
    points = torch.rand(1500, 3, generator=generator)
    points[0], points[1], points[2] = 0, 1, 0.5
    fused = dispatch.body("hashgrid", CPU).encode(points, table, levels)
    reference = hashgrid_reference.encode(points, table, levels)
    torch.testing.assert_close(fused, reference, atol=1e-5, rtol=1e-5)
    upstream = torch.randn(fused.shape, generator=generator)
    torch.testing.assert_close(torch.autograd.grad(fused, table, upstream)[0],
                               torch.autograd.grad(reference, table, upstream)[0], atol=1e-4, rtol=1e-4)


def test_the_points_come_back_into_deepsdf_before_the_fifth_layer():
    network = DeepSDF()
    layers = [layer for layer in network.layers.modules() if isinstance(layer, torch.nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    assert sizes == [(3, 512), (512, 512), (512, 512), (512, 509), *[(512, 512)] * 4]
    values = network(100 * torch.randn(50, 3))
    assert values.shape == (50,)
    assert (values.abs() <= 1).all()


def test_a_siren_begins_with_sines_of_one_strength_in_every_layer():
    # Sitzmann et al. 2020, theorem 1.8: arcsine distributed, hence of standard deviation √½.
    torch.manual_seed(0)
    network = Siren()
    x = 2 * torch.rand(4000, 3) - 1
    for layer in [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)][:-1]:
        x = torch.sin(30 * layer(x))
        assert x.std().item() == pytest.approx(0.5**0.5, abs=0.06)


def test_deepsdf_begins_as_about_a_ball():
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(500, 3), dim=1)
    network = DeepSDF()
    for radius in (0.1, 0.5, 0.9):
        assert network(radius * directions).mean().item() == pytest.approx(radius - 0.5, abs=0.15)


def test_a_distance_in_the_world_is_that_of_the_normalised_frame_times_its_scale():
    distance = NeuralDistance("hashgrid", Ball(), Frame.around(BOX), BOX, 1.0)
    points = torch.tensor([[2.0, 2.5, 3.5], [2.0 + 0.44, 2.5, 3.5], [2.0, 2.5, 3.5 + 1.1]])
    torch.testing.assert_close(distance(points), torch.tensor([-0.44, 0.0, 0.66]), atol=1e-6, rtol=0)
    assert distance(torch.zeros(0, 3)).shape == (0,)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3))
def test_outside_the_cube_a_distance_is_a_lower_bound_above_zero(point):
    distance = NeuralDistance("hashgrid", Ball(), Frame.around(BOX), BOX, 1.0)
    points = torch.tensor([point])
    true = (points - torch.tensor([[2.0, 2.5, 3.5]])).norm() - 0.44
    value = distance(points)[0]
    assert value <= true + 1e-5
    if (distance.frame.normalised(points).abs() > 1).any():
        assert value > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_brings_back_the_same_distance(name, tmp_path):
    distance = NeuralDistance(name, NETWORKS[name](), Frame.around(BOX), BOX, 1.5)
    distance.save(tmp_path / "shape.safetensors")
    again = NeuralDistance.load(tmp_path / "shape.safetensors", CPU)
    points = 4 * torch.rand(100, 3)
    torch.testing.assert_close(again(points), distance(points), atol=0, rtol=0)
    assert (again.name, again.frame, again.lipschitz) == (name, distance.frame, 1.5)
    np.testing.assert_array_equal(again.box, BOX)


@pytest.mark.parametrize(("damage", "words"), [
    (lambda data: data[:-100], "damaged"), (lambda data: data[:5], "damaged"), (lambda data: b"", "damaged"),
    (lambda data: b"\x80\x04K\x01." + data, "damaged"),
    (lambda data: safetensors.torch.save({"a": torch.zeros(1)}), "damaged"),
    (lambda data: safetensors.torch.save({}, {"maquette": json.dumps({"format": FORMAT + 1})}), "format 2"),
    (lambda data: safetensors.torch.save({}, {"maquette": "[]"}), "damaged"),
    (lambda data: safetensors.torch.save({}, {"maquette": json.dumps({"format": FORMAT, "network": "a"})}), "damaged"),
    (lambda data: data.replace(b"siren", b"nerfs"), "damaged")])
def test_any_other_file_is_refused_in_one_line(damage, words, tmp_path):
    path = tmp_path / "shape.safetensors"
    NeuralDistance("siren", Siren(), Frame.around(BOX), BOX, 1.5).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=words) as caught:
        NeuralDistance.load(path, CPU)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"shape\.safetensors cannot be read"):
        NeuralDistance.load(tmp_path / "shape.safetensors", CPU)
