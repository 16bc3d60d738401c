"""Rendering what the scene's cameras see: Cycles, transparent film, one multilayer EXR a camera."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..formats.cameras import check_views
from ..formats.capture import Camera, Capture, View
from ..recipes import Recipe
from ..recipes.errors import InputError
from . import cameras, compat, results

Progress = Callable[[float, str], None]


def scene_cameras(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The cameras that take part, by name: those of the scene that are not disabled in renders."""
    return sorted((o for o in scene.objects if o.type == "CAMERA" and not o.hide_render), key=lambda o: o.name)


def some_cameras(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The same, or InputError where there are none."""
    found = scene_cameras(scene)
    if not found:
        raise InputError(f'views: scene "{scene.name}" has no camera; add some around the subject, or import a capture')
    return found


def subject_collection(scene: bpy.types.Scene, subject: str) -> bpy.types.Collection:
    """The collection of that name, the scene's root where it is empty."""
    if not subject:
        return scene.collection
    found = next((c for c in scene.collection.children_recursive if c.name == subject), None)
    if found is None:
        raise InputError(f'subject: there is no collection "{subject}" in scene "{scene.name}"; choose another one')
    return found


def subject_objects(scene: bpy.types.Scene, subject: str) -> set[bpy.types.Object]:
    """The objects to capture; never earlier results."""
    return {o for o in subject_collection(scene, subject).all_objects if not results.is_result(o)}


def picture_size(scene: bpy.types.Scene, longest: int) -> tuple[int, int]:
    """Width and height of views that frame what the scene's renders do, in square pixels, `longest` on a side at most.

    Square, because Blender 5.0 cannot write a multilayer EXR of others.
    """
    x, y = (scene.render.resolution_x * scene.render.pixel_aspect_x,
            scene.render.resolution_y * scene.render.pixel_aspect_y)
    scale = longest / max(x, y)
    return max(1, round(x * scale)), max(1, round(y * scale))


def posed_cameras(scene: bpy.types.Scene, longest: int) -> list[tuple[bpy.types.Object, Camera, np.ndarray]]:
    """Each camera with its intrinsics for a rendered view and its pose. InputError where one cannot be used."""
    width, height = picture_size(scene, longest)
    found = some_cameras(scene)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    evaluated = [camera.evaluated_get(depsgraph) for camera in found]
    return [(camera, cameras.from_blender(e, width, height), cameras.world_from_camera(e))
            for camera, e in zip(found, evaluated, strict=True)]


def subject_box(scene: bpy.types.Scene, subject: str) -> np.ndarray:
    """Lower and upper corner, (2, 3) in metres, of what the subject's objects and their instances render."""
    wanted = subject_objects(scene, subject)
    corners: list[np.ndarray] = []
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        source = instance.parent or instance.object
        if source.original not in wanted or source.original.hide_render:
            continue
        if instance.object.type not in {"MESH", "CURVE", "SURFACE", "META", "FONT", "CURVES", "POINTCLOUD", "VOLUME"}:
            continue
        matrix = np.array(instance.matrix_world, np.float64)
        bounds = np.array(instance.object.bound_box, np.float64)
        corners.append(bounds @ matrix[:3, :3].T + matrix[:3, 3])
    if not corners:
        where = f'collection "{subject}"' if subject else f'scene "{scene.name}"'
        raise InputError(f"subject: {where} has nothing that renders; put the objects to capture there")
    points = np.concatenate(corners)
    return np.stack([points.min(axis=0), points.max(axis=0)])


def sees_box(camera: Camera, pose: np.ndarray, box: np.ndarray) -> bool:
    """Whether some part of the box may be in the picture; never wrongly False."""
    corners = np.stack(np.meshgrid(*box.T, indexing="ij"), axis=-1).reshape(-1, 3)
    x, y, z = ((corners - pose[:3, 3]) @ pose[:3, :3]).T
    left = camera.fx * x + camera.cx * -z
    top = -camera.fy * y + camera.cy * -z
    outside = (z >= 0, left < 0, left > camera.width * -z, top < 0, top > camera.height * -z)
    return not any(side.all() for side in outside)


def check(scene: bpy.types.Scene, recipe: Recipe) -> None:
    """Raise InputError for whatever `render` would refuse, without rendering."""
    values = recipe.to_json()
    posed = posed_cameras(scene, values["size"])
    check_views([View(camera.name, lens, pose, "") for camera, lens, pose in posed])
    box = subject_box(scene, values["subject"])
    if not any(sees_box(camera, pose, box) for _, camera, pose in posed):
        name = values["subject"] or scene.name
        raise InputError(f'subject: no camera sees "{name}"; turn the cameras towards it')


def render(scene: bpy.types.Scene, recipe: Recipe, folder: Path, on_progress: Progress) -> Capture:
    """Render every camera's view into `folder`.

    Each EXR holds Combined (linear, premultiplied), Depth (metres along the axis) and Normal (world). All but the
    subject is hidden from the cameras and goes on lighting it. The scene is left as it was found.
    """
    values = recipe.to_json()
    check(scene, recipe)
    posed = posed_cameras(scene, values["size"])
    folder.mkdir(parents=True, exist_ok=True)
    views = []
    with prepared(scene, values, (posed[0][1].width, posed[0][1].height), [c for c, _, _ in posed]):
        for i, (camera, intrinsics, pose) in enumerate(posed):
            on_progress(i / len(posed), f"view {i + 1} of {len(posed)}")
            name = f"view_{i:04d}.exr"
            render_one(scene, camera, folder / name, seed=i)
            views.append(View(camera.name, intrinsics, pose, name, depth=name, normal=name))
    on_progress(1.0, f"{len(views)} views")
    return Capture(folder, tuple(views), box=subject_box(scene, values["subject"]))


def render_one(scene: bpy.types.Scene, camera: bpy.types.Object, path: Path, seed: int) -> None:
    scene.camera = camera
    scene.render.filepath = str(path)
    scene.cycles.seed = seed  # noise that differs between views averages out
    bpy.ops.render.render(write_still=True, scene=scene.name)
    if not path.is_file():
        raise InputError(f'views: the view of camera "{camera.name}" was not written to {path}; is the disk full?')


@contextmanager
def prepared(scene: bpy.types.Scene, values: dict[str, Any], size: tuple[int, int],
             used: Iterable[bpy.types.Object]) -> Iterator[None]:
    """The scene set up for rendering views with a capture's `values`; every setting comes back afterwards."""
    with ExitStack() as stack:
        def change(owner: Any, **settings: Any) -> None:
            for name, value in settings.items():
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)

        cycles = compat.cycles(scene)
        change(scene, camera=scene.camera)
        change(scene.render, engine="CYCLES", resolution_x=size[0], resolution_y=size[1], resolution_percentage=100,
               pixel_aspect_x=1.0, pixel_aspect_y=1.0,
               film_transparent=True, use_persistent_data=True, use_border=False, use_multiview=False,
               use_compositing=False, use_sequencer=False, use_motion_blur=False, use_freestyle=False,
               filepath=scene.render.filepath, use_file_extension=False, use_overwrite=True)
        change(cycles, samples=values["samples"], use_adaptive_sampling=False, seed=cycles.seed,
               use_animated_seed=False, time_limit=0.0, use_denoising=compat.can_denoise())
        if compat.can_denoise():
            # Measured on the demo at 256² and 24 samples: 3 dB for an eighth of the time; the defaults take as
            # long as the rendering and add 1 dB.
            change(cycles, denoiser="OPENIMAGEDENOISE", denoising_input_passes="RGB_ALBEDO_NORMAL",
                   denoising_prefilter="FAST", denoising_quality="BALANCED")
        active = bpy.context.view_layer if bpy.context.scene == scene else scene.view_layers[0]
        for layer in scene.view_layers:
            change(layer, use=layer == active)
        change(active, use_pass_combined=True, use_pass_z=True, use_pass_normal=True)
        stack.enter_context(compat.multilayer_exr(scene.render.image_settings))
        subject = subject_objects(scene, values["subject"])
        for thing in scene.objects:
            if results.is_result(thing):  # stands where its original stands and must not darken it
                change(thing, hide_render=True)
            elif thing.visible_camera and (thing not in subject or thing.type == "LIGHT"):
                change(thing, visible_camera=False)
        lenses: set[Any] = {camera.data for camera in used}
        for data in lenses:
            change(data.dof, use_dof=False)  # a blurred picture has no pinhole camera
        yield
