"""The report of a job: what was done, with what, how long it took and how good it is (design: the report)."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any


def program_version() -> str:
    """Maquette's version, which the extension's manifest says."""
    manifest = Path(__file__).parents[1] / "blender_manifest.toml"
    return tomllib.loads(manifest.read_text(encoding="utf-8"))["version"]


def plain(value: Any) -> Any:
    """`value` as JSON holds it: numpy's scalars become Python's; in a dict, what is None or not finite is left out.

    A key that does not apply is absent, never 0 or null.
    """
    if isinstance(value, dict):
        entries = {str(key): plain(entry) for key, entry in value.items()}
        return {key: entry for key, entry in entries.items() if entry is not None}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_json(report: dict[str, Any]) -> bytes:
    return (json.dumps(plain(report), indent=1) + "\n").encode()


def rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report's figures that a person looks at first, as name and value."""
    found = []
    seconds, memory, mesh, truth = (report.get(key, {}) for key in ("seconds", "memory", "mesh", "truth"))
    parts = ", ".join(f"{name} {_seconds(value)}" for name, value in seconds.items() if name != "total")
    if "total" in seconds:
        found.append(("time", _seconds(seconds["total"]) + (f" ({parts})" if parts else "")))
    if "peak_mb" in memory:
        found.append(("memory", f"{memory['peak_mb']} MB"))
    for name, prefix in (("held-out views" if "views" in report else "fit", ""), ("views of the mesh", "mesh_"),
                         (f"in Blender {report.get('blender_version')}", "blender_")):
        if f"{prefix}psnr_db" in report:
            ssim = f", SSIM {report[f'{prefix}ssim']:.4f}" if f"{prefix}ssim" in report else ""
            found.append((name, f"PSNR {report[f'{prefix}psnr_db']:.2f} dB{ssim}"))
    if "blender_unchecked" in report:
        found.append(("in Blender", f"not checked ({report['blender_unchecked']})"))
    for name, key in (("depth of the field", "depth"), ("depth of the mesh", "mesh_depth")):
        if key in report:
            depth = report[key]
            found.append((name, f"median error {depth['median_error']:.2%} ({depth['median_error_m']:.3g} m), "
                                f"{depth['within']['1%']:.1%} of the pixels within 1 %"))
    if "pictures" in report:
        taken = report["pictures"]
        found.append(("pictures", f"{taken['count']} of {taken['width']}×{taken['height']} px"))
    if "faces" in mesh:
        found.append(("mesh", f"{mesh['faces']:,} faces, {mesh['components']:,} components, "
                              f"{mesh['open_edges']:,} open and {mesh['nonmanifold_edges']:,} non-manifold edges"))
    if "f_score" in truth:
        scores = ", ".join(f"{score:.3f} at {share}" for share, score in truth["f_score"].items())
        found.append(("against the original", f"F-score {scores}, normals {truth['normal_consistency']:.3f}"))
    return found


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"
