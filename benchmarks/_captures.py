"""One training from posed pictures and what came of it, in a process of its own, so that its memory can be told."""

from __future__ import annotations

import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from maquette.formats.capture import with_hold_out
from maquette.formats.folder import read_capture
from maquette.jobs import machine
from maquette.neural.evaluation.pictures import psnr, ssim
from maquette.neural.fields.common import Field
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.geometry.views import load_views
from maquette.neural.kernels import dispatch
from maquette.neural.training.fit import fit
from maquette.recipes.capture import Capture

Figures = dict[str, Any]
Look = Callable[[PosedPicture], np.ndarray]  # the picture (H, W, 3) over white that a method shows of a view


@dataclass(frozen=True)
class Pictures:
    """Which pictures of an input are trained on, and at which size."""

    input: Path
    views: int = 0  # to train on, spread evenly; 0 for all
    size: int = 0  # of the longest side, pixels; 0 as they are
    tests: int = 0  # to measure on, spread evenly; 0 for all

    def load(self) -> list[PosedPicture]:
        capture = with_hold_out(read_capture(self.input), 8)
        pictures = load_views(capture, print, self.size or None)
        train = [p for p in pictures if p.split == "train"]
        test = [p for p in pictures if p.split == "test"]
        return _spread(train, self.views) + _spread(test, self.tests)


def in_a_process(function: Callable[..., Figures], *arguments: Any) -> Figures:
    """What `function` says, in a new process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def train_field(taken: Pictures, recipe: Capture,
                more: Callable[[Field, list[PosedPicture]], Figures] | None = None) -> Figures:
    """Train by one of Maquette's methods, measure, and what `more` says of the field."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pictures = taken.load()
    with tempfile.TemporaryDirectory() as folder:
        field = fit(pictures, recipe, seed=0, device=device, checkpoint=Path(folder),
                    on_progress=lambda fraction, message: None, on_preview=lambda rgb: None)
    memory = memory_of(device)

    def look(p: PosedPicture) -> np.ndarray:
        height, width = p.rgba_srgb.shape[:2]
        return field.render(p.fx, p.fy, p.cx, p.cy, width, height, p.world_from_camera).over(1.0)

    return {"method": recipe.method, "seconds": recipe.seconds, **about(taken, pictures, device),
            "resolution": recipe.resolution, **measure(look, pictures), **memory,
            **(more(field, pictures) if more else {})}


def about(taken: Pictures, pictures: list[PosedPicture], device: torch.device) -> Figures:
    """What a figure was measured on."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()}, {os.cpu_count()} cores"
    train = [p for p in pictures if p.split == "train"]
    return {"input": taken.input.parent.name, "views": len(train), "pixels": max(train[0].rgba_srgb.shape[:2]),
            "device": f"{device.type}: {name}", "threads": dispatch.threads()}


def memory_of(device: torch.device) -> Figures:
    """The most that this process has had so far, pictures included."""
    gpu = {"gpu_peak_mb": torch.cuda.max_memory_allocated() // 2**20} if device.type == "cuda" else {}
    return {"peak_mb": machine.peak_memory_mb(), **gpu}


def measure(look: Look, pictures: list[PosedPicture]) -> Figures:
    """Mean PSNR and SSIM over the test views, over white, and how fast they render."""
    test = [p for p in pictures if p.split == "test"]
    scores, rays, seconds = [], 0, 0.0
    for p in test:
        start = time.perf_counter()
        rgb = look(p).clip(0, 1)
        seconds += time.perf_counter() - start
        rays += rgb.shape[0] * rgb.shape[1]
        truth = p.rgba_srgb[..., :3] + 1 - p.rgba_srgb[..., 3:]
        scores.append((psnr(rgb, truth), ssim(rgb, truth)))
    means = np.mean(scores, axis=0)
    return {"tests": len(test), "psnr_db": float(means[0]), "ssim": float(means[1]), "rendered_rays_s": rays / seconds}


def _spread(pictures: list[PosedPicture], number: int) -> list[PosedPicture]:
    """So many of them, evenly; all where it is 0."""
    if not 0 < number < len(pictures):
        return pictures
    return [pictures[n] for n in np.linspace(0, len(pictures) - 1, number).round().astype(int)]
