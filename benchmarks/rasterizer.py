"""Differentiable drawing: seconds forward and backward, beside PyTorch3D's rasterizer where it is installed.

    python3 run.py bench rasterizer

Milliseconds are the least of several runs, all methods in one run on the threads that the first line says; `cpu_ms` is
the processor's time of all threads, forward and backward, which other work on the machine changes less. `alpha` is the
silhouette alone; `all` is silhouette, weights and depth. PyTorch3D has no wheel for this Python: build its CPU
extension from source (FORCE_CPU=1) for the comparison. Its soft silhouette is that of its own examples, 50 faces a
pixel and σ = 1e-4; `hard` is one face a pixel, whose weights and depth are what both give.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as a job's worker has it; it is read when torch is loaded

import torch
import trimesh
from torch import Tensor

from maquette.neural.kernels import dispatch, rasterizer_reference
from maquette.neural.kernels.dispatch import threads
from maquette.neural.rendering.rasterizer import pixels_of, rasterize

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "rasterizer.json"
SIGMA, FACES = 1e-4, 50  # of PyTorch3D's examples
Drawn = tuple[Tensor, ...]  # what is drawn, silhouette first


def bumpy_ball(level: int) -> tuple[Tensor, Tensor]:
    """Vertices (V, 3) and 20 · 4^level faces of a ball with bumps, which hide one another in the picture."""
    ball = trimesh.creation.icosphere(level)
    places = torch.tensor(ball.vertices, dtype=torch.float32)
    bumps = torch.sin(7 * places[:, :1] + 1) * torch.sin(6 * places[:, 1:2]) * torch.sin(5 * places[:, 2:] + 2)
    return 0.7 * places * (1 + 0.3 * bumps), torch.tensor(ball.faces)


def own(gradient: Any) -> Callable[[Tensor, Tensor, int], Drawn]:
    def draw(pixels: Tensor, faces: Tensor, side: int) -> Drawn:
        seen = rasterize(pixels[:, faces], side, side, gradient=gradient)
        return seen.alpha, seen.weights, seen.depth
    return draw


def peer(soft: bool) -> Callable[[Tensor, Tensor, int], Drawn]:
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    def draw(pixels: Tensor, faces: Tensor, side: int) -> Drawn:
        places = pixels * pixels.new_tensor([-2 / side, -2 / side, 1]) + pixels.new_tensor([1, 1, 0])
        radius = -SIGMA * torch.logit(torch.tensor(1e-4)).item() if soft else 0.0
        shown, depth, weights, squared = rasterize_meshes(
            Meshes(places, faces[None]), side, radius, FACES if soft else 1, perspective_correct=True)
        outside = 1 - torch.sigmoid(-squared / SIGMA) * (shown >= 0)
        alpha = 1 - outside.prod(dim=-1) if soft else (shown[..., 0] >= 0).float()
        return alpha, weights[..., 0, :], depth[..., 0]
    return draw


def methods() -> dict[str, Callable[[Tensor, Tensor, int], Drawn]]:
    found = {"maquette, soft": own("soft"), "maquette, nmr": own("nmr"), "maquette, hard": own("none")}
    try:
        found.update({"PyTorch3D, soft": peer(soft=True), "PyTorch3D, hard": peer(soft=False)})
    except ImportError as problem:
        print(f"PyTorch3D: not installed ({problem}); it is left out")
    return found


def timed(draw: Callable[[Tensor, Tensor, int], Drawn], vertices: Tensor, faces: Tensor, side: int, parts: int,
          repeats: int) -> dict[str, Any]:
    """Least milliseconds forward and backward of the first `parts` of what is drawn."""
    forward, backward, processor = [], [], []
    for _ in range(repeats):
        points = vertices[None].clone().requires_grad_()
        start, used = time.perf_counter(), time.process_time()
        drawn = draw(pixels_of(points, torch.tensor([3.0]), side), faces, side)
        between = time.perf_counter()
        torch.stack([part.square().sum() for part in drawn[:parts]]).sum().backward()
        forward.append(between - start)
        backward.append(time.perf_counter() - between)
        processor.append(time.process_time() - used)
    return {"forward_ms": 1e3 * min(forward), "backward_ms": 1e3 * min(backward), "cpu_ms": 1e3 * min(processor),
            "covered": int((drawn[0] > 0.5).sum())}


def add(rows: list[dict[str, Any]], table: str, **row: Any) -> None:
    row = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in row.items()}
    rows.append({"table": table, **row})
    print(f"{table}: " + "  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def main(words: list[str]) -> None:
    quick = words == ["--quick"]
    print(f"cpu, {threads()} threads, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    rows: list[dict[str, Any]] = []
    for level, side in ((4, 256),) if quick else ((3, 128), (4, 128), (4, 256), (5, 256), (4, 512)):
        vertices, faces = bumpy_ball(level)
        for method, draw in methods().items():
            repeats = 2 if method.startswith("PyTorch3D") else 5 if quick else 30
            for parts, name in ((1, "alpha"), (3, "all")) if not method.endswith("hard") else ((3, "all"),):
                add(rows, "speed", faces=len(faces), side=side, method=method, drawn=name,
                    **timed(draw, vertices, faces, side, parts, repeats))
    vertices, faces = bumpy_ball(4)
    chosen, dispatch.body = dispatch.body, lambda kernel, device: rasterizer_reference
    for gradient in ("soft", "nmr"):
        add(rows, "plain torch", faces=len(faces), side=256, method=gradient, drawn="all",
            **timed(own(gradient), vertices, faces, 256, 3, 2))
    dispatch.body = chosen
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"device": "cpu", "threads": threads(), "rows": rows}, indent=1) + "\n")
    print(f"written to {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
