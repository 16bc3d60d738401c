"""Scans and voxels from files, chosen or dropped into a 3D view: read, and made into a mesh with the tab's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy_extras.io_utils import ImportHelper

from ..recipes import MaquetteError
from ..scene import properties, scans
from . import reconstruct

SCANS = (".ply", ".stl", ".obj", ".glb", ".gltf")
GRIDS = (".binvox", ".npz", ".npy", ".octree")


class FromFile(ImportHelper):  # type: ignore[misc]
    """What both have: a file that is dropped is shown with what will be done to it, and starts with OK."""

    task = ""
    shown = ("method", "resolution")  # of its settings, in the dialog

    def invoke(self: Any, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        if self.filepath:  # dropped
            return context.window_manager.invoke_props_dialog(self)
        return super().invoke(context, event)

    def draw(self: Any, context: bpy.types.Context) -> None:
        settings = getattr(properties.of_scene(context.scene), self.task)
        self.layout.use_property_split = True
        self.layout.label(text=Path(self.filepath).name, icon="FILE", translate=False)
        for name in self.shown:
            self.layout.prop(settings, name)

    def execute(self: Any, context: bpy.types.Context) -> Any:
        try:
            return self.start(context, Path(self.filepath))
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}


class MAQUETTE_OT_remesh_file(FromFile, bpy.types.Operator):
    """Import a mesh or a scan and make it one watertight mesh, with the settings in the Maquette tab"""

    bl_idname = "maquette.remesh_file"
    bl_label = "Remesh File"
    bl_options = {"REGISTER", "UNDO"}
    task = "sdf"

    filter_glob: bpy.props.StringProperty(  # type: ignore[valid-type]
        default=";".join(f"*{ending}" for ending in SCANS), options={"HIDDEN"})

    def start(self, context: bpy.types.Context, path: Path) -> Any:
        scans.import_file(context, path)
        return reconstruct.start(self, context, properties.recipe_in(context.scene, self.task))


class MAQUETTE_OT_voxels_file(FromFile, bpy.types.Operator):
    """Make a mesh of a file of voxels, with the settings in the Maquette tab"""

    bl_idname = "maquette.voxels_file"
    bl_label = "Voxels from File"
    bl_options = {"REGISTER", "UNDO"}
    task = "voxels"

    filter_glob: bpy.props.StringProperty(  # type: ignore[valid-type]
        default=";".join(f"*{ending}" for ending in (*GRIDS, ".vdb")), options={"HIDDEN"})

    def start(self, context: bpy.types.Context, path: Path) -> Any:
        recipe = properties.recipe_in(context.scene, self.task)
        if path.suffix.lower() == ".vdb":
            scans.import_file(context, path)
            return reconstruct.start(self, context, recipe)
        return reconstruct.start(self, context, recipe, paths=[path])


CLASSES = [MAQUETTE_OT_remesh_file, MAQUETTE_OT_voxels_file]
