"""Entries in Blender's own menus."""

from __future__ import annotations

from typing import Any

import bpy


def draw_import(self: Any, context: bpy.types.Context) -> None:
    self.layout.operator("maquette.import_capture", text="Capture (transforms.json, COLMAP)")


def register() -> None:
    bpy.types.TOPBAR_MT_file_import.append(draw_import)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(draw_import)
