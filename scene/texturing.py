"""The active object as a mesh to be textured, and the texture laid on it: its own UV maps and materials stay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..formats import pictured
from ..formats.mesh import Mesh
from ..recipes import InputError
from . import meshes

UV_NAME = "Maquette"
_MOST_UV_MAPS = 8
_STEEPEST = math.radians(66)  # between faces of one island: Blender's own default


def active(context: bpy.types.Context) -> Any:
    """The object to texture, or InputError."""
    thing: Any = context.view_layer.objects.active
    if thing is None or thing.type != "MESH" or not len(thing.data.polygons):
        raise InputError("input: no mesh is active; select the object to texture")
    maps = thing.data.uv_layers
    if len(maps) == _MOST_UV_MAPS and UV_NAME not in maps:
        raise InputError(f'input: object "{thing.name}" has {_MOST_UV_MAPS} UV maps, the most that there can be; '
                         "remove one")
    return thing


def gather(context: bpy.types.Context, folder: Path) -> None:
    """Write the active object's faces where its modifiers put them, with a new UV map. InputError where they add some."""
    thing = active(context)
    data = thing.data
    evaluated = thing.evaluated_get(context.evaluated_depsgraph_get())
    shape: Any = evaluated.data
    if len(shape.vertices) != len(data.vertices) or len(shape.loops) != len(data.loops):
        raise InputError(f'input: object "{thing.name}" has modifiers that add or remove faces; apply them, or hide '
                         "them in the viewport")
    data.calc_loop_triangles()
    loops = np.empty(3 * len(data.loop_triangles), np.int32)
    data.loop_triangles.foreach_get("loops", loops)
    vertex, place = np.empty(len(data.loops), np.int32), np.empty(3 * len(shape.vertices), np.float32)
    data.loops.foreach_get("vertex_index", vertex)
    shape.vertices.foreach_get("co", place)
    world = np.array(evaluated.matrix_world, np.float64)
    corners = loops.reshape(-1, 3)
    if np.linalg.det(world[:3, :3]) < 0:  # mirrored: counter-clockwise from outside again
        corners = corners[:, ::-1]
    points = place.reshape(-1, 3).astype(np.float64) @ world[:3, :3].T + world[:3, 3]
    if not np.isfinite(points).all():
        raise InputError(f'input: object "{thing.name}" has vertices that are not finite; mend it or its modifiers')
    mesh = Mesh(points, vertex[corners], corner_uvs=_unwrapped(context, data)[corners])
    pictured.write(mesh, folder, corners, len(data.loops))


def _unwrapped(context: bpy.types.Context, data: bpy.types.Mesh) -> np.ndarray:
    """UVs (L, 2) of a mesh's loops by Blender's Smart UV Project, on a copy."""
    with _edited_copy(context, data) as copy:
        for layer in list(copy.uv_layers):
            copy.uv_layers.remove(layer)
        copy.uv_layers.new(name=UV_NAME)
        bpy.ops.object.mode_set(mode="EDIT")
        bpy.ops.mesh.reveal()
        bpy.ops.mesh.select_all(action="SELECT")
        bpy.ops.uv.smart_project(angle_limit=_STEEPEST, island_margin=0.004, correct_aspect=False)
        bpy.ops.object.mode_set(mode="OBJECT")
        uvs = np.empty(2 * len(copy.loops), np.float32)
        copy.uv_layers[0].uv.foreach_get("vector", uvs)
    return uvs.reshape(-1, 2).clip(0, 1)


@contextmanager
def _edited_copy(context: bpy.types.Context, data: bpy.types.Mesh) -> Iterator[Any]:
    """A copy of a mesh on the active object of the view layer, alone selected; all as before afterwards."""
    layer: Any = context.view_layer
    before, selected = layer.objects.active, [o for o in layer.objects if o.select_get()]
    copy = data.copy()
    stand_in = bpy.data.objects.new(data.name, copy)
    context.scene.collection.objects.link(stand_in)
    try:
        for thing in selected:
            thing.select_set(False)
        stand_in.select_set(True)
        layer.objects.active = stand_in
        yield copy
    finally:
        if stand_in.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        bpy.data.objects.remove(stand_in)
        bpy.data.meshes.remove(copy)
        layer.objects.active = before
        for thing in selected:
            thing.select_set(True)


def lay_on(thing: Any, mesh: Mesh, loops: np.ndarray, count: int) -> bool:
    """Give an object the UV map and the material of a texture that was made for it; its others stay as they are.

    Texturing it again renews both. False where the object has been edited since and the UVs do not fit it.
    """
    data = thing.data
    if len(data.loops) != count or mesh.corner_uvs is None:
        return False
    uvs = np.zeros((count, 2), np.float32)
    uvs[loops.reshape(-1)] = mesh.corner_uvs.reshape(-1, 2)
    shown = data.uv_layers.active, next((m for m in data.uv_layers if m.active_render), None)
    names = [layer.name if layer else "" for layer in shown]
    layer = data.uv_layers.get(UV_NAME) or data.uv_layers.new(name=UV_NAME, do_init=False)
    layer.uv.foreach_set("vector", uvs.ravel())
    if names[0]:  # a new map takes the place of the active one
        data.uv_layers.active = data.uv_layers[names[0]]
    if names[1]:
        data.uv_layers[names[1]].active_render = True
    ours = next((i for i, m in enumerate(data.materials) if m and m.get(meshes.MATERIAL_KEY) == UV_NAME), None)
    if ours is not None:
        meshes.retexture(data.materials[ours], mesh, thing.name)
    else:
        ours = len(data.materials)
        data.materials.append(meshes.new_material(mesh, f"{thing.name} texture", UV_NAME))
    data.polygons.foreach_set("material_index", np.full(len(data.polygons), ours, np.int32))
    data.update()
    return True
