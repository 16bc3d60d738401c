"""Cameras around objects: views for a capture of a scene that has none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import bpy
from mathutils import Vector

from .compat import fitting_name

NAME = "Capture Cameras"
LOWEST, HIGHEST = -20.0, 65.0  # degrees above the horizon
MARGIN = 1.15  # of the sphere around the objects that a picture shows
GOLDEN = math.pi * (3 - math.sqrt(5))


def add_cameras(scene: bpy.types.Scene, things: Sequence[bpy.types.Object], count: int) -> bpy.types.Collection:
    """Cameras evenly around `things` that look at their middle, all with the same lens, in a collection of their own.

    `things` have bounds. The scene's camera becomes one of them where it has none.
    """
    corners = [thing.matrix_world @ Vector(corner) for thing in things for corner in thing.bound_box]
    lower = Vector([min(corner[axis] for corner in corners) for axis in range(3)])
    upper = Vector([max(corner[axis] for corner in corners) for axis in range(3)])
    middle, radius = (lower + upper) / 2, max((upper - lower).length / 2, 1e-6)
    collection = bpy.data.collections.new(fitting_name(NAME))
    scene.collection.children.link(collection)
    lens = bpy.data.cameras.new(NAME)
    distance = MARGIN * radius / math.sin(_narrowest(scene, lens) / 2)
    lens.clip_start, lens.clip_end = (distance - radius) / 10, 10 * (distance + radius)
    for number, away in enumerate(directions(count)):
        camera: Any = bpy.data.objects.new(f"View {number + 1:03d}", lens)
        camera.location = middle + distance * Vector(away)
        camera.rotation_euler = (-Vector(away)).to_track_quat("-Z", "Y").to_euler()
        collection.objects.link(camera)
    scene.camera = scene.camera or collection.objects[0]
    return collection


def directions(count: int) -> list[tuple[float, float, float]]:
    """Unit vectors on a golden spiral between the lowest and the highest elevation: no two are in line."""
    low, high = (math.sin(math.radians(angle)) for angle in (LOWEST, HIGHEST))
    found = []
    for number in range(count):
        z = low + (high - low) * (number + 0.5) / count
        across = math.sqrt(1 - z * z)
        found.append((across * math.cos(GOLDEN * number), across * math.sin(GOLDEN * number), z))
    return found


def _narrowest(scene: bpy.types.Scene, lens: bpy.types.Camera) -> float:
    """The angle of view, in radians, along a picture's shorter side."""
    sides = scene.render.resolution_x, scene.render.resolution_y
    return 2 * math.atan(math.tan(lens.angle / 2) * min(sides) / max(sides))
