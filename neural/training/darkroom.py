"""What a camera and a cut-out do to a picture: exposure, blur, noise, and an outline that is not quite right."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def develop(linear: Tensor, random: np.random.Generator) -> Tensor:
    """Crops (B, 4, S, S), sRGB premultiplied by alpha, of linear ones premultiplied by alpha."""
    noise = torch.from_numpy(random.standard_normal((len(linear), 3, *linear.shape[2:]), np.float32))
    return torch.stack([_developed(*pair, random) for pair in zip(linear, noise, strict=True)])


def _developed(linear: Tensor, noise: Tensor, random: np.random.Generator) -> Tensor:
    if random.random() < 0.5:
        linear = _blurred(linear, random.uniform(0.3, 1.0))
    alpha = linear[3:]
    mean = float(linear[:3].mean() / alpha.mean().clamp(min=1e-3))
    exposure = np.exp(random.normal(np.log(0.22), 0.45)) / max(mean, 1e-3)
    behind = torch.from_numpy(random.uniform(0, 1, (3, 1, 1)).astype(np.float32))
    exposure = min(max(exposure, 0.4), 2.5)
    rgb = _encoded(linear[:3] * exposure + (1 - alpha) * behind)
    rgb = (rgb + random.uniform(0, 0.03)**1.5 * noise).clamp(0, 1)
    outline = _cut_out(alpha, random).clamp(0, 1)
    return torch.cat((rgb * outline, outline))


def _cut_out(alpha: Tensor, random: np.random.Generator) -> Tensor:
    """The alpha that a cut-out finds: often the true one, else a pixel too wide or too narrow, or soft."""
    kind = random.random()
    if kind < 0.1:
        alpha = functional.max_pool2d(alpha, 3, 1, 1)
    elif kind < 0.25:
        alpha = -functional.max_pool2d(-alpha, 3, 1, 1)
    if random.random() < 0.15:
        alpha = _blurred(alpha, random.uniform(0.5, 1.5))
    return alpha


def _blurred(picture: Tensor, sigma: float) -> Tensor:
    reach = int(np.ceil(2.5 * sigma))
    kernel = torch.exp(-torch.arange(-reach, reach + 1)**2 / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(picture.dtype)
    rows = functional.conv2d(picture[:, None], kernel.view(1, 1, 1, -1), padding=(0, reach))
    return functional.conv2d(rows, kernel.view(1, 1, -1, 1), padding=(reach, 0))[:, 0]


def _encoded(linear: Tensor) -> Tensor:
    """sRGB of linear light; what is too bright is white."""
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-8)**(1 / 2.4) - 0.055)
