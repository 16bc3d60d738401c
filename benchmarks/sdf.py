"""Exact signed distances: meshes remeshed, stored distances met, noisy scans beside Poisson (requirements/peers.txt).

    python3 run.py bench sdf

* Remeshing: every mesh of the data folders through `MeshDistance`, cells near the surface and marching cubes. `F` is
  that of `maquette evaluate`, against the mesh as it is; `precision` is the share of the new surface within 0.5 % of
  the mesh, which the film over an open mesh's holes lowers; `recall` the share of the mesh within that of the new
  one, which faces hidden inside the solid lower. `outer` is the F-score beside what of the mesh is on the solid's
  outside: without samples deeper than that inside it. Seconds are from the mesh in memory to the new one.
* Stored distances: those that come with the ABC parts; the greatest and the mean error, and wrong signs.
* Scans: the ABC parts' noisy points. Open3D's screened Poisson (Kazhdan and Hoppe 2013) gets the treatment that its
  manual shows, its first row, and wider neighbourhoods for the normals as well; the others are the best of each part.
  `closed` is the surface as it comes out; `trimmed` lacks what is far from all points, in Open3D's case the vertices
  of least density.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from maquette.formats.mesh import Mesh
from maquette.formats.meshes import read_mesh
from maquette.formats.points import read_points
from maquette.neural.evaluation.audit import audit, is_closed
from maquette.neural.evaluation.metrics import compare, sample_surface
from maquette.neural.geometry.mesh_distance import MeshDistance
from maquette.neural.geometry.point_distance import PointDistance
from maquette.neural.kernels.closest import closest_triangles
from maquette.neural.meshing.marching_cubes import triangulate
from maquette.neural.meshing.near_surface import near_surface

DATA = Path(__file__).parents[2] / "shared" / "data"
PARTS = ("abc0", "abc1", "abc2")
DEPTHS = (6, 7, 8)
# Neighbours for a normal and for its direction: Open3D's defaults, as many as such noise needs, and fewer links.
NEIGHBOURS = ((30, 30), (100, 30), (100, 10))
USUAL = "30, 30 near, depth 8"
SAMPLES = 30_000
TRIMS = (0.02, 0.05, 0.1)  # of the vertices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256, help="cells along a mesh's longest side")
    parser.add_argument("--meshes", nargs="*", help="names of mesh files; all of the data folders by default")
    parser.add_argument("--no-scans", action="store_true", help="only the meshes and their stored distances")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    options = parser.parse_args()
    meshes = [path for path in sorted([*(DATA / "meshes").glob("*.*l*"), *(DATA / "scans").glob("*_mesh.ply")])
              if options.meshes is None or path.name in options.meshes]
    rows = {"remesh": [remeshed(path, options.resolution) for path in meshes],
            "stored": [stored(name) for name in PARTS], "scans": [] if options.no_scans else scans()}
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def remeshed(path: Path, resolution: int) -> dict[str, Any]:
    mesh = read_mesh(path)
    start = time.perf_counter()
    distance = MeshDistance(mesh)
    cells, figures = near_surface(distance, resolution)
    result = triangulate(cells)
    seconds = time.perf_counter() - start
    found, truth = audit(result), compare(result, mesh)
    precision, recall, outer = shares(result, mesh, distance)
    row = {"mesh": path.name, "open_edges": distance.open_edges, "seconds": seconds, "faces": len(result.faces),
           "evaluations_share": figures["evaluations_share"], "f_score": truth["f_score"]["0.5%"],
           "precision": precision, "recall": recall, "f_score_outer": 2 * precision * outer / (precision + outer),
           "chamfer": truth["chamfer"], "normal_consistency": truth["normal_consistency"],
           "closed": is_closed(found), "nonmanifold": found["nonmanifold_edges"] + found["nonmanifold_vertices"]}
    print(f"{path.name:<44} {'open' if row['open_edges'] else 'closed':<7} F(0.5%) {row['f_score']:.4f}  "
          f"precision {precision:.4f}  recall {recall:.4f}  outer F {row['f_score_outer']:.4f}  normals "
          f"{row['normal_consistency']:.3f}  {row['seconds']:6.2f} s  {row['faces']:9,} faces  "
          f"{'closed, manifold' if row['closed'] and not row['nonmanifold'] else 'DEFECTS'}", flush=True)
    return row


def shares(result: Mesh, mesh: Mesh, distance: MeshDistance) -> tuple[float, float, float]:
    """Within 0.5 % of the mesh's diagonal: of the result, of the mesh, and of the mesh that is not hidden.

    A sample is hidden where everything around it, at that distance in 14 directions, is inside.
    """
    within = 0.005 * mesh.diagonal()
    there = closest_triangles(sample_surface(result, SAMPLES, 0)[0], mesh.triangles())[0] <= within
    points, _ = sample_surface(mesh, SAMPLES, 1)
    back = closest_triangles(points, result.triangles())[0] <= within
    missed = points[~back]
    around = np.concatenate((np.eye(3), -np.eye(3), np.array(list(product((-1, 1), repeat=3))) / 3**0.5))
    hidden = (distance.at((missed[:, None] + within * around).reshape(-1, 3)).reshape(-1, len(around)) <= 0).all(axis=1)
    return float(there.mean()), float(back.mean()), float(back.sum() / max(len(points) - hidden.sum(), 1))


def stored(name: str) -> dict[str, Any]:
    with np.load(DATA / "scans" / f"{name}_sdf.npz", allow_pickle=False) as arrays:
        points, truth = arrays["points"], arrays["sdf"]
    values = MeshDistance(read_mesh(DATA / "scans" / f"{name}_mesh.ply"))(torch.from_numpy(points).float()).numpy()
    error = np.abs(values - truth)
    row = {"part": name, "points": len(points), "max": float(error.max()), "mean": float(error.mean()),
           "wrong_signs": int(((values < 0) != (truth < 0)).sum())}
    print(f"{name}: {row['points']} stored distances, greatest error {row['max']:.1e}, mean {row['mean']:.1e}, "
          f"{row['wrong_signs']} wrong signs", flush=True)
    return row


def scans() -> list[dict[str, Any]]:
    peer = open3d()
    rows = []
    for name in PARTS:
        points, truth = DATA / "scans" / f"{name}_points.ply", read_mesh(DATA / "scans" / f"{name}_mesh.ply")
        start = time.perf_counter()
        distance = PointDistance(read_points(points).positions)
        seconds = time.perf_counter() - start
        known = distance.mesh.faces[~distance.guesses[distance.mesh.faces].any(axis=1)]
        rows += [scan(name, "maquette", surface, seconds, Mesh(distance.mesh.vertices, faces), truth)
                 for surface, faces in (("closed", distance.mesh.faces), ("trimmed", known))]
        if peer is not None:
            tried = [scan(name, "Open3D, " + how, trim, taken, mesh, truth, quiet=True)
                     for how, trim, taken, mesh in screened_poisson(peer, points)]
            closed = [row for row in tried if row["surface"] == "closed"]
            trimmed = [row for row in tried if row["surface"] != "closed"]
            usual = next(row for row in closed if row["how"].endswith(USUAL))
            for row in (usual, *(min(kind, key=lambda row: row["chamfer"]) for kind in (closed, trimmed))):
                say(row)
                rows.append(row)
    return rows


def scan(name: str, how: str, surface: str, seconds: float, mesh: Mesh, truth: Mesh, quiet: bool = False
         ) -> dict[str, Any]:
    figures = compare(mesh, truth, samples=SAMPLES)
    row = {"part": name, "how": how, "surface": surface, "seconds": seconds, "chamfer": figures["chamfer"],
           "f_score_1": figures["f_score"]["1%"], "normal_consistency": figures["normal_consistency"]}
    if not quiet:
        say(row)
    return row


def say(row: dict[str, Any]) -> None:
    print(f"{row['part']:<5} {row['how']:<36} {row['surface']:<13} chamfer {row['chamfer']:.5f}  F(1%) "
          f"{row['f_score_1']:.3f}  normals {row['normal_consistency']:6.3f}  {row['seconds']:5.1f} s", flush=True)


def open3d() -> ModuleType | None:
    try:
        return importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        print(f"open3d: cannot be loaded ({error}), so its rows are left out; `python3 run.py bench sdf` installs it, "
              "and on Linux it needs the system's libusb-1.0 and libgl1")
        return None


def screened_poisson(peer: ModuleType, path: Path) -> list[tuple[str, str, float, Mesh]]:
    """How, trimmed by how much, seconds, and the mesh, for each setting."""
    result = []
    for neighbours, links in NEIGHBOURS:
        start = time.perf_counter()
        cloud = peer.io.read_point_cloud(str(path))
        cloud.estimate_normals(peer.geometry.KDTreeSearchParamKNN(neighbours))
        cloud.orient_normals_consistent_tangent_plane(links)
        oriented = time.perf_counter() - start
        for depth in DEPTHS:
            start = time.perf_counter()
            mesh, density = peer.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth)
            seconds = oriented + time.perf_counter() - start
            vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.triangles)
            density = np.asarray(density)
            how = f"{neighbours}, {links} near, depth {depth}"
            result.append((how, "closed", seconds, Mesh(vertices, faces)))
            for share in TRIMS:
                kept = (density >= np.quantile(density, share))[faces].all(axis=1)
                result.append((how, f"trimmed {share:.0%}", seconds, Mesh(vertices, faces[kept])))
    return result


if __name__ == "__main__":
    main()
