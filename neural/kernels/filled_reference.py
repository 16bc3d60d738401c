"""All voxels of one grid at once, by torch's own sampling."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from ..predictors.view import frustum_centres


def filled(solid: np.ndarray, unit: float, spacing: np.ndarray, view_from_object: np.ndarray, distance: np.ndarray,
           side: int, reach: float) -> np.ndarray:
    grids = []
    for values, step, pose, far in zip(solid, spacing, view_from_object, distance, strict=True):
        centres = frustum_centres(side, torch.tensor([far])).reshape(-1, 3).double().numpy()
        turned = np.linalg.solve(pose[:, :3].astype(np.float64), (centres - pose[:, 3]).T).T
        places = torch.from_numpy(turned / (step * (len(values) - 1) / 2))
        within = (places.abs() <= 1).all(dim=1)
        found = functional.grid_sample(torch.from_numpy(values).double()[None, None],
                                       places.flip(1).view(1, 1, 1, -1, 3), align_corners=True)
        width = (far - centres[:, 2]) / far
        near = torch.from_numpy(reach * 2 / side / unit * width / np.linalg.norm(pose[0, :3]))
        grids.append(((found.view(-1) < near) & within).byte().view(side, side, side).numpy())
    return np.stack(grids)
