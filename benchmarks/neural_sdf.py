"""Networks fitted to one mesh's signed distance in a minute, and the surface that comes out at 256 cells.

    python3 benchmarks/neural_sdf.py --meshes bunny fandisk --networks hashgrid --json out/neural_sdf.json

Seconds are of fitting: wall time from the first sample to the last step, with samples, previews and checkpoints,
without building the mesh's trees and compiling. `share` is that of the processors which the fitting got in this time.
The F-score is at 0.5 % of the diagonal, the normal consistency signed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from maquette.formats.meshes import read_mesh
from maquette.neural.evaluation.audit import audit
from maquette.neural.evaluation.metrics import compare
from maquette.neural.geometry.mesh_distance import MeshDistance
from maquette.neural.meshing.marching_cubes import triangulate
from maquette.neural.meshing.near_surface import near_surface
from maquette.neural.meshing.raster import portrait
from maquette.neural.training.distance import fit_distance

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "meshes"
MESHES = ("bunny", "armadillo", "fandisk", "fertility", "rocker_arm", "spot", "elephant", "featuretype_genus9",
          "houseplant_thin", "lilium")
NETWORKS = ("hashgrid", "siren", "deepsdf")


@dataclass(frozen=True)
class Row:
    mesh: str
    network: str
    seconds: float
    share: float
    f_score: float
    normals: float
    chamfer: float  # in diagonals
    components: int
    true_components: int
    genus: int | None  # None where it is not closed
    true_genus: int | None
    evaluations: float  # share of the dense grid's
    missed: int  # of the points checked where nothing was evaluated
    lipschitz: float
    extraction: float  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of fitting a network to a mesh")
    parser.add_argument("--meshes", nargs="*", default=MESHES, help="files in the folder of meshes, without their ends")
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--json", type=Path, help="write the rows there too")
    parser.add_argument("--pictures", type=Path, help="a folder for portraits of the meshes")
    options = parser.parse_args()
    print(f"{'mesh':<20} {'network':<9} {'share':>6} {'F 0.5 %':>8} {'normals':>8} {'chamfer':>8} {'parts':>9} "
          f"{'genus':>10} {'evaluated':>9} {'slope':>6} {'extract':>8}")
    rows = []
    for name in options.meshes:
        for network in options.networks:
            rows.append(fitted(name, network, options.seconds, options.pictures))
            if options.json:
                options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def fitted(name: str, network: str, seconds: float, pictures: Path | None) -> Row:
    truth = read_mesh(next(FOLDER.glob(f"{name}.*")))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    target = MeshDistance(truth)
    target(torch.zeros(1, 3))  # numba compiles once
    began, used = time.monotonic(), time.process_time()
    with TemporaryDirectory() as folder:
        distance = fit_distance(target, network=network, seconds=seconds, seed=0, device=device,
                                checkpoint=Path(folder), on_progress=lambda share, message: None,
                                on_preview=lambda picture: None)
    share = (time.process_time() - used) / (time.monotonic() - began) / (os.cpu_count() or 1)
    began = time.monotonic()
    cells, figures = near_surface(distance, 256, device=device)
    mesh = triangulate(cells)
    extraction = time.monotonic() - began
    if pictures:
        Image.fromarray(portrait(mesh)).save(pictures / f"{name}_{network}.png")
    scores, found, true = compare(mesh, truth), audit(mesh), audit(truth)
    row = Row(name, network, seconds, share, scores["f_score"]["0.5%"], scores["normal_consistency"],
              scores["chamfer"], found["components"], true["components"], found.get("genus"), true.get("genus"),
              figures["evaluations_share"], figures["points_missed"], distance.lipschitz, extraction)
    print(f"{name:<20} {network:<9} {row.share:6.0%} {row.f_score:8.4f} {row.normals:8.4f} {row.chamfer:8.5f} "
          f"{row.components:>3} of {row.true_components:<2}{row.genus!s:>4} of {row.true_genus!s:<4}"
          f"{row.evaluations:9.2%} {row.lipschitz:6.2f} {row.extraction:6.1f} s", flush=True)
    return row


if __name__ == "__main__":
    main()
