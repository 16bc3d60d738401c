"""Folders of meshes to a model that knows such shapes."""

from __future__ import annotations

import numpy as np
import torch

from ...formats.mesh import Mesh
from ...formats.model import FILE, write_model
from ...formats.shapes import read_names, read_shape
from ...jobs import files
from ...recipes.errors import InputError
from ...recipes.shape_train import ShapeTrain
from ..context import Context
from ..geometry.mesh_distance import MeshDistance
from ..geometry.shape_samples import sample_shape
from ..meshing import topology
from ..predictors.deepsdf import Architecture
from ..predictors.shape_model import packed
from ..training import loop
from ..training.curve import training_picture
from ..training.shapes import ShapeTrainer, held_out
from ..training.shape_code import fitting_error

FEWEST = 2  # shapes to train on


def run(context: Context) -> None:
    """Read the meshes of input/, write output/model.safetensors, fill the report."""
    recipe = context.recipe
    assert isinstance(recipe, ShapeTrain)
    names, refused = read_names(context.input)
    for line in refused:
        context.warn(line)
    context.stage("Sampling the shapes", 0.15)
    given = len(names) + len(refused)
    names, samples = _sampled(context, names, recipe)
    apart = held_out(names, recipe.held_out, context.seed)
    train = [i for i in range(len(names)) if i not in set(apart)]
    if len(train) < FEWEST:
        raise InputError(f"input: {len(train)} solid shape is left to train on; give {FEWEST} or more")
    context.report["shapes"] = {"train": len(train), "held_out": len(apart), "left_out": given - len(names)}
    context.stage("Training", 0.97)
    trainer = ShapeTrainer(samples[train], Architecture(recipe.width, recipe.code), seed=context.seed,
                           device=context.device)
    # The time is the recipe's; what is trained is its other parameters'.
    saved = loop.Checkpoint(context.checkpoint, {**recipe.to_json(), "shapes": len(train)}, context.seed)
    loop.run(trainer, lambda: training_picture(trainer), recipe.seconds, 0.0, saved, context.progress, context.preview)
    context.stage("Measuring", 1.0)
    about = {"names": [names[i] for i in train], "held_out": [names[i] for i in apart], "steps": len(trainer.losses),
             "recipe": recipe.to_json(), "seed": context.seed, "licence": recipe.licence,
             "training_loss": float(np.mean(trainer.losses[-100:]))}
    if apart:
        error = fitting_error(trainer.network, samples[apart], context.seed, context.progress)
        about["held_out_error"] = context.report["held_out_error"] = error
    context.report |= {"steps": about["steps"], "training_loss": about["training_loss"]}
    write_model(packed(trainer.network.decoder, trainer.network.codes, about), context.output / FILE)
    context.progress(1.0)


def _sampled(context: Context, names: list[str], recipe: ShapeTrain) -> tuple[list[str], torch.Tensor]:
    """The names of the solid shapes, and their samples (S, 2, N, 4); each shape's are kept as they are made."""
    folder = context.checkpoint / f"samples-{recipe.samples}"
    folder.mkdir(parents=True, exist_ok=True)
    solid, samples = [], []
    for number, name in enumerate(names):
        path = folder / f"{number:05d}.f32"
        if not path.exists():
            rows = _samples(read_shape(context.input, number), recipe.samples, context.seed + number)
            files.atomic_write(path, rows.tobytes())
        rows = np.fromfile(path, np.float32).reshape(2, -1, 4)
        if rows.shape[1]:
            solid.append(name)
            samples.append(torch.from_numpy(rows))
        else:
            context.warn(f"{name}: it bounds no volume and is left out")
        context.progress((number + 1) / len(names), f"{number + 1} of {len(names)}")
    if not samples:
        raise InputError("input: none of the meshes bounds a volume; give solid ones")
    return solid, torch.stack(samples)


def _samples(mesh: Mesh, count: int, seed: int) -> np.ndarray:
    if not topology.face_areas(mesh).sum() > 0:
        return np.zeros((2, 0, 4), np.float32)
    return sample_shape(mesh, MeshDistance(mesh), count, seed)
