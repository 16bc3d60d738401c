"""What a mesh looks like as Blender shows it, without light: to be compared with the photos that it comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

from ..formats.capture import Capture
from ..formats.mesh import Mesh
from ..recipes.errors import InputError
from . import cameras, compat, meshes

# Of edges and texels alone. Measured on a capture at 256²: 64 come 0.06 dB nearer to the photos in four times the time.
SAMPLES = 16


def render(mesh: Mesh, capture: Capture, on_progress: Callable[[float, str], None]) -> None:
    """Insert a mesh into an empty file and render it to each view's picture, a PNG with straight alpha.

    The photos' light is in the base colour already: it is shown as it is, encoded as sRGB and not transformed for view.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene: Any = bpy.context.scene
    inserted: Any = meshes.new_object(mesh, "Result", scene.collection)
    for material in inserted.data.materials:
        emit_base_color(material)
    _prepare(scene)
    camera = _new_camera(scene, mesh.diagonal())
    for number, view in enumerate(capture.views):
        on_progress(number / len(capture.views), f"picture {number + 1} of {len(capture.views)}")
        cameras.to_blender(view.camera, camera.data)
        camera.matrix_world = Matrix(view.world_from_camera.tolist())
        cameras.fit_render(scene, view.camera)
        _render_one(scene, capture.folder / view.picture)


def emit_base_color(material: bpy.types.Material) -> None:
    """Show what goes into the Principled shader as base colour in the place of that shader."""
    tree: Any = material.node_tree
    color = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED").inputs["Base Color"]
    light = tree.nodes.new("ShaderNodeEmission")
    tree.links.new(color.links[0].from_socket, light.inputs["Color"])
    output = next(n for n in tree.nodes if n.type == "OUTPUT_MATERIAL")
    tree.links.new(light.outputs["Emission"], output.inputs["Surface"])


def _prepare(scene: Any) -> None:
    render, cycles, view = scene.render, compat.cycles(scene), scene.view_settings
    render.engine, render.film_transparent, render.use_persistent_data = "CYCLES", True, True
    render.dither_intensity = 0.0
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
    cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising, cycles.max_bounces = SAMPLES, False, False, 0
    view.view_transform, view.look, view.exposure, view.gamma = "Standard", "None", 0.0, 1.0


def _new_camera(scene: Any, diagonal: float) -> Any:
    data = bpy.data.cameras.new("Camera")
    data.clip_start, data.clip_end = 1e-4 * diagonal, 1e4 * diagonal  # photos know no scale
    camera = bpy.data.objects.new("Camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera


def _render_one(scene: Any, path: Path) -> None:
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    if not path.is_file():
        raise InputError(f"blender: a picture was not written to {path}; is the disk full?")
