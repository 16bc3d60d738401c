"""Which subjects are nearly one and the same."""
from __future__ import annotations
from collections.abc import Sequence
import numpy as np
def twin_groups(records: Sequence[np.void], groups: Sequence[str]) -> list[int]:
    known = {g: i for i, g in enumerate(dict.fromkeys(groups))}
    return [known[g] for g in groups]
