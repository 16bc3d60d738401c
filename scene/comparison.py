"""Results of several methods side by side: a collection, a row of objects, a text with their figures."""

from __future__ import annotations

import json
from typing import Any

import bpy

from ..formats import comparison
from .compat import fitting_name

COMPARISON_KEY = "maquette_comparison"  # on the collection and its objects: the job whose input all methods took
FIGURES_KEY = "maquette_figures"  # on an object: what its report says, as in `formats.comparison`
STEP_KEY = "maquette_step"  # on the collection: metres from one object to the next
NAME = "Comparison"
GAP = 1.25  # objects are so many times their width apart


def keep_figures(thing: Any, report: dict[str, Any]) -> None:
    """Store on a result how good its report says it is."""
    thing[FIGURES_KEY] = json.dumps(comparison.row(report["recipe"]["method"], report))


def lay_out(scene: bpy.types.Scene, thing: Any, which: str, method: str, methods: list[str]) -> None:
    """Move a method's result to its place in the comparison `which`, and write the table of all results' figures."""
    collection = _collection(scene, which)
    for other in thing.users_collection:
        other.objects.unlink(thing)
    collection.objects.link(thing)
    if STEP_KEY not in collection:
        corners = [corner[0] for corner in thing.bound_box]
        collection[STEP_KEY] = GAP * (max(corners) - min(corners))
    thing.location.x += (methods.index(method) + 1) * collection[STEP_KEY]  # the original keeps its place
    thing.name = fitting_name(f"{thing.name.partition('.')[0]} {method}")
    thing[COMPARISON_KEY] = which
    _write_table(collection, methods)


def _collection(scene: bpy.types.Scene, which: str) -> Any:
    found: Any = next((c for c in scene.collection.children_recursive if c.get(COMPARISON_KEY) == which), None)
    if found is None:
        found = bpy.data.collections.new(NAME)
        found[COMPARISON_KEY] = which
        scene.collection.children.link(found)
    return found


def _write_table(collection: Any, methods: list[str]) -> None:
    rows = {row["method"]: row for row in (json.loads(thing[FIGURES_KEY]) for thing in collection.objects
                                           if FIGURES_KEY in thing)}
    text = bpy.data.texts.get(collection.name) or bpy.data.texts.new(collection.name)
    text.from_string(comparison.text([rows.get(method) or comparison.failed(method, "not done") for method in methods]))
