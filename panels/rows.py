"""Rows of a recipe's parameters, generated."""

from __future__ import annotations

from typing import Any

import bpy

from ..recipes import Parameter, Recipe

METHOD = "method"  # stands beside the quality, above the others
# Texts that name a data block, by the parameter's name: searched for instead of typed.
NAMES_OF: dict[str, tuple[str, Any]] = {"subject": ("collections", "OUTLINER_COLLECTION"),
                                        "bounds": ("objects", "CUBE"),
                                        "image": ("images", "IMAGE_DATA"), "cameras": ("objects", "CAMERA_DATA")}


def draw(layout: Any, settings: Any, recipe: type[Recipe]) -> None:
    """The task's own parameters, then each group; what is advanced stands in a folded panel at the end."""
    common = [p for p in recipe.parameters() if not p.advanced and p.name != METHOD]
    groups = dict.fromkeys(p.group for p in common)
    for group in groups:
        column = layout.column(heading=group) if group else layout.column()
        for parameter in common:
            if parameter.group == group:
                draw_row(column, settings, parameter)
    advanced = [p for p in recipe.parameters() if p.advanced]
    if advanced:
        header, body = layout.panel(f"MAQUETTE_advanced_{recipe.task()}", default_closed=True)
        header.label(text="Advanced")
        if body:
            for parameter in advanced:
                draw_row(body, settings, parameter)


def draw_row(layout: bpy.types.UILayout, settings: Any, parameter: Parameter) -> None:
    if parameter.name in NAMES_OF:
        blocks, icon = NAMES_OF[parameter.name]
        layout.prop_search(settings, parameter.name, bpy.data, blocks, icon=icon)
    else:
        layout.prop(settings, parameter.name)
