"""Import a capture's cameras and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy_extras.io_utils import ImportHelper

from ..recipes import MaquetteError
from ..scene import importer, properties
from .texts import rpt_


class MAQUETTE_OT_import_capture(bpy.types.Operator, ImportHelper):  # type: ignore[misc]
    """Make a camera with a background image for each picture of a transforms.json or COLMAP model"""

    bl_idname = "maquette.import_capture"
    bl_label = "Import Capture"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: bpy.props.StringProperty(default="*.json;*.bin;*.txt", options={"HIDDEN"})  # type: ignore[valid-type]

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


CLASSES = [MAQUETTE_OT_import_capture]
