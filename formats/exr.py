"""The channels of OpenEXR files of rendered views: one layer or Blender's multilayer ones.

Names are those of Blender, LAYER.PASS.CHANNEL such as ViewLayer.Combined.R, ViewLayer.Depth.Z (V in newer
versions) and ViewLayer.Normal.X, or bare R, G, B, A and Z of a single layer. A depth map by itself is Y,
the one channel that every program shows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

Channels = dict[str, np.ndarray]  # (H, W) by full name

# Cycles writes 1e10 where a ray meets nothing.
_FARTHEST = 1e9


def read_channels(path: Path) -> Channels:
    """Every channel of every part. Raises OSError or RuntimeError where the file cannot be read."""
    import OpenEXR

    if not path.is_file():
        raise OSError("there is no such file")
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name: channel.pixels for part in file.parts for name, channel in part.channels.items()}
    if not channels:  # it prints what is wrong and goes on without them
        raise OSError("its pixels are broken or cut off")
    return channels


def write_channels(path: Path, channels: Channels) -> None:
    """Write float32 channels (H, W) without loss."""
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    pixels = {name: np.ascontiguousarray(values, np.float32) for name, values in channels.items()}
    with OpenEXR.File(header, pixels) as file:
        file.write(str(path))


def color(channels: Channels) -> tuple[np.ndarray, bool]:
    """Linear premultiplied (H, W, 4) float32, and whether there is an alpha channel; ValueError without colour."""
    rgb = _find_all(channels, *((f"Combined.{c}", c) for c in "RGB"))
    if rgb is None:
        raise ValueError(f"it has no colour channels R, G, B but {', '.join(sorted(channels)) or 'none'}")
    alpha = _find(channels, "Combined.A", "A")
    rgba = np.stack([*rgb, np.ones_like(rgb[0]) if alpha is None else alpha], axis=-1).astype(np.float32)
    return np.nan_to_num(rgba, nan=0.0, posinf=1.0, neginf=0.0), alpha is not None


def depth(channels: Channels) -> np.ndarray | None:
    """Depth along the axis, (H, W) float32 metres, NaN is unknown."""
    values = _find(channels, "Depth.Z", "Depth.V", "Z", "V", "Y")
    if values is None:
        return None
    return np.where((values > 0) & (values < _FARTHEST), values, np.nan).astype(np.float32)


def normal(channels: Channels) -> np.ndarray | None:
    """World normals, (H, W, 3) float32 of unit length, zero where a pixel's samples disagree or there are none."""
    axes = _find_all(channels, *((f"Normal.{c}",) for c in "XYZ"))
    if axes is None:
        return None
    normals = np.stack(axes, axis=-1).astype(np.float32)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.divide(normals, length, out=np.zeros_like(normals), where=length > 0.5)


def _find_all(channels: Channels, *alternatives: tuple[str, ...]) -> list[np.ndarray] | None:
    """A channel for each tuple of alternative names; None where one is missing."""
    found = [pixels for names in alternatives if (pixels := _find(channels, *names)) is not None]
    return found if len(found) == len(alternatives) else None


def _find(channels: Channels, *names: str) -> np.ndarray | None:
    """The first channel with one of these names, below whatever layer."""
    for name in names:
        for full, pixels in channels.items():
            if full == name or ("." in name and full.endswith(f".{name}")):
                return pixels
    return None
