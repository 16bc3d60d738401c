"""Surfaces from grids and from functions, beside scikit-image, PyMCubes and VTK (requirements/peers.txt).

Seconds are the best of several runs on the threads that the first line says, all methods in one run. Ratios are to
scikit-image's Lewiner on the same grid. A grid of N³ has N values a side. Memory is the peak of a process of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as a job's worker has it; it is read when torch is loaded

import numpy as np
import torch
from torch import Tensor, nn

from maquette.formats.meshes import read_mesh
from maquette.neural.evaluation.audit import audit
from maquette.neural.fields.implicit import DeepSDF
from maquette.neural.geometry.distance import Distance
from maquette.neural.geometry.mesh_distance import MeshDistance
from maquette.neural.kernels.dispatch import threads
from maquette.neural.meshing.marching_cubes import marching_cubes, triangulate
from maquette.neural.meshing.near_surface import near_surface

ROOT = Path(__file__).resolve().parents[1]
MESHES = ROOT.parent / "shared" / "data" / "meshes"
OUT = ROOT / "out" / "isosurface.json"
REPEATS = 3
SLAB = 1 << 16  # points of the dense grid whose evaluation is timed, where the whole would take hours
Rows = list[dict[str, Any]]


class Function:
    """An implicit function of x, y, z in the box [−1, 1]³."""

    box = np.array([[-1.0, -1, -1], [1, 1, 1]])

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor], lipschitz: float) -> None:
        self.function, self.lipschitz = function, lipschitz

    def __call__(self, points: Tensor) -> Tensor:
        return self.function(*points.unbind(-1))


def gyroid(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Three periods of 1 / 1.5 a side, cut off by a ball."""
    k = 3 * np.pi
    wave = sum(torch.sin(k * a) * torch.cos(k * b) for a, b in ((x, y), (y, z), (z, x)))
    return torch.maximum(wave / k, torch.sqrt(x * x + y * y + z * z) - 0.95)


def drilled(holes: list[tuple[float, float]]) -> Function:
    """A plate with round holes, whose genus is their number."""
    def plate(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        solid = torch.maximum(torch.maximum(x.abs(), y.abs()) - 0.9, z.abs() - 0.15)
        for a, b in holes:
            solid = torch.maximum(solid, 0.12 - torch.hypot(x - a, y - b))
        return solid
    return Function(plate, 1.0)


TORUS = Function(lambda x, y, z: torch.hypot(torch.hypot(x, y) - 0.6, z) - 0.25, 1.0)
GYROID = Function(gyroid, 2.0)
GENUS = {0: drilled([]), 1: TORUS, 3: drilled([(-0.5, 0), (0, 0), (0.5, 0)]),
         9: drilled([(a, b) for a in (-0.5, 0, 0.5) for b in (-0.5, 0, 0.5)])}


def armadillo() -> Distance | None:
    return MeshDistance(read_mesh(MESHES / "armadillo.ply")) if MESHES.is_dir() else None


def best(function: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, Any]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


# ---- dense grids -------------------------------------------------------------------------------------------------

def sampled(shape: Function, side: int) -> np.ndarray:
    axis = torch.linspace(-1, 1, side)
    y, z = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([shape.function(x.expand_as(y), y, z) for x in axis]).numpy()


def upsampled(distance: Distance, side: int, coarse: int = 96) -> np.ndarray:
    """A distance's grid from a coarser one's: its surface is as large, which is all that the triangles depend on."""
    low, high = distance.box
    centre, half = (low + high) / 2, float((high - low).max()) * 0.52
    axis = torch.linspace(-half, half, coarse)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    values = distance((points + torch.as_tensor(centre)).float()).reshape(1, 1, coarse, coarse, coarse)
    return nn.functional.interpolate(values, (side, side, side), mode="trilinear", align_corners=True)[0, 0].numpy()


def vtk_flying_edges(grid: np.ndarray) -> int:
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D
    image = vtkImageData()
    image.SetDimensions(*grid.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(grid.reshape(-1)))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.0)
    for extra in ("Normals", "Gradients", "Scalars"):
        getattr(edges, f"Compute{extra}Off")()
    edges.Update()
    return edges.GetOutput().GetNumberOfCells()


def methods() -> dict[str, Callable[[np.ndarray], int]]:
    """Each from a grid to its number of triangles; a peer that is not installed is named and left out."""
    found: dict[str, Callable[[np.ndarray], int]] = {
        "maquette": lambda grid: len(marching_cubes(grid, np.eye(4)).faces)}
    peers: dict[str, tuple[str, Callable[[np.ndarray], int]]] = {
        "scikit-image (Lewiner)": ("skimage.measure", lambda grid: len(
            sys.modules["skimage.measure"].marching_cubes(grid, 0.0)[1])),
        "PyMCubes": ("mcubes", lambda grid: len(sys.modules["mcubes"].marching_cubes(grid, 0.0)[1])),
        "VTK (flying edges)": ("vtkmodules.vtkFiltersCore", vtk_flying_edges)}
    for name, (module, function) in peers.items():
        try:
            importlib.import_module(module)
            found[name] = function
        except ImportError:
            print(f"{name}: not installed; python3 run.py bench isosurface installs it (requirements/peers.txt)")
    return found


def dense_rows(rows: Rows, sides: list[int]) -> None:
    mesh = armadillo()
    used = methods()
    for side in sides:
        for name, make in (("torus", lambda n: sampled(TORUS, n)), ("gyroid", lambda n: sampled(GYROID, n)),
                           ("armadillo", lambda n: upsampled(mesh, n) if mesh else None)):
            grid = make(side)
            if grid is None:
                continue
            marching_cubes(grid[:4, :4, :4], np.eye(4))  # compiles once
            timed = {method: best(lambda f=function: f(grid)) for method, function in used.items()}
            lewiner = timed.get("scikit-image (Lewiner)", (float("nan"),))[0]
            for method, (seconds, faces) in timed.items():
                add(rows, "dense", shape=name, side=side, method=method, seconds=seconds, faces=faces,
                    ratio=lewiner / seconds)


# ---- functions ---------------------------------------------------------------------------------------------------

def peak_mb() -> float:
    """The most memory that this process has had; on Linux getrusage counts what its parent had as well."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def sparse_row(name: str, resolution: int) -> dict[str, Any]:
    """One extraction in this process, for its peak of memory."""
    shape = {"torus": lambda: TORUS, "gyroid": lambda: GYROID, "armadillo": armadillo}[name]()
    start_mb = peak_mb()
    start = time.perf_counter()
    cells, figures = near_surface(shape, resolution, device="cpu")
    found = time.perf_counter()
    mesh = triangulate(cells)
    end = time.perf_counter()
    return {"shape": name, "resolution": resolution, "near_surface_s": found - start, "triangulate_s": end - found,
            "faces": len(mesh.faces), "evaluations": figures["evaluations"], "missed": figures["points_missed"],
            "share_of_cube": figures["evaluations"] / resolution**3, "start_mb": start_mb,
            "peak_mb": peak_mb()}


def sparse_rows(rows: Rows, resolutions: list[int]) -> None:
    for resolution in resolutions:
        for name in ("torus", "gyroid", *(["armadillo"] if MESHES.is_dir() else [])):
            said = subprocess.run([sys.executable, __file__, "--sparse", name, str(resolution)], check=True,
                                  capture_output=True, text=True)
            add(rows, "sparse", **json.loads(said.stdout.splitlines()[-1]))


def error_rows(rows: Rows) -> None:
    for resolution in (256, 512):
        cells, _ = near_surface(TORUS, resolution, device="cpu")
        x, y, z = triangulate(cells).vertices.astype(np.float64).T
        away = np.abs(np.hypot(np.hypot(x, y) - 0.6, z) - 0.25) / cells.world_from_lattice[0, 0]
        add(rows, "error on the torus", resolution=resolution, mean_voxels=away.mean(), most_voxels=away.max())


def genus_rows(rows: Rows) -> None:
    shapes: dict[str, tuple[int, Distance]] = {f"implicit, genus {genus}": (genus, shape)
                                               for genus, shape in GENUS.items()}
    for name, genus in (("featuretype_genus9", 9), ("elephant", 3)) if MESHES.is_dir() else ():
        shapes[name] = genus, MeshDistance(read_mesh(MESHES / f"{name}.ply"))
    for name, (genus, shape) in shapes.items():
        found = audit(triangulate(near_surface(shape, 128, device="cpu")[0]))
        add(rows, "Euler characteristic", shape=name, resolution=128, expected=2 - 2 * genus,
            found=found["vertices"] - 3 * found["faces"] // 2 + found["faces"], open_edges=found["open_edges"],
            nonmanifold=found["nonmanifold_edges"] + found["nonmanifold_vertices"], components=found["components"])


# ---- a network ---------------------------------------------------------------------------------------------------

class Network:
    """DeepSDF's 8 layers of 512, fitted a little to the torus's distance; no bound of its slope is known."""

    box, lipschitz = Function.box, float("inf")

    def __init__(self, steps: int = 120) -> None:
        torch.manual_seed(0)
        self.net = DeepSDF()
        optimizer = torch.optim.Adam(self.net.parameters(), 5e-4)
        for _ in range(steps):
            points = 2 * torch.rand(2048, 3) - 1
            loss = (self.net(points) - TORUS(points)).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.loss = float(loss.detach())

    @torch.no_grad()
    def __call__(self, points: Tensor) -> Tensor:
        return torch.cat([self.net(part) for part in points.split(8192)])


def network_row(rows: Rows, resolution: int) -> None:
    from scipy.spatial import cKDTree
    network = Network()
    slab = 2 * torch.rand(SLAB, 3) - 1
    dense, _ = best(lambda: network(slab), 2)
    dense *= resolution**3 / SLAB
    lewiner = methods().get("scikit-image (Lewiner)")
    grid = sampled(TORUS, resolution)  # a surface of the same size
    dense += best(lambda: lewiner(grid), 1)[0] if lewiner else 0.0

    start = time.perf_counter()
    cells, figures = near_surface(network, resolution, device="cpu")
    mesh = triangulate(cells)
    seconds = time.perf_counter() - start
    # The dense grid's surface, on the planes of one slab of it: each of its vertices from the nearest of ours.
    step = cells.world_from_lattice[0, 0]
    layers = torch.arange(resolution // 2, resolution // 2 + 3)
    side = [n + 1 for n in np.round(2 / step + 4 * np.ones(3)).astype(int)]
    index = torch.cartesian_prod(layers, torch.arange(side[1]), torch.arange(side[2])).double()
    world = index * step + torch.as_tensor(cells.world_from_lattice[:3, 3])
    values = network(world.float()).reshape(3, side[1], side[2]).numpy()
    world_from_slab = cells.world_from_lattice.copy()
    world_from_slab[0, 3] += float(layers[0]) * step
    there = marching_cubes(values, world_from_slab).vertices
    apart = cKDTree(mesh.vertices).query(there)[0].max() / (2 * 3**0.5)
    add(rows, "network 8×512", resolution=resolution, loss=network.loss, evaluations=figures["evaluations"],
        share_of_cube=figures["evaluations"] / resolution**3, seconds=seconds, dense_s=dense, ratio=dense / seconds,
        apart_of_diagonal=apart, missed=figures["points_missed"], faces=len(mesh.faces))


def add(rows: Rows, table: str, **row: Any) -> None:
    row = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in row.items()}
    rows.append({"table": table, **row})
    print(f"{table}: " + "  ".join(f"{name} {value:,}" if isinstance(value, (int, float)) else str(value)
                                   for name, value in row.items()), flush=True)


def main(words: list[str]) -> None:
    if words[:1] == ["--sparse"]:
        print(json.dumps(sparse_row(words[1], int(words[2]))))
        return
    quick = words == ["--quick"]
    print(f"cpu, {threads()} threads, load {os.getloadavg()[0]:.1f}, numpy {np.__version__}, torch {torch.__version__}")
    rows: Rows = []
    dense_rows(rows, [128] if quick else [256, 512])
    sparse_rows(rows, [128] if quick else [256, 512, 1024])
    error_rows(rows)
    genus_rows(rows)
    network_row(rows, 64 if quick else 512)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"device": "cpu", "threads": threads(), "rows": rows}, indent=1) + "\n")
    print(f"written to {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
