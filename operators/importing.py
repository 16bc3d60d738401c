"""A capture from files: cameras with their pictures, or photos whose cameras are yet to be found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy_extras.io_utils import ImportHelper

from ..recipes import MaquetteError
from ..scene import importer, properties
from . import reconstruct
from .texts import rpt_


class MAQUETTE_OT_import_capture(bpy.types.Operator, ImportHelper):  # type: ignore[misc]
    """Make a camera with a background image for each picture of a transforms.json or COLMAP model"""

    bl_idname = "maquette.import_capture"
    bl_label = "Import Capture"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: bpy.props.StringProperty(default="*.json;*.bin;*.txt", options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self: Any, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        if self.filepath:  # dropped
            return self.execute(context)
        return super().invoke(context, event)

    def execute(self: Any, context: bpy.types.Context) -> Any:
        try:
            collection, warnings = importer.import_capture(context.scene, Path(self.filepath))
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        properties.of_scene(context.scene).capture.views = "photos"
        for warning in warnings:
            self.report({"WARNING"}, warning)
        cameras = sum(o.type == "CAMERA" for o in collection.objects)
        self.report({"INFO"}, rpt_("{} cameras in collection {}").format(cameras, collection.name))
        return {"FINISHED"}


class MAQUETTE_OT_photos_to_mesh(bpy.types.Operator):
    """Choose a folder of photos of a subject: their cameras are found, and the mesh is made with this tab's settings"""

    bl_idname = "maquette.photos_to_mesh"
    bl_label = "Photos to Mesh"
    bl_options = {"REGISTER", "UNDO"}

    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self: Any, context: bpy.types.Context) -> Any:
        settings = properties.of_scene(context.scene).capture
        settings.views, settings.photos = "folder", self.directory
        try:
            return reconstruct.start(self, context, properties.recipe_in(context.scene, "capture"))
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}


CLASSES = [MAQUETTE_OT_import_capture, MAQUETTE_OT_photos_to_mesh]
