"""A picture to a network that is fitted to it, and the network to a picture of any size."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
from torch import nn

from ...formats.pictures import PICTURE, read_picture, straight, write_png
from ...formats.results import FORMS
from ...recipes.errors import InputError
from ...recipes.picture import LONGEST_SIDE, Picture
from ..context import Context
from ..evaluation.pictures import psnr
from ..fields.picture import extent_of, sample
from ..training.loop import PREVIEW_SIDE
from ..training.picture import fit_picture, over_white

PREVIEW = 4 * PREVIEW_SIDE  # px of the last preview's longest side


def run(context: Context) -> None:
    """Read input/picture.*, write output/picture.png, fill the report."""
    recipe = context.recipe
    assert isinstance(recipe, Picture)
    context.stage("Reading the picture", 0.03)
    pixels, stored = _pixels(context)
    context.stage("Fitting", 0.85)
    start = time.monotonic()
    network = fit_picture(pixels, recipe, seed=context.seed, device=context.device, checkpoint=context.checkpoint,
                          on_progress=context.progress, on_preview=context.preview)
    fitted = time.monotonic()
    context.stage("Measuring the fit", 0.9)
    height, width, channels = pixels.shape
    shown = _sampled(context, network, (width, height), (width, height))
    context.report["psnr_db"] = round(psnr(shown, pixels), 4)
    context.stage("Sampling", 1.0)
    size = recipe.size_for(*stored)
    result = shown if size == (width, height) else _sampled(context, network, (width, height), size)
    write_png(context.output / FORMS["picture"].file, straight(result))
    stride = math.ceil(max(size) / PREVIEW)
    context.preview(over_white(result[::stride, ::stride]))
    context.report |= {"picture": {"width": size[0], "height": size[1], "channels": channels},
                       "seconds": {"fit": round(fitted - start, 2), "sample": round(time.monotonic() - fitted, 2)}}


def _pixels(context: Context) -> tuple[np.ndarray, tuple[int, int]]:
    """Colour premultiplied by alpha, (H, W, 3), or (H, W, 4) where something is not opaque; the file's own size."""
    path = next(iter(sorted(context.input.glob(f"{PICTURE}.*"))), context.input / f"{PICTURE}.png")
    picture = read_picture(path, LONGEST_SIDE, upright=True)
    height, width = picture.rgba_srgb.shape[:2]
    if not np.isfinite(picture.rgba_srgb).all():
        raise InputError(f"picture: {path.name} has pixels that are not finite; mend them")
    if (width, height) != picture.stored_size:
        stored = "{}×{}".format(*picture.stored_size)
        context.warn(f"picture: {stored} px are more than a network of this kind holds; {width}×{height} are fitted")
    opaque = bool((picture.rgba_srgb[..., 3] == 1).all())
    return np.ascontiguousarray(picture.rgba_srgb[..., :3 if opaque else 4]), picture.stored_size


def _sampled(context: Context, network: nn.Module, fitted: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The picture at a size; a pixel that is larger than the fitted ones is the mean of what lies in it."""
    samples = max(math.ceil(before / after - 1e-6) for before, after in zip(fitted, size, strict=True))
    return sample(network, *size, extent_of(*fitted), samples=max(samples, 1), device=context.device,
                  on_progress=context.progress)
