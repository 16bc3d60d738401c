"""Posed pictures to a textured mesh: fit a field, extract its surface, make it an artist's mesh."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Callable, Iterator

import numpy as np

from ...formats import capture as captures
from ...formats import fields, unposed
from ...formats.model import FILE
from ...formats.pictures import write_png
from ...formats.mesh import Mesh, read_npz, write_npz
from ...jobs.files import atomic_write
from ...jobs.folder import OF_INPUT
from ...recipes.capture import Capture
from ...recipes.errors import Cancelled, InputError, MaquetteError
from ..context import Context
from ..evaluation import in_blender
from ..evaluation.audit import audit
from ..evaluation.depth import depth_figures, depth_pairs
from ..evaluation.metrics import compare
from ..evaluation.pictures import psnr, ssim
from ..fields import stored
from ..fields.common import Field, Rendered
from ..geometry.agreement import agreeing, check_cameras
from ..geometry.exposure import in_exposure_of
from ..geometry.pose_refinement import Refined, refined_poses
from ..geometry.posed import PosedPicture
from ..geometry.views import load_views
from ..meshing import raster
from ..meshing.clean import remove_floaters, remove_inner_shells
from ..meshing.decimate import decimate
from ..meshing.marching_cubes import marching_cubes
from ..meshing.normal_map import bake_normal_map
from ..meshing.normals import smooth_normals
from ..meshing.texel_density import fitting_side
from ..meshing.texture import bake
from ..meshing.unwrap import unwrap
from ..motion.find import find_cameras
from ..training.corrections import Corrections
from ..training.fit import fit

# Written by a gatherer that has the true surface: the meshes of a Blender scene whose views were rendered.
ORIGINAL = "original.npz"
REFINED = "poses.json"  # in the checkpoint


def run(context: Context) -> None:
    """Read input/, write output/mesh.npz, the field and output/preview.png, fill the report."""
    recipe = context.recipe
    assert isinstance(recipe, Capture)
    capture = _capture(context)
    with _timed(context, "read"):
        context.stage("Reading views", 0.04)
        views, box, points = _views(context, capture, recipe)
    if recipe.refine_poses:
        with _timed(context, "refine_poses"):
            context.stage("Refining the poses", 0.1)
            views = _refined(context, views)
    views = _checked(context, views)
    with _timed(context, "train"):
        context.stage("Training", 0.72)
        model = context.input / FILE
        corrections = Corrections(views, recipe.seconds)
        field = fit(views, recipe, seed=context.seed, device=context.device, box=box, points=points,
                    model=model if model.exists() else None, corrections=corrections, checkpoint=context.checkpoint,
                    on_progress=context.progress, on_preview=context.preview)
        views = corrections.applied(views)
        corrections.tell(context.report, context.warn)
        stored.save(field, context.output / fields.FILE)
    with _timed(context, "measure"):
        context.stage("Measuring the field on held-out views", 0.75)
        of_field = _measure(context, views, _by(field.render))
    with _timed(context, "extract"):
        context.stage("Extracting the surface", 0.82)
        fine = _surface(context, field, recipe)
        mesh = smooth_normals(decimate(fine, recipe.faces))
    with _timed(context, "texture"):
        context.stage("Unwrapping and texturing", 0.96)
        mesh = _textured(context, mesh, fine, views, recipe)
    with _timed(context, "check"):
        context.stage("Measuring the mesh", 0.98)
        context.report["mesh"] = audit(mesh)
        of_mesh = _measure(context, views, _by(partial(raster.render, mesh)), "mesh_")
        _compare_with_original(context, mesh, views)
    write_npz(mesh, context.output / "mesh.npz")
    with _timed(context, "blender"):
        context.stage("Rendering the mesh in Blender", 1.0)
        of_mesh |= _measure_in_blender(context, views)
    _preview(context, views, of_field, of_mesh)


@contextmanager
def _timed(context: Context, name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    context.report.setdefault("seconds", {})[name] = round(time.monotonic() - start, 2)


def _capture(context: Context) -> captures.Capture:
    """The input's cameras; where it has photos alone they are found, and kept in output/ with the user's own files."""
    photos = context.input / unposed.FILE
    if not photos.exists():
        return captures.read(context.input / captures.FILE)
    if context.recipe.to_json()["bounds"]:
        raise InputError("bounds: photos whose cameras are yet to be found have no world to put a box in; leave it empty, "
                         "then capture again from the cameras that come with the mesh")
    with _timed(context, "find_cameras"):
        context.stage("Finding the cameras", 0.03)
        listed = unposed.read(photos)
        found = find_cameras(listed, context.checkpoint / OF_INPUT / "motion", seed=context.seed,
                             on_progress=context.progress)
    context.report["cameras"] = found.figures
    captures.write(listed.at_their_sources(found.capture), context.output / captures.FILE)
    return found.capture


def _views(context: Context, capture: captures.Capture, recipe: Capture
           ) -> tuple[list[PosedPicture], np.ndarray | None, np.ndarray | None]:
    """The input's pictures, the subject's box where the input tells it, and its sparse points if it has some."""
    capture = captures.with_hold_out(capture, recipe.hold_out)
    for text in capture.warnings:
        context.warn(text)
    return load_views(capture, context.warn, recipe.longest_side(), context.progress), capture.box, capture.points


def _refined(context: Context, views: list[PosedPicture]) -> list[PosedPicture]:
    """The views with their poses refined, which are found once for a job; output/ gets the capture with them."""
    kept = context.checkpoint / REFINED
    if kept.exists():
        refined = Refined.from_json(kept.read_text(encoding="utf-8"))
    else:
        refined = refined_poses(views, context.progress)
        atomic_write(kept, refined.to_json().encode())
    if refined.warning:
        context.warn(refined.warning)
        return views
    context.report["pose_refinement"] = refined.figures
    poses = {v.name: pose for v, pose in zip(views, refined.poses, strict=True)}
    found = context.output / captures.FILE  # where the input had no cameras
    capture = captures.read(found if found.exists() else context.input / captures.FILE)
    moved = tuple(replace(v, world_from_camera=poses.get(v.name, v.world_from_camera)) for v in capture.views)
    captures.write(replace(capture, views=moved), context.output / captures.FILE)
    return [replace(v, world_from_camera=poses[v.name]) for v in views]


def _checked(context: Context, views: list[PosedPicture]) -> list[PosedPicture]:
    """The views that go together; says so where they, or their cameras, do not."""
    if not (context.input / ORIGINAL).exists():  # A scene's own renders fit its cameras.
        check_cameras(views, context.warn)
    views = agreeing(views, context.warn)
    train = sum(v.split == "train" for v in views)
    context.report["views"] = {"train": train, "test": len(views) - train}
    return views


def _by(render: Callable[..., Rendered]) -> Callable[[PosedPicture], Rendered]:
    """How `render`, a field's or a mesh's, shows a view."""
    return lambda view: render(view.fx, view.fy, view.cx, view.cy, *view.rgba_srgb.shape[1::-1], view.world_from_camera)


def _measure(context: Context, views: list[PosedPicture], render: Callable[[PosedPicture], Rendered],
             prefix: str = "") -> dict[str, np.ndarray]:
    """Render the held-out views over white; report the means of their PSNR and SSIM, and the errors of their depth.

    Pixels that are not known do not count, nor does what a photo without alpha shows around a mesh.
    """
    renderings: dict[str, np.ndarray] = {}
    scores, corrected, depths = [], [], [np.empty((0, 2), np.float32)]
    held_out = [v for v in views if v.split == "test"]
    for i, view in enumerate(held_out):
        rendered = render(view)
        renderings[view.name] = over_white(rendered.rgb_srgb, rendered.alpha)
        truth = over_white(view.rgba_srgb[..., :3], view.rgba_srgb[..., 3])
        counts = _counted(view, rendered.alpha, bool(prefix))
        scores.append((psnr(renderings[view.name], truth, counts), ssim(renderings[view.name], truth, counts)))
        if "exposure" in context.report:
            rgb = in_exposure_of(view.rgba_srgb, np.dstack([rendered.rgb_srgb, rendered.alpha]))
            corrected.append(psnr(over_white(rgb[..., :3], rendered.alpha), truth, counts))
        depths.append(depth_pairs(view, rendered.depth))
        context.progress((i + 1) / len(held_out))
    if scores:
        for name, value in zip(("psnr_db", "ssim"), np.mean(scores, axis=0), strict=True):
            context.report[prefix + name] = round(float(value), 4)
    if corrected:
        context.report[prefix + "psnr_corrected_db"] = round(float(np.mean(corrected)), 4)
    pairs = np.concatenate(depths)
    if len(pairs):
        context.report[f"{prefix}depth"] = depth_figures(pairs)
    return renderings


def _measure_in_blender(context: Context, views: list[PosedPicture]) -> dict[str, np.ndarray]:
    """Measure output/mesh.npz as Blender renders it on some held-out views; report why where no Blender does."""
    held_out = in_blender.some([replace(v, depth=None) for v in views if v.split == "test"])
    if not held_out:
        return {}
    try:
        shown = in_blender.render(context.output / "mesh.npz", held_out, context.blender,
                                  context.checkpoint / "blender", context.progress)
    except MaquetteError as problem:
        if isinstance(problem, Cancelled):
            raise
        context.report["blender_unchecked"] = str(problem)
        return {}
    context.report |= {"blender_version": shown.version, "blender_views": len(held_out)}
    return _measure(context, held_out, lambda view: shown.pictures[view.name], "blender_")


def _counted(view: PosedPicture, alpha: np.ndarray, of_mesh: bool) -> np.ndarray:
    known = np.ones(alpha.shape, bool) if view.weight is None else view.weight > 0
    shown = known & (alpha > 0.5)
    return shown if of_mesh and not view.has_alpha and shown.any() else known


def over_white(rgb_premultiplied: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 in 0 to 1."""
    return np.clip(rgb_premultiplied + (1.0 - alpha)[..., None], 0.0, 1.0).astype(np.float32)


def _surface(context: Context, field: Field, recipe: Capture) -> Mesh:
    values, world_from_grid = field.level_grid()
    mesh = marching_cubes(values, world_from_grid, closed=True)
    if len(mesh.faces) == 0:
        raise InputError("views: no surface was found in them; check that the cameras look at the subject and "
                         "that its alpha or masks are right, or train longer")
    context.progress(0.4)
    mesh = remove_inner_shells(remove_floaters(mesh, recipe.floaters))
    context.progress(0.6)
    return mesh


def _textured(context: Context, mesh: Mesh, fine: Mesh, views: list[PosedPicture], recipe: Capture) -> Mesh:
    train = [v for v in views if v.split == "train"]
    side = recipe.texture or fitting_side(mesh, train)
    mesh = unwrap(mesh, side)
    context.progress(0.4)
    mesh = bake(mesh, train, side)
    if recipe.normal_map and len(mesh.faces) < len(fine.faces):
        context.progress(0.7)
        mesh = bake_normal_map(mesh, fine, side)
    context.report["texture"] = side
    return mesh


def _compare_with_original(context: Context, mesh: Mesh, views: list[PosedPicture]) -> None:
    path: Path = context.input / ORIGINAL
    if path.exists():
        context.report["truth"] = compare(mesh, read_npz(path), views=views)


def _preview(context: Context, views: list[PosedPicture], *renderings: dict[str, np.ndarray]) -> None:
    """One held-out camera: its picture and each of the renderings of it, side by side."""
    view = next((v for v in views if v.split == "test"), None)
    if view is None:
        return
    truth = over_white(view.rgba_srgb[..., :3], view.rgba_srgb[..., 3])
    row = np.concatenate([truth, *(pictures[view.name] for pictures in renderings)], axis=1)
    rgb = np.round(row * 255).astype(np.uint8)
    write_png(context.output / "preview.png", rgb)
    context.preview(rgb)
