"""A morph in Blender: an object with a slider from one shape to the other.

Where the steps share their faces the object has absolute shape keys, else a child a step, of which one is seen.
Either way the slider is the object's custom property `Morph`, which can be keyed like any other.
"""

from __future__ import annotations

from typing import Any

import bpy

from ..formats.morph import Morph
from . import meshes
from .compat import fitting_name

SLIDER = "Morph"
_VARIABLE = "morph"


def new_object(morph: Morph, name: str, collection: bpy.types.Collection) -> bpy.types.Object:
    """The morph as a new object at the world's origin, its slider at the first step."""
    thing: Any
    if morph.shared:
        thing = meshes.new_object(morph.steps[0], name, collection)
    else:
        thing = bpy.data.objects.new(fitting_name(name), None)
        collection.objects.link(thing)
    fill(thing, morph, collection)
    return thing


def fill(thing: Any, morph: Morph, collection: bpy.types.Collection) -> None:
    """Give an object, which has the first step's mesh where steps share their faces, its slider and steps."""
    if SLIDER not in thing:
        thing[SLIDER] = 0.0
        thing.id_properties_ui(SLIDER).update(min=0.0, max=1.0, soft_min=0.0, soft_max=1.0,
                                              description="From the first shape to the last")
    if morph.shared:
        _add_keys(thing, morph)
    else:
        _add_children(thing, morph, collection)


def _add_keys(thing: bpy.types.Object, morph: Morph) -> None:
    for number, step in enumerate(morph.steps):
        block: Any = thing.shape_key_add(name=f"Step {number}", from_mix=False)
        block.interpolation = "KEY_LINEAR"
        block.data.foreach_set("co", step.vertices.ravel())
    data: Any = thing.data
    keys = data.shape_keys
    keys.use_relative = False
    last = keys.key_blocks[-1].frame
    _drive(keys, "eval_time", thing, f"{_VARIABLE} * {last:g}")


def _add_children(thing: bpy.types.Object, morph: Morph, collection: bpy.types.Collection) -> None:
    for child in list(thing.children):
        data = child.data
        bpy.data.objects.remove(child)
        if isinstance(data, bpy.types.Mesh) and data.users == 0:
            bpy.data.meshes.remove(data)
    last = len(morph.steps) - 1
    for number, step in enumerate(morph.steps):
        child = meshes.new_object(step, f"{thing.name} {number}", collection)
        child.parent = thing
        for property in ("hide_viewport", "hide_render"):
            _drive(child, property, thing, f"floor({_VARIABLE} * {last} + 0.5) != {number}")


def _drive(owner: Any, property: str, thing: bpy.types.Object, expression: str) -> None:
    """An expression of the slider, one that Blender evaluates without running Python."""
    driver = owner.driver_add(property).driver
    driver.type = "SCRIPTED"
    variable = driver.variables.new()
    variable.name = _VARIABLE
    variable.targets[0].id = thing
    variable.targets[0].data_path = f'["{SLIDER}"]'
    driver.expression = expression
