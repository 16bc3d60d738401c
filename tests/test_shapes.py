"""DeepSDF: the decoder, its loss, samples, training, model files, and the tasks on two small shapes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats import model as models
from maquette.formats.mesh import Mesh
from maquette.formats.model import Model, find_model, read_about, read_model, write_model
from maquette.formats.shapes import gather_shapes, read_names, read_shape
from maquette.neural.geometry.shape_samples import MARGIN, Frame, sample_shape
from maquette.neural.predictors import shape_model
from maquette.neural.predictors.deepsdf import Architecture, AutoDecoder, Decoder, decode, shape_loss, with_code
from maquette.neural.predictors.shape_model import ShapeDistance, load, packed
from maquette.neural.training.curve import loss_curve, training_picture
from maquette.neural.training.shape_code import Placing, fit_codes, sample_error
from maquette.neural.training.shapes import ShapeTrainer, held_out
from maquette.recipes.errors import InputError
from maquette.recipes.shape_train import ShapeTrain

SMALL = Architecture(width=32, code=4)
CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def balls(*radii: float, count: int = 2000) -> torch.Tensor:
    """Samples (S, 2, count // 2, 4) of balls about the origin."""
    shapes = []
    for radius in radii:
        points = torch.rand(count * 50, 3, generator=generator()) * 2 - 1
        rows = torch.cat((points, points.norm(dim=1, keepdim=True) - radius), dim=1)
        shapes.append(torch.stack((rows[rows[:, 3] < 0][:count // 2], rows[rows[:, 3] >= 0][:count // 2])))
    return torch.stack(shapes)


def box(size=(1.0, 2.0, 0.5)) -> Mesh:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * size
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(corners, np.array([[(a, b, c), (a, c, d)] for a, b, c, d in quads]).reshape(-1, 3))


def box_distance(points: torch.Tensor, size=(1.0, 2.0, 0.5)) -> torch.Tensor:
    half = torch.tensor(size) / 2
    away = (points - half).abs() - half
    return away.clamp(min=0).norm(dim=1) + away.amax(dim=1).clamp(max=0)


# ---- the decoder -------------------------------------------------------------------------------------------------

def test_the_decoder_is_that_of_the_paper():
    """Eight layers of 512; the code and the point come back before the fifth, whose place the fourth leaves."""
    sizes = Architecture(width=512, code=256).sizes()
    assert sizes == [(259, 512), (512, 512), (512, 512), (512, 253), *[(512, 512)] * 4, (512, 1)]


def test_multiplying_code_and_point_apart_is_multiplying_them_together():
    layers = Decoder(SMALL, generator()).layers()
    codes, points = torch.randn(3, 4, generator=generator(1)), torch.randn(3, 5, 3, generator=generator(2))
    given = torch.cat((codes[:, None].expand(-1, 5, -1), points), dim=-1)
    hidden = given
    for number, (weight, bias) in enumerate(layers):
        if number == 4:
            hidden = torch.cat((hidden, given), dim=-1)
        hidden = hidden @ weight.T + bias
        hidden = torch.tanh(hidden) if number == 8 else torch.relu(hidden)
    assert torch.allclose(decode(layers, codes, points), hidden[..., 0], atol=1e-6)
    alone = decode(with_code(layers, codes[1]), torch.zeros(1, 0), points[1:2])
    assert torch.allclose(alone[0], hidden[1, :, 0], atol=1e-6)


def test_a_weight_is_a_length_times_a_direction():
    decoder = Decoder(SMALL, generator())
    before = decoder.layers()[2][0]
    with torch.no_grad():
        decoder.directions[2] *= 3
        decoder.lengths[1] *= 2
    assert torch.allclose(decoder.layers()[2][0], before)
    assert torch.allclose(decoder.layers()[1][0].norm(dim=1), decoder.lengths[1][:, 0])


def test_the_loss_worked_by_hand():
    """|0.1 − 0.05| and |−0.1 − 0.02| have the mean 0.085; codes of length 5 and 0 have the mean 2.5."""
    distances, truth = torch.tensor([[0.3, -0.5]]), torch.tensor([[0.05, 0.02]])
    codes = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert shape_loss(distances, truth, codes, 0.0).item() == pytest.approx(0.085)
    assert shape_loss(distances, truth, codes, 1e-2).item() == pytest.approx(0.085 + 0.025)


def test_codes_stay_in_their_sphere():
    network = AutoDecoder(SMALL, 3, generator())
    network.codes.data = torch.tensor([[2.0, 0, 0, 0], [0, 0.5, 0, 0], [3.0, 4.0, 0, 0]])
    network.shorten_codes()
    assert torch.allclose(network.codes, torch.tensor([[1.0, 0, 0, 0], [0, 0.5, 0, 0], [0.6, 0.8, 0, 0]]))


# ---- samples -----------------------------------------------------------------------------------------------------

def test_the_frame_is_the_unit_sphere_with_its_margin():
    frame = Frame.around(np.array([[1.0, 2, 3], [5, 2, 3], [3, 2, 4]]))
    assert np.allclose(frame.centre, [3, 2, 3.5]) and frame.scale == pytest.approx(MARGIN * math.sqrt(4.25))
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert np.allclose(frame.to_world(frame.to_unit(points)), points)


def test_half_of_the_samples_are_inside_and_all_have_their_distance():
    rows = torch.from_numpy(sample_shape(box(), box_distance, 1000, 0))
    frame = Frame.around(box().vertices)
    assert rows.shape == (2, 500, 4) and (rows[0, :, 3] < 0).all() and (rows[1, :, 3] >= 0).all()
    world = rows[..., :3].reshape(-1, 3) * frame.scale + torch.tensor(frame.centre)
    assert torch.allclose(box_distance(world.float()) / frame.scale, rows[..., 3].reshape(-1), atol=1e-5)
    assert torch.equal(rows, torch.from_numpy(sample_shape(box(), box_distance, 1000, 0)))


def test_what_has_no_inside_has_no_samples():
    assert sample_shape(box(), lambda points: points.norm(dim=1), 100, 0).shape == (2, 0, 4)


# ---- training ----------------------------------------------------------------------------------------------------

def test_training_learns_two_balls_and_tells_them_apart():
    trainer = ShapeTrainer(balls(0.3, 0.6), SMALL, seed=0, device=CPU)
    for step in range(250):
        trainer.step(step / 250)
    assert np.mean(trainer.losses[-10:]) < 0.35 * np.mean(trainer.losses[:5])
    layers, codes = trainer.network.decoder.layers(), trainer.network.codes
    at = torch.tensor([[[0.45, 0.0, 0.0]]]).expand(2, -1, -1)
    small, large = decode(layers, codes, at)[:, 0].tolist()
    assert small > 0.01 and large < -0.03
    picture, words = training_picture(trainer)
    assert picture.shape == (256, 512, 3) and words.startswith("loss ")


def test_a_resumed_training_ends_as_one_that_was_not_interrupted():
    samples = balls(0.3, 0.5, 0.7, count=200)
    whole = ShapeTrainer(samples, SMALL, seed=3, device=CPU)
    for step in range(12):
        whole.step(step / 12)
    first = ShapeTrainer(samples, SMALL, seed=3, device=CPU)
    for step in range(5):
        first.step(step / 12)
    state = {name: value.clone() for name, value in first.state().items()}
    second = ShapeTrainer(samples, SMALL, seed=3, device=CPU)
    second.load_state(state)
    for step in range(5, 12):
        second.step(step / 12)
    assert second.losses == pytest.approx(whole.losses, abs=1e-7)
    assert torch.allclose(second.network.codes, whole.network.codes, atol=1e-6)


def test_the_seed_decides():
    def losses(seed: int) -> list[float]:
        trainer = ShapeTrainer(balls(0.3, 0.6, count=100), SMALL, seed=seed, device=CPU)
        return [trainer.step(0.1 * step) for step in range(3)]
    assert losses(1) == losses(1) != losses(2)


def test_variants_of_a_shape_are_on_one_side():
    names = ["a/table", "a/table-large", "a/table_2", "a/chair-a", "a/chair-b", "a/lamp", "a/sofa", "a/bed", "a/tub",
             "b/table"]
    for seed in range(20):
        chosen = {names[i] for i in held_out(names, 40, seed)}
        assert len(chosen) <= 4
        for group in ({"a/table", "a/table-large", "a/table_2"}, {"a/chair-a", "a/chair-b"}):
            assert group <= chosen or not group & chosen
    assert held_out(names, 0, 0) == [] and held_out(names, 40, 1) == held_out(names, 40, 1)


def test_the_curve_falls_where_the_loss_does():
    picture = loss_curve([10.0 ** -(step / 100) for step in range(300)], 100)
    drawn = np.argwhere((picture == (40, 90, 160)).all(axis=-1))
    left, right = drawn[drawn[:, 1] < 10, 0].mean(), drawn[drawn[:, 1] > 90, 0].mean()
    assert left < 15 and right > 85
    assert loss_curve([]).shape == (256, 256, 3)


# ---- codes -------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def trained() -> ShapeTrainer:
    trainer = ShapeTrainer(balls(0.3, 0.4, 0.5, 0.6, 0.7), Architecture(64, 4), seed=0, device=CPU)
    for step in range(300):
        trainer.step(step / 300)
    return trainer


def test_a_new_shape_gets_the_code_that_fits_it(trained):
    samples = balls(0.55).flatten(1, 2)
    layers, mean = trained.network.decoder.layers(), trained.network.codes.mean(dim=0, keepdim=True)
    before = sample_error(layers, mean, samples).mean().item()
    codes, errors = fit_codes(layers, mean, samples, steps=100, points=200)
    assert errors.item() < 0.02 and sample_error(layers, codes, samples).mean().item() < max(0.7 * before, 0.015)


def test_a_placing_scales_turns_and_moves():
    """Twice as large, a quarter turn about Z, then moved by one along x."""
    placing = Placing(torch.tensor([math.log(2)]), torch.tensor([math.pi / 2]), torch.tensor([[1.0, 0, 0]]))
    assert torch.allclose(placing.unit(torch.tensor([[[1.0, 2, 3]]])), torch.tensor([[[-3.0, 2, 6]]]), atol=1e-6)


def test_the_place_of_a_shape_is_found(trained):
    """A ball of radius 0.5 beside the middle of its frame: its samples say where."""
    samples = balls(0.5).flatten(1, 2)
    samples[..., :3] += torch.tensor([0.12, 0.0, 0.0])
    placing = Placing.none(1, CPU)
    _, errors = fit_codes(trained.network.decoder.layers(), trained.network.codes[2:3].detach(), samples, placing,
                          steps=200, points=300)
    at = placing.unit(torch.tensor([[[0.12, 0.0, 0.0]]])).norm().item()
    assert errors.item() < 0.02 and at < 0.06


# ---- model files -------------------------------------------------------------------------------------------------

@pytest.fixture
def file(trained, tmp_path) -> Path:
    path = tmp_path / "balls.safetensors"
    write_model(packed(trained.network.decoder, trained.network.codes, {"names": list("abcde")}), path)
    return path


def test_a_model_comes_back_from_its_file(trained, file):
    model = load(file, CPU)
    at = torch.rand(5, 20, 3, generator=generator()) * 2 - 1
    expected = decode(trained.network.decoder.layers(), trained.network.codes, at)
    assert torch.allclose(decode(model.layers, model.codes, at), expected, atol=5e-3)  # halves
    assert model.names == list("abcde") and torch.equal(model.code_of("b"), model.codes[1])
    with pytest.raises(InputError, match="'bench' is not one of the model's 5 shapes"):
        model.code_of("bench")


def test_safetensors_itself_reads_the_file(file):
    import safetensors

    with safetensors.safe_open(file, "np") as opened:
        assert json.loads(opened.metadata()["maquette"])["kind"] == "deepsdf"
        assert opened.get_tensor("codes").dtype == np.float16 and opened.get_tensor("codes").shape == (5, 4)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text("abc.", min_size=1, max_size=5),
                       st.tuples(st.lists(st.integers(0, 4), max_size=3), st.sampled_from(["f2", "i4", "i8", "u1"])),
                       max_size=4))
def test_any_arrays_come_back(tmp_path_factory, shapes):
    arrays = {name: np.arange(math.prod(shape), dtype=kind).reshape(shape) for name, (shape, kind) in shapes.items()}
    path = tmp_path_factory.mktemp("model") / "a.safetensors"
    write_model(Model(arrays, {"kind": "test"}), path)
    back = read_model(path)
    assert back.about["kind"] == "test" and set(back.arrays) == set(arrays)
    assert all(np.array_equal(back.arrays[name], values) for name, values in arrays.items())


def header(path: Path, change) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    text = json.loads(data[8:8 + length])
    change(text)
    new = json.dumps(text).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + data[8 + length:])


def about(text: dict, **values) -> None:
    text["__metadata__"]["maquette"] = json.dumps({**json.loads(text["__metadata__"]["maquette"]), **values})


BAD = {
    "empty": (lambda path: path.write_bytes(b""), "cut short"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-10]), "cut short"),
    "truncated in its header": (lambda path: path.write_bytes(path.read_bytes()[:60]), "cut short"),
    "a pickle": (lambda path: path.write_bytes(b"\x80\x02}q\x00." * 50), "not a safetensors file"),
    "text": (lambda path: path.write_bytes(b"hello, this is not a model at all" * 9), "not a safetensors file"),
    "no JSON": (lambda path: path.write_bytes((4).to_bytes(8, "little") + b"abcd"), "not a safetensors file"),
    "another program's": (lambda path: header(path, lambda text: text.pop("__metadata__")), "another program"),
    "another version": (lambda path: header(path, lambda text: about(text, version=99)), "version 99"),
    "another kind": (lambda path: header(path, lambda text: about(text, kind="nerf")), "kind 'nerf'"),
    "no names": (lambda path: header(path, lambda text: about(text, names=None)), "lacks its architecture or names"),
    "another width": (lambda path: header(path, lambda text: about(text, architecture={"width": 65, "code": 4})),
                      "is expected"),
    "overlapping arrays": (lambda path: header(path, lambda text: text["0.bias"].update(data_offsets=[0, 128])),
                           "damaged header"),
    "an unknown type": (lambda path: header(path, lambda text: text["0.bias"].update(dtype="X9")), "damaged header"),
    "values that are not finite": (lambda path: path.write_bytes(path.read_bytes()[:-2] + b"\x00\x7e"), "not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_model_is_one_line(file, name):
    spoil, words = BAD[name]
    spoil(file)
    with pytest.raises(InputError) as error:
        load(file, CPU)
    assert words in str(error.value) and "\n" not in str(error.value) and str(file) in str(error.value)


def test_a_model_is_found_by_its_path_or_its_name(file, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "SHIPPED", tmp_path)
    assert find_model(str(file)) == file and find_model("balls") == file
    for name in ("sofas", "../balls", str(tmp_path / "none.safetensors")):
        with pytest.raises(InputError, match="model: "):
            find_model(name)
    assert read_about(file)["names"] == list("abcde")


# ---- a code's shape in the world -----------------------------------------------------------------------------------

def test_a_shape_stands_where_its_matrix_says(trained, file):
    model = load(file, CPU)
    place = np.diag([2.0, 2, 2, 1])
    place[:3, 3] = [10, 0, 0]
    shape = ShapeDistance(model.layers, model.codes[2], place)
    at = torch.tensor([[10.0, 0, 0], [10.9, 0, 0], [11.1, 0, 0]])
    middle, inside, outside = shape(at).tolist()
    assert middle < -0.1 and inside < 0.02 and outside > -0.02
    assert np.allclose(shape.box.mean(axis=0), [10, 0, 0], atol=0.15)
    assert np.allclose(shape.box[1] - shape.box[0], 2, atol=0.4)


# ---- a folder of meshes ------------------------------------------------------------------------------------------

def test_a_folder_becomes_shapes_with_names(tmp_path):
    from maquette.formats.meshes import write_mesh

    (tmp_path / "chairs/old").mkdir(parents=True)
    write_mesh(box(), tmp_path / "chairs/a10.ply")
    write_mesh(box((1, 1, 1)), tmp_path / "chairs/a2.ply")
    write_mesh(box((1, 1, 2)), tmp_path / "chairs/old/c.obj")
    (tmp_path / "chairs/broken.glb").write_bytes(b"no")
    summary = gather_shapes([tmp_path / "chairs"], tmp_path / "input", ShapeTrain())
    names, refused = read_names(tmp_path / "input")
    assert summary == {"shapes": 3} and names == ["chairs/a2", "chairs/a10", "chairs/old/c"]
    assert len(refused) == 1 and "broken.glb" in refused[0]
    assert np.allclose(np.ptp(read_shape(tmp_path / "input", 2).vertices, axis=0), [1, 1, 2])


def test_a_folder_without_meshes_is_one_line(tmp_path):
    for paths in ([], [tmp_path], [tmp_path / "none"]):
        with pytest.raises(InputError, match="input: "):
            gather_shapes(paths, tmp_path / "input", ShapeTrain())


def test_the_names_of_a_model_are_those_of_its_codes(trained):
    stored = packed(trained.network.decoder, trained.network.codes, {"names": list("abcde")})
    assert stored.about["architecture"] == {"width": 64, "code": 4, "layers": 8}
    assert stored.about["kind"] == shape_model.KIND
