"""Which sides of triangles lie on one edge, and what hangs together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from .dispatch import body

Pairs = Iterable[tuple[np.ndarray, np.ndarray]]


def sides_by_edge(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sides of faces (F, 3) by their edges, in the order of the edge's lesser vertex, its greater and the corner.

    Returns the corners (S,) int32 that sides begin at, places in the flattened faces; where each edge's sides begin
    (E + 1,) int32; and whether a side runs from the lesser vertex to the greater (S,) bool. A side of no length is
    left out.
    """
    return body("connections", torch.device("cpu")).sides_by_edge(np.ascontiguousarray(faces, np.int32))


def components(count: int, pairs: Pairs) -> np.ndarray:
    """The components (count,) int32 of a graph whose edges come in parts (K,), (K,), one array of ends each.

    They are numbered in the order of their first members.
    """
    return body("connections", torch.device("cpu")).components(count, pairs)
