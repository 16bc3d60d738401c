"""Semi-global aggregation of a matching cost (Hirschmüller 2008, "Stereo Processing by Semiglobal Matching", eq. 13).

Along each of eight directions r a path cost is gathered from the border of the picture on,

    L(p, d) = C(p, d) + min(L(p−r, d), L(p−r, d ± 1) + small, minₖ L(p−r, k) + P) − minₖ L(p−r, k)

with P = max(large / (1 + |I(p) − I(p−r)| / EDGE), small): depths may jump where the picture has an edge. The last term
only keeps numbers small.
"""

from __future__ import annotations

import numpy as np
import torch

from .dispatch import body

EDGE = 0.03  # difference of grey, 0 to 1, at which a jump costs half


def aggregate(cost: np.ndarray, grey: np.ndarray, small: float, large: float) -> np.ndarray:
    """The mean of L over the eight directions, (H, W, D) float32, from a cost (H, W, D) and a picture (H, W).

    `small` is the penalty for a change by one label between neighbouring pixels, `large` that for any larger one.
    """
    return body("semi_global", torch.device("cpu")).aggregate(
        np.ascontiguousarray(cost, np.float32), np.ascontiguousarray(grey, np.float32), small, large)
