"""Training on shapes, completing, interpolating and inventing them: the tasks, each through a job's folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maquette.formats import model as models
from maquette.formats import morph
from maquette.formats.inputs import gather
from maquette.formats.mesh import Mesh, read_npz
from maquette.formats.meshes import write_mesh
from maquette.formats.model import write_model
from maquette.neural.geometry.shape_samples import Frame
from maquette.neural.geometry.cut import find_cut
from maquette.neural.predictors.completion import SIDES, Seen, _before, _choose, complete
from maquette.neural.predictors.shape_model import ShapeDistance, load, packed
from maquette.neural.tasks import shape_complete, shape_interpolate, shape_random, shape_train
from maquette.neural.training.shape_code import Placing
from maquette.neural.training.shapes import ShapeTrainer
from maquette.neural.predictors.deepsdf import Architecture
from maquette.recipes import Recipe
from maquette.recipes.errors import Cancelled, InputError
from maquette.recipes.shape_complete import ShapeComplete
from maquette.recipes.shape_interpolate import ShapeInterpolate
from maquette.recipes.shape_random import ShapeRandom
from maquette.recipes.shape_train import ShapeTrain

CPU = torch.device("cpu")


class Plain:
    """A job's context that remembers, and is cancelled when a stage has been told so often how far it is."""

    def __init__(self, recipe: Recipe, folder: Path, cancel: tuple[str, int] | None = None, seed: int = 0) -> None:
        self.recipe, self.seed, self.device = recipe, seed, CPU
        self.input, self.output, self.checkpoint = (folder / name for name in ("input", "output", "checkpoint"))
        for path in (self.output, self.checkpoint):
            path.mkdir(parents=True, exist_ok=True)
        self.report: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.pictures: list[np.ndarray] = []
        self.warn, self.preview = self.warnings.append, self.pictures.append
        self._cancel, self._stage, self._told = cancel, "", 0

    def stage(self, name: str, upto: float) -> None:
        self._stage, self._told = name, 0

    def progress(self, fraction: float, message: str = "") -> None:
        assert -1e-6 <= fraction <= 1 + 1e-6
        self._told += 1
        if self._cancel == (self._stage, self._told):
            raise Cancelled("cancelled")


def run(task: Any, recipe: Recipe, paths: Sequence[Path], folder: Path, **values: Any) -> Plain:
    context = Plain(recipe, folder, **values)
    if not context.input.exists():
        gather(recipe.input, paths, context.input, recipe)
    task.run(context)
    return context


def ball(radius: float, centre=(0.0, 0.0, 0.0)) -> Mesh:
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return Mesh(sphere.vertices + np.array(centre), sphere.faces)


def rod(length: float) -> Mesh:
    import trimesh

    rod = trimesh.creation.cylinder(radius=0.35, height=length, sections=24)
    return Mesh(rod.vertices, rod.faces)


# ---- training ----------------------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rods").mkdir()
    for name, length in (("short", 0.5), ("middle", 1.2), ("long", 2.5), ("longer", 3.0)):
        write_mesh(rod(length), tmp_path / f"rods/{name}.ply")
    (tmp_path / "rods/broken.stl").write_bytes(b"no mesh")
    flat = Mesh(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    write_mesh(flat, tmp_path / "rods/sheet.ply")
    return tmp_path / "rods"


QUICK = {"seconds": 1.5, "width": 32, "code": 4, "samples": 1000, "held_out": 25.0}


def test_a_folder_is_trained_on_and_becomes_a_model(folder, tmp_path):
    context = run(shape_train, ShapeTrain(**QUICK), [folder], tmp_path / "job")
    model = load(context.output / "model.safetensors", CPU)
    assert len(model.names) == 3 and len(model.about["held_out"]) == 1
    assert {*model.names, *model.about["held_out"]} == {f"rods/{name}" for name in ("short", "middle", "long",
                                                                                    "longer")}
    assert context.report["shapes"] == {"train": 3, "held_out": 1, "left_out": 2}
    assert context.report["steps"] > 3 and 0 < context.report["held_out_error"] < 0.1
    assert any("broken.stl" in line for line in context.warnings)
    assert any("sheet: it bounds no volume" in line for line in context.warnings)
    assert context.pictures[0].shape == (256, 512, 3)


def test_a_cancelled_training_goes_on_where_it_was(folder, tmp_path):
    recipe = ShapeTrain(**{**QUICK, "held_out": 0.0})
    with pytest.raises(Cancelled):
        run(shape_train, recipe, [folder], tmp_path / "job", cancel=("Training", 12))
    saved = (tmp_path / "job/checkpoint/training.safetensors").stat().st_size
    assert saved > 10_000 and not (tmp_path / "job/output/model.safetensors").exists()
    context = run(shape_train, recipe, [folder], tmp_path / "job")
    assert load(context.output / "model.safetensors", CPU).about["steps"] == context.report["steps"] > 12


def test_one_shape_is_too_few(tmp_path):
    write_mesh(ball(1), tmp_path / "one.ply")
    with pytest.raises(InputError, match="1 solid shape is left to train on; give 2 or more"):
        run(shape_train, ShapeTrain(**QUICK), [tmp_path / "one.ply"], tmp_path / "job")


# ---- with a model of balls in their frames, which are large or small -----------------------------------------------

RADII = (0.4, 0.5, 0.6, 0.7, 0.8)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    """Balls and balls that are twice as high, so that a half of one says what the other half is."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(60_000, 3, generator=generator) * 2 - 1
    shapes = []
    for radius in RADII:
        rows = torch.cat((points, points.norm(dim=1, keepdim=True) - radius), dim=1)
        near = rows[rows[:, 3].abs() < 0.2]
        shapes.append(torch.stack((near[near[:, 3] < 0][:800], near[near[:, 3] >= 0][:800])))
    trainer = ShapeTrainer(torch.stack(shapes), Architecture(64, 4), seed=0, device=CPU)
    for step in range(300):
        trainer.step(step / 300)
    path = tmp_path_factory.mktemp("model") / "balls.safetensors"
    write_model(packed(trainer.network.decoder, trainer.network.codes, {"names": [f"r{r}" for r in RADII]}), path)
    return path


def half_a_ball(radius: float, centre: np.ndarray, count: int = 800) -> tuple[np.ndarray, np.ndarray]:
    normals = np.random.default_rng(0).normal(size=(count, 3))
    normals[:, 0] = -np.abs(normals[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return centre + radius * normals, normals


def test_half_a_ball_is_completed_at_its_place(model_file):
    centre = np.array([5.0, -2.0, 1.0])
    points, normals = half_a_ball(3.0, centre)
    found = complete(load(model_file, CPU), points, normals, frame=Frame(centre, 5.0))
    far = torch.from_numpy(centre + 3.0 * np.eye(3)).float()  # what was not seen, and its rim
    assert found.shape(far).abs().max() < 0.25 and found.error < 0.02
    assert found.nearest in ("r0.5", "r0.6", "r0.7")


def test_the_side_where_the_rest_is_missing_can_be_told(model_file):
    centre = np.array([5.0, -2.0, 1.0])
    points, normals = half_a_ball(3.0, centre)
    found = complete(load(model_file, CPU), points, normals, missing="right")
    assert np.linalg.norm(found.world_from_unit[:3, 3] - centre) < 0.8
    choices = next(p.choices for p in ShapeComplete.parameters() if p.name == "missing")
    assert set(choices) == {"search", "nothing", *SIDES}


def test_all_before_a_cut_is_known_as_far_as_nothing_beyond_it_is_nearer():
    points, normals = half_a_ball(0.5, np.zeros(3), 3000)
    cut = find_cut(points, normals)
    assert cut is not None
    known = _before(points, normals, cut, np.random.default_rng(0))
    assert (cut.before(known[:, :3]) > 0).all() and len(known) > 2000
    assert np.abs(known[:, 3] - (np.linalg.norm(known[:, :3], axis=1) - 0.5)).max() < 0.04
    assert (known[:, 3] < 0).any() and (known[:, 3] > 0).any()


def test_of_equal_errors_the_shape_is_taken_that_the_others_are_near_to_and_half_is_seen_of(model_file):
    model = load(model_file, CPU)
    codes = model.code_of("r0.5")[None].expand(3, -1)
    placing = Placing.none(3, CPU)
    placing.shift[:, 0] = torch.tensor([0.0, 0.5, 0.1])
    points, _ = half_a_ball(0.5, np.zeros(3))
    best, apart = _choose(model.layers, codes, placing, np.array([0.01, 0.01, 0.01]), points)
    assert best != 1 and 0.02 < apart < 0.5
    sure, none = _choose(model.layers, codes[:1], placing.chosen(torch.tensor([0])), np.array([0.01]), points)
    assert sure == 0 and none == 0
    # A thing nearly all of which would be missing fits a few points as well, and is not what is meant.
    placing = Placing.none(2, CPU)
    placing.log_scale[0] = -2.0
    assert _choose(model.layers, codes[:2], placing, np.array([0.01, 0.012]), points)[0] == 1


def test_a_correction_passes_through_what_was_seen_and_leaves_the_rest(model_file):
    model = load(model_file, CPU)
    shape = ShapeDistance(model.layers, model.codes[2], np.eye(4))
    points, _ = half_a_ball(0.65, np.zeros(3), 4000)
    seen = Seen(shape, points, 0.2)
    at, beyond = torch.from_numpy(points[:100]).float(), torch.tensor([[0.65, 0.0, 0.0], [0.6, 0.2, 0.1]])
    assert seen(at).abs().mean() < 0.3 * shape(at).abs().mean()
    assert torch.allclose(seen(beyond), shape(beyond))
    assert (seen.box[0] <= points.min(axis=0)).all()


def test_a_scan_is_completed_to_a_closed_mesh(model_file, tmp_path):
    points, normals = half_a_ball(3.0, np.array([5.0, -2.0, 1.0]))
    np.savez(tmp_path / "scan.npz", points=points.astype(np.float32), normals=normals.astype(np.float32))
    context = run(shape_complete, ShapeComplete(model=str(model_file), resolution=24), [tmp_path / "scan.npz"],
                  tmp_path / "job")
    mesh = read_npz(context.output / "mesh.npz")
    assert context.report["mesh"]["open_edges"] == 0 and context.report["mesh"]["components"] == 1
    assert np.linalg.norm(mesh.vertices.min(axis=0)[1:] - [-5.0, -2.0]) < 1.5
    assert context.report["completion"]["normals"] and context.pictures
    apart = context.report["completion"]["apart"]
    assert apart >= 0 and any("is a guess" in line for line in context.warnings) == (apart > shape_complete.DOUBT)
    assert (context.input / "model.safetensors").exists()


def test_a_broken_mesh_is_completed_without_normals_of_its_own(model_file, tmp_path):
    whole = ball(2.0)
    broken = Mesh(whole.vertices, whole.faces[whole.triangles().mean(axis=1)[:, 0] < 0.5])
    write_mesh(broken, tmp_path / "broken.ply")
    context = run(shape_complete, ShapeComplete(model=str(model_file), resolution=16, missing="nothing"),
                  [tmp_path / "broken.ply"], tmp_path / "job")
    assert context.report["mesh"]["open_edges"] == 0


@pytest.mark.parametrize(("name", "points"), [("two", np.eye(3)[:2]), ("same", np.ones((50, 3)))])
def test_a_scan_of_too_few_points_is_one_line(model_file, tmp_path, name, points):
    np.save(tmp_path / f"{name}.npy", points)
    with pytest.raises(InputError) as error:
        run(shape_complete, ShapeComplete(model=str(model_file)), [tmp_path / f"{name}.npy"], tmp_path / "job")
    assert "\n" not in str(error.value) and str(error.value).startswith("points: ")


def test_a_missing_model_is_one_line_before_the_job(tmp_path):
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(InputError, match="model: 'sofas' is neither a .safetensors file nor a model that ships"):
        gather("solids", [tmp_path / "scan.npy"], tmp_path / "input", ShapeComplete(model="sofas"))


def width(mesh: Mesh) -> float:
    return float(np.ptp(mesh.vertices[:, 2]))


def test_a_morph_goes_from_one_shape_to_the_other(model_file, tmp_path):
    recipe = ShapeInterpolate(model=str(model_file), start="r0.4", end="r0.8", steps=3, resolution=24, size=2.0)
    context = run(shape_interpolate, recipe, [], tmp_path / "job")
    steps = morph.read_npz(context.output / "morph.npz").steps
    assert len(steps) == 3 and len(context.report["steps"]) == 3
    assert width(steps[0]) < width(steps[1]) < width(steps[2])
    assert width(steps[2]) == pytest.approx(1.6, abs=0.35)


def test_an_object_and_a_name_are_ends_too(model_file, tmp_path):
    """An object's step stands at its place and has its size."""
    write_mesh(ball(3.0, (10, 0, 0)), tmp_path / "ball.ply")
    recipe = ShapeInterpolate(model=str(model_file), end="r0.8", steps=2, resolution=16)
    context = run(shape_interpolate, recipe, [tmp_path / "ball.ply"], tmp_path / "job")
    steps = morph.read_npz(context.output / "morph.npz").steps
    for step in steps:
        assert abs((step.vertices.min(axis=0) + step.vertices.max(axis=0))[0] / 2 - 10) < 1
    with pytest.raises(InputError, match="2 are needed"):
        gather("ends", [tmp_path / "ball.ply"], tmp_path / "input", ShapeInterpolate(model=str(model_file)))


def test_the_seed_decides_which_shape_is_new(model_file, tmp_path):
    def drawn(seed: int) -> Mesh:
        recipe = ShapeRandom(model=str(model_file), resolution=16, size=2.0)
        return read_npz(run(shape_random, recipe, [], tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}",
                            seed=seed).output / "mesh.npz")
    one, again, other = drawn(1), drawn(1), drawn(2)
    assert np.array_equal(one.vertices, again.vertices) and width(one) != width(other)
    assert 0.5 < width(one) < 2.0


def test_a_random_shape_of_one_is_that_shape(model_file):
    model = load(model_file, CPU)
    recipe = ShapeRandom(model=str(model_file), like="r0.6", mixed=1, variety=0.0)
    code, names = shape_random.random_code(model, recipe, 5)
    assert torch.allclose(code, model.code_of("r0.6")) and names == {"r0.6": 1.0}
    mixed, names = shape_random.random_code(model, ShapeRandom(model=str(model_file), mixed=3, variety=0.0), 5)
    assert len(names) == 3 and math.isclose(sum(names.values()), 1, abs_tol=2e-3) and mixed.shape == code.shape


# ---- the models that ship ----------------------------------------------------------------------------------------

SHIPPED = [path for path in sorted(models.SHIPPED.glob("*.safetensors"))
           if models.read_about(path)["kind"] == "deepsdf"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_model_is_small_free_and_has_its_card(path):
    model = load(path, CPU)
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert path.stat().st_size <= 8 * 2**20 and len(model.names) >= 200
    assert not set(model.names) & set(model.about["held_out"]) and len(model.about["held_out"]) >= 20
    assert model.about["licence"].startswith("CC0-1.0") and "CC0" in card
    assert "maquette shape train" in card and "Chamfer" in card


def test_the_recipes_own_model_ships():
    defaults = {recipe.preset("standard").to_json()["model"] for recipe in (ShapeComplete, ShapeInterpolate,
                                                                            ShapeRandom)}
    assert defaults <= {path.stem for path in SHIPPED}
