"""Fit a neural field to posed pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from ...formats.cameras import check_views
from ...recipes.capture import Capture
from ...recipes.errors import InputError
from ..fields.common import Field
from ..geometry import multi_view_depth
from ..geometry.posed import PosedPicture
from ..geometry.sparse_points import sparse_points
from ..rendering.bounds import find_box
from . import loop
from .corrections import Corrected, Corrections
from .trainer import Startable, Trainer


def fit(pictures: Sequence[PosedPicture], recipe: Capture, *, seed: int, device: torch.device,
        box: np.ndarray | None = None, points: np.ndarray | None = None, model: Path | None = None,
        corrections: Corrections | None = None, checkpoint: Path, on_progress: Callable[[float, str], None],
        on_preview: Callable[[np.ndarray], None]) -> Field:
    """The field that explains the training pictures, by the recipe's method, after `recipe.seconds`.

    Wall time counts, from finding the subject on; compiling does not. `box` (2, 3) is the subject's where it is
    known, `points` (N, 3) are sparse points of what the pictures show, which are looked for where pictures without
    alpha come without any; `model` is a file of weights to begin with, `corrections` of the pictures are found on the
    way. A folder `checkpoint` is written every few seconds, and picked up where it holds a state of the same recipe and
    seed; the seconds used until then count. `on_progress` gets the share of the time used, and the PSNR of a held-out
    view; `on_preview` gets that view as (H, W, 3) uint8. An exception that either raises ends training and passes on.
    Raises InputError where the pictures show no subject, or the method takes no weights.
    """
    check_views(pictures)
    train = [p if recipe.depth else replace(p, depth=None) for p in pictures if p.split == "train"]
    compared = not any(p.has_alpha for p in train)
    if compared:
        multi_view_depth.warm_up()
    start = time.monotonic()
    if points is None and compared:
        points = sparse_points(train)
    box = find_box(pictures, points) if box is None else np.asarray(box, np.float64)
    method = import_module(f".{recipe.method}", __package__)
    if compared and points is not None and not any(p.depth is not None for p in train):
        train = multi_view_depth.multi_view_depth(train, points, lambda share: on_progress(0.0, "comparing views"))
    trainer: Trainer = method.make_trainer(train, box, recipe, seed=seed, device=device, points=points)
    if model is not None:
        if not isinstance(trainer, Startable):
            raise InputError(f"model: the method {recipe.method} begins with no weights; leave it out, or choose nerf")
        trainer.start_from(model)
    if corrections is not None:
        trainer = Corrected(trainer, corrections)
    saved = loop.Checkpoint(checkpoint, recipe.to_json(), seed)
    window = loop.Window(next((p for p in pictures if p.split == "test"), pictures[0]))
    loop.run(trainer, lambda: window.look(trainer), recipe.seconds, time.monotonic() - start, saved, on_progress,
             on_preview)
    return trainer.result()
