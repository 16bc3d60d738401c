"""What every task does at its end that makes a mesh from a field: clean, reduce, check, write, show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..formats.mesh import Mesh, write_npz
from ..recipes.errors import InputError
from ..recipes.sdf import Sdf
from ..recipes.voxels import Voxels
from .context import Context
from .evaluation.audit import audit
from .meshing.clean import remove_floaters, remove_inner_shells
from .meshing.decimate import decimate
from .meshing.normals import smooth_normals
from .meshing.quads import pair_quads
from .meshing.raster import portrait

# What an audited mesh should have none of, in the words of a warning.
_DEFECTS = {"open_edges": "open edges", "nonmanifold_edges": "edges with more than two faces",
            "flipped_edges": "edges whose faces disagree about outside",
            "nonmanifold_vertices": "vertices where the surface touches itself",
            "inner_shells": "shells inside others"}


def extracted(extract: Callable[[int], Mesh], resolution: int, recipe: Sdf | Voxels) -> Mesh:
    """What `extract` makes at a resolution; where it has more quads than the budget allows, at a lower one.

    Decimation would leave triangles to pair. Where the least resolution has too many faces, or nothing is inside at
    a lower one (an InputError of `extract`), the last mesh is left to that all the same.
    """
    mesh = extract(resolution)
    if not recipe.quads or not recipe.budget:
        return mesh
    least = next(int(p.min or 1) for p in recipe.parameters() if p.name == "resolution")
    while len(mesh.faces) > recipe.budget and resolution > least:
        # The surface's cells grow with the resolution's square.
        resolution = max(int(0.99 * resolution * (recipe.budget / len(mesh.faces)) ** 0.5), least)
        try:
            mesh = extract(resolution)
        except InputError:
            break
    return mesh


def finished(mesh: Mesh, *, floaters: float = 0.0, inner: bool = False, budget: int = 0, quads: bool = False,
             smooth: bool = True) -> Mesh:
    """The mesh without small pieces and, unless `inner`, without shells inside others, reduced to its budget.

    floaters: percent of the largest piece's area below which a piece goes. budget: faces, 0 for all of them.
    quads: pair triangles that are none yet. smooth: with normals for smooth shading.
    """
    if floaters:
        mesh = remove_floaters(mesh, floaters)
    if not inner:
        mesh = remove_inner_shells(mesh)
    if budget:
        mesh = decimate(mesh, budget)
    if quads and not mesh.quads:
        mesh = pair_quads(mesh)
    return smooth_normals(mesh) if smooth else mesh


def deliver(context: Context, mesh: Mesh, *, inner: bool = False) -> None:
    """Write output/mesh.npz and put the mesh's audit into the report; what is not as it should be is a warning.

    `inner` says that shells inside others were asked for.
    """
    context.stage("Checking the mesh", 1.0)
    write_npz(mesh, context.output / "mesh.npz")
    figures = audit(mesh)
    context.report["mesh"] = figures
    warn_of_defects(context, figures, "raise --resolution or look at the input", inner=inner)
    context.preview(portrait(mesh))


def warn_of_defects(context: Context, figures: dict[str, Any], mend: str, *, inner: bool = False) -> None:
    """Warn of what the audit of a mesh has found, and say how to mend it; `inner` shells may be as they should."""
    wrong = [f"{figures[name]} {words}" for name, words in _DEFECTS.items()
             if figures[name] and not (inner and name == "inner_shells")]
    if wrong:
        context.warn(f"mesh: it has {', '.join(wrong)}; {mend}")
