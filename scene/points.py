"""Sparse points of a capture: a mesh of vertices alone."""

from __future__ import annotations

from typing import Any

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
    found: list[np.ndarray] = []
    thing: Any
    for thing in scene.objects:
        if thing.get(POINTS_KEY) and thing.type == "MESH":
            data: Any = thing.data
            points = np.empty(3 * len(data.vertices), np.float32)
            data.vertices.foreach_get("co", points)
            matrix = np.array(thing.matrix_world, np.float64)
            found.append(points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
    return np.concatenate(found) if found else None
