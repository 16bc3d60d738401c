"""Cameras found for bare photos against the cameras that came with them, after the best similarity.

    python3 run.py bench motion        needs ../shared; writes out/motion.json
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from maquette import terminal
from maquette.formats.folder import read_capture
from maquette.formats.unposed import find_photos, gather_unposed
from maquette.neural.motion.find import find_cameras

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "captures"
CAPTURES = ("banana", "colmap_castle", "hololens")


def measure(name: str) -> dict[str, float | int | str]:
    """Rotation errors in degrees, errors of places in percent of the diagonal of all true places' box."""
    known = {Path(view.picture).name: view.world_from_camera for view in read_capture(DATA / name).views}
    folder = DATA / name / "images"
    with tempfile.TemporaryDirectory() as scratch:
        unposed = gather_unposed([folder], find_photos([folder]), Path(scratch) / "input")
        start = time.monotonic()
        found = find_cameras(unposed, Path(scratch) / "motion", seed=0, on_progress=lambda *said: None)
        seconds = time.monotonic() - start
    views = [view for view in unposed.at_their_sources(found.capture).views if Path(view.picture).name in known]
    poses = np.stack([view.world_from_camera for view in views])
    true = np.stack([known[Path(view.picture).name] for view in views])
    rotation, scale, shift = similarity(poses[:, :3, 3], true[:, :3, 3])
    away = np.linalg.norm(scale * poses[:, :3, 3] @ rotation.T + shift - true[:, :3, 3], axis=1)
    away *= 100 / np.linalg.norm(np.ptp(np.stack(list(known.values()))[:, :3, 3], axis=0))
    turns = np.einsum("nji,njk->nik", rotation @ poses[:, :3, :3], true[:, :3, :3])
    degrees = np.degrees(np.arccos(((np.trace(turns, axis1=1, axis2=2) - 1) / 2).clip(-1, 1)))
    return {"capture": name, "photos": len(unposed.photos), "known": len(known), "found": len(views),
            "degrees_mean": round(float(degrees.mean()), 3), "degrees_max": round(float(degrees.max()), 3),
            "percent_mean": round(float(away.mean()), 3), "percent_max": round(float(away.max()), 3),
            "reprojection_px": found.figures["reprojection_px"], "seconds": round(seconds, 1)}


def similarity(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Rotation, scale and shift that take places a, (N, 3), to b (Umeyama, PAMI 1991)."""
    u, s, vt = np.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((s * signs).sum() / ((a - a.mean(0)) ** 2).sum())
    return rotation, scale, b.mean(0) - scale * rotation @ a.mean(0)


def main() -> int:
    if not DATA.is_dir():
        print(f"motion: {DATA} is missing; it lies beside a developer's checkout only", file=sys.stderr)
        return 2
    rows = [measure(name) for name in CAPTURES]
    out = ROOT / "out" / "motion.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=1))
    print(terminal.table([tuple(rows[0]), *(tuple(map(str, row.values())) for row in rows)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
