"""A capture of files as cameras with background images."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import bpy
from mathutils import Matrix

from ..formats.capture import Capture, View
from ..formats.folder import read_capture
from . import cameras, points
from .compat import fitting_name


def import_capture(scene: bpy.types.Scene, path: Path) -> tuple[bpy.types.Collection, tuple[str, ...]]:
    """Make a collection of cameras from a transforms.json, a COLMAP model or a folder with either.

    Returns it with the reader's warnings; InputError from the reader where the files are no capture.
    """
    capture = read_capture(path)
    collection = insert_capture(scene, capture, path.parent.name if path.suffix else path.name)
    scene.camera = collection.objects[0]
    _fit_render(scene, capture)
    return collection, capture.warnings


def insert_found_cameras(scene: bpy.types.Scene, capture: Capture, made: bpy.types.Object) -> None:
    """The cameras that were found for photos, as children of what was made of these: they go where it goes.

    They become the scene's view only where it has none.
    """
    folder = Path(capture.views[0].picture).parent.name
    collection = insert_capture(scene, capture, folder or f"{made.name} cameras")
    for thing in collection.objects:
        thing.parent = made
    if scene.camera is None:
        scene.camera = collection.objects[0]
        _fit_render(scene, capture)


def insert_capture(scene: bpy.types.Scene, capture: Capture, name: str) -> bpy.types.Collection:
    """A new collection with the capture's cameras, their pictures behind them, and its sparse points."""
    collection = bpy.data.collections.new(fitting_name(name))
    scene.collection.children.link(collection)
    for view in capture.views:
        collection.objects.link(_camera(view, capture.folder))
    if capture.points is not None and len(capture.points):
        points.insert(capture.points, fitting_name(f"{collection.name} points"), collection)
    return collection


def _camera(view: View, folder: Path) -> bpy.types.Object:
    data = bpy.data.cameras.new(fitting_name(view.name))
    cameras.to_blender(view.camera, data)
    more = {"split": view.split} | ({"mask": str((folder / view.mask).absolute())} if view.mask else {})
    data[cameras.LENS_KEY] = json.dumps(cameras.stored_lens(data) | more)
    image = bpy.data.images.load(str((folder / view.picture).absolute()), check_existing=True)
    background = data.background_images.new()
    background.image = image
    background.alpha = 1.0
    data.show_background_images = True
    thing = bpy.data.objects.new(data.name, data)
    thing.matrix_world = Matrix(view.world_from_camera.tolist())
    return thing


def _fit_render(scene: bpy.types.Scene, capture: Capture) -> None:
    """The scene's resolution and pixel aspect as most pictures have them, so that the backgrounds fit."""
    def shape(view: View) -> tuple[int, int, float]:
        return view.camera.width, view.camera.height, round(view.camera.fx / view.camera.fy, 6)

    common = Counter(map(shape, capture.views)).most_common(1)[0][0]
    cameras.fit_render(scene, next(view.camera for view in capture.views if shape(view) == common))
