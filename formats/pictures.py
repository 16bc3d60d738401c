"""Pictures of views: their size from the header, and their pixels with alpha, depth and normals.

Pixels are taken as they are stored: an orientation in EXIF data turns nothing, since cameras are calibrated on
the stored pixels.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes.errors import InputError
from . import exr

PICTURE = "picture"  # the stem of the file in the input/ of a job that takes one picture


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, JPEG, WebP, TIFF or OpenEXR file from its header; InputError where it has none.

    Read here and not by an image library, because Blender's Python has none.
    """
    try:
        data = path.read_bytes()
        for magic, size in _SIZES.items():
            if data.startswith(magic):
                width, height = size(data)
                if width > 0 and height > 0:
                    return width, height
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    except (struct.error, IndexError, ValueError) as error:
        raise _unreadable(path, "its header is broken or cut off") from error
    raise _unreadable(path, "it is no PNG, JPEG, WebP, TIFF or OpenEXR file")


def _unreadable(path: Path, why: object) -> InputError:
    return InputError(f"picture: {path} cannot be read ({why}); replace the file or leave it out")


def _png_size(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(">II", data, 16)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while True:
        marker, length = struct.unpack_from(">xBH", data, at)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 1 if marker == 0xFF else 2 + length  # markers may be padded by 0xFF


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        return (int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff_size(data: bytes) -> tuple[int, int]:
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    sides = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (256, 257):
            (sides[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
    return sides.get(256, 0), sides.get(257, 0)


def _exr_size(data: bytes) -> tuple[int, int]:
    at = 8
    while data[at] != 0:
        name_end = data.index(0, at)
        type_end = data.index(0, name_end + 1)
        (size,) = struct.unpack_from("<I", data, type_end + 1)
        if data[at:name_end] == b"dataWindow":
            left, top, right, bottom = struct.unpack_from("<4i", data, type_end + 5)
            return right - left + 1, bottom - top + 1
        at = type_end + 5 + size
    return 0, 0


_SIZES: dict[bytes, Any] = {
    b"\x89PNG\r\n\x1a\n": _png_size, b"\xff\xd8": _jpeg_size, b"RIFF": _webp_size, b"II*\0": _tiff_size,
    b"MM\0*": _tiff_size, b"\x76\x2f\x31\x01": _exr_size}


@dataclass(frozen=True)
class Picture:
    """Decoded pixels of one file, at most as large as was asked for."""

    rgba_srgb: np.ndarray  # (H, W, 4) float32, colour sRGB-encoded and premultiplied by alpha
    has_alpha: bool  # whether the file has an alpha channel
    stored_size: tuple[int, int]  # width and height in the file
    depth: np.ndarray | None = None  # (H, W) float32 metres, NaN is unknown; an .exr's own
    normal: np.ndarray | None = None  # (H, W, 3) float32 world, zero is unknown; an .exr's own
    frames: int = 1  # of an animation, of which the first is taken

    def straight(self) -> np.ndarray:
        """(H, W, 4) uint8 sRGB with straight alpha."""
        return straight(self.rgba_srgb)


def straight(pixels: np.ndarray) -> np.ndarray:
    """Colour, premultiplied where there is alpha, (H, W, 3 or 4) float 0 to 1: uint8 with straight alpha."""
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:]
        colour = np.divide(pixels[..., :3], alpha, out=np.zeros_like(pixels[..., :3]), where=alpha > 0.5 / 255)
        pixels = np.concatenate([colour, alpha], axis=-1)
    return (pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def read_picture(path: Path, longest_side: int | None = None, *, upright: bool = False) -> Picture:
    """Decode a picture, reduced by area average to `longest_side` pixels where it is larger.

    `upright` turns it as its EXIF data say, for what is to be looked at and belongs to no camera.
    8-bit colour is taken as sRGB with straight alpha, 16-bit colour is reduced to 8 bits; an OpenEXR file is
    linear with premultiplied alpha. InputError names a file that cannot be decoded.
    """
    from PIL import Image, ImageOps

    if path.suffix.lower() == ".exr":
        return _read_exr(path, longest_side)
    try:
        with Image.open(path) as opened:
            frames = getattr(opened, "n_frames", 1)
            image: Any = ImageOps.exif_transpose(opened) if upright else _as_stored(opened)
            stored: tuple[int, int] = image.size
            width, height = reduced_size(*stored, longest_side)
            if image.mode.startswith(("I", "F")):  # grey of 16 bits or floats, which Pillow would clip to 8
                grey = np.asarray(image, np.float32) / (65535.0 if image.mode.startswith("I") else 1.0)
                opaque = np.ones_like(grey)
                rgba = _area_average(np.stack([grey, grey, grey, opaque], axis=-1).clip(0, 1), width, height)
                return Picture(rgba, False, stored, frames=frames)
            has_alpha = image.has_transparency_data
            image.draft("RGB", (width, height))  # JPEG alone: decodes at 1/2, 1/4 or 1/8 where that suffices
            pixels = image.convert("RGBA")
            if pixels.size != (width, height):
                pixels = pixels.resize((width, height), Image.Resampling.BOX)
            rgba = np.asarray(pixels, np.float32) / 255.0
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error
    rgba[..., :3] *= rgba[..., 3:]
    return Picture(rgba, has_alpha, stored, frames=frames)


def focal_length(path: Path) -> float | None:
    """The focal length, as on a sensor of 36 mm, that a photo's EXIF data say; None where they do not."""
    from PIL import ExifTags, Image

    try:
        with Image.open(path) as opened:
            tags = opened.getexif().get_ifd(ExifTags.IFD.Exif)
            found = float(tags.get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
    except (OSError, SyntaxError, ValueError, TypeError, ZeroDivisionError):
        return None
    return found if math.isfinite(found) and found > 0 else None


def orientation(path: Path) -> int:
    """How a photo was held, as its EXIF data say: 1 level, 3 upside down, 6 and 8 on end (EXIF 2.3, 4.6.4)."""
    from PIL import ExifTags, Image

    try:
        with Image.open(path) as opened:
            found = int(opened.getexif().get(ExifTags.Base.Orientation, 1))
    except (OSError, SyntaxError, ValueError, TypeError):
        return 1
    return found if 1 <= found <= 8 else 1


def _as_stored(image: Any) -> Any:
    """The picture with its pixels as the file has them: Pillow turns a TIFF by its orientation, and no other."""
    from PIL.Image import Transpose

    if image.format != "TIFF":
        return image
    # What undoes the turn of each value of the orientation tag (EXIF 2.3, 4.6.4).
    undo = {2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
            5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_90, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_270}
    orientation = image.tag_v2.get(0x0112)
    return image.transpose(undo[orientation]) if orientation in undo else image


def read_grey(path: Path, width: int, height: int) -> np.ndarray:
    """A mask, (height, width) float32 from 0 to 1, brought to that size; its alpha where it has no brightness."""
    picture = read_picture(path, max(width, height))
    grey = picture.rgba_srgb[..., :3].mean(axis=-1)
    if picture.has_alpha and np.ptp(picture.rgba_srgb[..., 3]) > 0:
        grey = picture.rgba_srgb[..., 3]
    return _area_average(grey[..., None], width, height)[..., 0]


def read_depth(path: Path) -> np.ndarray:
    """Depth along the axis, (H, W) float32 metres, NaN is unknown.

    Whole numbers are millimetres, as every depth camera and nerfstudio write them, 0 and 65535 unknown; floats
    are metres.
    """
    from PIL import Image

    if path.suffix.lower() == ".exr":
        depth = exr.depth(_channels(path))
        if depth is None:
            raise _unreadable(path, "it has no depth channel")
        return depth
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error
    if values.ndim != 2 or values.dtype == np.uint8:
        raise _unreadable(path, "a depth map has one channel of 16 bits or floats")
    if values.dtype.kind == "f":
        return np.where((values > 0) & np.isfinite(values), values, np.nan).astype(np.float32)
    return np.where((values > 0) & (values < 65535), values / np.float32(1000), np.nan).astype(np.float32)


def png(rgba: np.ndarray) -> bytes:
    """A PNG file of (H, W, 4) uint8, sRGB with straight alpha; for Blender's Python, which has no image library."""
    height, width = rgba.shape[:2]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)  # 8 bits of RGBA
    rows = np.pad(rgba.reshape(height, 4 * width), ((0, 0), (1, 0)))  # each row after its filter, which is none
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 1))
            + chunk(b"IEND", b""))


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Write (H, W, 3) or (H, W, 4) uint8 sRGB, with straight alpha."""
    from PIL import Image

    Image.fromarray(rgb).save(path)


def reduced_size(width: int, height: int, longest_side: int | None) -> tuple[int, int]:
    """Width and height with the longest side at most `longest_side`."""
    if longest_side is None or max(width, height) <= longest_side:
        return width, height
    scale = longest_side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def srgb_from_linear(linear: np.ndarray) -> np.ndarray:
    """Encode linear values from 0 to 1, clipped to it (IEC 61966-2-1)."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _read_exr(path: Path, longest_side: int | None) -> Picture:
    channels = _channels(path)
    try:
        linear, has_alpha = exr.color(channels)
    except ValueError as error:
        raise _unreadable(path, error) from error
    height, width = linear.shape[:2]
    small = reduced_size(width, height, longest_side)
    linear = _area_average(linear, *small)
    alpha = linear[..., 3:].clip(0, 1)
    straight = np.divide(linear[..., :3], alpha, out=np.zeros_like(linear[..., :3]), where=alpha > 1e-6)
    rgba = np.concatenate([srgb_from_linear(straight) * alpha, alpha], axis=-1).astype(np.float32)
    return Picture(rgba, has_alpha, (width, height), nearest(exr.depth(channels), *small),
                   nearest(exr.normal(channels), *small))


def _channels(path: Path) -> exr.Channels:
    try:
        return exr.read_channels(path)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error


def nearest(values: np.ndarray | None, width: int, height: int) -> np.ndarray | None:
    """`values`, (H, W, …), at the pixels nearest to those of a picture of another size: for what must not blend."""
    if values is None or values.shape[:2] == (height, width):
        return values
    rows = (np.arange(height) + 0.5) * values.shape[0] / height
    columns = (np.arange(width) + 0.5) * values.shape[1] / width
    return values[rows.astype(int)[:, None], columns.astype(int)]


def _area_average(values: np.ndarray, width: int, height: int) -> np.ndarray:
    """`values`, (H, W, C) float32, resized by area average."""
    from PIL import Image

    if values.shape[:2] == (height, width):
        return values
    channels = [Image.fromarray(np.ascontiguousarray(values[..., c], np.float32)) for c in range(values.shape[2])]
    return np.stack([np.asarray(c.resize((width, height), Image.Resampling.BOX)) for c in channels], axis=-1)
