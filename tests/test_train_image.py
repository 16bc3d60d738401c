"""Training on pictures: a job from models to a network, resumed, and by two processes as by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from maquette import api, cli
from maquette.formats import model as models_file
from maquette.formats.mesh import Mesh
from maquette.formats.meshes import write_mesh
from maquette.jobs import store
from maquette.neural.predictors.pose import Network
from maquette.neural.predictors.predictor import Batch, Predictor, load, packed
from maquette.neural.training import processes
from maquette.neural.training.image import ImageTrainer, rate
from maquette.recipes import Cancelled, InputError
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
NUMBA_CACHE = store.cache_folder() / "numba"  # kernels are compiled once for all


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared models of a test are not kept for the user."""
    monkeypatch.setattr(store, "cache_folder", lambda: tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "solids"
    folder.mkdir()
    for number, name in enumerate(("ball", "box", "rod", "ring", "cone", "disc")):
        solid = [trimesh.creation.icosphere(subdivisions=2), trimesh.creation.box((1, 2, 1.5)),
                 trimesh.creation.cylinder(0.4, 2), trimesh.creation.torus(1, 0.4), trimesh.creation.cone(0.7, 1.5),
                 trimesh.creation.cylinder(1, 0.4)][number]
        write_mesh(Mesh(solid.vertices, solid.faces, colors=np.full((len(solid.vertices), 3), 0.5)),
                   folder / f"{name}.glb")
    return folder


# ---- the trainer -------------------------------------------------------------------------------------------------

class Line(Predictor):
    """y = a x, of the images' mean."""

    method = "line"

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(1))
        self.register_buffer("seen", torch.zeros(1))

    def loss(self, batch: Batch, fraction: float) -> tuple[torch.Tensor, dict[str, float]]:
        self.seen += 1
        loss = (self.a * batch.images.mean() - batch.pose.mean()).square().sum()
        return loss, {"fit": loss.item()}


class Numbers:
    """Batches whose content is their number."""

    def batch(self, step: int, count: int, *, views: int, points: int, grid: int, reach: float) -> Batch:
        images = torch.full((count, views, 6, 2, 2), 1.0 + step % 3)
        nothing = torch.zeros(count, 0, 3)
        return Batch(images, torch.ones(count), nothing, nothing, torch.zeros(count, 0, 0, 0),
                     0.5 * images[:, 0, 0, :2].flatten(1))


def trainer(batch: int = 2) -> ImageTrainer:
    return ImageTrainer(Line(), Numbers(), batch, seed=0, device=CPU, processes=processes.Processes())


def test_a_trainer_learns() -> None:
    made = trainer()
    losses = [made.step(0.1) for _ in range(1500)]
    assert losses[-1] < 0.05 * losses[0] and made.parts["fit"] == losses[-1]
    assert made.network.a.item() == pytest.approx(0.5, abs=0.1)


def test_a_resumed_training_goes_on_exactly_where_it_was() -> None:
    whole, first = trainer(), trainer()
    for _ in range(6):
        whole.step(0.3)
    for _ in range(3):
        first.step(0.3)
    second = trainer()
    second.load_state(first.state())
    for _ in range(3):
        second.step(0.3)
    assert second.losses == pytest.approx(whole.losses, rel=1e-6)
    assert torch.equal(second.network.a, whole.network.a) and second.network.seen == 6


def test_the_rate_rises_in_a_line_and_falls_to_nothing() -> None:
    assert [rate(f) for f in (0.0, 0.01, 0.02, 0.51, 1.0)] == pytest.approx([0, 0.5, 1, 0.5, 0])


# ---- the file ----------------------------------------------------------------------------------------------------

def test_a_network_comes_back_from_its_file_in_half_precision(tmp_path: Path) -> None:
    from maquette.formats.model import write_model
    network = Network(width=8, features=16)
    write_model(packed(network, {"names": []}), tmp_path / "pose.safetensors")
    found = load(tmp_path / "pose.safetensors", "pose", CPU)
    assert found.architecture == {"width": 8, "features": 16} and not found.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value.half().float())
    with pytest.raises(InputError, match="'pose' and 'voxels' is expected"):
        load(tmp_path / "pose.safetensors", "voxels", CPU)
    model = packed(network, {})
    model.arrays.pop("head.3.bias")
    write_model(model, tmp_path / "less.safetensors")
    with pytest.raises(InputError, match="head.3.bias of shape None"):
        load(tmp_path / "less.safetensors", "pose", CPU)


# ---- the task ----------------------------------------------------------------------------------------------------

def test_a_folder_of_models_becomes_a_network_with_its_figures(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "pose.safetensors"
    words = ["--method", "pose", "--seconds", "1", "--batch", "2", "--held-out", "40", "--quiet"]
    assert cli.main(["train", "image", "--data", str(models), "-o", str(out), *words, "--licence", "CC0-1.0"]) == 0
    about = load(out, "pose", CPU)
    assert about.method == "pose"
    report = json.loads((tmp_path / "pose.report.json").read_text())
    assert report["models"]["train"] + report["models"]["held_out"] == 6 and report["models"]["held_out"] > 0
    assert report["steps"] > 1 and report["held_out"]["pictures"] > 0 and report["held_out"]["elevation_degrees"] < 180


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(models: Path, tmp_path: Path) -> None:
    """torchrun with two CPU processes: one job, the same network in both, a result that loads."""
    out = tmp_path / "pose.safetensors"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache"),
           "NUMBA_CACHE_DIR": str(NUMBA_CACHE)}
    said = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", ROOT / "__main__.py",
         "train", "image", "--data", models, "-o", out, "--method", "pose", "--seconds", "3", "--batch", "4",
         "--quiet"], env=env, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr[-3000:]
    load(out, "pose", CPU)
    report = json.loads((tmp_path / "pose.report.json").read_text())
    assert report["steps"] > 1


# ---- the networks that ship --------------------------------------------------------------------------------------

SHIPPED = [path for path in sorted(models_file.SHIPPED.glob("*.safetensors"))
           if models_file.read_about(path)["kind"] == "image"]


def test_the_networks_that_ship_fit_into_the_repository() -> None:
    assert sum(path.stat().st_size for path in models_file.SHIPPED.glob("*.safetensors")) <= 40 * 2**20


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_network_that_ships_is_small_free_and_has_its_card(path: Path) -> None:
    about = models_file.read_about(path)
    load(path, about["method"], CPU)
    assert path.stem == f"image-{about['method']}" and path.stat().st_size <= 16 * 2**20
    assert not set(about["names"]) & set(about["held_out"]) and len(about["held_out"]) >= 100
    assert about["licence"].startswith("CC0-1.0") and not any(name.startswith("scanned/") for name in about["names"])
    card = (models_file.SHIPPED / "image.md").read_text(encoding="utf-8")
    assert f"| {about['method']} |" in card and f"{about['steps']:,}" in card and "maquette train image" in card
