"""Sparse points of a capture: a mesh of vertices alone."""

from __future__ import annotations

import bpy
import numpy as np

POINTS_KEY = "maquette_points"


def insert(points: np.ndarray, name: str, collection: bpy.types.Collection) -> bpy.types.Object:
    """A mesh of loose vertices, (N, 3) metres."""
    data = bpy.data.meshes.new(name)
    data.vertices.add(len(points))
    data.vertices.foreach_set("co", np.ascontiguousarray(points, np.float32).ravel())
    data.update()
    thing = bpy.data.objects.new(name, data)
    thing[POINTS_KEY] = True
    collection.objects.link(thing)
    return thing


def read(scene: bpy.types.Scene) -> np.ndarray | None:
    """The points that an import has left in the scene, (N, 3) in the world; None where there are none."""
    found = []
    for thing in scene.objects:
        if POINTS_KEY in thing and thing.type == "MESH":
            points = np.empty(3 * len(thing.data.vertices), np.float32)
            thing.data.vertices.foreach_get("co", points)
            matrix = np.array(thing.matrix_world, np.float64)
            found.append(points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
    return np.concatenate(found) if found else None
