"""A new shape out of a model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...formats.model import FILE
from ...recipes.shape_random import ShapeRandom
from ..context import Context
from ..finish import deliver, finished
from ..predictors.extraction import extract
from ..predictors.shape_model import ShapeDistance, ShapeModel, load


def run(context: Context) -> None:
    """Read input/model.safetensors, write output/mesh.npz, fill the report."""
    recipe = context.recipe
    assert isinstance(recipe, ShapeRandom)
    context.stage("Drawing a shape", 0.1)
    model = load(context.input / FILE, context.device)
    code, names = random_code(model, recipe, context.seed)
    context.report["mixed"] = names
    context.stage("Extracting the surface", 0.9)
    half = recipe.size / 2
    distance = ShapeDistance(model.layers, code, np.diag([half, half, half, 1.0]))
    mesh = extract(context, distance, recipe.resolution)
    context.stage("Checking the mesh", 1.0)
    deliver(context, finished(mesh, floaters=1.0, budget=recipe.budget, quads=recipe.quads))
    context.progress(1.0)


def random_code(model: ShapeModel, recipe: ShapeRandom, seed: int) -> tuple[Tensor, dict[str, float]]:
    """A code (C,) between those of shapes that are alike, and the share of each by name.

    Codes drawn from one Gaussian around all shapes lie where there are none. So a shape is drawn, and those nearest
    to it are mixed with weights drawn evenly; then each number of the code moves by `variety` of what it differs by
    among the model's shapes.
    """
    generator = np.random.default_rng(seed)
    first = model.code_of(recipe.like) if recipe.like else model.codes[int(generator.integers(len(model.codes)))]
    alike = (model.codes - first).norm(dim=1).argsort()[:recipe.mixed].cpu()
    weights = generator.dirichlet(np.ones(len(alike)))
    code = torch.from_numpy(weights).to(model.codes) @ model.codes[alike.to(model.codes.device)]
    spread = model.codes.std(dim=0, unbiased=False)
    move = torch.from_numpy(generator.normal(size=len(code))).to(model.codes)
    names = {model.names[i]: round(float(w), 3) for i, w in zip(alike.tolist(), weights, strict=True)}
    return code + recipe.variety / 100 * spread * move, names
