"""What a camera and a cut-out do to a picture: exposure, blur, noise, and an outline that is not quite right."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SOFTEST = 1.5  # pixels, the standard deviation of the widest blur
REACH = int(np.ceil(2.5 * SOFTEST))  # pixels of a blur's kernel to either side


def develop(linear: Tensor, random: np.random.Generator) -> Tensor:
    """Crops (B, 4, S, S), sRGB premultiplied by alpha, of linear ones premultiplied by alpha."""
    count = len(linear)
    linear = _blurred(linear, random.uniform(0.3, 1.0, count), random.random(count) < 0.5)
    rgb, alpha = linear[:, :3], linear[:, 3:]
    mean = rgb.mean(dim=(1, 2, 3)) / alpha.mean(dim=(1, 2, 3)).clamp(min=1e-3)
    exposure = np.exp(random.normal(np.log(0.22), 0.45, count)) / mean.clamp(min=1e-3).numpy()
    behind = _each(random.uniform(0, 1, (count, 3)))
    rgb = _encoded(torch.addcmul(rgb * _each(exposure.clip(0.4, 2.5)), 1 - alpha, behind))
    noise = torch.randn(rgb.shape, generator=torch.Generator().manual_seed(int(random.integers(2**63))))
    rgb = torch.addcmul(rgb, _each(random.uniform(0, 0.03, count)**1.5), noise).clamp_(0, 1)
    outline = _cut_out(alpha, random).clamp(0, 1)
    return torch.cat((rgb * outline, outline), dim=1)


def _each(values: np.ndarray) -> Tensor:
    """Numbers (B,) or (B, C), one for a picture or for its channel, to multiply pictures (B, C, S, S) by."""
    return torch.from_numpy(values.astype(np.float32)).reshape(len(values), -1, 1, 1)


def _cut_out(alpha: Tensor, random: np.random.Generator) -> Tensor:
    """The alpha that a cut-out finds: often the true one, else a pixel too wide or too narrow, or soft."""
    kind, count = random.random(len(alpha)), len(alpha)
    wide, narrow = torch.from_numpy(kind < 0.1), torch.from_numpy((kind >= 0.1) & (kind < 0.25))
    alpha = alpha.clone()
    alpha[wide] = functional.max_pool2d(alpha[wide], 3, 1, 1)
    alpha[narrow] = -functional.max_pool2d(-alpha[narrow], 3, 1, 1)
    return _blurred(alpha, random.uniform(0.5, SOFTEST, count), random.random(count) < 0.15)


def _blurred(pictures: Tensor, sigma: np.ndarray, which: np.ndarray) -> Tensor:
    """Pictures (B, C, S, S) of which some (B,) are blurred, each by its own standard deviation (B,) in pixels."""
    if not which.any():
        return pictures
    away = np.arange(-REACH, REACH + 1)
    kernel = np.exp(-away**2 / (2 * sigma[which, None]**2))
    kernel /= kernel.sum(axis=1, keepdims=True)
    chosen = torch.from_numpy(which)
    some = pictures[chosen]
    weight = torch.from_numpy(kernel.astype(np.float32)).repeat_interleave(some.shape[1], dim=0)[:, None, None]
    flat = some.flatten(0, 1)[None]
    rows = functional.conv2d(flat, weight, padding=(0, REACH), groups=len(weight))
    both = functional.conv2d(rows, weight.transpose(2, 3), padding=(REACH, 0), groups=len(weight))
    return pictures.index_put((chosen,), both[0].unflatten(0, some.shape[:2]))


def _encoded(linear: Tensor) -> Tensor:
    """sRGB of linear light; what is too bright is white."""
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-8)**(1 / 2.4) - 0.055)
