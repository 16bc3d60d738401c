"""What differs between the versions of Blender from 4.2 to 5.x."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bpy

from ..recipes.errors import InputError

# Longest name of a data block in bytes of UTF-8; Blender cuts what is longer.
NAME_BYTES = 255 if bpy.app.version >= (5, 0, 0) else 63


def fitting_name(name: str) -> str:
    """`name` cut to what a data block can be called, never within a character."""
    return name.encode()[:NAME_BYTES].decode(errors="ignore")


def program() -> str:
    """The program that this Blender is; where it is a module, the Python that has it."""
    return bpy.app.binary_path or sys.executable


def cycles(scene: bpy.types.Scene) -> Any:
    """A scene's settings of Cycles, which a build may lack; InputError where it does."""
    if not hasattr(scene, "cycles"):
        raise InputError("views: Cycles is not enabled; enable the add-on Cycles Render Engine in the preferences")
    return scene.cycles


def can_denoise() -> bool:
    """Whether this build has Open Image Denoise; Cycles fails when it is asked for and absent."""
    try:
        import _cycles  # type: ignore[import-not-found]
    except ImportError:
        return False
    return bool(getattr(_cycles, "with_openimagedenoise", False))


@contextmanager
def multilayer_exr(settings: Any) -> Iterator[None]:
    """Let `scene.render.image_settings` write multilayer EXR in float32; as before afterwards.

    From 5.0 the kind of media decides which file formats there are, so it is changed first, both ways.
    """
    names = [n for n in ("media_type", "file_format", "color_mode", "color_depth", "exr_codec") if hasattr(settings, n)]
    before = {name: getattr(settings, name) for name in names}
    wanted = {"media_type": "MULTI_LAYER_IMAGE", "file_format": "OPEN_EXR_MULTILAYER", "color_mode": "RGBA",
              "color_depth": "32", "exr_codec": "ZIP"}
    try:
        for name in names:
            setattr(settings, name, wanted[name])
        yield
    finally:
        for name in names:
            try:
                setattr(settings, name, before[name])
            except TypeError:  # a codec or depth that the former format hides; it comes back with its format
                continue
