"""Meshes as every room passes them on ↔ Blender's, with material and texture."""

from __future__ import annotations

import logging
from typing import Any

import bpy
import numpy as np

from ..formats.mesh import Mesh
from .compat import fitting_name

log = logging.getLogger(__name__)

# Marks the material that Maquette made, so that a new result finds it under whatever name the artist gave it.
MATERIAL_KEY = "maquette_material"
UV_NAME = "UVMap"
COLOR_NAME = "Color"


def blender_mesh(mesh: Mesh, name: str) -> bpy.types.Mesh:
    """A new mesh data block: quads and triangles, corner UVs, and where there are normals custom ones."""
    polygons = mesh.polygons()
    corners = np.concatenate([p.ravel() for p in polygons])
    sides = np.concatenate([np.full(len(p), p.shape[1], np.int32) for p in polygons])
    data = bpy.data.meshes.new(fitting_name(name))
    data.vertices.add(len(mesh.vertices))
    data.vertices.foreach_set("co", mesh.vertices.ravel())
    data.loops.add(len(corners))
    data.loops.foreach_set("vertex_index", mesh.faces.ravel()[corners])
    data.polygons.add(len(sides))
    data.polygons.foreach_set("loop_start", np.cumsum(sides, dtype=np.int32) - sides)
    if mesh.corner_uvs is not None:
        layer = data.uv_layers.new(name=UV_NAME)
        layer.uv.foreach_set("vector", mesh.corner_uvs.reshape(-1, 2)[corners].ravel())
    if mesh.colors is not None:
        colors = np.concatenate([mesh.colors, np.ones((len(mesh.colors), 1), np.float32)], axis=1)
        attribute: Any = data.color_attributes.new(COLOR_NAME, "BYTE_COLOR", "POINT")
        attribute.data.foreach_set("color_srgb", colors.ravel())
    data.update(calc_edges=True)
    if data.validate():
        log.warning("mesh %s had invalid faces, which were removed", data.name)
    if mesh.normals is None:
        data.shade_flat()
    else:
        data.shade_smooth()
        data.normals_split_custom_set_from_vertices(mesh.normals.tolist())
    return data


def mesh_from_object(thing: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> Mesh:
    """The object with its modifiers as triangles in the world; empty where it has no surface."""
    evaluated = thing.evaluated_get(depsgraph)
    return mesh_of_evaluated(evaluated, evaluated.matrix_world)


def mesh_of_evaluated(evaluated: bpy.types.Object, matrix_world: Any) -> Mesh:
    """An evaluated object, or an instance of it, as triangles in the world."""
    data = evaluated.to_mesh()
    if data is None:
        return Mesh(np.empty((0, 3)), np.empty((0, 3)))
    try:
        return _triangles(data).transformed(np.array(matrix_world, np.float64))
    finally:
        evaluated.to_mesh_clear()


def _triangles(data: bpy.types.Mesh) -> Mesh:
    data.calc_loop_triangles()
    vertices = np.empty(3 * len(data.vertices), np.float32)
    data.vertices.foreach_get("co", vertices)
    faces = np.empty(3 * len(data.loop_triangles), np.int32)
    data.loop_triangles.foreach_get("vertices", faces)
    return Mesh(vertices.reshape(-1, 3), faces.reshape(-1, 3))


def joined(meshes: list[Mesh]) -> Mesh:
    """The meshes' vertices and faces as one."""
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    vertices = [np.empty((0, 3), np.float32), *(m.vertices for m in meshes)]
    faces = [np.empty((0, 3), np.int32), *(m.faces + start for m, start in zip(meshes, starts, strict=False))]
    return Mesh(np.concatenate(vertices), np.concatenate(faces))


# ---- material ----------------------------------------------------------------------------------------------------

def blender_image(texture: np.ndarray, name: str, is_color: bool = True) -> bpy.types.Image:
    """A packed image of (H, W, 3) uint8, row 0 on top: sRGB, or numbers that are no colour."""
    height, width = texture.shape[:2]
    image: Any = bpy.data.images.new(fitting_name(name), width, height, alpha=False)
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = texture[::-1] / np.float32(255)  # Blender's rows begin at the bottom
    if not is_color:
        image.colorspace_settings.name = "Non-Color"
    image.pixels.foreach_set(pixels.ravel())  # a byte image's pixels are sRGB, as they are here
    image.update()
    image.pack()
    return image


def new_material(mesh: Mesh, name: str, uv_map: str = "") -> bpy.types.Material:
    """Principled with the mesh's texture, else its colours, as base colour; by a UV map that need not be the active."""
    material = bpy.data.materials.new(fitting_name(name))
    material[MATERIAL_KEY] = uv_map or True
    if material.node_tree is None:  # from 5.0 every material has one
        material.use_nodes = True
    tree: Any = material.node_tree
    surface = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    surface.inputs["Roughness"].default_value = 0.8  # the light of the views is in the colour already
    node = None
    if mesh.texture is not None:
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image = blender_image(mesh.texture, name)
        if uv_map:
            place = tree.nodes.new("ShaderNodeUVMap")
            place.uv_map, place.location = uv_map, (surface.location.x - 520, surface.location.y)
            tree.links.new(place.outputs["UV"], node.inputs["Vector"])
    elif mesh.colors is not None:
        node = tree.nodes.new("ShaderNodeVertexColor")
        node.layer_name = COLOR_NAME
    if node is not None:
        node.location = (surface.location.x - 320, surface.location.y)
        tree.links.new(node.outputs["Color"], surface.inputs["Base Color"])
    if mesh.normal_map is not None:
        add_normal_map(tree, surface, blender_image(mesh.normal_map, f"{name} normal", is_color=False))
    return material


def add_normal_map(tree: Any, surface: Any, image: bpy.types.Image) -> None:
    """Bend a surface's normals by a normal map in the tangent space of Maquette's UV map."""
    picture, bend = tree.nodes.new("ShaderNodeTexImage"), tree.nodes.new("ShaderNodeNormalMap")
    picture.image, bend.uv_map = image, UV_NAME
    picture.location = (surface.location.x - 520, surface.location.y - 320)
    bend.location = (surface.location.x - 220, surface.location.y - 320)
    tree.links.new(picture.outputs["Color"], bend.inputs["Color"])
    tree.links.new(bend.outputs["Normal"], surface.inputs["Normal"])


def retexture(material: bpy.types.Material, mesh: Mesh, name: str) -> None:
    """Put the mesh's texture and normal map in the place of those that the material has; other nodes stay."""
    tree: Any = material.node_tree
    textured = [n for n in tree.nodes if n.type == "TEX_IMAGE" and n.image] if tree else []
    if mesh.texture is None or not textured:
        return
    bumpy = [n for n in textured if normal_maps_of(n)]
    flat = [n for n in textured if n not in bumpy]
    linked = [n for n in flat if any(link.to_socket.name == "Base Color" for link in n.outputs["Color"].links)]
    if flat:
        exchange(textured, (linked or flat)[0].image, blender_image(mesh.texture, name))
    surface = next((n for n in tree.nodes if n.type == "BSDF_PRINCIPLED"), None)
    if mesh.normal_map is None:
        for node in bumpy:
            remove_normal_map(tree, node)
        return
    bumps = blender_image(mesh.normal_map, f"{name} normal", is_color=False)
    if bumpy:
        exchange(textured, bumpy[0].image, bumps)
    elif surface and not surface.inputs["Normal"].is_linked:
        add_normal_map(tree, surface, bumps)


def normal_maps_of(node: Any) -> list[Any]:
    """The Normal Map nodes that an image node's colour goes straight into."""
    return [link.to_node for link in node.outputs["Color"].links if link.to_node.type == "NORMAL_MAP"]


def remove_normal_map(tree: Any, picture: Any) -> None:
    """Take an image node and the Normal Map nodes behind it away: they bend the normals of another surface."""
    image = picture.image
    for node in [*normal_maps_of(picture), picture]:
        tree.nodes.remove(node)
    if image.users == 0:
        bpy.data.images.remove(image)


def exchange(nodes: list[Any], old: bpy.types.Image, new: bpy.types.Image) -> None:
    """Show the image `new` in the nodes that show `old`; see `take_place`."""
    for node in nodes:
        if node.image == old:
            node.image = new
    take_place(bpy.data.images, old, new)


def take_place(collection: Any, old: Any, new: Any) -> None:
    """Remove the data block `old` where nothing uses it any more, and give its name to `new`."""
    if old.users == 0:
        name = old.name
        collection.remove(old)
        new.name = name


# ---- objects -----------------------------------------------------------------------------------------------------

def new_object(mesh: Mesh, name: str, collection: bpy.types.Collection) -> bpy.types.Object:
    """The mesh as an object with a clean transform and a material."""
    data = blender_mesh(mesh, name)
    if mesh.texture is not None or mesh.colors is not None:
        data.materials.append(new_material(mesh, name))
    thing = bpy.data.objects.new(fitting_name(name), data)
    collection.objects.link(thing)
    return thing


def swap(thing: bpy.types.Object, mesh: Mesh) -> None:
    """Give an object a new mesh and texture.

    The object, its name, transform, modifiers, slots and the materials of others stay; data blocks that nothing
    uses any more are removed. Objects that share the old mesh get the new one too.
    """
    old: Any = thing.data
    new = blender_mesh(mesh, old.name)
    for key in old.keys():
        new[key] = old[key]
    for material in old.materials:
        new.materials.append(material)
    ours = next((i for i, slot in enumerate(thing.material_slots)
                 if slot.material and slot.material.get(MATERIAL_KEY)), None)
    if ours is not None:
        retexture(thing.material_slots[ours].material, mesh, old.name)
    elif not thing.material_slots and mesh.texture is not None:
        new.materials.append(new_material(mesh, thing.name))
    new.polygons.foreach_set("material_index", np.full(len(new.polygons), ours or 0, np.int32))
    old.user_remap(new)
    take_place(bpy.data.meshes, old, new)
