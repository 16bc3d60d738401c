"""Blender's own depth of a scene from cameras of every kind: `PYTHON_WITH_BPY render_scene.py LENSES.json FOLDER`.

Each lens is rendered to FOLDER/N.exr by Cycles with one sample at every pixel's centre; FOLDER/scene.npz holds the
scene's triangles and the cameras' poses.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

LENSES, FOLDER = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
PLACES = [(4.0, -5.0, 3.0), (-6.0, -2.0, 1.0), (1.0, 6.0, -3.0)]

bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_monkey_add(location=(0.3, 0.0, 0.2), rotation=(0.2, 0.1, 0.8))
bpy.ops.mesh.primitive_torus_add(location=(-0.4, 0.3, -0.2), rotation=(0.9, 0.4, 0.0), major_radius=1.3)
bpy.ops.mesh.primitive_cone_add(location=(0.8, -0.9, 0.6), rotation=(0.0, 2.2, 0.5), depth=2.5, vertices=9)
bpy.context.view_layer.update()

triangles = []
for thing in bpy.context.scene.objects:
    mesh = thing.data
    mesh.calc_loop_triangles()
    places = np.empty(3 * len(mesh.vertices))
    mesh.vertices.foreach_get("co", places)
    pose = np.array(thing.matrix_world)
    corners = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", corners)
    triangles.append((places.reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3])[corners.reshape(-1, 3)])

scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.render.film_transparent = True
scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.max_bounces = 1, False, 0
scene.cycles.pixel_filter_type, scene.cycles.filter_width = "GAUSSIAN", 0.01  # the centre alone
bpy.context.view_layer.use_pass_z = True
settings = scene.render.image_settings
if hasattr(settings, "media_type"):  # from 5.0 on
    settings.media_type = "MULTI_LAYER_IMAGE"
settings.file_format, settings.color_depth = "OPEN_EXR_MULTILAYER", "32"

poses = []
for i, lens in enumerate(LENSES):
    camera = bpy.data.objects.new(f"Camera {i}", bpy.data.cameras.new(f"Camera {i}"))
    scene.collection.objects.link(camera)
    place = Vector(PLACES[i % len(PLACES)])
    camera.matrix_world = Matrix.Translation(place) @ (-place).to_track_quat("-Z", "Y").to_matrix().to_4x4()
    for name in ("sensor_fit", "lens", "shift_x", "shift_y", "sensor_width", "sensor_height"):
        setattr(camera.data, name, lens[name])
    scene.render.resolution_x, scene.render.resolution_y = lens["width"], lens["height"]
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = 1.0, lens["pixel_aspect"]
    scene.camera, scene.render.filepath = camera, str(FOLDER / f"{i}.exr")
    bpy.ops.render.render(write_still=True)
    poses.append(np.array(camera.matrix_world))
np.savez(FOLDER / "scene.npz", triangles=np.concatenate(triangles), poses=np.stack(poses))
