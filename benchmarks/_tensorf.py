"""TensoRF's own model classes as a peer (Chen et al. 2022), trained and measured as Maquette's methods are.

The classes come from a checkout of apchenstu/TensoRF (MIT), of which nothing is copied here. What its train.py does
around them is done here with the numbers of its configs/lego.txt: VM-split with 16 and 48 components, the L1 of the
density, white background, rays that meet the box alone. What it does at certain of its 30,000 steps, of which a
processor makes a few hundred, is done at shares of the time: empty space is pruned in the middle, and the lattice stays
at 128³ with 2,048 rays a step. The box is the one that Maquette finds, with a margin.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _captures import Figures, Pictures, about, measure, memory_of
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.rendering.bounds import find_box

VOXELS, BATCH = 128**3, 2048
RATES, FALL = (0.02, 1e-3), 0.1  # of the factors and of the network; what they fall to
L1 = (8e-5, 4e-5)  # before and after the first pruning
PRUNED = (0.5, 0.75)  # shares of the time: it is at steps 2,000 and 4,000, and nothing may be opaque before
SETTINGS: dict[str, Any] = {
    "density_n_comp": [16] * 3, "appearance_n_comp": [48] * 3, "app_dim": 27, "shadingMode": "MLP_Fea", "pos_pe": 6,
    "view_pe": 2, "fea_pe": 2, "featureC": 128, "step_ratio": 0.5, "fea2denseAct": "softplus", "density_shift": -10,
    "distance_scale": 25, "alphaMask_thres": 1e-4}
GET = "git clone https://github.com/apchenstu/TensoRF, and name the folder by --tensorf or the variable TENSORF"


def checkout(given: Path | None) -> Path | None:
    """The folder of TensoRF; None, and a line that says how to get it, where there is none."""
    folder = given or (Path(os.environ["TENSORF"]) if "TENSORF" in os.environ else None)
    if folder is not None and (folder / "models" / "tensoRF.py").is_file():
        return folder.resolve()
    print(f"TensoRF is left out: {folder or 'no folder'} has no models/tensoRF.py. {GET}")
    return None


def train_tensorf(taken: Pictures, folder: Path, seconds: float) -> Figures:
    """A row of the table."""
    sys.path.insert(0, str(folder))
    warnings.simplefilter("ignore")  # of what it takes from older versions of torch
    with contextlib.redirect_stdout(None):
        model_class = importlib.import_module("models.tensoRF").TensorVMSplit
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pictures = taken.load()
    with contextlib.redirect_stdout(None):
        model, steps = _trained(model_class, pictures, seconds, device)
    memory = memory_of(device)

    @torch.no_grad()
    def look(p: PosedPicture) -> np.ndarray:
        rays = _rays(p)
        seen = [model(part.to(device), is_train=False, white_bg=True, N_samples=-1)[0].cpu()
                for part in rays.split(BATCH)]
        return torch.cat(seen).view(*p.rgba_srgb.shape[:2], 3).numpy()

    return {"method": "TensoRF", "seconds": seconds, **about(taken, pictures, device), "resolution": 128,
            "steps": steps, **measure(look, pictures), **memory}


def _trained(model_class: Any, pictures: list[PosedPicture], seconds: float, device: torch.device) -> tuple[Any, int]:
    began = time.monotonic()
    train = [p for p in pictures if p.split == "train"]
    box = find_box(pictures)
    box += 0.05 * np.outer([-1, 1], box[1] - box[0])
    aabb = torch.from_numpy(box).float().to(device)
    side = float(np.prod(box[1] - box[0]) / VOXELS) ** (1 / 3)
    cells = [int(length / side) for length in box[1] - box[0]]
    places = np.array([p.world_from_camera[:3, 3] for p in train])
    middle, half = box.mean(0), np.linalg.norm(box[1] - box[0]) / 2
    away = np.linalg.norm(places - middle, axis=1)
    model = model_class(aabb, cells, device, near_far=[max(away.min() - half, 0.01), away.max() + half], **SETTINGS)
    rays, colors = torch.cat([_rays(p) for p in train]), torch.cat([_over_white(p) for p in train])
    rays, colors = model.filtering_rays(rays, colors, bbox_only=True)
    optimizer = torch.optim.Adam(model.get_optparam_groups(*RATES), betas=(0.9, 0.99))
    rates = [group["lr"] for group in optimizer.param_groups]
    pruned, steps = 0, 0
    while (fraction := (time.monotonic() - began) / seconds) < 1:
        if pruned < len(PRUNED) and fraction >= PRUNED[pruned]:
            pruned += 1
            if model.getDenseAlpha(cells)[0].max() < SETTINGS["alphaMask_thres"]:
                continue  # All is fog yet, and would go.
            new_aabb = model.updateAlphaMask(tuple(cells))
            if pruned == 1:
                model.shrink(new_aabb)
                optimizer = torch.optim.Adam(model.get_optparam_groups(*RATES), betas=(0.9, 0.99))
            else:
                rays, colors = model.filtering_rays(rays, colors)
        pick = torch.randint(len(rays), (BATCH,))
        seen, _ = model(rays[pick].to(device), is_train=True, white_bg=True, N_samples=-1)
        loss = (seen - colors[pick].to(device)).square().mean() + L1[pruned > 0] * model.density_L1()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * FALL**fraction
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    return model, steps


def _rays(p: PosedPicture) -> torch.Tensor:
    """Origins and unit directions through the pixels, row by row: (H·W, 6) float32."""
    height, width = p.rgba_srgb.shape[:2]
    x, y = np.meshgrid((np.arange(width) + 0.5 - p.cx) / p.fx, (p.cy - np.arange(height) - 0.5) / p.fy)
    directions = np.stack([x, y, -np.ones_like(x)], -1).reshape(-1, 3) @ p.world_from_camera[:3, :3].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = np.broadcast_to(p.world_from_camera[:3, 3], directions.shape)
    return torch.from_numpy(np.concatenate([origins, directions], 1)).float()


def _over_white(p: PosedPicture) -> torch.Tensor:
    return torch.from_numpy(p.rgba_srgb[..., :3] + 1 - p.rgba_srgb[..., 3:]).view(-1, 3)
