"""Blender's images ↔ pictures as every room passes them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..formats.photos import copied
from ..formats.pictures import png, srgb_from_linear
from ..recipes import InputError
from .compat import fitting_name

FRAMES_KEY = "maquette_frames"  # of an image sequence, how many pictures it has
# What has pixels of its own; of the others only a render or a player makes some.
STILL = {"FILE", "GENERATED"}
# Endings of files that the backend reads as Blender does.
COPIED = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"}


def chosen(context: bpy.types.Context, name: str) -> bpy.types.Image:
    """The image called `name`, without a name the one that an open image editor shows. InputError where none is fit."""
    if name and name not in bpy.data.images:
        raise InputError(f'image: there is no image "{name}" in this file; choose another')
    image: Any = bpy.data.images[name] if name else next(iter(shown(context)), None)
    if image is None:
        raise InputError("image: none is chosen and no image editor shows one; choose an image")
    if image.source not in STILL:
        raise InputError(f'image: "{image.name}" is a {image.source.lower()}; choose a still image')
    return image


def editors(context: bpy.types.Context) -> list[bpy.types.Area]:
    """The image editors of all windows."""
    return [area for window in context.window_manager.windows for area in window.screen.areas
            if area.type == "IMAGE_EDITOR"]


def shown(context: bpy.types.Context) -> list[bpy.types.Image]:
    """The images that image editors show."""
    spaces: list[Any] = [area.spaces.active for area in editors(context)]
    return [space.image for space in spaces if space.image]


def size(image: bpy.types.Image) -> tuple[int, int]:
    """Width and height; InputError where the image has no pixels."""
    width, height = image.size
    if not width or not height:
        where = f", {bpy.path.abspath(image.filepath, library=image.library)}," if image.filepath else ""
        raise InputError(f'image: "{image.name}" has no pixels; its file{where} is missing or damaged, restore it')
    return width, height


def write(image: bpy.types.Image, path: Path) -> None:
    """The image's pixels as they are now, saved or not, as a PNG of 8 bits a channel, sRGB with straight alpha."""
    width, height = size(image)
    source: Any = image.pixels
    pixels = np.empty(width * height * image.channels, np.float32)
    source.foreach_get(pixels)
    rgba = as_rgba(pixels.reshape(height, width, image.channels)[::-1])  # Blender's rows begin at the bottom
    if image.is_float and not image.colorspace_settings.is_data:  # linear and premultiplied, byte images are neither
        alpha = rgba[..., 3:]
        straight = np.divide(rgba[..., :3], alpha, out=np.zeros_like(rgba[..., :3]), where=alpha > 1e-6)
        rgba = np.concatenate([srgb_from_linear(straight), alpha], axis=-1)
    path.write_bytes(png((np.nan_to_num(rgba).clip(0, 1) * 255 + 0.5).astype(np.uint8)))


def copy(image: bpy.types.Image, stem: Path) -> str:
    """The image's own file where it has one that is as the image is, else its pixels, as a file beside `stem`; its name.

    A photo's file is smaller and says more, as its focal length.
    """
    path = Path(bpy.path.abspath(image.filepath, library=image.library)) if image.filepath else None
    if image.source == "FILE" and not image.is_dirty and not image.packed_file and path and path.is_file() and (
            path.suffix.lower() in COPIED):
        return copied(path, stem.with_suffix(path.suffix.lower()))
    write(image, stem.with_suffix(".png"))
    return f"{stem.name}.png"


def as_rgba(pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 1 to 4) as (H, W, 4): grey, grey with alpha, colour, or that already."""
    channels = pixels.shape[2]
    colour = pixels[..., :3] if channels > 2 else pixels[..., :1].repeat(3, axis=2)
    alpha = pixels[..., -1:] if channels in (2, 4) else np.ones_like(pixels[..., :1])
    return np.concatenate([colour, alpha], axis=-1)


def read(path: Path, name: str, colorspace: str = "sRGB") -> bpy.types.Image:
    """A picture's file as a new image that is packed into the .blend."""
    image = _loaded(path, name, colorspace)
    image.pack()
    image.filepath_raw = ""  # the job's folder may be cleaned up
    return image


def sequence(paths: list[Path], name: str) -> bpy.types.Image:
    """Files 0001, 0002 … of one folder as an image sequence, whose first picture is the scene's frame 1."""
    image = _loaded(paths[0], name, "sRGB")
    image.source = "SEQUENCE"
    image[FRAMES_KEY] = len(paths)
    return image


def _loaded(path: Path, name: str, colorspace: str) -> Any:
    try:
        image: Any = bpy.data.images.load(str(path))
    except RuntimeError as problem:
        raise InputError(f"job: the result {path} cannot be read ({' '.join(str(problem).split())}); "
                         "resume the job or run it again") from None
    image.name = fitting_name(name)
    image.colorspace_settings.name = colorspace
    image.use_fake_user = True  # else saving the file would drop it
    return image


def show(context: bpy.types.Context, image: bpy.types.Image) -> None:
    """Show the image in the first image editor that is open, if one is."""
    for area in editors(context)[:1]:
        space: Any = area.spaces.active
        space.image = image
        if image.source == "SEQUENCE":
            user = space.image_user
            user.frame_start, user.frame_offset, user.frame_duration = 1, 0, image[FRAMES_KEY]
            user.use_cyclic = user.use_auto_refresh = True
        area.tag_redraw()
