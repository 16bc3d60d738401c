"""How true the surfaces of captures are: F-score, signed normals and topology, over scenes rendered for it.

    python3 run.py bench surfaces
    python benchmarks/surfaces.py [--scenes spot crate …] [--method surface] [--seconds 300] [--without-alpha]
                                  [--folder FOLDER] [--json OUT]

Each scene of `_surface_scenes.py` is rendered once by Blender into FOLDER (the user's cache by default), 50 views of
256². F-scores are those of `neural.evaluation.metrics`, with recall over the surface that some camera sees. The mesh
is as it is extracted, before decimation and without repair. `--without-alpha` lays the views over a grey and forgets
alpha, which is then told by that plain backdrop, as in a user's opaque renderings.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from maquette.formats import capture as captures
from maquette.formats.mesh import Mesh, read_npz
from maquette.jobs import backend, headless, store
from maquette.neural.evaluation.audit import audit, is_closed
from maquette.neural.evaluation.metrics import compare
from maquette.neural.geometry.plain_backdrop import without_backdrop
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.geometry.views import load_views
from maquette.neural.kernels import dispatch
from maquette.neural.meshing.clean import remove_floaters, remove_inner_shells
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.training.fit import fit
from maquette.recipes.capture import Capture
from _surface_scenes import SCENES

DATA = Path(__file__).resolve().parents[2] / "shared/data"
GREY = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--method", default="surface")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--resolution", type=int, default=Capture().resolution)
    parser.add_argument("--without-alpha", action="store_true")
    parser.add_argument("--folder", type=Path, default=store.cache_folder() / "surface_scenes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    recipe = Capture(method=options.method, seconds=options.seconds, resolution=options.resolution)
    rows = []
    for name in options.scenes:
        pictures = load(rendered(name, options.folder), options.without_alpha)
        truth = read_npz(options.folder / name / "input" / "original.npz")
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            field = fit(pictures, recipe, seed=0, device=torch.device("cpu"), checkpoint=Path(folder),
                        on_progress=lambda fraction, message: None, on_preview=lambda rgb: None)
        mesh = extracted(field)
        rows.append({"scene": name, **score(mesh, truth, pictures), "seconds": time.monotonic() - start})
        print(line(rows[-1]), flush=True)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "scene"}
    print(line({"scene": "mean", **mean}))
    if options.json:
        about = {"recipe": recipe.to_json(), "threads": dispatch.threads(), "alpha": not options.without_alpha}
        options.json.write_text(json.dumps({**about, "scenes": rows, "mean": mean}, indent=1))


def rendered(name: str, folder: Path) -> Path:
    """The folder with a scene's capture and true mesh, rendered where it is not there yet."""
    place = folder / name
    if (place / "input" / captures.FILE).exists():
        return place / "input"
    blender = backend.find_blender()
    place.mkdir(parents=True, exist_ok=True)
    script = Path(__file__).with_name("_surface_scenes.py")
    with open(place / "log.txt", "wb") as log:
        subprocess.run([*blender, script, "--", name, DATA, place / "scene.blend"], stdout=log, stderr=log, check=True)
    asked = place / "recipe.json"
    asked.write_text(json.dumps({"task": "capture", "recipe": Capture(samples=32).to_json()}))
    made = place / "unfinished"
    made.mkdir(exist_ok=True)
    headless.call(blender, "gather", place / "scene.blend", asked, made, log=place / "log.txt",
                  on_progress=lambda fraction, message: None)
    return made.rename(place / "input")


def load(folder: Path, without_alpha: bool) -> list[PosedPicture]:
    """All views as training views: what counts here is the mesh."""
    pictures = load_views(captures.read(folder / captures.FILE), print)
    if not without_alpha:
        return pictures
    opaque = []
    for p in pictures:
        rgb = p.rgba_srgb[..., :3] + GREY * (1 - p.rgba_srgb[..., 3:])
        opaque.append(replace(p, rgba_srgb=np.concatenate([rgb, np.ones_like(rgb[..., :1])], -1), has_alpha=False))
    return without_backdrop(opaque)  # as `load_views` does it for opaque files


def extracted(field) -> Mesh:
    values, world_from_grid = field.level_grid()
    return remove_inner_shells(remove_floaters(marching_cubes(values, world_from_grid, closed=True), 1.0))


def score(mesh: Mesh, truth: Mesh, pictures: list[PosedPicture]) -> dict[str, float]:
    """F-scores, signed normal consistency over both ways, and whether the mesh is closed and manifold."""
    found, checked = compare(mesh, truth, views=pictures), audit(mesh)
    whole = is_closed(checked) and checked["nonmanifold_edges"] == checked["nonmanifold_vertices"] == 0
    return {**{f"F {share}": value for share, value in found["f_score"].items()},
            "normals": found["normal_consistency"], "closed": float(whole)}


def line(row: dict) -> str:
    numbers = "  ".join(f"{key} {value:.3f}" if value < 10 else f"{key} {value:.0f}"
                        for key, value in row.items() if key != "scene")
    return f"{row['scene']:>9}  {numbers}"


if __name__ == "__main__":
    main()
