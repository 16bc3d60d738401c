"""What may be dropped into a 3D view, and the operator that takes it."""

from __future__ import annotations

import bpy

from .dropping import GRIDS, SCANS, MAQUETTE_OT_remesh_file, MAQUETTE_OT_voxels_file
from .importing import MAQUETTE_OT_import_capture
from .photos import ENDINGS, MAQUETTE_OT_image_to_mesh


def handler(word: str, label: str, operator: type, endings: tuple[str, ...]) -> type:
    """MAQUETTE_FH_WORD, which lets files be dropped into a 3D view."""

    class Handler(bpy.types.FileHandler):
        bl_idname = f"MAQUETTE_FH_{word}"
        bl_label = label
        bl_import_operator = operator.bl_idname  # type: ignore[attr-defined]
        bl_file_extensions = ";".join(endings)

        @classmethod
        def poll_drop(cls, context: bpy.types.Context) -> bool:
            return context.area is not None and context.area.type == "VIEW_3D"

    Handler.__name__ = Handler.__qualname__ = f"MAQUETTE_FH_{word}"
    return Handler


CLASSES = [handler("photo", "Image to Mesh (Maquette)", MAQUETTE_OT_image_to_mesh, ENDINGS),
           handler("capture", "Import Capture (Maquette)", MAQUETTE_OT_import_capture, (".json",)),
           handler("scan", "Remesh (Maquette)", MAQUETTE_OT_remesh_file, SCANS),
           handler("voxels", "Voxels to Mesh (Maquette)", MAQUETTE_OT_voxels_file, (*GRIDS, ".vdb"))]
