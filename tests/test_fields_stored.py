"""Fields as files: what comes back looks the same, and no file that anybody may have made does harm."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats.model import Model, read_model, write_model
from maquette.neural.fields import common, stored
from maquette.neural.fields.grid import GridField
from maquette.neural.fields.implicit import Frame
from maquette.neural.fields.nerf import NerfField
from maquette.neural.fields.nerf_network import Architecture, Networks
from maquette.neural.fields.surface import SurfaceField
from maquette.neural.rendering.lattice import Lattice
from maquette.recipes.errors import InputError

CPU = torch.device("cpu")


def distances(lattice: Lattice) -> torch.Tensor:
    """Of a ball of radius 0.4 about (1, 2, 3), in voxels."""
    return torch.from_numpy(np.linalg.norm(lattice.corner_points() - (1, 2, 3), axis=-1) - 0.4).float() / lattice.voxel


def grid() -> GridField:
    """A ball with colours that differ from corner to corner and from side to side."""
    lattice = Lattice.over(np.array([[0.5, 1.5, 2.5], [1.5, 2.5, 3.5]]), 20)
    dense = distances(lattice)
    occupied = torch.zeros(lattice.cells, dtype=torch.bool)
    occupied[2:18, 2:18, 1:19] = True
    field = GridField(lattice, occupied, torch.tensor([0.1, 0.6, 0.3]))
    generator = torch.Generator().manual_seed(0)
    field.rows.table[:, 1:13] = torch.randn(len(field.corner_index), 12, generator=generator)
    field.rows.table[:, 0] = -15 * dense[tuple(field.corner_index.T)]
    return field


def surface() -> SurfaceField:
    lattice = Lattice.over(np.array([[0.5, 1.5, 2.5], [1.5, 2.5, 3.5]]), 24)
    dense = distances(lattice)
    # Rows in another order than that of the lattice, as a trainer may keep them.
    corner_index = torch.nonzero(dense.abs() < 3.5)
    corner_index = corner_index[torch.randperm(len(corner_index), generator=torch.Generator().manual_seed(2))]
    field = SurfaceField(lattice, dense, 3.5, 0.3, corner_index)
    field.rows.color.copy_(torch.rand(field.rows.color.shape, generator=torch.Generator().manual_seed(1)) * 0.4)
    return field


def nerf() -> NerfField:
    """A slab from z = 3 down, of the colours that a random network has."""
    lattice = Lattice.over(np.array([[0.5, 1.5, 2.5], [1.5, 2.5, 3.5]]), 20)
    architecture = Architecture(width=32, depth=2, skips=(1,), frequencies=2, directions=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field = NerfField(Networks(architecture, architecture), Frame((1.0, 2.0, 3.0), 0.5), lattice,
                          torch.ones(lattice.cells, dtype=torch.bool))
    for network in (field.networks.coarse, field.networks.fine):
        for layer in network.trunk:
            layer.weight.data[0] = 0
        network.trunk[0].weight.data[0, 2], network.trunk[1].weight.data[0, 15] = -1, 1
        network.sigma.weight.data.copy_(512 * torch.eye(32)[:1])
    return field


FIELDS = {"grid": grid, "surface": surface, "nerf": nerf}


def look(field: common.Field) -> common.Rendered:
    pose = np.eye(4)
    pose[:3, 3] = (1.1, 2.0, 5.0)
    return field.render(90.0, 90.0, 24.0, 24.0, 48, 48, pose)


@pytest.mark.parametrize("kind", FIELDS)
def test_a_field_that_was_stored_is_seen_the_same_to_less_than_the_pictures_8_bits(kind: str, tmp_path: Path) -> None:
    before = FIELDS[kind]()
    stored.save(before, tmp_path / "f.safetensors")
    after = stored.load(tmp_path / "f.safetensors", CPU)
    assert type(after) is type(before)
    np.testing.assert_array_equal(after.box, before.box)
    one, other = look(before), look(after)
    assert one.alpha.max() > 0.99 and (one.alpha == 0).any()
    assert np.abs(one.rgb_srgb - other.rgb_srgb).max() < 0.5 / 255
    assert np.abs(one.alpha - other.alpha).max() < 0.5 / 255
    np.testing.assert_allclose(one.depth, other.depth, atol=1e-3)
    values, again = before.level_grid()[0], after.level_grid()[0]
    np.testing.assert_array_equal(values < 0, again < 0)
    np.testing.assert_allclose(values, again, atol=2e-3)


@pytest.mark.parametrize("kind", FIELDS)
def test_a_file_holds_half_precision_alone(kind: str, tmp_path: Path) -> None:
    field = FIELDS[kind]()
    stored.save(field, tmp_path / "f.safetensors")
    count = sum(t.numel() * (1 if t.dtype == torch.uint8 else 2) for t in field.tensors().values())
    assert count < (tmp_path / "f.safetensors").stat().st_size < count + 500 + 100 * len(field.tensors())


@pytest.mark.parametrize("kind", FIELDS)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_field_with_anything_wrong_in_it_is_refused_in_one_line(kind: str, tmp_path_factory: pytest.TempPathFactory,
                                                                  data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("field") / "f.safetensors"
    stored.save(FIELDS[kind](), path)
    model = read_model(path)
    about, arrays = model.about["about"], dict(model.arrays)
    part = data.draw(st.sampled_from([*arrays, *about["lattice"], "lattice", "about"]))
    wrong = data.draw(st.sampled_from([None, "x", [], {}, -1, 0, [1, 2, 3, 4], [10**6] * 3, [float("nan")] * 3]))
    if part in arrays:
        change = data.draw(st.sampled_from(["absent", "short", "flat", "type"]))
        values = arrays.pop(part)
        if change == "short":
            arrays[part] = values[:-1]
        elif change == "flat" and values.ndim > 1:
            arrays[part] = values.ravel()
        elif change == "type":
            arrays[part] = np.zeros(values.size + 1, np.int32)
    elif part == "about":
        about = wrong
    elif part == "lattice":
        about = {**about, "lattice": wrong}
    else:
        about = {**about, "lattice": {**about["lattice"], part: wrong}}
        if part == "lower" and wrong == [10**6] * 3:  # as good a place as any
            about["lattice"][part] = "x"
        if part == "shell" and wrong == 0:  # none
            about["lattice"][part] = 0.3
    write_model(Model(arrays, {**model.about, "about": about}), path)
    with pytest.raises(InputError) as error:
        stored.load(path, CPU)
    assert "\n" not in str(error.value) and str(error.value).startswith("field: ")


@pytest.mark.parametrize("kind", ["common", "stored", "implicit", "..tasks.capture", "os", "", None, 3])
def test_a_kind_of_field_is_a_module_of_the_room_with_a_field_in_it(kind: object, tmp_path: Path) -> None:
    write_model(Model({}, {"kind": "field", "field": kind, "about": {}}), tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="which this Maquette does not know"):
        stored.load(tmp_path / "f.safetensors", CPU)


def test_what_is_no_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes(b"PNG")
    with pytest.raises(InputError, match="is not a safetensors file"):
        stored.load(path, CPU)
    write_model(Model({}, {"kind": "image"}), path)
    with pytest.raises(InputError, match="of kind 'image', and render takes one of kind 'field'"):
        stored.load(path, CPU)


def test_a_mask_survives_being_packed() -> None:
    mask = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0)) > 0.5
    assert len(common.packed(mask)) == 14  # ⌈105 / 8⌉
    assert torch.equal(common.unpacked(common.packed(mask), (3, 5, 7)), mask)
    with pytest.raises(ValueError, match="do not make a mask"):
        common.unpacked(common.packed(mask), (3, 5, 8))


def test_a_lattice_survives_json() -> None:
    lattice = Lattice.over(np.array([[0.1, -7e5, 0.3], [1.0, -7e5 + 2, 0.5]]), 33)
    again = Lattice.from_json(json.loads(json.dumps(lattice.to_json())))
    np.testing.assert_array_equal(again.lower, lattice.lower)
    assert (again.voxel, again.cells) == (lattice.voxel, lattice.cells)
