"""A box or a sphere drawn in the scene, as what bounds a capture's subject."""

from __future__ import annotations

import bpy
import numpy as np

from ..recipes import InputError, Recipe
from ..recipes.capture import box_of

SOLID = {"MESH", "CURVE", "SURFACE", "META", "FONT"}


def box(scene: bpy.types.Scene, recipe: Recipe) -> np.ndarray | None:
    """Lower and upper corner (2, 3), in metres along the world's axes, around what the recipe's `bounds` names.

    None where it is empty. InputError where it names nothing that has an extent, or what would be rendered.
    """
    values = recipe.to_json()
    bounds = values.get("bounds")
    if not bounds:
        return None
    named: bpy.types.Object | None = scene.objects.get(bounds)
    if named is None:
        given = box_of(bounds)
        if given is None:
            raise InputError(f'bounds: there is no object "{bounds}" in scene "{scene.name}"; choose another one')
        return np.array(given)
    evaluated = named.evaluated_get(bpy.context.evaluated_depsgraph_get())
    matrix = np.array(evaluated.matrix_world, np.float64)
    turn, place = matrix[:3, :3], matrix[:3, 3]
    if named.type == "EMPTY" and named.empty_display_type in {"CUBE", "SPHERE"}:
        reach = np.abs(turn).sum(1) if named.empty_display_type == "CUBE" else np.linalg.norm(turn, axis=1)
        found = np.stack([place - named.empty_display_size * reach, place + named.empty_display_size * reach])
    elif named.type in SOLID:
        if values["views"] == "rendered" and not named.hide_render:
            raise InputError(f'bounds: "{bounds}" would hide what is in it; disable it in renders')
        corners = np.array(evaluated.bound_box, np.float64) @ turn.T + place
        found = np.stack([corners.min(0), corners.max(0)])
    else:
        raise InputError(f'bounds: "{bounds}" is no empty shown as a cube or a sphere, and no mesh; choose one')
    if not (found[1] > found[0]).all():
        raise InputError(f'bounds: "{bounds}" is flat, so that nothing is in it; scale it')
    return found
