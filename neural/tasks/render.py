"""A field to pictures with depth and normals, from the cameras that are given or from a turntable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from ...formats import capture as captures
from ...formats import renders
from ...formats.capture import Camera, View
from ...formats.fields import FILE
from ...formats.pictures import straight
from ...recipes.render import TURNTABLE_SIZE, Render
from ..context import Context
from ..fields import stored
from ..fields.common import Field, Rendered
from ..rendering.turntable import turntable

BAND_SECONDS = 0.3  # in which a band of a picture is rendered, so that a cancel is heard
PREVIEW = 512  # px of the preview's longest side


def run(context: Context) -> None:
    """Read input/, write output/pictures/; pictures that an earlier worker has written are taken over."""
    recipe = context.recipe
    assert isinstance(recipe, Render)
    context.stage("Reading the field", 0.03)
    field = stored.load(context.input / FILE, context.device)
    views = renders.named(_views(context, recipe, field), recipe.passes)
    folder = context.checkpoint / renders.FOLDER
    context.progress(0.5, "compiling, once")
    field.render(1.0, 1.0, 0.5, 0.5, 1, 1, np.eye(4))
    bands = Bands(field)
    context.stage("Rendering", 1.0)
    start = time.monotonic()
    for number, view in enumerate(views):
        said = f"picture {number + 1} of {len(views)}"
        context.progress(number / len(views), said)
        if renders.is_written(folder, view):
            continue
        seen = bands.render(view, lambda share: context.progress((number + share) / len(views), said))
        renders.write(folder, view, straight(np.dstack([seen.rgb_srgb, seen.alpha])), seen.depth, seen.normal)
        stride = math.ceil(max(seen.alpha.shape) / PREVIEW)
        context.preview((seen.over(1.0)[::stride, ::stride].clip(0, 1) * 255 + 0.5).astype(np.uint8))
    renders.finish(folder, views, context.output)
    largest = max((view.camera for view in views), key=lambda camera: camera.width * camera.height)
    context.report |= {"pictures": {"count": len(views), "width": largest.width, "height": largest.height},
                       "seconds": {"render": round(time.monotonic() - start, 2)}}


def _views(context: Context, recipe: Render, field: Field) -> list[View]:
    """The cameras at the recipe's size."""
    given = context.input / captures.FILE
    if not given.exists():
        return turntable(field.box, recipe.taken(0), recipe.size or TURNTABLE_SIZE, recipe.elevation, recipe.lens,
                         recipe.distance)
    views = captures.read(given).views
    views = views[:recipe.taken(len(views))]
    if any(view.camera.model != "pinhole" for view in views):
        context.warn("cameras: their lens distortion is left out; the pictures are those of a pinhole")
    return [replace(view, camera=_sized(view.camera, recipe)) for view in views]


def _sized(camera: Camera, recipe: Render) -> Camera:
    """The camera as a pinhole with a picture of the recipe's size."""
    return replace(camera, model="pinhole", distortion={}).scaled(*recipe.size_for(camera.width, camera.height))


@dataclass
class Bands:
    """Renders views in bands of rows that take about BAND_SECONDS each, whatever the field and the machine."""

    field: Field
    pixels: float = 2.0**13  # in the next band

    def render(self, view: View, on_progress: Callable[[float], None]) -> Rendered:
        """The view as a whole; `on_progress` hears after each band which share of it is done."""
        c, bands, top = view.camera, [], 0
        while top < c.height:
            rows = min(max(round(self.pixels / c.width), 1), c.height - top)
            start = time.monotonic()
            bands.append(self.field.render(c.fx, c.fy, c.cx, c.cy - top, c.width, rows, view.world_from_camera))
            faster = BAND_SECONDS / max(time.monotonic() - start, 1e-3)
            self.pixels = rows * c.width * min(max(faster, 0.25), 4.0)
            top += rows
            on_progress(top / c.height)
        return Rendered(*(np.concatenate([getattr(band, f.name) for band in bands]) for f in fields(Rendered)))
