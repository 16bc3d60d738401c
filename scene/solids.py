"""The selected objects as solids: meshes, and point clouds where an object has no faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..formats.mesh import Mesh
from ..formats.points import Points
from ..formats.solids import write_solids
from ..recipes import InputError
from . import meshes, points, results

SURFACES = {"MESH", "CURVE", "SURFACE", "META", "FONT"}
SOLIDS = SURFACES | {"POINTCLOUD"}
# The attribute of points that holds their normals, as Blender's own PLY and Geometry Nodes users name it.
NORMALS = ("normal", "Normal", "N")


def selected(context: bpy.types.Context, types: set[str] = SURFACES) -> list[bpy.types.Object]:
    """The selected objects of these types, the active one first, a result standing for what it was made of.

    In a Blender without a window, the scene's where none is selected. InputError where there are none.
    """
    chosen = [o for o in context.scene.objects if o.type in types and o.select_get()]
    if not chosen and bpy.app.background:
        chosen = [o for o in context.scene.objects if o.type in types and not o.hide_render
                  and not results.is_result(o) and not o.get(points.POINTS_KEY)]
    active = context.view_layer.objects.active
    chosen.sort(key=lambda o: o != active)
    found = {o.name: o for thing in chosen for o in results.sources(context.scene, thing) or [thing]}
    if not found:
        raise InputError("input: no mesh is selected; select the objects to work on")
    return list(found.values())


def summary(context: bpy.types.Context) -> dict[str, Any]:
    """What an estimate needs, without evaluating any modifier."""
    found: list[Any] = selected(context, SOLIDS)
    return {"solids": len(found), "faces": sum(len(o.data.polygons) for o in found if o.type == "MESH"),
            "points": sum(len(o.data.points) for o in found if o.type == "POINTCLOUD"), "voxels": 0}


def gather(context: bpy.types.Context, folder: Path) -> None:
    """Write the selected objects with their modifiers as solids in the world. InputError names one without points."""
    depsgraph = context.evaluated_depsgraph_get()
    found = []
    for thing in selected(context, SOLIDS):
        solid = points_from_object(thing, depsgraph) if thing.type == "POINTCLOUD" else \
            meshes.mesh_from_object(thing, depsgraph)
        if isinstance(solid, Mesh) and not len(solid.faces):
            solid = points_from_object(thing, depsgraph)
        positions = solid.vertices if isinstance(solid, Mesh) else solid.positions
        if not len(positions):
            raise InputError(f'input: object "{thing.name}" has neither faces nor points; select another')
        if not np.isfinite(positions).all():
            raise InputError(f'input: object "{thing.name}" has vertices that are not finite; mend it or its modifiers')
        found.append(solid)
    write_solids(found, folder)


def points_from_object(thing: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> Points:
    """A point cloud's points, or the vertices of a mesh, in the world; with normals where an attribute has them."""
    evaluated = thing.evaluated_get(depsgraph)
    if evaluated.type not in ("MESH", "POINTCLOUD"):
        return Points(np.empty((0, 3), np.float32))
    data: Any = evaluated.data
    if "position" not in data.attributes:  # an empty cloud
        return Points(np.empty((0, 3), np.float32))
    normals = next((data.attributes[name] for name in NORMALS if name in data.attributes), None)
    world = np.array(evaluated.matrix_world, np.float64)
    positions = _vectors(data.attributes["position"]) @ world[:3, :3].T + world[:3, 3]
    if normals is None or normals.data_type != "FLOAT_VECTOR" or normals.domain != "POINT":
        return Points(positions.astype(np.float32))
    turned = _vectors(normals) @ np.linalg.inv(world[:3, :3])
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    return Points(positions.astype(np.float32),
                  (turned / length).astype(np.float32) if (length > 0).all() else None)


def _vectors(attribute: Any) -> np.ndarray:
    values = np.empty(3 * len(attribute.data), np.float32)
    attribute.data.foreach_get("vector", values)
    return values.reshape(-1, 3).astype(np.float64)
