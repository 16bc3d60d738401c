"""The task of the tests' recipe."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from ...formats.mesh import Mesh, write_npz
from ...jobs.files import write_json
from ...recipes import InputError
from ..context import Context

TETRAHEDRON = Mesh(np.eye(4, 3), np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]))


def run(context: Context) -> None:
    recipe = context.recipe
    context.stage("Misbehaving", 0.1)
    misbehave(context, recipe.trouble)
    context.stage("Counting", 0.9)
    counted = context.checkpoint / "counted.json"
    start = json.loads(counted.read_text())["steps"] if counted.exists() else 0
    context.report["resumed_at"] = start
    for step in range(start, recipe.steps):
        time.sleep(recipe.step_seconds)
        write_json(counted, {"steps": step + 1})
        context.progress((step + 1) / recipe.steps, f"step {step + 1}")
        context.preview(np.full((4, 4, 3), step % 256, np.uint8))
    context.stage("Writing", 1.0)
    write_npz(TETRAHEDRON, context.output / "mesh.npz")
    context.report |= {"counted": recipe.steps, "resolution": recipe.resolution, "psnr_db": np.float32(np.nan)}


def misbehave(context: Context, trouble: str) -> None:
    if trouble == "input":
        raise InputError("grid: all 8 values are 0; give one with something in it")
    if trouble == "defect":
        raise KeyError("nothing there")
    if trouble == "upgraded":  # another version's files are where this one's were, and lack what it looks for
        worker = Path(__file__).parents[1] / "worker.py"
        shutil.copyfile(worker, f"{worker}.new")
        os.replace(f"{worker}.new", worker)
        raise ModuleNotFoundError("No module named 'maquette.neural.fields.gone'")
    if trouble == "gpu-always" or trouble == "gpu" and context.recipe.resolution == 100:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
    if trouble == "ram":
        np.empty(2**55, np.uint8)
    if trouble == "disk":
        (context.output / "large.bin").write_bytes(b"0" * 2**24)
    if trouble == "crash":
        os.kill(os.getpid(), getattr(signal, "SIGSEGV", signal.SIGTERM))
    if trouble == "deaf":
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        time.sleep(60)
    if trouble == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        write_json(context.checkpoint / "child.json", {"pid": child.pid})
        time.sleep(60)
    if trouble == "warn":
        context.warn("views: 3 of 50 pictures are missing (first: train/r_12.png); they are skipped")
