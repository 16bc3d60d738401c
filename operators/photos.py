"""A photo's file, chosen or dropped into a view, to a mesh; and the view that the photo has of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy_extras.io_utils import ImportHelper

from ..recipes import MaquetteError
from ..scene import objects, properties
from . import reconstruct
from .texts import iface_

ENDINGS = ".png;.jpg;.jpeg;.webp;.tif;.tiff"


class MAQUETTE_OT_image_to_mesh(bpy.types.Operator, ImportHelper):  # type: ignore[misc]
    """Make a textured mesh of a photo of an object, with the settings in the Maquette tab"""

    bl_idname = "maquette.image_to_mesh"
    bl_label = "Image to Mesh"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: bpy.props.StringProperty(  # type: ignore[valid-type]
        default=";".join(f"*{ending}" for ending in ENDINGS.split(";")), options={"HIDDEN"})

    def execute(self: Any, context: bpy.types.Context) -> Any:
        try:
            image = bpy.data.images.load(str(Path(self.filepath)), check_existing=True)
        except RuntimeError as problem:
            self.report({"ERROR"}, f"photo: {self.filepath} cannot be read ({' '.join(str(problem).split())}); "
                                   "choose another")
            return {"CANCELLED"}
        properties.of_scene(context.scene).image.image = image.name
        try:
            return reconstruct.start(self, context, properties.recipe_in(context.scene, "image"))
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}

    def invoke(self: Any, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        if self.filepath:  # dropped
            return self.execute(context)
        return super().invoke(context, event)


class MAQUETTE_FH_photo(bpy.types.FileHandler):
    bl_idname = "MAQUETTE_FH_photo"
    bl_label = "Image to Mesh (Maquette)"
    bl_import_operator = "maquette.image_to_mesh"
    bl_file_extensions = ENDINGS

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


class MAQUETTE_OT_view_photo(bpy.types.Operator):
    """Look at the object as its photo does, the photo behind it; gives the render the photo's proportions"""

    bl_idname = "maquette.view_photo"
    bl_label = "View as in the Photo"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.object is None or objects.camera_of(context.object) is None:
            cls.poll_message_set(iface_("Select an object that Maquette has made of a photo"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Any:
        objects.look_through(context, objects.camera_of(context.object))
        return {"FINISHED"}


CLASSES = [MAQUETTE_OT_image_to_mesh, MAQUETTE_FH_photo, MAQUETTE_OT_view_photo]
