"""One triangle at a time, all pixels of its box at once."""

from __future__ import annotations

import numpy as np


def draw(corners: np.ndarray, first: int, face: np.ndarray, weights: np.ndarray, depth: np.ndarray) -> None:
    height, width = depth.shape
    for number, (a, b, c) in enumerate(corners, first):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if not min(a[2], b[2], c[2]) > 0 or area == 0:
            continue
        low = np.ceil(np.minimum(np.minimum(a, b), c)[:2] - 0.5)
        high = np.floor(np.maximum(np.maximum(a, b), c)[:2] - 0.5)
        x0, y0 = np.clip(low, 0, [width, height]).astype(int)
        x1, y1 = np.clip(high, -1, [width - 1, height - 1]).astype(int)
        box = np.s_[y0:y1 + 1, x0:x1 + 1]
        x, y = np.arange(x0, x1 + 1) + 0.5, np.arange(y0, y1 + 1)[:, None] + 0.5
        share = [((q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])) / area for p, q in ((b, c), (c, a), (a, b))]
        over = np.stack([s / z for s, z in zip(share, (a[2], b[2], c[2]), strict=True)], axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            here = 1 / over.sum(axis=-1)
        hit = (np.minimum(np.minimum(*share[:2]), share[2]) >= 0) & (here.astype(np.float32) < depth[box])
        face[box][hit], depth[box][hit] = number, here[hit]
        weights[box][hit] = (over * here[..., None])[hit]
