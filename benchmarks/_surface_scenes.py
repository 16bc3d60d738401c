"""A scene for the benchmark of surfaces: one object in a studio, seen by cameras all around it. Needs bpy.

    BLENDER_PYTHON _surface_scenes.py NAME DATA OUT.blend

NAME is one of SCENES, DATA the folder with `meshes` and `corpus`. The object is scaled to a diagonal of one metre.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

VIEWS, SIDE = 50, 256
# What is hard about each stands beside it.
SCENES = {
    "armchair": "meshes/armchair_lowpoly.glb",  # one colour, flat sides, a deep seat
    "cabinet": "meshes/polyhaven_painted_wooden_cabinet_02.glb",  # large flat sides
    "crate": "",  # a deep open box with a ring in it, made here
    "drill": "meshes/ycb_power_drill.glb",  # a machine, a real scan
    "mech": "corpus/robots/quaternius_mech-finn-the-frog.glb",  # a machine of many parts
    "plant": "meshes/houseplant_thin.glb",  # thin twigs
    "ring": "meshes/bob.glb",  # a hole and shallow hollows
    "sofa": "meshes/polyhaven_sofa_03.glb",  # textile
    "spot": "meshes/spot.glb",  # the easy one
    "table": "corpus/furniture/quaternius_table-round-small2.glb",  # a plain plate on thin legs
}


def make(name: str, data: Path, out: Path) -> None:
    import bpy
    import numpy as np

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    if SCENES[name]:
        bpy.ops.import_scene.gltf(filepath=str(data / SCENES[name]))
    else:
        _crate()
    bpy.context.view_layer.update()
    found = [o for o in scene.objects if o.type == "MESH"]
    for thing in found:
        _colored(thing)
    corners = np.concatenate([np.array(o.bound_box) @ np.array(o.matrix_world)[:3, :3].T
                              + np.array(o.matrix_world)[:3, 3] for o in found])
    lower, upper = corners.min(axis=0), corners.max(axis=0)
    scale = 1 / np.linalg.norm(upper - lower)
    _normalise(found, (lower + upper) / 2, scale)
    for other in [o for o in scene.objects if o.type != "MESH"]:
        bpy.data.objects.remove(other)
    _studio(scene)
    bpy.ops.wm.save_as_mainfile(filepath=str(out), compress=True)


def _normalise(found: list, centre, scale: float) -> None:
    from mathutils import Matrix, Vector

    for thing in found:
        placed = Matrix.Scale(scale, 4) @ Matrix.Translation(-Vector(centre)) @ thing.matrix_world
        thing.parent = None
        thing.matrix_world = placed


def _colored(thing) -> None:
    """A material that shows the colour attribute of a mesh that has no texture."""
    import bpy

    textured = any(m and m.use_nodes and any(n.type == "TEX_IMAGE" for n in m.node_tree.nodes)
                   for m in thing.data.materials)
    if textured or not thing.data.color_attributes:
        return
    material = bpy.data.materials.new("Colours")
    material.use_nodes = True
    tree = material.node_tree
    attribute = tree.nodes.new("ShaderNodeVertexColor")
    attribute.layer_name = thing.data.color_attributes[0].name
    shader = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    tree.links.new(attribute.outputs["Color"], shader.inputs["Base Color"])
    thing.data.materials.clear()
    thing.data.materials.append(material)


def _crate() -> None:
    """An open box with walls, painted by noise, and a plain ring in it."""
    import bpy

    bpy.ops.mesh.primitive_cube_add(size=2)
    box = bpy.context.object
    bpy.ops.mesh.primitive_cube_add(size=1.6, location=(0, 0, 0.5))
    hollow = bpy.context.object
    cut = box.modifiers.new("Hollow", "BOOLEAN")
    cut.object, cut.operation, cut.solver = hollow, "DIFFERENCE", "EXACT"
    with bpy.context.temp_override(object=box, active_object=box):
        bpy.ops.object.modifier_apply(modifier=cut.name)
    bpy.data.objects.remove(hollow)
    wood = bpy.data.materials.new("Wood")
    wood.use_nodes = True
    tree = wood.node_tree
    noise, ramp = tree.nodes.new("ShaderNodeTexNoise"), tree.nodes.new("ShaderNodeValToRGB")
    noise.inputs["Scale"].default_value = 5
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = (0.1, 0.25, 0.5, 1), (0.9, 0.5, 0.2, 1)
    shader = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    tree.links.new(noise.outputs[0], ramp.inputs[0])
    tree.links.new(ramp.outputs[0], shader.inputs["Base Color"])
    box.data.materials.append(wood)
    bpy.ops.mesh.primitive_torus_add(major_radius=0.5, minor_radius=0.16, location=(0, 0, 0.2), rotation=(0.9, 0.2, 0))
    plain = bpy.data.materials.new("Plain")
    plain.use_nodes = True
    shader = next(n for n in plain.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (0.8, 0.7, 0.1, 1)
    bpy.context.object.data.materials.append(plain)


def _studio(scene) -> None:
    """A sky, three lamps, and cameras spread over the sphere by the golden angle, a few from below."""
    import bpy
    from mathutils import Vector

    scene.world = bpy.data.worlds.new("Sky")
    scene.world.use_nodes = True
    sky = scene.world.node_tree.nodes["Background"]
    sky.inputs["Color"].default_value, sky.inputs["Strength"].default_value = (0.45, 0.5, 0.6, 1), 0.6
    lamps = ((1.25, -0.75, 1.5), 65, 1.0), ((-1.5, -0.5, 0.75), 22, 1.5), ((0.3, 1.0, -0.8), 12, 1.0)
    for place, watts, size in lamps:
        lamp = bpy.data.lights.new("Lamp", "AREA")
        lamp.energy, lamp.size = watts, size
        _add(scene, lamp, Vector(place))
    lens = 50.0
    distance = 0.5 / math.sin(math.atan(18 / lens)) * 1.04
    for i in range(VIEWS):
        z, turn = 0.95 - 1.55 * (i + 0.5) / VIEWS, i * 2.399963
        flat = math.sqrt(1 - z * z)
        camera = bpy.data.cameras.new(f"Camera {i:02d}")
        camera.lens = lens
        _add(scene, camera, distance * Vector((flat * math.cos(turn), flat * math.sin(turn), z)))
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = 1024


def _add(scene, data, place) -> None:
    """An object at `place` that looks at the origin."""
    import bpy

    made = bpy.data.objects.new(data.name, data)
    made.location = place
    made.rotation_euler = (-place).to_track_quat("-Z", "Y").to_euler()
    scene.collection.objects.link(made)


if __name__ == "__main__":
    words = sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else sys.argv[1:]
    make(words[0], Path(words[1]), Path(words[2]).resolve())
    sys.stdout.flush()
    os._exit(0)  # bpy 4.2 may crash while the interpreter ends
