"""A capture's pictures in memory: decoded, reduced, masked, undistorted, with cameras that fit their pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ...formats.cameras import check_views
from ...formats.capture import Camera, Capture, View
from ...formats.pictures import nearest, read_depth, read_grey, read_picture
from ...recipes.errors import InputError
from .plain_backdrop import without_backdrop
from .posed import PosedPicture
from .undistort import pinhole_of, resample


def _nobody(fraction: float) -> None:
    """Progress that nobody watches."""


def load_views(capture: Capture, warn: Callable[[str], None], longest_side: int | None = None,
               on_progress: Callable[[float], None] = _nobody) -> list[PosedPicture]:
    """Every view's picture, ready for training; pictures larger than `longest_side` pixels are reduced to it.

    A picture of another size than its camera states scales the camera where the shape is the same, with one
    warning for all. Whether alpha counts is the capture's matter: where every picture is opaque, a plain backdrop
    tells the subject, or there is none to separate. Raises InputError naming a view or file that cannot be used.
    """
    check_views(capture.views)
    undistorted = _Undistorter()
    loaded = []
    for number, view in enumerate(capture.views, 1):
        loaded.append(_load(capture, view, longest_side, undistorted))
        on_progress(number / len(capture.views))
    resized = [one.resized for one in loaded if one.resized]
    if resized:
        warn(f"views: {len(resized)} of {len(loaded)} pictures have another size than stated (first: {resized[0]}); "
             "their cameras are scaled")
    reduced = sum(one.reduced for one in loaded)
    if reduced:
        warn(f"views: {reduced} of {len(loaded)} pictures are larger than the field can use; they are reduced to "
             f"{longest_side} px on the longest side")
    if any(one.transparent for one in loaded):
        return [one.picture for one in loaded]
    pictures = without_backdrop([replace(one.picture, has_alpha=False) for one in loaded])
    if pictures[0].has_alpha:
        warn(f"views: all {len(pictures)} pictures have one colour behind the subject; it counts as transparent")
    return pictures


@dataclass(frozen=True)
class _Loaded:
    """A picture with what is to be said about all of them together."""

    picture: PosedPicture
    transparent: bool  # whether some pixel is not opaque
    reduced: bool
    resized: str  # empty, or how its size differs


def _load(capture: Capture, view: View, longest_side: int | None, undistorted: _Undistorter) -> _Loaded:
    picture = read_picture(capture.folder / view.picture, longest_side)
    height, width = picture.rgba_srgb.shape[:2]
    stated = (view.camera.width, view.camera.height)
    camera = _fitting(view, *picture.stored_size).scaled(width, height)
    rgba = picture.rgba_srgb
    if view.mask is not None:
        rgba = rgba * read_grey(capture.folder / view.mask, width, height)[..., None]
    depth, normal = picture.depth, picture.normal
    if view.depth is not None and view.depth != view.picture:
        depth = nearest(read_depth(capture.folder / view.depth), width, height)
    transparent = bool((rgba[..., 3] < 1 - 0.5 / 255).any())
    posed = PosedPicture(
        view.name, rgba, camera.fx, camera.fy, camera.cx, camera.cy, view.world_from_camera,
        depth if view.depth is not None else None, normal if view.normal is not None else None, view.split,
        has_alpha=picture.has_alpha or view.mask is not None)
    resized = "" if picture.stored_size == stated else \
        f"{view.name} is {picture.stored_size[0]}×{picture.stored_size[1]}, stated {stated[0]}×{stated[1]}"
    return _Loaded(undistorted(posed, camera), transparent, (width, height) != picture.stored_size, resized)


def _fitting(view: View, width: int, height: int) -> Camera:
    """The view's camera for a picture of this size; InputError where the shape differs by more than rounding."""
    stated = view.camera
    off = abs(stated.width * height - stated.height * width) / max(stated.width, stated.height)
    if off > max(1.0, 0.002 * max(width, height)):
        raise InputError(f"views: the picture of {view.name} is {width}×{height}, but its camera is for "
                         f"{stated.width}×{stated.height}; give the picture that the camera was calibrated on")
    return stated.scaled(width, height)


class _Undistorter:
    """Keeps the last camera's map: views mostly share a camera, and the map is the dear part."""

    def __init__(self) -> None:
        self._camera: Camera | None = None

    def __call__(self, posed: PosedPicture, camera: Camera) -> PosedPicture:
        if camera.model == "pinhole":
            return posed
        if camera != self._camera:
            self._camera, self._pinhole = camera, pinhole_of(camera)
        target = self._pinhole.camera
        depth = None
        if posed.depth is not None:
            depth = resample(np.nan_to_num(posed.depth)[..., None], self._pinhole, "nearest")[..., 0]
            depth[depth == 0] = np.nan
        normal = None if posed.normal is None else resample(posed.normal, self._pinhole, "nearest")
        return replace(posed, rgba_srgb=resample(posed.rgba_srgb, self._pinhole), fx=target.fx, fy=target.fy,
                       cx=target.cx, cy=target.cy, depth=depth, normal=normal, weight=self._pinhole.weight)
