"""Renders one mesh as it is, in soft light over white: `PYTHON_WITH_BPY render_mesh.py MESH PICTURE SIDE`."""

import sys
from math import radians

import bpy
import numpy as np
from mathutils import Euler, Vector

MESH, PICTURE, SIDE = sys.argv[1:]


def bring() -> list[bpy.types.Object]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if MESH.endswith(".glb"):
        bpy.ops.import_scene.gltf(filepath=MESH)
    else:
        bpy.ops.wm.obj_import(filepath=MESH)
    return [thing for thing in bpy.context.scene.objects if thing.type == "MESH"]


def clay(thing: bpy.types.Object) -> None:
    """A mesh without colours of its own gets one that shows its shape."""
    if not any(slot.material and slot.material.node_tree and any(
            node.type == "TEX_IMAGE" for node in slot.material.node_tree.nodes) for slot in thing.material_slots):
        material = bpy.data.materials.new("Clay")
        material.use_nodes = True
        material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (0.55, 0.3, 0.2, 1)
        thing.data.materials.clear()
        thing.data.materials.append(material)


def main() -> None:
    things = bring()
    scene = bpy.context.scene
    corners = np.array([thing.matrix_world @ Vector(corner) for thing in things for corner in thing.bound_box])
    centre = (corners.min(0) + corners.max(0)) / 2
    for thing in things:
        clay(thing)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.lens = 70
    camera.rotation_euler = Euler((radians(72), 0, radians(35)))
    turn = camera.rotation_euler.to_matrix()
    half = np.abs((corners - centre) @ np.array(turn)).max(0)  # as the camera sees it: across, up, towards it
    away = half[2] + 1.08 * max(half[:2]) * camera.data.lens / (camera.data.sensor_width / 2)
    camera.location = Vector(centre) + turn @ Vector((0, 0, away))
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.data.energy, sun.data.angle = 2.5, radians(20)
    sun.rotation_euler = Euler((radians(50), 0, radians(70)))
    world = bpy.data.worlds.new("World")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.55, 0.58, 0.62, 1)
    scene.world = world
    for thing in (camera, sun):
        scene.collection.objects.link(thing)
    scene.camera = camera
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", 48
    scene.cycles.seed = 0
    scene.view_settings.view_transform = "Standard"
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = int(SIDE)
    scene.render.filepath = PICTURE
    bpy.ops.render.render(write_still=True)


main()
