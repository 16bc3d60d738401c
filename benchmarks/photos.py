"""`maquette image` on photos without a truth: a sheet to be looked at, how long each takes, how well the outline is met.

    python3 run.py bench photos --sheet out/photos.jpg

A row of the sheet is the photo, the mesh from the photo's camera, the same without its texture, the mesh from its
right and from behind, and the mesh without its texture from its right. Seconds are those of the stages, in the worker,
when all is compiled.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from maquette import api
from maquette.formats import objects
from maquette.formats.mesh import Mesh
from maquette.formats.meshes import joined
from maquette.formats.pictures import read_picture
from maquette.neural.meshing.normals import smooth_normals
from maquette.neural.meshing.raster import render
from maquette.recipes import MaquetteError

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "photos"
TILE = 192  # pixels
FAR = 2.5  # of the mesh's diagonal, from which it is seen from other sides
TURNS = {"right": 90.0, "behind": 180.0}  # degrees about the vertical, from the photo's camera


@dataclass(frozen=True)
class Row:
    photo: str
    method: str
    seconds: dict[str, float]  # to predict, fit and texture, and the whole job's
    silhouette_iou: float  # of the first object
    before: float  # the same before it was fitted
    faces: int
    complaint: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, help="default: those beside this checkout")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--sheet", type=Path, help="write the sheet there")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    options = parser.parse_args()
    photos = options.photos or sorted(p for p in PHOTOS.iterdir() if p.suffix in (".png", ".jpg"))
    rows, tiles = [], []
    for photo in photos:
        row, seen = made(photo, options.method)
        rows.append(row)
        tiles.append([captioned(tile, text) for tile, text in zip(seen, (photo.stem, row.method, "", "", "", ""),
                                                                  strict=True)])
        total = row.seconds.get("total", 0.0)
        print(f"{photo.name:<24} {row.method:<10} {row.before:6.3f} {row.silhouette_iou:6.3f} {row.faces:>7} "
              f"{total:6.1f} s  {row.complaint}", flush=True)
    if options.sheet:
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate([np.concatenate(line, axis=1) for line in tiles])).save(options.sheet, quality=88)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def made(photo: Path, method: str) -> tuple[Row, list[np.ndarray]]:
    """A photo's figures and the six tiles of its row."""
    given = read_picture(photo, 4 * TILE, upright=True).rgba_srgb
    first = fitted(given[..., :3] + 1 - given[..., 3:])
    try:
        result = api.image(photo, method=method)
    except MaquetteError as error:
        return Row(photo.name, method, {}, 0.0, 0.0, 0, str(error)), [first] + [np.full_like(first, 255)] * 5
    found = objects.read(result.path)
    figures, mesh = result.report["objects"][0], joined(found.meshes)
    seconds = {**figures["seconds"], "total": result.report["seconds"]["total"]}
    row = Row(photo.name, result.report["method"], seconds, figures["silhouette_iou"],
              figures["silhouette_iou_before"], len(mesh.faces))
    grey = smooth_normals(Mesh(mesh.vertices, mesh.faces))
    near = [fitted(from_photo(one, found)) for one in (mesh, grey)]
    sides = [fitted(turned(mesh, found, turn)) for turn in TURNS.values()]
    return row, [first, *near, *sides, fitted(turned(grey, found, TURNS["right"]))]


def from_photo(mesh: Mesh, found: objects.Objects) -> np.ndarray:
    """The mesh as the photo's camera sees it, (H, W, 3)."""
    camera = found.camera
    small = camera.scaled(*(round(side * 2 * TILE / max(camera.width, camera.height))
                            for side in (camera.width, camera.height)))
    return lit(mesh, small.fx, small.cx, small.cy, small.width, small.height, found.world_from_camera)


def turned(mesh: Mesh, found: objects.Objects, degrees: float) -> np.ndarray:
    """The mesh seen as far up as the photo's camera, from another side, (H, W, 3)."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = turn @ found.world_from_camera[:3, :3]
    middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    pose[:3, 3] = middle + FAR * mesh.diagonal() * pose[:3, 2]
    return lit(mesh, 2 * FAR * TILE, TILE, TILE, 2 * TILE, 2 * TILE, pose)


def lit(mesh: Mesh, focal: float, cx: float, cy: float, width: int, height: int, pose: np.ndarray) -> np.ndarray:
    """Its texture as it is; a mesh without one lit from the upper left, (H, W, 3)."""
    seen = render(mesh, focal, focal, cx, cy, width, height, pose)
    rgb = seen.rgb_srgb
    if mesh.texture is None:
        toward = pose[:3, :3] @ np.array([-0.4, 0.5, 0.77])
        rgb = rgb * (0.25 + 0.75 * np.clip(seen.normal @ toward, 0, 1))[..., None]
    return rgb + 1 - seen.alpha[..., None]


def fitted(rgb: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) in the middle of a white tile, uint8."""
    picture = Image.fromarray((rgb.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (TILE, TILE), "white")
    tile.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return np.asarray(tile)


def captioned(tile: np.ndarray, text: str) -> np.ndarray:
    picture = Image.fromarray(tile)
    ImageDraw.Draw(picture).text((4, TILE - 14), text, fill=(90, 90, 90))
    return np.asarray(picture)


if __name__ == "__main__":
    main()
