"""Text of several lines, which Blender's labels have not."""

from __future__ import annotations

from typing import Any

import bpy

PIXELS = 7.0  # of a letter, on the average, at Blender's own scale
FEWEST, USUAL = 20, 44  # letters in a line, however narrow the sidebar is, and where it is not known


def draw_wrapped(layout: bpy.types.UILayout, text: str, width: int = 0, icon: Any = "NONE") -> None:
    """A sentence in as many lines as it takes; `width` is in letters, 0 for what the region has room for."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    for line in lines(text, width or letters()):
        column.label(text=line, icon=icon)
        icon = "BLANK1" if icon != "NONE" else icon


def letters() -> int:
    """How many fit beside each other in the region that is drawn."""
    region, system = bpy.context.region, bpy.context.preferences.system
    if region is None or not region.width:
        return USUAL
    return max(FEWEST, int(region.width / (PIXELS * (system.ui_scale or 1.0))) - 10)


def lines(text: str, width: int) -> list[str]:
    """The words of `text` in lines of at most `width` letters; a word that is longer has its own."""
    found: list[str] = []
    for word in text.split():
        if found and len(found[-1]) + 1 + len(word) <= width:
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found
