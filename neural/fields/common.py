"""What every neural field of a scene offers, whichever way it represents it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Rendered:
    """What a field, or a mesh, looks like from a pinhole camera."""

    rgb_srgb: np.ndarray  # (H, W, 3) float32, sRGB-encoded, premultiplied by alpha
    alpha: np.ndarray  # (H, W) float32
    depth: np.ndarray  # (H, W) float32 metres along the camera's axis, mean over what is seen; NaN where nothing is
    normal: np.ndarray  # (H, W, 3) float32 world, unit length; zero where nothing is seen

    def over(self, background: float | np.ndarray) -> np.ndarray:
        """The picture (H, W, 3) on a background: a grey value or a colour (3,), sRGB-encoded."""
        return self.rgb_srgb + (1 - self.alpha[..., None]) * background


class Field(Protocol):
    """A scene that a camera can look at and whose surface can be extracted."""

    @property
    def box(self) -> np.ndarray:
        """World-aligned lower and upper corner (2, 3) of what is represented."""

    def render(self, fx: float, fy: float, cx: float, cy: float, width: int, height: int,
               world_from_camera: np.ndarray) -> Rendered:
        """The view of a pinhole camera that looks along −Z with Y up; pixels as in `PosedPicture`."""

    def level_grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Values at lattice corners (X, Y, Z) float32, zero on the surface and negative inside, and their
        4×4 world_from_grid."""

    def tensors(self) -> dict[str, Tensor]:
        """All that the field is made of, to be stored; single precision may come back with that of half.

        Integers are int32, int64 or uint8.
        """

    def about(self) -> dict[str, Any]:
        """What else it is made of, as JSON."""

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], about: dict[str, Any]) -> Self:
        """The field that `tensors` and `about` were taken of, on the tensors' device.

        Both come from a file that anybody may have made: shapes and ranges are checked, and what does not fit raises
        ValueError, KeyError, TypeError or RuntimeError.
        """


def packed(mask: Tensor) -> Tensor:
    """A mask of any shape as bits, uint8."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy()))


def unpacked(bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The mask of this shape whose bits these are; ValueError where their number is another."""
    number = int(np.prod(shape, dtype=np.int64))
    if bits.dtype != torch.uint8 or bits.ndim != 1 or len(bits) != -(-number // 8):
        raise ValueError(f"{tuple(bits.shape)} bits do not make a mask of {shape}")
    mask = np.unpackbits(bits.cpu().numpy(), count=number).astype(bool).reshape(shape)
    return torch.from_numpy(mask).to(bits.device)


def shaped(tensor: Tensor, *shape: int) -> Tensor:
    """The tensor in single precision; ValueError where its shape is another."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"a tensor is {tuple(tensor.shape)} and should be {shape}")
    return tensor.float()


def filled(values: np.ndarray) -> np.ndarray:
    """Values of a lattice (X, Y, Z), negative inside, with what is enclosed made inside: nobody has seen it."""
    from scipy.ndimage import binary_fill_holes

    solid = values < 0
    values[binary_fill_holes(solid) & ~solid] = -1
    return values
