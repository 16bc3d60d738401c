"""What fused bodies share that ask for a solid's signed distance."""

from __future__ import annotations

import numpy as np

from .dispatch import called

OUTSIDE = np.float32(127)  # a grid of bytes tells no greater distance


@called
def distance_at(solid, spacing, x, y, z):  # noqa: ANN001, ANN201
    """The value at a place, trilinear in a grid (N, N, N) int8 that is centred at 0; `OUTSIDE` outside of it."""
    last = len(solid) - 1
    x, y, z = x / spacing[0] + 0.5 * last, y / spacing[1] + 0.5 * last, z / spacing[2] + 0.5 * last
    if not (0 <= x < last and 0 <= y < last and 0 <= z < last):
        return OUTSIDE
    i, j, k = int(x), int(y), int(z)
    u, v, w = np.float32(x - i), np.float32(y - j), np.float32(z - k)
    near = (1 - v) * ((1 - w) * solid[i, j, k] + w * solid[i, j, k + 1]) \
        + v * ((1 - w) * solid[i, j + 1, k] + w * solid[i, j + 1, k + 1])
    i += 1
    far = (1 - v) * ((1 - w) * solid[i, j, k] + w * solid[i, j, k + 1]) \
        + v * ((1 - w) * solid[i, j + 1, k] + w * solid[i, j + 1, k + 1])
    return np.float32((1 - u) * near + u * far)
