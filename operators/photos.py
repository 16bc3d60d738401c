"""A photo's file, chosen or dropped into a view, to a mesh; and the view that the photo has of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..recipes import InputError
from ..scene import objects, properties
from . import reconstruct
from .dropping import FromFile
from .texts import iface_

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


class MAQUETTE_OT_image_to_mesh(FromFile, bpy.types.Operator):
    """Make a textured mesh of a photo of an object, with the settings in the Maquette tab"""

    bl_idname = "maquette.image_to_mesh"
    bl_label = "Image to Mesh"
    bl_options = {"REGISTER", "UNDO"}
    task, shown = "image", ("method", "texture")

    filter_glob: bpy.props.StringProperty(  # type: ignore[valid-type]
        default=";".join(f"*{ending}" for ending in ENDINGS), options={"HIDDEN"})

    def start(self, context: bpy.types.Context, path: Path) -> Any:
        try:
            image = bpy.data.images.load(str(path), check_existing=True)
        except RuntimeError as problem:
            raise InputError(f"photo: {path} cannot be read ({' '.join(str(problem).split())}); "
                             "choose another") from None
        properties.of_scene(context.scene).image.image = image.name
        return reconstruct.start(self, context, properties.recipe_in(context.scene, "image"))


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


CLASSES = [MAQUETTE_OT_image_to_mesh, MAQUETTE_OT_view_photo]
