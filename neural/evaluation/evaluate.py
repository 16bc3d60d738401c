"""`maquette evaluate`: a result of any program against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...formats.meshes import READABLE, read_mesh
from ...formats.pictures import read_picture
from ...recipes.errors import InputError
from .audit import audit
from .metrics import compare
from .pictures import psnr, ssim

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".exr")


def evaluate(result: Path, truth: Path | None = None) -> dict[str, Any]:
    """Compare two meshes (`mesh` and `truth` of the report), two pictures, or two folders of pictures by their names.

    Without a truth a mesh is audited alone. Pictures with transparency are laid over white. InputError where the two are not of a kind or of a size.
    """
    result = Path(result)
    if truth is None:
        if _kind(result) != "mesh":
            raise InputError(f"evaluate: {result} is no mesh, and says nothing alone; give --truth")
        return {"mesh": audit(read_mesh(result))}
    truth = Path(truth)
    if result.is_dir() and truth.is_dir():
        return _pictures(_pairs(result, truth))
    kinds = {_kind(path) for path in (result, truth)}
    if kinds == {"picture"}:
        return _pictures([(result, truth)])
    if kinds != {"mesh"}:
        raise InputError(f"evaluate: {result} and {truth} are not of a kind; give two meshes ({' '.join(READABLE)}), "
                         f"two pictures ({' '.join(PICTURES)}) or two folders of pictures")
    mesh = read_mesh(result)
    return {"mesh": audit(mesh), "truth": compare(mesh, read_mesh(truth))}


def table(figures: dict[str, Any]) -> str:
    """The figures as lines of text, a name and a value each."""
    mesh, truth = figures.get("mesh", {}), figures.get("truth", {})
    rows = [(name.replace("_", " "), f"{value:,}") for name, value in mesh.items()]
    if truth:
        rows += [("chamfer", f"{truth['chamfer']:.6f} of the true diagonal"),
                 ("chamfer squared sum", f"{truth['chamfer_squared_sum']:.6g} m²")]
        rows += [(f"F-score at {share}", f"{score:.4f}") for share, score in truth["f_score"].items()]
        rows += [("normal consistency", f"{truth['normal_consistency']:.4f}")]
        rows += [("IoU", f"{truth['iou']:.4f}" if "iou" in truth else "– (one of the meshes is open)")]
    if "psnr_db" in figures:
        rows += [("pictures", str(figures["pictures"])), ("PSNR", f"{figures['psnr_db']:.2f} dB"),
                 ("SSIM", f"{figures['ssim']:.4f}")]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _kind(path: Path) -> str:
    ending = path.suffix.lower()
    return "mesh" if ending in READABLE else "picture" if ending in PICTURES else "other"


def _pairs(result: Path, truth: Path) -> list[tuple[Path, Path]]:
    """Pictures of the same name, whatever their endings."""
    by_stem = {path.stem: path for path in sorted(result.iterdir()) if _kind(path) == "picture"}
    pairs = [(by_stem[path.stem], path) for path in sorted(truth.iterdir())
             if _kind(path) == "picture" and path.stem in by_stem]
    if not pairs:
        raise InputError(f"evaluate: {result} and {truth} have no pictures of the same name; give them the same names")
    return pairs


def _pictures(pairs: list[tuple[Path, Path]]) -> dict[str, Any]:
    """Means over the pictures, not over their errors."""
    scores = []
    for result, truth in pairs:
        picture, true = _over_white(result), _over_white(truth)
        if picture.shape != true.shape:
            sizes = [f"{p.shape[1]} × {p.shape[0]}" for p in (picture, true)]
            raise InputError(f"evaluate: {result} has {sizes[0]} pixels, {truth} {sizes[1]}; render them at one size")
        scores.append((psnr(picture, true), ssim(picture, true)))
    mean = np.mean(scores, axis=0)
    return {"pictures": len(pairs), "psnr_db": float(mean[0]), "ssim": float(mean[1])}


def _over_white(path: Path) -> np.ndarray:
    rgba = read_picture(path).rgba_srgb
    return np.clip(rgba[..., :3] + 1 - rgba[..., 3:], 0, 1)
