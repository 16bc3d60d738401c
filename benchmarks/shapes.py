"""Shapes that a model has never seen: how near their codes come to them, and what it makes of half a scan.

    benchmarks/shapes.py CORPUS [--model NAME] [--shapes N] [--peer PYTHON] [--pictures FOLDER]

CORPUS holds the folders that the model was trained on, whose held-out shapes its file names. Chamfer is DeepSDF's: the
mean squared distances both ways, added, of 30,000 samples each way in the unit sphere's frame, times 1000; to the
surface, not to samples of it. Truth is the outer surface, remeshed from the exact distance. A scan is 10,000 points of
it with normals, moved by 0.5 % of its diagonal, cut in half through the middle in a random direction. Its frame is
searched, also where the side that the cut faces most is told, or known. PYTHON is one that has Open3D, whose screened
Poisson gets the same points and normals.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from maquette.formats.mesh import Mesh
from maquette.formats.meshes import READABLE, read_mesh
from maquette.formats.model import find_model
from maquette.neural.evaluation.metrics import compare
from maquette.neural.finish import finished
from maquette.neural.geometry.distance import Distance
from maquette.neural.geometry.mesh_distance import MeshDistance
from maquette.neural.geometry.shape_samples import Frame, sample_shape, surface_points
from maquette.neural.meshing.marching_cubes import triangulate
from maquette.neural.meshing.near_surface import near_surface
from maquette.neural.meshing.raster import portrait
from maquette.neural.predictors.completion import SIDES, complete
from maquette.neural.predictors.shape_model import ShapeDistance, ShapeModel, load
from maquette.neural.training.shape_code import fit_codes

SAMPLES, POINTS, NOISE, RESOLUTION = 30_000, 10_000, 0.005, 96
POISSON = """
import sys, numpy as np, open3d as o3d
given = np.load(sys.argv[1])
cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(given["points"]))
cloud.normals = o3d.utility.Vector3dVector(given["normals"])
mesh, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=8)
np.savez(sys.argv[2], vertices=np.asarray(mesh.vertices, np.float32), faces=np.asarray(mesh.triangles, np.int32))
"""


class Scan(NamedTuple):
    """Half of a shape's noisy points, with normals; all in its unit frame."""

    name: str
    truth: Mesh
    points: np.ndarray
    normals: np.ndarray
    missing: str  # the side of SIDES that the cut faces most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", default="furniture-food")
    parser.add_argument("--shapes", type=int, default=10, help="completed; all that are held out are reconstructed")
    parser.add_argument("--peer", type=Path, help="a Python with Open3D")
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    model = load(find_model(arguments.model), torch.device("cpu"))
    truths = {name: truth_of(arguments.corpus, name) for name in model.about["held_out"]}
    reconstruction(model, truths, arguments.corpus)
    completion(model, truths, arguments)


def reconstruction(model: ShapeModel, truths: dict[str, Mesh], corpus: Path) -> None:
    start = time.perf_counter()
    rows = []
    for name in truths:
        mesh = source(corpus, name)
        rows.append(torch.from_numpy(sample_shape(mesh, MeshDistance(mesh), 8000, 0)).flatten(0, 1))
    mean = model.codes.mean(dim=0).expand(len(rows), -1)
    codes, _ = fit_codes(model.layers, mean, torch.stack(rows), steps=300, points=256)
    found = {name: chamfer(extracted(ShapeDistance(model.layers, code, np.eye(4))), truths[name])
             for name, code in zip(truths, codes, strict=True)}
    for name, figure in found.items():
        print(f"{name:<46} {figure:8.3f}", flush=True)
    figures = np.array(list(found.values()))
    print(f"reconstruction of {len(figures)} held-out shapes: mean {figures.mean():.3f}, "
          f"median {np.median(figures):.3f} (×1e-3), {time.perf_counter() - start:.0f} s")
    print("DeepSDF, unknown shapes of one class of ShapeNet: chair .204 | .072, table .553 | .068, lamp .832 | .219, "
          "sofa .132 | .088")


def completion(model: ShapeModel, truths: dict[str, Mesh], arguments: argparse.Namespace) -> None:
    names = list(truths)
    chosen = [names[i] for i in np.random.default_rng(1).permutation(len(names))[:arguments.shapes]]
    table: list[dict[str, float]] = []
    for name in chosen:
        scan = scanned(name, truths[name])
        meshes: dict[str, Mesh] = {}
        seconds: list[str] = []
        for way, missing, frame in (("search", "search", None), ("side told", scan.missing, None),
                                    ("frame known", "nothing", Frame(np.zeros(3), 1.0))):
            start = time.perf_counter()
            found = complete(model, scan.points, scan.normals, frame=frame, missing=missing)
            seconds.append(f"{time.perf_counter() - start:.0f}")
            meshes[way] = extracted(found.corrected())
            if frame:
                meshes["the code alone"] = extracted(found.shape)
        if arguments.peer:
            meshes["poisson"] = poisson(scan, arguments.peer)
        row = {way: chamfer(mesh, scan.truth) for way, mesh in meshes.items()}
        print(f"{name:<46} " + "  ".join(f"{way} {figure:.3f}" for way, figure in row.items())
              + f"  {' '.join(seconds)} s to complete",
              flush=True)
        table.append(row)
        if arguments.pictures:
            tiles = [portrait(mesh, 256) for mesh in (scan.truth, dots(scan), *meshes.values())]
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.concatenate(tiles, axis=1)).save(arguments.pictures / f"{name.replace('/', '_')}.png")
    for way in table[0]:
        figures = np.array([row[way] for row in table])
        print(f"completion of {len(figures)}, {way:<20} mean {figures.mean():8.3f}  median {np.median(figures):8.3f}")


def source(corpus: Path, name: str) -> Mesh:
    return read_mesh(next(path for ending in READABLE if (path := corpus / f"{name}{ending}").is_file()))


def truth_of(corpus: Path, name: str) -> Mesh:
    """The outer surface of a shape in its unit frame."""
    mesh = source(corpus, name)
    frame = Frame.around(mesh.vertices[mesh.faces.reshape(-1)])
    unit = Mesh(frame.to_unit(mesh.vertices), mesh.faces)
    return extracted(MeshDistance(unit), 192)


def extracted(distance: Distance, resolution: int = RESOLUTION) -> Mesh:
    return finished(triangulate(near_surface(distance, resolution)[0]), floaters=1.0, smooth=False)


def scanned(name: str, truth: Mesh) -> Scan:
    generator = np.random.default_rng(len(name))
    points, face = surface_points(truth, POINTS, generator)
    a, b, c = np.moveaxis(truth.triangles().astype(np.float64)[face], 1, 0)
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    points += generator.normal(size=points.shape) * NOISE * truth.diagonal() / np.sqrt(3)
    direction = generator.normal(size=3)
    along = points @ direction
    kept = along < np.median(along)
    missing = max(SIDES, key=lambda side: direction[SIDES[side][0]] * (2 * SIDES[side][1] - 1))
    return Scan(name, truth, points[kept], normals[kept], missing)


def poisson(scan: Scan, python: Path) -> Mesh:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        np.savez(given, points=scan.points, normals=scan.normals)
        subprocess.run([python, "-c", POISSON, given, made], check=True)
        with np.load(made) as arrays:
            return Mesh(arrays["vertices"], arrays["faces"])


def dots(scan: Scan) -> Mesh:
    """A small triangle at each point, so that a scan can be drawn as a mesh is."""
    across = np.cross(scan.normals, [0.31, 0.47, 0.83])
    across *= 0.02 / np.linalg.norm(across, axis=1, keepdims=True)
    up = np.cross(scan.normals, across)
    corners = np.stack((scan.points, scan.points + across, scan.points + up), axis=1).reshape(-1, 3)
    return Mesh(corners, np.arange(len(corners)).reshape(-1, 3))


def chamfer(mesh: Mesh, truth: Mesh) -> float:
    figures = compare(mesh, truth, samples=SAMPLES)
    return 1000 * figures["chamfer_squared_sum"]


if __name__ == "__main__":
    main()
