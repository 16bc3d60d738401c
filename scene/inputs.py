"""A job's input from Blender, by the recipe's kind of input; `formats.inputs` does the same from files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..formats import capture
from ..formats import inputs as files
from ..formats.cameras import FEWEST_VIEWS
from ..formats.folder import has_cameras
from ..formats.mesh import write_npz
from ..formats.model import take_model
from ..formats.photos import copied, write_list
from ..formats.pictures import PICTURE
from ..formats.shapes import write_shapes
from ..formats.unposed import find_photos, gather_unposed
from ..recipes import InputError, Recipe
from ..recipes.capture import Capture as CaptureRecipe
from ..recipes.image import Image as ImageRecipe
from ..recipes.shape_interpolate import ShapeInterpolate
from . import bounds, fields, images, meshes, photos, solids, texturing, views, volumes
from .original import rendered_surface

Summary = dict[str, Any]
Progress = Callable[[float, str], None]

# The true surface of views that were rendered: the report compares the result with it.
ORIGINAL = "original.npz"


def silent(fraction: float, message: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Source:
    """One kind of input.

    `ready` raises InputError for what is missing at first sight, cheaply enough for every redraw; `summary` for
    all that `gather` would refuse, without writing anything. `is_slow` says whether gathering takes so long that
    it must not block a window. `origin` is what a job's target keeps, for Reconstruct Again.
    """

    ready: Callable[[bpy.types.Context, Recipe], None]
    summary: Callable[[bpy.types.Context, Recipe], Summary]
    gather: Callable[[bpy.types.Context, Recipe, Path, Progress], None]
    is_slow: Callable[[Recipe], bool] = lambda recipe: False
    origin: Callable[[bpy.types.Context, Recipe], dict[str, Any]] = lambda context, recipe: {}


def source(recipe: Recipe) -> Source:
    if recipe.input not in SOURCES:
        raise InputError(f"input: {recipe.input} cannot be taken from a Blender scene; give files instead")
    return SOURCES[recipe.input]


def settled(context: bpy.types.Context, recipe: Recipe) -> Recipe:
    """The recipe with the name of the image that an editor shows, so that it says the same tomorrow."""
    if recipe.input != "photos" or recipe.to_json()["image"]:
        return recipe
    return recipe.from_json({**recipe.to_json(), "image": images.chosen(context, "").name})


def gather(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress = silent) -> Summary:
    """Write the job's input/ for a recipe from the open scene; return the summary for the estimate.

    Raises InputError when the scene lacks something.
    """
    chosen = source(recipe)
    summary = chosen.summary(context, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    chosen.gather(context, recipe, folder, on_progress)
    take_model(recipe, folder)
    return summary


def gather_files(recipe: Recipe, paths: Sequence[Path], folder: Path) -> Summary:
    """The same from files that Maquette reads itself."""
    return files.gather(recipe.input, paths, folder, recipe)


# ---- capture: what the scene's cameras see, or their photos ------------------------------------------------------

def views_from(recipe: Recipe) -> str:
    return recipe.to_json()["views"]


def photo_folder(recipe: Recipe) -> Path:
    """The folder of photos whose cameras are to be found."""
    chosen = recipe.to_json()["photos"]
    folder = Path(bpy.path.abspath(chosen))
    if not chosen or not folder.is_dir():
        raise InputError(f"photos: {chosen} is not a folder; choose another" if chosen else
                         "photos: no folder is chosen; choose one at Photos")
    return folder


def unposed_photos(recipe: Recipe) -> list[Path]:
    folder = photo_folder(recipe)
    if has_cameras(folder):
        raise InputError(f"photos: {folder} states its cameras; use Import Capture, then the views Photos")
    found = find_photos([folder])
    if len(found) < FEWEST_VIEWS:
        raise InputError(f"photos: {folder} holds {len(found)}; choose a folder with {FEWEST_VIEWS} or more (better 30) of "
                         "one scene, taken while walking around it")
    return found


def capture_ready(context: bpy.types.Context, recipe: Recipe) -> None:
    bounds.box(context.scene, recipe)
    if views_from(recipe) == "folder":
        photo_folder(recipe)
    elif views_from(recipe) == "photos":
        photos.photographed(context.scene)
    else:
        views.subject_collection(context.scene, recipe.to_json()["subject"])
        views.some_cameras(context.scene)


def capture_summary(context: bpy.types.Context, recipe: Recipe) -> Summary:
    scene = context.scene
    if views_from(recipe) == "folder":
        assert isinstance(recipe, CaptureRecipe)
        count, side = len(unposed_photos(recipe)), recipe.longest_side()
        return {"views": count, "pixels": count * side**2, "unposed": count}
    if views_from(recipe) == "photos":
        found = photos.photographed(scene)
        return {"views": len(found), "pixels": sum(image.size[0] * image.size[1] for _, image in found)}
    views.check(scene, recipe)
    width, height = views.picture_size(scene, recipe.to_json()["size"])
    count = len(views.scene_cameras(scene))
    return {"views": count, "pixels": count * width * height}


def gather_capture(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress) -> None:
    if views_from(recipe) == "folder":
        gather_unposed([photo_folder(recipe)], unposed_photos(recipe), folder)
        return
    if views_from(recipe) == "photos":
        gathered = photos.gather(context.scene, folder)
    else:
        gathered = views.render(context.scene, recipe, folder, on_progress)
        surface = rendered_surface(context.scene, recipe)
        if surface:
            write_npz(surface, folder / ORIGINAL)
    drawn = bounds.box(context.scene, recipe)
    capture.write(gathered if drawn is None else replace(gathered, box=drawn), folder / capture.FILE)


# ---- pictured: the active object, and the photos of the scene's cameras --------------------------------------------

def pictured_ready(context: bpy.types.Context, recipe: Recipe) -> None:
    texturing.active(context)
    photos.photographed(context.scene)


def pictured_summary(context: bpy.types.Context, recipe: Recipe) -> Summary:
    texturing.active(context)
    found = photos.photographed(context.scene)
    return {"views": len(found), "pixels": sum(image.size[0] * image.size[1] for _, image in found)}


def gather_pictured(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress) -> None:
    texturing.gather(context, folder)
    capture.write(photos.gather(context.scene, folder), folder / capture.FILE)


# ---- volume: a Volume object, or the selected meshes, which the worker makes into a grid -------------------------

def volume_selected(context: bpy.types.Context) -> list[bpy.types.Object]:
    """One Volume object, or objects with surfaces."""
    found = solids.selected(context, solids.SURFACES | {"VOLUME"})
    if len(found) > 1 and any(map(volumes.is_volume, found)):
        raise InputError(f"input: {len(found)} objects are selected, a volume among them; select it alone")
    return found


def volume_ready(context: bpy.types.Context, recipe: Recipe) -> None:
    volume_selected(context)


def volume_summary(context: bpy.types.Context, recipe: Recipe) -> Summary:
    return {"objects": len(volume_selected(context))}


def gather_volume(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress) -> None:
    chosen = volume_selected(context)
    if volumes.is_volume(chosen[0]):
        volumes.gather(chosen[0], recipe, folder)
        return
    depsgraph = context.evaluated_depsgraph_get()
    found = meshes.joined([meshes.mesh_from_object(o, depsgraph) for o in chosen])
    if len(found.faces) == 0:
        names = ", ".join(o.name for o in chosen[:3])
        raise InputError(f"input: the selected objects ({names}) have no faces; select some that have")
    if not np.isfinite(found.vertices).all():
        raise InputError("input: the selected objects have vertices that are not finite; mend them or their modifiers")
    write_npz(found, folder / "mesh.npz")


# ---- picture: an image -------------------------------------------------------------------------------------------

def picture_ready(context: bpy.types.Context, recipe: Recipe) -> None:
    images.chosen(context, recipe.to_json()["image"])


def picture_summary(context: bpy.types.Context, recipe: Recipe) -> Summary:
    width, height = images.size(images.chosen(context, recipe.to_json()["image"]))
    return {"width": width, "height": height}


def gather_picture(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress) -> None:
    images.write(images.chosen(context, recipe.to_json()["image"]), folder / f"{PICTURE}.png")


# ---- photos: an image of an object, with a mask and an image from behind ------------------------------------------

def photos_ready(context: bpy.types.Context, recipe: Recipe) -> None:
    assert isinstance(recipe, ImageRecipe)
    images.chosen(context, recipe.image)


def photos_summary(context: bpy.types.Context, recipe: Recipe) -> Summary:
    assert isinstance(recipe, ImageRecipe)
    width, height = images.size(images.chosen(context, recipe.image))
    for name in (recipe.mask, recipe.behind):
        if name and name not in bpy.data.images and not Path(bpy.path.abspath(name)).is_file():
            raise InputError(f"image: {name!r} is neither an image in this file nor a picture's file; choose another")
    return {"photos": 1, "pixels": width * height}


def gather_photos(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress) -> None:
    assert isinstance(recipe, ImageRecipe)
    photo = images.chosen(context, recipe.image)
    roles = {role: name for role, name in (("mask", recipe.mask), ("behind", recipe.behind)) if name}
    files = {role: _picture_file(context, name, folder / role) for role, name in roles.items()}
    copy = images.copy(photo, folder / "photo_000")
    called = {copy: photo.name} | {files[role]: name for role, name in roles.items()}
    write_list(folder, [copy], Path(photo.name).stem, called, **files)


def _picture_file(context: bpy.types.Context, name: str, stem: Path) -> str:
    """An image of this file by its name, else a picture by its path, copied to `stem` with its ending."""
    if name in bpy.data.images:
        return images.copy(images.chosen(context, name), stem)
    path = Path(bpy.path.abspath(name))
    return copied(path, stem.with_suffix(path.suffix.lower()))


# ---- solids: the selected objects, each for itself ---------------------------------------------------------------

def solids_ready(context: bpy.types.Context, recipe: Recipe) -> None:
    solids.selected(context, solids.SOLIDS)


def solids_summary(context: bpy.types.Context, recipe: Recipe) -> Summary:
    return solids.summary(context)


def gather_solids(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress) -> None:
    solids.gather(context, folder)


# ---- shapes: the selected objects to learn from, each for itself -------------------------------------------------

def shapes_ready(context: bpy.types.Context, recipe: Recipe) -> None:
    found = len(solids.selected(context))
    if found < 2:
        raise InputError(f"input: {found} object is selected; select many of a kind, at least 2")


def shapes_summary(context: bpy.types.Context, recipe: Recipe) -> Summary:
    return {"shapes": len(solids.selected(context))}


def gather_shapes(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress) -> None:
    depsgraph = context.evaluated_depsgraph_get()
    found = [(o.name, meshes.mesh_from_object(o, depsgraph)) for o in solids.selected(context)]
    empty = [name for name, mesh in found if not len(mesh.faces)]
    if empty:
        raise InputError(f'input: object "{empty[0]}" has no faces; deselect it')
    write_shapes(found, folder)


# ---- ends: the selected objects that a morph begins or ends at, where a name does not say it ----------------------

def _objects(recipe: Recipe) -> int:
    assert isinstance(recipe, ShapeInterpolate)
    return recipe.objects()


def ends_ready(context: bpy.types.Context, recipe: Recipe) -> None:
    needed = _objects(recipe)
    if needed:
        found = len(solids.selected(context, solids.SOLIDS))
        if found != needed:
            raise InputError(f"input: {found} objects are selected; select {needed}, or give names of the model's "
                             "shapes as start and end")


def ends_summary(context: bpy.types.Context, recipe: Recipe) -> Summary:
    return solids.summary(context) if _objects(recipe) else {"solids": 0}


def gather_ends(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress) -> None:
    if _objects(recipe):
        solids.gather(context, folder)


def end_names(context: bpy.types.Context, recipe: Recipe) -> dict[str, Any]:
    return selected_names(context, recipe) if _objects(recipe) else nothing(context, recipe)


def selected_names(context: bpy.types.Context, recipe: Recipe) -> dict[str, Any]:
    """What a result is remembered to be made of."""
    return {"sources": [o.name for o in solids.selected(context, solids.SOLIDS)]}


def nothing(context: bpy.types.Context, recipe: Recipe) -> dict[str, Any]:
    """What is made of nothing has no place of its own, and is inserted where new objects are."""
    return {"sources": []}


SOURCES = {
    "capture": Source(capture_ready, capture_summary, gather_capture,
                      is_slow=lambda recipe: views_from(recipe) == "rendered"),
    "pictured": Source(pictured_ready, pictured_summary, gather_pictured,
                       origin=lambda context, recipe: {"sources": [texturing.active(context).name]}),
    "volume": Source(volume_ready, volume_summary, gather_volume,
                     origin=lambda context, recipe: {"sources": [o.name for o in volume_selected(context)]}),
    "picture": Source(picture_ready, picture_summary, gather_picture,
                      origin=lambda context, recipe: {
                          "sources": [images.chosen(context, recipe.to_json()["image"]).name]}),
    "photos": Source(photos_ready, photos_summary, gather_photos, origin=nothing),
    "solids": Source(solids_ready, solids_summary, gather_solids, origin=selected_names),
    "field": Source(fields.ready, fields.summary, fields.gather, origin=fields.origin),
    "shapes": Source(shapes_ready, shapes_summary, gather_shapes),
    "ends": Source(ends_ready, ends_summary, gather_ends, origin=end_names),
    "none": Source(lambda context, recipe: None, lambda context, recipe: {},
                   lambda context, recipe, folder, on_progress: None, origin=nothing),
}
