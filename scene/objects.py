"""What comes of a photo in the scene: its meshes, and a camera that sees them as the photo does."""

from __future__ import annotations

from typing import Any

import bpy
from mathutils import Matrix

from ..formats.objects import Objects
from . import cameras, images, meshes
from .compat import fitting_name

# On a camera that belongs to what was made of a photo.
CAMERA_KEY = "maquette_camera"


def new_objects(found: Objects, name: str, collection: bpy.types.Collection) -> list[Any]:
    """An object for each mesh, the largest in the photo first.

    The camera is the first one's child: wherever that is moved, the camera goes with it and still sees it as the
    photo does.
    """
    made = [meshes.new_object(mesh, name, collection) for mesh in found.meshes]
    data = bpy.data.cameras.new(fitting_name(f"{name} camera"))
    camera = bpy.data.objects.new(data.name, data)
    camera[CAMERA_KEY] = True
    camera.parent = made[0]
    collection.objects.link(camera)
    _set_camera(camera, found, name)
    return made


def renew(target: Any, others: list[Any], found: Objects, collection: bpy.types.Collection) -> None:
    """Give objects that were made of a photo the meshes of another run, and their camera what it saw."""
    for thing, mesh in zip((target, *others), found.meshes, strict=False):
        meshes.swap(thing, mesh)
    for mesh in found.meshes[1 + len(others):]:
        meshes.new_object(mesh, target.name, collection).matrix_world = target.matrix_world.copy()
    camera = camera_of(target)
    if camera is not None:
        _set_camera(camera, found, target.name)


def camera_of(thing: Any) -> Any | None:
    """The camera that sees an object as the photo does that it was made of."""
    return next((child for child in thing.children if child.type == "CAMERA" and child.get(CAMERA_KEY)), None)


def look_through(context: bpy.types.Context, camera: Any) -> None:
    """Make it the scene's camera, with the photo's proportions, and look through it in the 3D views."""
    fit_render(context.scene, camera)
    for area in context.screen.areas if context.screen else ():
        if area.type == "VIEW_3D":
            space: Any = area.spaces.active
            space.region_3d.view_perspective = "CAMERA"


def fit_render(scene: bpy.types.Scene, camera: Any) -> None:
    """Make it the scene's camera and give the render the photo's size, so that both overlay."""
    stored = cameras.stored_lens(camera.data)
    scene.camera = camera
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = stored["width"], stored["height"], 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0


def _set_camera(camera: Any, found: Objects, name: str) -> None:
    """The lens and pose, and the photo behind it."""
    data = camera.data
    cameras.to_blender(found.camera, data)
    camera.matrix_parent_inverse = Matrix.Identity(4)
    camera.matrix_basis = Matrix(found.world_from_camera.tolist())
    for background in list(data.background_images):
        data.background_images.remove(background)
    background = data.background_images.new()
    background.image = images.read(found.photo, f"{name} photo")
    background.alpha = 0.5
    data.show_background_images = True
