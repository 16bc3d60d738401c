"""A folder of models to a network that makes such shapes of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...formats.model import FILE, write_model
from ...formats.shapes import read_names
from ...jobs import store
from ...recipes.errors import InputError
from ...recipes.train_image import TrainImage
from ..context import Context
from ..evaluation import detections, single_view
from ..predictors.detector import Annotated
from ..predictors.detector import Network as Detector
from ..predictors.pose import Network as PoseNetwork
from ..predictors.predictor import Predictor, network_of, packed
from ..training import loop
from ..training.corpus import Corpus, prepare
from ..training.curve import loss_curve
from ..training.image import ImageTrainer, Pictures
from ..training.photographer import Photographer
from ..training.processes import Processes
from ..training.scenes import ScenePhotographer

INDEX = "models.json"  # in checkpoint/: which models these are, and their split
FEWEST = 2  # models to train on
STILLS = 2  # views of each model that is held out
MOST_STILLS = 160  # of all of them
SCENES = 8  # that are made at once


def subjects_folder() -> Path:
    """Where prepared models are kept for all trainings."""
    return store.cache_folder() / "subjects"


def run(context: Context) -> None:
    """Read the models of input/, write output/model.safetensors, fill the report."""
    recipe = context.recipe
    assert isinstance(recipe, TrainImage)
    processes = Processes()
    corpus = _prepared(context, processes)
    train, apart = corpus.split(recipe.held_out)
    if len(train) < FEWEST:
        raise InputError(f"input: of {len(corpus)} models {len(train)} are left to train on; give {FEWEST} or more")
    if recipe.held_out and not apart:
        context.warn(f"held_out: {len(corpus)} models are too few for {recipe.held_out:g} % to be held out, so that "
                     "nothing tells how good the network is on others; give more, or hold out more")
    torch.manual_seed(context.seed)
    kind = network_of(recipe.method)
    network = kind(**(kind.large if recipe.size == "large" else {}))
    pictures: Pictures = (ScenePhotographer if isinstance(network, Detector) else Photographer)(
        corpus, train, seed=context.seed)
    trainer = ImageTrainer(network, pictures, recipe.batch, seed=context.seed, device=context.device,
                           processes=processes)
    # The time is the recipe's; what is trained is its other parameters'.
    saved = loop.Checkpoint(context.checkpoint, {**recipe.to_json(), "models": len(train)}, context.seed)
    context.stage("Training", 0.97)
    if not processes.is_first:
        saved.load(trainer)
        return processes.follow(trainer)
    with processes.leading(trainer) as leading:
        loop.run(leading, lambda: (loss_curve(trainer.losses), _said(trainer)), recipe.seconds, 0.0, saved,
                 context.progress, context.preview)
    context.stage("Measuring", 1.0)
    about = {"names": [corpus.entries[i].name for i in train], "held_out": [corpus.entries[i].name for i in apart],
             "steps": len(trainer.losses), "recipe": recipe.to_json(), "seed": context.seed,
             "licence": recipe.licence, "training_loss": float(np.mean(trainer.losses[-100:]))}
    if apart:
        about["held_out_figures"] = context.report["held_out"] = _measured(context, network, corpus, apart)
    context.report["models"] = {"train": len(train), "held_out": len(apart)}
    context.report |= {"steps": about["steps"], "training_loss": about["training_loss"],
                       "parameters": sum(p.numel() for p in network.parameters())}
    write_model(packed(network, about), context.output / FILE)
    context.progress(1.0)


def _prepared(context: Context, processes: Processes) -> Corpus:
    """The models of input/, made subjects by the first process while the others wait."""
    context.stage("Preparing the models", 0.2)
    _, refused = read_names(context.input)
    for line in refused:
        context.warn(line)
    if processes.is_first:
        prepare(context.input, subjects_folder(), context.checkpoint / INDEX, context.progress)
    processes.told(0.0)
    corpus = Corpus(context.checkpoint / INDEX, subjects_folder())
    for line in corpus.left_out:
        context.warn(line)
    return corpus


def _said(trainer: ImageTrainer) -> str:
    """The loss of late and its parts, in words."""
    parts = ", ".join(f"{name} {value:.3g}" for name, value in trainer.parts.items())
    return f"loss {np.mean(trainer.losses[-100:]):.4g} ({parts})"


def _measured(context: Context, network: Predictor, corpus: Corpus, apart: Sequence[int]) -> dict[str, Any]:
    """What the network makes of views, always the same, of the models that are held out."""
    network.eval()
    if isinstance(network, Detector):
        return detections.figures(network, _scenes(context, corpus, apart))
    pictures = Photographer(corpus, apart, seed=context.seed)
    stills = [(index, number) for index in apart for number in range(STILLS)]
    stills = stills[::-(-len(stills) // MOST_STILLS)]
    rows = []
    for number, still in enumerate(stills):
        batch = pictures.still(*still, views=1, points=1).to(context.device)
        if isinstance(network, PoseNetwork):
            rows.append(network.errors(batch))
        else:
            mesh = network.predict(batch.images[0], batch.distance[0])
            rows.append(single_view.figures(mesh, pictures.truth(*still)))
        context.progress((number + 1) / len(stills))
    return {"pictures": len(stills), **single_view.mean_figures(rows)}


def _scenes(context: Context, corpus: Corpus, apart: Sequence[int]) -> Iterator[Annotated]:
    """Pictures of the models that are held out, always the same."""
    pictures = ScenePhotographer(corpus, apart, seed=context.seed)
    steps = -(-min(STILLS * len(apart), MOST_STILLS) // SCENES)
    for step in range(steps):
        yield pictures.batch(step, SCENES).to(context.device)
        context.progress((step + 1) / steps)
