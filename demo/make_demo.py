"""Make demo.blend: a painted hen of clay, light, 52 cameras around it and the recipe of a capture.

    PYTHON_WITH_BPY demo/make_demo.py [OUT.blend]        (bpy 4.2, so that Blender 4.2 and later open the file)

The hen is one closed surface of genus 1 (her tail is the handle) with a bowl in her back: everything that the
field has to find, plain sides, thin parts, concave parts and paint with fine detail, and nothing inside.
All of it is made here and is CC0.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

HERE = Path(__file__).resolve().parent
SCALE = 0.1  # the hen is modelled in decimetres
CELLS = 96  # of the grid along her longest side
CAMERAS = 52


# ---- shape: signed distances in decimetres, x forward, z up; `p` is (..., 3) ------------------------------------

def ellipsoid(p, centre, radii):
    q = p - np.asarray(centre)
    k0 = np.linalg.norm(q / radii, axis=-1)
    k1 = np.linalg.norm(q / np.square(radii), axis=-1)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-9)


def capsule(p, a, b, ra, rb):
    """A limb from a to b whose radius goes from ra to rb."""
    a, b = np.asarray(a), np.asarray(b)
    t = np.clip((p - a) @ (b - a) / np.dot(b - a, b - a), 0, 1)
    return np.linalg.norm(p - a - t[..., None] * (b - a), axis=-1) - (ra + (rb - ra) * t)


def ring(p, centre, radius, tube, along_y, along_z=None):
    """A torus around the y axis (around z where `along_z`), its tube stretched across."""
    x, y, z = np.moveaxis(p - np.asarray(centre), -1, 0)
    if along_z is not None:
        y, z = z, y
    return np.hypot((np.hypot(x, z) - radius), y / along_y) - tube


def joined(a, b, soft):
    h = np.clip(0.5 + 0.5 * (b - a) / soft, 0, 1)
    return b + (a - b) * h - soft * h * (1 - h)


def without(a, b, soft):
    return -joined(-a, b, soft)


WING = ((-0.12, 0.83, 0.02), (0.74, 0.24, 0.4))
BOWL = ((-0.12, 0.0, 0.98), (0.82, 0.62, 0.9))
EYE = (1.3, 0.37, 1.16)
COMB = (((0.9, 0.0, 1.52), 0.16), ((1.1, 0.0, 1.62), 0.19), ((1.31, 0.0, 1.55), 0.15))
TAIL = ((-1.42, 0.0, 0.42), 0.5)


def hen(p):
    mirrored = np.stack([p[..., 0], np.abs(p[..., 1]), p[..., 2]], axis=-1)
    shape = ellipsoid(p, (0, 0, 0), (1.3, 0.95, 0.84))
    shape = joined(shape, capsule(p, (0.75, 0, 0.25), (1.12, 0, 1.02), 0.6, 0.43), 0.35)
    shape = joined(shape, ring(p, TAIL[0], TAIL[1], 0.17, 1.5), 0.16)
    shape = joined(shape, ellipsoid(mirrored, *WING), 0.05)
    foot = np.maximum(np.hypot(p[..., 0], p[..., 1]) - 0.62 - 0.15 * (-0.8 - p[..., 2]), np.abs(p[..., 2] + 0.8) - 0.2)
    shape = joined(shape, foot, 0.12)
    shape = without(shape, ellipsoid(p, (0, 0, -1.08), (0.48, 0.48, 0.2)), 0.05)
    shape = without(shape, ellipsoid(p, *BOWL), 0.1)
    for centre, radius in COMB:
        shape = joined(shape, ellipsoid(p, centre, (radius, 0.11, radius * 1.25)), 0.05)
    shape = joined(shape, ellipsoid(mirrored, (1.42, 0.12, 0.72), (0.1, 0.08, 0.2)), 0.05)
    shape = joined(shape, ellipsoid(mirrored, EYE, (0.09, 0.06, 0.09)), 0.02)
    return joined(shape, capsule(p, (1.45, 0, 1.03), (1.86, 0, 0.94), 0.17, 0.05), 0.06)


def surface_nets(distance, low, high, cells):
    """Quads of the zero level: a vertex in every cell that the surface crosses, moved onto it by Newton's method."""
    step = (np.max(np.subtract(high, low))) / cells
    counts = np.ceil(np.subtract(high, low) / step).astype(int)
    corners = np.asarray(low) + step * np.stack(np.meshgrid(*map(np.arange, counts + 1), indexing="ij"), axis=-1)
    inside = distance(corners) < 0
    blocks = [inside[a:a + counts[0], b:b + counts[1], c:c + counts[2]]
              for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    crossed = np.any(blocks, axis=0) & ~np.all(blocks, axis=0)
    number = np.cumsum(crossed).reshape(crossed.shape) - 1
    points = corners[:-1, :-1, :-1][crossed] + step / 2
    for _ in range(12):
        value = distance(points)
        slope = np.stack([distance(points + d) - distance(points - d) for d in np.eye(3) * 1e-4], axis=-1) / 2e-4
        move = value[:, None] * slope / np.maximum((slope**2).sum(-1, keepdims=True), 1e-6)
        points = points - 0.7 * np.clip(move, -step, step)
    quads = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        cut = np.moveaxis(inside, (axis, u, v), (0, 1, 2))
        ids = np.moveaxis(number, (axis, u, v), (0, 1, 2))
        leaves = cut[:-1, 1:-1, 1:-1] & ~cut[1:, 1:-1, 1:-1]
        enters = ~cut[:-1, 1:-1, 1:-1] & cut[1:, 1:-1, 1:-1]
        around = np.stack([ids[:, :-1, :-1], ids[:, 1:, :-1], ids[:, 1:, 1:], ids[:, :-1, 1:]], axis=-1)
        quads += [around[leaves], around[enters][:, ::-1]]
    return points, np.concatenate(quads)


def make_hen():
    points, quads = surface_nets(hen, (-2.3, -1.3, -1.2), (2.1, 1.3, 2.1), CELLS)
    edges = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all(), "not manifold: choose other CELLS"
    mesh = bpy.data.meshes.new("Hen")
    mesh.from_pydata(points * SCALE, [], quads.tolist())
    mesh.shade_smooth()
    assert not mesh.validate(verbose=True)
    mesh.materials.append(paint())
    return bpy.data.objects.new("Hen", mesh)


# ---- paint: procedural, in object coordinates ------------------------------------------------------------------

class Value:
    """A socket of a shader node tree with arithmetic."""

    def __init__(self, tree, socket):
        self.tree, self.socket = tree, socket

    def math(self, operation, *others, swap=False):
        node = self.tree.nodes.new("ShaderNodeMath")
        node.operation = operation
        for slot, value in zip(node.inputs, ((*others, self) if swap else (self, *others)), strict=False):
            if isinstance(value, Value):
                self.tree.links.new(value.socket, slot)
            else:
                slot.default_value = value
        return Value(self.tree, node.outputs[0])

    def __add__(self, other): return self.math("ADD", other)
    def __sub__(self, other): return self.math("SUBTRACT", other)
    def __mul__(self, other): return self.math("MULTIPLY", other)
    def __truediv__(self, other): return self.math("DIVIDE", other)
    def __lt__(self, other): return self.math("LESS_THAN", other)
    def __gt__(self, other): return self.math("GREATER_THAN", other)
    def __and__(self, other): return self.math("MULTIPLY", other)
    def __or__(self, other): return self.math("MAXIMUM", other)
    def square(self): return self * self


def mixed(mask, below, above):
    """`above` where the mask is 1. Colours are sockets or linear RGB."""
    node = mask.tree.nodes.new("ShaderNodeMix")
    node.data_type = "RGBA"
    mask.tree.links.new(mask.socket, node.inputs["Factor"])
    for slot, colour in ((node.inputs[6], below), (node.inputs[7], above)):
        if isinstance(colour, Value):
            mask.tree.links.new(colour.socket, slot)
        else:
            slot.default_value = (*colour, 1)
    return Value(mask.tree, node.outputs[2])


CREAM, INK, TEAL, OCHRE = (0.78, 0.66, 0.47), (0.02, 0.05, 0.11), (0.02, 0.22, 0.26), (0.72, 0.32, 0.04)
RED, CLAY, WHITE, SKY = (0.52, 0.035, 0.02), (0.33, 0.13, 0.07), (0.85, 0.82, 0.76), (0.2, 0.45, 0.5)


def paint():
    material = bpy.data.materials.new("Painted clay")
    material.use_nodes = True
    tree = material.node_tree
    surface = tree.nodes["Principled BSDF"]
    surface.inputs["Roughness"].default_value = 0.75
    surface.inputs["Specular IOR Level"].default_value = 0.25
    coordinates = tree.nodes.new("ShaderNodeTexCoord").outputs["Object"]
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(coordinates, split.inputs[0])
    x, y, z = (Value(tree, s) * (1 / SCALE) for s in split.outputs)
    side = y.math("ABSOLUTE")

    def texture(kind, scale, output):
        node = tree.nodes.new(kind)
        node.inputs["Scale"].default_value = scale / SCALE
        tree.links.new(coordinates, node.inputs["Vector"])
        return Value(tree, node.outputs[output])

    def distance(centre, radii=(1, 1, 1)):
        parts = [((axis - c) / r).square() for axis, c, r in zip((x, side, z), centre, radii, strict=True)]
        return (parts[0] + parts[1] + parts[2]).math("SQRT")

    wobble = texture("ShaderNodeTexNoise", 2.5, 0) - 0.5
    colour = mixed(texture("ShaderNodeTexNoise", 1.2, 0), CREAM, [0.86 * c for c in CREAM])
    # Feathers: rows of scales along the body, every second row moved by half a scale.
    along = x * 3.1 + wobble * 0.25 + 20
    row = along.math("FLOOR")
    turn = side.math("ARCTAN2", z + 0.02) * 3.5 + row.math("MODULO", 2.0) * 0.5
    u = turn.math("FRACT") - 0.5
    v = along.math("FRACT")
    scale = ((u * 1.1).square() + (v * 0.9 - 0.05).square()).math("SQRT")
    body = (x < 0.85) & (z > -0.62)
    colour = mixed(body & (scale > 0.36) & (scale < 0.5), colour, TEAL)
    colour = mixed(body & (scale > 0.19) & (scale < 0.26), colour, OCHRE)
    colour = mixed(body & (scale < 0.09), colour, RED)
    # Neck: two bands and dots between them.
    lift = z * 0.9 + x * 0.45 + wobble * 0.06
    colour = mixed((x > 0.6) & (lift > 0.93) & (lift < 1.03), colour, INK)
    colour = mixed((x > 0.6) & (lift > 1.18) & (lift < 1.23), colour, INK)
    colour = mixed((x > 0.6) & (lift > 1.03) & (lift < 1.18), colour, OCHRE)
    # Wings: three rows of quills that fan out from the shoulder.
    wing = distance(*WING)
    out = x * -1.0 + 0.75
    quill = ((z - 0.1) / (out + 0.25) * 7.0 + wobble * 0.5).math("FRACT")
    colour = mixed(wing < 1.1, colour, TEAL)
    colour = mixed((wing < 1.0) & (quill < 0.45), colour, SKY)
    colour = mixed((wing < 1.0) & (quill < 0.16), colour, WHITE)
    colour = mixed((wing < 1.05) & (out < 0.42), colour, OCHRE)
    # Tail: stripes around the ring.
    ring_angle = (x - TAIL[0][0]).math("ARCTAN2", z - TAIL[0][2]) * 3.183 + wobble * 0.2
    tail = (x < -1.22) | ((x < -1.0) & (z > 0.62))
    colour = mixed(tail, colour, WHITE)
    colour = mixed(tail & (ring_angle.math("FRACT") < 0.5), colour, TEAL)
    colour = mixed(tail & ((ring_angle * 2.0 + 0.3).math("FRACT") < 0.16), colour, RED)
    # Bowl: dark glaze with a flower of eight petals at its bottom.
    bowl = distance(*BOWL)
    reach = ((x - BOWL[0][0]).square() + (y * 1.3).square()).math("SQRT")
    petals = (y * 1.3).math("ARCTAN2", x - BOWL[0][0]).math("MULTIPLY", 4.0).math("COSINE").math("ABSOLUTE")
    inside = (bowl < 1.03) & (z > 0.0)
    colour = mixed(inside, colour, TEAL)
    colour = mixed(inside & (reach < petals * 0.3 + 0.18), colour, WHITE)
    colour = mixed(inside & (reach < petals * 0.22 + 0.1), colour, SKY)
    colour = mixed(inside & (reach < 0.13), colour, OCHRE)
    colour = mixed(inside & (reach > 0.6) & (reach < 0.66), colour, OCHRE)
    # Head: comb and wattles, beak, eyes.
    comb = (x > 0.66) & (z > 1.47 + 0.0)
    colour = mixed(comb, colour, RED)
    colour = mixed(distance((1.42, 0.12, 0.72)) < 0.24, colour, RED)
    colour = mixed((x > 1.535) & (z > 0.8), colour, OCHRE)
    colour = mixed(distance(EYE) < 0.165, colour, WHITE)
    colour = mixed(distance(EYE) < 0.11, colour, INK)
    # Foot: bare clay, and under it the potter's mark: a hen's track in a ring. Specks all over.
    colour = mixed(z < wobble * 0.05 - 0.66, colour, CLAY)
    under = z < -0.85
    reach = (x.square() + y.square()).math("SQRT")
    turn = y.math("ARCTAN2", x)
    colour = mixed(under & (reach < 0.42), colour, CREAM)
    colour = mixed(under & (reach > 0.3) & (reach < 0.35), colour, INK)
    colour = mixed(under & (reach < 0.25) & ((turn * 3.0).math("COSINE") > 0.85), colour, INK)
    colour = mixed(under & (reach > 0.37) & (reach < 0.42) & ((turn * 14.0).math("COSINE") > 0.2), colour, TEAL)
    specks = texture("ShaderNodeTexVoronoi", 5.5, "Distance") < 0.13
    colour = mixed(specks, colour, [0.35 * c for c in CLAY])
    tree.links.new(colour.socket, surface.inputs["Base Color"])
    return material


def baked(subject, side):
    """The hen with her paint in one packed picture instead of 150 nodes: views render three times as fast."""
    scene = bpy.context.scene
    material = subject.data.materials[0]
    tree = material.node_tree
    surface, output = tree.nodes["Principled BSDF"], tree.nodes["Material Output"]
    with bpy.context.temp_override(active_object=subject, object=subject, selected_objects=[subject],
                                   selected_editable_objects=[subject]):
        bpy.context.view_layer.objects.active = subject
        subject.select_set(True)
        bpy.ops.object.mode_set(mode="EDIT")
        bpy.ops.mesh.select_all(action="SELECT")
        bpy.ops.uv.smart_project(angle_limit=1.15, island_margin=0.004)
        bpy.ops.object.mode_set(mode="OBJECT")
        image = bpy.data.images.new("Hen paint", side, side)
        target = tree.nodes.new("ShaderNodeTexImage")
        target.image, tree.nodes.active = image, target
        emission = tree.nodes.new("ShaderNodeEmission")
        tree.links.new(surface.inputs["Base Color"].links[0].from_socket, emission.inputs["Color"])
        tree.links.new(emission.outputs[0], output.inputs["Surface"])
        scene.render.engine, scene.cycles.samples, scene.render.bake.margin = "CYCLES", 16, 8
        bpy.ops.object.bake(type="EMIT")
    image.filepath_raw, image.file_format = os.path.join(tempfile.mkdtemp(), "hen_paint.webp"), "WEBP"
    image.save(quality=68)
    image.source = "FILE"
    image.pack()
    image.filepath_raw = "//hen_paint.webp"
    for node in [n for n in tree.nodes if n not in (surface, output, target)]:
        tree.nodes.remove(node)
    tree.links.new(target.outputs["Color"], surface.inputs["Base Color"])
    tree.links.new(surface.outputs[0], output.inputs["Surface"])
    target.location, output.location = (-320, 300), (320, 300)


# ---- the scene ---------------------------------------------------------------------------------------------------

def looking(position, target):
    """The transform of a camera or lamp at `position` that looks at `target`."""
    turn = (Vector(target) - Vector(position)).to_track_quat("-Z", "Y")
    return Matrix.Translation(position) @ turn.to_matrix().to_4x4()


def add_camera(number, direction, centre, distance):
    lens = bpy.data.cameras.new(f"Camera {number:02d}")
    lens.lens = 55
    lens.clip_start = 0.01
    lens.display_size = 0.04
    camera = bpy.data.objects.new(lens.name, lens)
    camera.matrix_world = looking(centre + distance * direction, centre)
    return camera


def add_lamp(name, position, size, watts, colour, centre):
    data = bpy.data.lights.new(name, "AREA")
    data.size, data.energy, data.color = size, watts, colour
    lamp = bpy.data.objects.new(name, data)
    lamp.matrix_world = looking(position, centre)
    return lamp


def directions(count):
    """Unit vectors spread over the sphere by the golden angle, a little denser above than below."""
    i = np.arange(count) + 0.5
    z = np.clip(1 - 1.84 * i / count, -0.9, 0.985)
    turn = i * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - z**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=-1)


def collection(name, objects):
    made = bpy.data.collections.new(name)
    bpy.context.scene.collection.children.link(made)
    for thing in objects:
        made.objects.link(thing)
    return made


def make_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.name = "Hen"
    subject = make_hen()
    corners = np.array([v.co for v in subject.data.vertices])
    centre = Vector((corners.min(axis=0) + corners.max(axis=0)) / 2)
    collection("Subject", [subject])
    baked(subject, 1024)
    cameras = [add_camera(n + 1, Vector(d), centre, 0.72) for n, d in enumerate(directions(CAMERAS))]
    collection("Cameras", cameras)
    collection("Light", [add_lamp("Key", (0.7, -0.8, 1.0), 0.8, 16, (1.0, 0.94, 0.86), centre),
                         add_lamp("Fill", (-0.9, 0.7, 0.3), 1.0, 6, (0.8, 0.9, 1.0), centre),
                         add_lamp("From below", (0.2, 0.3, -1.0), 1.2, 5, (1.0, 0.97, 0.93), centre)])
    scene.world = bpy.data.worlds.new("Studio")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.8, 0.85, 0.92, 1)
    scene.world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.55
    scene.camera = min(cameras, key=lambda c: (c.location - centre - Vector((0.45, -0.5, 0.3))).length)
    scene.render.engine = "CYCLES"
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces, scene.cycles.glossy_bounces = 3, 2, 1
    scene.render.resolution_x = scene.render.resolution_y = 1024
    scene.view_settings.view_transform = "Standard"
    scene.unit_settings.length_unit = "CENTIMETERS"
    return scene


def main(out):
    spec = importlib.util.spec_from_file_location("maquette", HERE.parent / "__init__.py",
                                                  submodule_search_locations=[str(HERE.parent)])
    sys.modules["maquette"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["maquette"])
    from maquette.recipes import recipe_of
    from maquette.scene import properties

    properties.register()
    scene = make_scene()
    properties.store_recipe(scene, recipe_of("capture")(subject="Subject", samples=24))
    bpy.context.preferences.filepaths.save_version = 0
    bpy.ops.wm.save_as_mainfile(filepath=str(out), compress=True, relative_remap=False)
    print(f"{out}: {os.path.getsize(out) / 1e6:.2f} MB, {len(bpy.data.meshes['Hen'].polygons)} quads")


if __name__ == "__main__":
    arguments = sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else sys.argv[1:]
    main(Path(arguments[0] if arguments else HERE / "demo.blend").resolve())
    sys.stdout.flush()
    os._exit(0)  # bpy 4.2 may crash while the interpreter ends
