"""The surface that a scene's renders show: what a reconstruction of rendered views is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bpy

from ..formats.mesh import Mesh
from ..recipes import Recipe
from . import meshes, views
from .solids import SURFACES

MOST_FACES = 2_000_000


def rendered_surface(scene: bpy.types.Scene, recipe: Recipe) -> Mesh | None:
    """The subject as Cycles gets it, in the world: modifiers as they render, instances, nothing hidden in renders.

    None where it has no faces, or more than `MOST_FACES`.
    """
    subject = recipe.to_json()["subject"]
    wanted = views.subject_objects(scene, subject)
    found: list[Mesh] = []

    def collect(depsgraph: bpy.types.Depsgraph) -> None:
        faces = 0
        for instance in depsgraph.object_instances:
            thing: Any = instance.object
            source: Any = instance.parent or thing
            if source.original in wanted and instance.show_self and thing.type in SURFACES and thing.visible_camera:
                found.append(meshes.mesh_of_evaluated(thing, instance.matrix_world))
                faces += len(found[-1].faces)
            if faces > MOST_FACES:
                found.clear()
                return

    with views.prepared(scene, recipe.to_json(), (8, 8), []), _engine(collect) as name:
        scene.camera = views.some_cameras(scene)[0]
        scene.render.engine = name
        bpy.ops.render.render(scene=scene.name)
    surface = meshes.joined(found)
    return surface if len(surface.faces) else None


@contextmanager
def _engine(look: Callable[[bpy.types.Depsgraph], None]) -> Iterator[Any]:
    """A render engine that draws nothing and looks at what it is given: no other way leads to a render's depsgraph."""

    problems: list[Exception] = []

    class Engine(bpy.types.RenderEngine):
        bl_idname = "MAQUETTE_LOOK"
        bl_label = "Maquette"

        def render(self, depsgraph: bpy.types.Depsgraph) -> None:  # type: ignore[override]
            try:
                look(depsgraph)
            except Exception as problem:  # Blender would print it and go on
                problems.append(problem)

    bpy.utils.register_class(Engine)
    try:
        yield Engine.bl_idname
    finally:
        bpy.utils.unregister_class(Engine)
    if problems:
        raise problems[0]
