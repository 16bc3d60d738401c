"""What windows of a picture cost to match with those of its neighbours, by zero-mean normalised cross-correlation."""

from __future__ import annotations

import numpy as np
import torch

from .dispatch import body

NOISE = 1e-4  # of grey's variance: windows with less contrast correlate with nothing
UNSEEN = 0.5  # cost where no neighbour looks


def match(mean: np.ndarray, square: np.ndarray, means: np.ndarray, squares: np.ndarray, products: np.ndarray,
          inside: np.ndarray) -> np.ndarray:
    """(1 − NCC) / 2 of each pixel's window, (H, W) float32, the mean over the better half of the neighbours.

    `mean` and `square` (H, W) are the means of a picture's windows and of their squares, `means` and `squares`
    (N, H, W) those of N neighbours, warped onto it, `products` (N, H, W) the means of the products with the
    picture. Neighbours count where they are `inside` (N, H, W) uint8. For the worse half a place may be hidden
    (Kang et al. 2001).
    """
    return body("correlation", torch.device("cpu")).match(mean, square, means, squares, products, inside)
