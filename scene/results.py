"""A job's result in the scene: inserted as a new object, or in the place of an earlier one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import bpy

from ..formats import capture as captures
from ..formats import morph as morphs
from ..formats import objects as formats_objects
from ..formats import pictured, renders
from ..formats.mesh import Mesh, read_npz
from ..formats.octree import read_octree
from ..formats.volume import OCTREE
from ..recipes import InputError, recipe_of, tasks
from . import comparison, images, importer, meshes, morph, objects, properties, solids, texturing, volumes
from .compat import fitting_name

# Custom properties of a result: the job that made it, its task, and its recipe as in job.json and report.json.
JOB_KEY = "maquette_job"
TASK_KEY = "maquette_task"
RECIPE_KEY = "maquette_recipe"
SOURCES_KEY = "maquette_sources"
FOLDER_KEY = "maquette_folder"  # the job's, where its field stays until it is cleaned up
COLLECTION = "Maquette"


class Done(Protocol):
    """What is needed of a job that is done; `jobs.folder.Job` is one."""

    path: Path
    output: Path

    @property
    def target(self) -> dict[str, Any]: ...

    def report(self) -> dict[str, Any]: ...


def is_result(thing: Any) -> bool:
    return thing is not None and bool(thing.get(JOB_KEY) and thing.get(TASK_KEY))


def recipe_values(thing: bpy.types.Object) -> dict[str, Any]:
    """The recipe that made an object, as JSON has it."""
    try:
        values = json.loads(thing.get(RECIPE_KEY, ""))
    except (TypeError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f'recipe: object "{thing.name}" stores none that can be read; reconstruct it anew')
    return values


def sources(scene: bpy.types.Scene, thing: bpy.types.Object) -> list[bpy.types.Object]:
    """The objects that a result was made of, empty for what is no result or does not say."""
    try:
        names = json.loads(thing.get(SOURCES_KEY, "[]"))
    except (TypeError, ValueError):
        names = []
    found: list[Any] = [scene.objects.get(str(name)) for name in names]
    return [o for o in found if o is not None]


@dataclass(frozen=True)
class Form:
    """What Blender does with one form of results.

    `insert` makes the data block and may find what it replaces by a name. `show` brings it before the user.
    `said` tells of it by its name.
    """

    insert: Callable[[bpy.types.Scene, Done, str], Any]
    show: Callable[[bpy.types.Context, Any], None]
    said: str


def form(job: Done) -> Form:
    return FORMS[recipe_of(job.report()["task"]).output]


def insert(scene: bpy.types.Scene, job: Done, replaces: str = "") -> Any:
    """Bring a job's result into the file; into the object named `replaces` where that is still there.

    Returns the object or image. Raises InputError where the job's output is missing or damaged.
    """
    return form(job).insert(scene, job, replaces)


def insert_into_open_scene(job: Done) -> Any:
    return insert(bpy.context.scene, job)


def save(job: Done, path: Path) -> None:
    """Write what Blender writes of a result that is in the open scene: the scene as .blend, or a volume as .vdb."""
    if path.suffix.lower() == ".vdb":
        volumes.write_vdb(_mesh_of(job), read_octree(job.output / OCTREE), path)
    else:
        save_copy(path)


def save_copy(path: Path) -> None:
    """Write the open file to `path` and keep working on the one that is open."""
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(Path(path).absolute()), copy=True, compress=True)
    except RuntimeError as problem:
        raise InputError(f"out: Blender cannot write {path} ({' '.join(str(problem).split())}); "
                         "choose another folder or mend its permissions") from None


def _place(scene: bpy.types.Scene, job: Done, made: Any) -> None:
    """Put what was made of nothing at the 3D cursor; all else is where its sources are."""
    if job.target.get("sources") == []:
        made.location = scene.cursor.location


def _mark(thing: Any, job: Done) -> None:
    """Store on a data block what it was made by."""
    report = job.report()
    thing[JOB_KEY] = job.path.name
    thing[FOLDER_KEY] = str(job.path)
    thing[TASK_KEY] = report["task"]
    thing[RECIPE_KEY] = json.dumps(report["recipe"])
    if "sources" in job.target:
        thing[SOURCES_KEY] = json.dumps(job.target["sources"])


# ---- meshes ------------------------------------------------------------------------------------------------------

def _insert_mesh(scene: bpy.types.Scene, job: Done, replaces: str) -> bpy.types.Object:
    mesh, report, compared = _mesh_of(job), job.report(), job.target.get("compared")
    target: Any = scene.objects.get(replaces) if replaces else None
    is_new = target is None or target.type != "MESH"
    if is_new:
        target = meshes.new_object(mesh, _name(report), _collection(scene))
        _place(scene, job, target)
        if (job.output / captures.FILE).exists() and not compared:
            importer.insert_found_cameras(scene, captures.read(job.output / captures.FILE), target)
    else:
        meshes.swap(target, mesh)
    if recipe_of(report["task"]).output == "field":
        comparison.keep_figures(target, report)
    if is_new and compared:
        which = job.target.get("input_of", job.path.name)
        comparison.lay_out(scene, target, which, report["recipe"]["method"], compared)
    for owner in (target, target.data):
        _mark(owner, job)
    return target


def of_job(name: str) -> Any:
    """The object or image that a job has made, None where the file has none."""
    for things in (bpy.data.objects, bpy.data.images):
        for thing in things:
            if thing.get(JOB_KEY) == name:
                return thing
    return None


def originals(scene: bpy.types.Scene, thing: Any) -> list[Any]:
    """What a result was made of, as objects of the scene: its sources, or what the views of a capture show."""
    if thing is None or not is_result(thing):
        return []
    if SOURCES_KEY in thing:
        return [o for o in sources(scene, thing) if o != thing]
    try:
        values = recipe_values(thing)
    except InputError:
        return []
    if values.get("views") != "rendered":
        return []
    subject: Any = bpy.data.collections.get(values.get("subject", ""))
    things: Any = subject.all_objects if subject else scene.objects
    return [o for o in things if o.type in solids.SURFACES and not o.get(JOB_KEY)]


def swap_with_originals(scene: bpy.types.Scene, thing: Any) -> None:
    """Show what a result was made of in its place, or the result again."""
    show_result = thing.hide_get()
    thing.hide_set(not show_result)
    for original in originals(scene, thing):
        original.hide_set(show_result)


def show(context: bpy.types.Context, made: Any) -> None:
    """Bring an object or image of the file before the user."""
    if isinstance(made, bpy.types.Image):
        images.show(context, made)
        return
    made.hide_set(False)
    _select(context, made)


def _select(context: bpy.types.Context, made: bpy.types.Object) -> None:
    context.view_layer.update()  # it knows what was linked only then
    if made.name in context.view_layer.objects:
        for other in context.selected_objects:
            other.select_set(False)
        made.select_set(True)
        context.view_layer.objects.active = made


def _mesh_of(job: Done) -> Mesh:
    return _read(job.output / "mesh.npz", read_npz)


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except (OSError, ValueError, KeyError, EOFError) as problem:
        raise InputError(f"job: the result {path} cannot be read ({problem}); resume the job or run it again") from None


def _name(report: dict[str, Any]) -> str:
    label = recipe_of(report["task"]).label
    subject = report["recipe"].get("subject")
    return fitting_name(f"{subject} {label.lower()}" if subject else label)


def _collection(scene: bpy.types.Scene) -> bpy.types.Collection:
    """The scene's collection of results, made where there is none."""
    found = next((c for c in scene.collection.children_recursive if c.get(JOB_KEY)), None)
    if found is None:
        found = bpy.data.collections.new(COLLECTION)
        found[JOB_KEY] = True  # found again under whatever name the artist gives it
        scene.collection.children.link(found)
    return found


# ---- textures of objects that are there ---------------------------------------------------------------------------

def _lay_texture(scene: bpy.types.Scene, job: Done, replaces: str) -> bpy.types.Object:
    """On the object that it was made for, which is no result for that; a new object where that has changed or gone."""
    mesh = _mesh_of(job)
    names = job.target.get("sources") or [""]
    target: Any = scene.objects.get(names[0])
    if target is not None and target.type == "MESH":
        if texturing.lay_on(target, mesh, *_read(job.path / "input", pictured.read_loops)):
            return target
    return meshes.new_object(mesh, _name(job.report()), _collection(scene))


# ---- morphs ------------------------------------------------------------------------------------------------------

def _insert_morph(scene: bpy.types.Scene, job: Done, replaces: str) -> bpy.types.Object:
    found = _read(job.output / "morph.npz", morphs.read_npz)
    target: Any = scene.objects.get(replaces) if replaces else None
    if target is None or (target.type == "MESH") != found.shared:
        target = morph.new_object(found, _name(job.report()), _collection(scene))
        _place(scene, job, target)
    else:
        if found.shared:
            target.shape_key_clear()
            meshes.swap(target, found.steps[0])
        morph.fill(target, found, _collection(scene))
    _mark(target, job)
    return target


# ---- what comes of a photo ---------------------------------------------------------------------------------------

def _insert_objects(scene: bpy.types.Scene, job: Done, replaces: str) -> bpy.types.Object:
    found = formats_objects.read(job.output / formats_objects.FILE)
    target: Any = scene.objects.get(replaces) if replaces else None
    if target is not None and target.type == "MESH":
        everything: list[Any] = list(scene.objects)
        others = [o for o in everything if o.type == "MESH" and o != target and o.get(JOB_KEY) == target.get(JOB_KEY)]
        objects.renew(target, others, found, _collection(scene))
        made = [target, *others]
    else:
        made = objects.new_objects(found, _photo_name(job), _collection(scene))
        target = made[0]
        for thing in made:
            _place(scene, job, thing)
        camera = objects.camera_of(target)
        if scene.camera is None:
            objects.fit_render(scene, camera)
    for thing in made:
        _mark(thing, job)
        _mark(thing.data, job)
    return target


def _photo_name(job: Done) -> str:
    """After the photo, as the user knows it."""
    report = job.report()
    return fitting_name(report.get("name") or _name(report))


# ---- pictures ----------------------------------------------------------------------------------------------------

def _insert_picture(scene: bpy.types.Scene, job: Done, replaces: str) -> bpy.types.Image:
    report = job.report()
    source = next(iter(job.target.get("sources", [])), "") or report["recipe"].get("image", "")
    image = images.read(job.output / "picture.png", f"{source} fitted" if source else recipe_of(report["task"]).label)
    _mark(image, job)
    return image


def _insert_pictures(scene: bpy.types.Scene, job: Done, replaces: str) -> bpy.types.Image:
    """One picture as an image of the file, beside those of its depth and normals; several as an image sequence."""
    report = job.report()
    seen_by = report["recipe"]["cameras"] or "turntable"
    name = " ".join([*job.target.get("sources", []), seen_by])
    folder = job.output / renders.FOLDER
    found = renders.images_in(folder)
    if len(found) > 1:
        image = images.sequence(renders.images_in(_kept(job, folder)), name)
    else:
        image = images.read(found[0], name)
        for words, path in renders.passes_of(folder, found[0]).items():
            images.read(path, f"{name} {words}", "Non-Color")
    _mark(image, job)
    return image


def _kept(job: Done, folder: Path) -> Path:
    """A copy of a job's pictures beside the jobs, where cleaning up does not reach: no .blend can hold a sequence."""
    kept = job.path.parent.with_name("pictures") / job.path.name
    try:
        renders.write_out(folder, kept)
    except OSError as problem:
        raise InputError(f"pictures: {kept} cannot be written ({problem.strerror}); free some space, then insert the "
                         "result again") from None
    return kept


# ---- models ------------------------------------------------------------------------------------------------------

def _keep_model(scene: bpy.types.Scene, job: Done, replaces: str) -> Path:
    """Keep a trained model beside the jobs, where cleaning up does not reach, and choose it in this scene's settings."""
    folder = job.path.parent.with_name("models")
    path = folder / f"{job.path.name}.safetensors"
    try:
        folder.mkdir(exist_ok=True)
        shutil.copyfile(job.output / "model.safetensors", path)
    except OSError as problem:
        raise InputError(f"model: {path} cannot be written ({problem.strerror}); free some space, then resume the "
                         "job") from None
    trained = recipe_of(job.report()["task"])
    for recipe in tasks().values():
        if recipe.model_kind == trained.model_kind and any(p.name == "model" for p in recipe.parameters()):
            getattr(properties.of_scene(scene), recipe.task()).model = str(path)
    return path


def _nothing_to_show(context: bpy.types.Context, made: Any) -> None:
    """A model is not seen."""


# By the recipe's `output`.
_MESH = Form(_insert_mesh, _select, "{} is reconstructed")
FORMS = {"mesh": _MESH, "field": _MESH, "volume": _MESH,
         "texture": Form(_lay_texture, _select, "{} is textured"),
         "objects": Form(_insert_objects, _select, "{} is made; its camera sees it as the photo does"),
         "morph": Form(_insert_morph, _select, "{} is ready; its slider is the property Morph"),
         "picture": Form(_insert_picture, images.show, 'Image "{}" is ready'),
         "pictures": Form(_insert_pictures, images.show, 'Image "{}" is ready'),
         "model": Form(_keep_model, _nothing_to_show, "{} is trained, and chosen in this scene")}
