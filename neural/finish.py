"""What every task does at its end that makes a mesh from a field: clean, reduce, check, write, show."""

from __future__ import annotations

from ..formats.mesh import Mesh, write_npz
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
    write_npz(mesh, context.output / "mesh.npz")
    figures = audit(mesh)
    context.report["mesh"] = figures
    wrong = [f"{figures[name]} {words}" for name, words in _DEFECTS.items()
             if figures[name] and not (inner and name == "inner_shells")]
    if wrong:
        context.warn(f"mesh: it has {', '.join(wrong)}; raise --resolution or look at the input")
    context.preview(portrait(mesh))
