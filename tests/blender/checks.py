"""Checks inside a real bpy: `PYTHON_WITH_BPY checks.py ZIP BACKEND_PYTHON FOLDER RESULTS.json`.

Each `check_…` starts from an empty file. The results are a JSON object: name → traceback, empty where all is well.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
import traceback
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Matrix, Vector

ZIP, PYTHON, FOLDER, RESULTS = sys.argv[1:]
FOLDER = Path(FOLDER)
MODULE = "bl_ext.user_default.maquette"


def part(name: str) -> Any:
    return import_module(f"{MODULE}.{name}")


def capture_recipe(**values: Any) -> Any:
    return part("recipes").recipe_of("capture")(**{"size": 32, "samples": 1, **values})


def refused(act: Any, *words: str) -> None:
    """`act` raises InputError in one line that holds the words."""
    try:
        act()
    except part("recipes").InputError as problem:
        assert "\n" not in str(problem), problem
        for word in words:
            assert word in str(problem), (word, str(problem))
    else:
        raise AssertionError("it was not refused")


def add_camera(place: tuple[float, ...], name: str = "Camera", towards: tuple[float, ...] = (0, 0, 0)) -> Any:
    camera = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    camera.matrix_world = Matrix.Translation(place) @ (Vector(towards) - Vector(place)).to_track_quat(
        "-Z", "Y").to_matrix().to_4x4()
    bpy.context.scene.collection.objects.link(camera)
    return camera


def add_cube(name: str = "Cube", place: tuple[float, ...] = (0, 0, 0)) -> Any:
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    data = bpy.data.meshes.new(name)
    data.from_pydata(corners, [], quads)
    cube = bpy.data.objects.new(name, data)
    cube.location = place
    bpy.context.scene.collection.objects.link(cube)
    return cube


def small_scene() -> None:
    add_cube()
    for i, place in enumerate([(6, 0, 3), (-6, 0, 3), (0, 6, 3), (0, -6, -3)]):
        add_camera(place, f"Camera {i}")
    lamp = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    bpy.context.scene.collection.objects.link(lamp)
    bpy.context.scene.maquette.capture.size = 32
    bpy.context.scene.maquette.capture.samples = 1


# ---- cameras -----------------------------------------------------------------------------------------------------

LENSES = [
    dict(sensor_fit="AUTO", lens=35, shift_x=0.0, shift_y=0.0, x=320, y=180, ax=1.0, ay=1.0),
    dict(sensor_fit="AUTO", lens=50, shift_x=0.13, shift_y=-0.21, x=180, y=320, ax=1.0, ay=1.0),
    dict(sensor_fit="HORIZONTAL", lens=24, shift_x=-0.2, shift_y=0.1, x=200, y=300, ax=1.0, ay=1.5),
    dict(sensor_fit="VERTICAL", lens=85, shift_x=0.05, shift_y=0.3, x=300, y=200, ax=1.25, ay=1.0),
    dict(sensor_fit="AUTO", lens=18, shift_x=0.1, shift_y=0.1, x=200, y=190, ax=1.0, ay=1.2),
]


def set_lens(camera: Any, lens: dict[str, Any]) -> None:
    render = bpy.context.scene.render
    for name in ("sensor_fit", "lens", "shift_x", "shift_y"):
        setattr(camera.data, name, lens[name])
    camera.data.sensor_width, camera.data.sensor_height = 36.0, 20.0
    render.resolution_x, render.resolution_y = lens["x"], lens["y"]
    render.pixel_aspect_x, render.pixel_aspect_y = lens["ax"], lens["ay"]
    render.resolution_percentage = 100


def projected(camera: Any, pose: np.ndarray, point: np.ndarray) -> np.ndarray:
    x, y, z = (point - pose[:3, 3]) @ pose[:3, :3]
    return np.array([camera.fx * x / -z + camera.cx, -camera.fy * y / -z + camera.cy])


def check_cameras_project_as_blender_does() -> None:
    cameras = part("scene.cameras")
    parent = bpy.data.objects.new("Parent", None)
    parent.matrix_world = Matrix.Translation((1, 2, 3)) @ Matrix.Rotation(0.7, 4, "X") @ Matrix.Scale(3.0, 4)
    bpy.context.scene.collection.objects.link(parent)
    for lens in LENSES:
        camera = add_camera((4, -5, 3))
        camera.parent = parent
        camera.scale = (2, 2, 2)
        set_lens(camera, lens)
        bpy.context.view_layer.update()
        evaluated = camera.evaluated_get(bpy.context.evaluated_depsgraph_get())
        found = cameras.from_blender(evaluated, lens["x"], lens["y"], lens["ay"] / lens["ax"])
        pose = cameras.world_from_camera(evaluated)
        for point in np.random.default_rng(0).normal(size=(5, 3)):
            point = pose[:3, :3] @ (point * [1, 1, 0.5] + [0, 0, -6]) + pose[:3, 3]
            u, v, _ = world_to_camera_view(bpy.context.scene, camera, Vector(point))
            expected = np.array([u * lens["x"], (1 - v) * lens["y"]])
            np.testing.assert_allclose(projected(found, pose, point), expected, atol=2e-3, err_msg=str(lens))


def check_a_camera_survives_the_way_to_blender_and_back() -> None:
    cameras, camera_class = part("scene.cameras"), part("formats.capture").Camera
    before = camera_class(640, 480, 700.5, 650.25, 300.0, 251.5, "opencv", {"k1": -0.1, "p2": 0.001})
    data = bpy.data.cameras.new("Lens")
    cameras.to_blender(before, data)
    stored = cameras.stored_lens(data)
    camera = bpy.data.objects.new("Lens", data)
    after = cameras.from_blender(camera, 640, 480, stored["pixel_aspect"])
    for name in ("fx", "fy", "cx", "cy"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-3)
    assert (stored["model"], stored["distortion"]) == (before.model, before.distortion)


def check_cameras_that_are_no_pinholes_are_refused_by_name() -> None:
    cameras = part("scene.cameras")
    camera = add_camera((5, 0, 0), "Odd one")
    for kind, word in (("ORTHO", "orthographic"), ("PANO", "panoramic")):
        camera.data.type = kind
        refused(lambda: cameras.from_blender(camera, 100, 100), "Odd one", word)
    camera.data.type = "PERSP"
    camera.scale = (1, 1, -1)
    bpy.context.view_layer.update()
    refused(lambda: cameras.world_from_camera(camera), "Odd one", "mirrored")
    camera.scale = (0, 1, 1)
    bpy.context.view_layer.update()
    refused(lambda: cameras.world_from_camera(camera), "Odd one", "singular")


# ---- views -------------------------------------------------------------------------------------------------------

def settings_of(owner: Any) -> dict[str, Any]:
    return {p.identifier: str(getattr(owner, p.identifier)) for p in owner.bl_rna.properties if not p.is_readonly}


def everything(scene: Any) -> dict[str, Any]:
    owners = {"scene": scene, "render": scene.render, "cycles": scene.cycles, "image": scene.render.image_settings,
              "layer": scene.view_layers[0], **{o.name: o for o in scene.objects},
              **{f"{o.name} dof": o.data.dof for o in scene.objects if o.type == "CAMERA"}}
    return {name: settings_of(owner) for name, owner in owners.items()}


def check_rendering_views_leaves_the_scene_as_it_was() -> None:
    small_scene()
    scene = bpy.context.scene
    scene.render.filepath = "//mine.png"
    scene.render.image_settings.file_format = "JPEG"
    scene.objects["Camera 1"].data.dof.use_dof = True
    bpy.context.view_layer.update()
    before = everything(scene)
    capture = part("scene.views").render(scene, capture_recipe(), FOLDER / "restored", lambda *_: None)
    after = everything(scene)
    assert before == after, [(name, key, before[name][key], after[name][key]) for name in before for key in before[name]
                             if before[name][key] != after[name][key]]
    assert len(capture.views) == 4 and all((capture.folder / view.picture).stat().st_size for view in capture.views)
    np.testing.assert_allclose(capture.box, [[-1, -1, -1], [1, 1, 1]], atol=1e-6)
    part("formats.capture").write(capture, capture.folder / "capture.json")


def check_views_of_a_scene_without_square_pixels_frame_what_its_renders_do() -> None:
    small_scene()
    scene = bpy.context.scene
    scene.render.pixel_aspect_y = 1.5
    bpy.context.view_layer.update()
    capture = part("scene.views").render(scene, capture_recipe(), FOLDER / "aspect", lambda *_: None)
    for view in capture.views:
        assert (capture.folder / view.picture).stat().st_size and view.camera.fx == view.camera.fy
        for point in ((0.5, 0.3, -0.2), (-0.9, 0.8, 0.7)):
            u, v, _ = world_to_camera_view(scene, scene.objects[view.name], Vector(point))
            expected = np.array([u * view.camera.width, (1 - v) * view.camera.height])
            # The picture has whole pixels, so that its proportions are the scene's but for a part of one.
            np.testing.assert_allclose(projected(view.camera, view.world_from_camera, np.array(point)), expected, atol=0.6)


def check_an_error_while_rendering_restores_the_scene_too() -> None:
    small_scene()
    bpy.context.view_layer.update()
    before = everything(bpy.context.scene)

    def stop(fraction: float, message: str) -> None:
        if fraction > 0:
            raise part("recipes").Cancelled("cancelled")
    try:
        part("scene.views").render(bpy.context.scene, capture_recipe(), FOLDER / "stopped", stop)
    except part("recipes").Cancelled as problem:
        assert str(problem) == "cancelled"
    else:
        raise AssertionError("nothing was cancelled")
    assert before == everything(bpy.context.scene)


def check_views_that_cannot_be_rendered_are_refused() -> None:
    views = part("scene.views")

    def act(**values: Any) -> Any:
        return lambda: views.check(bpy.context.scene, capture_recipe(**values))
    refused(act(), "no camera")
    small_scene()
    act()()
    refused(act(subject="Nowhere"), "Nowhere")
    refused(lambda: views.check(bpy.context.scene, capture_recipe(subject=hidden_collection())), "nothing that renders")
    bpy.data.objects["Cube"].location = (0, 0, 500)
    bpy.context.view_layer.update()
    refused(act(), "no camera sees")
    for camera in [o for o in bpy.context.scene.objects if o.type == "CAMERA"]:
        camera.location = (3, 3, 3)
    bpy.context.view_layer.update()
    refused(act(), "one place")


def hidden_collection() -> str:
    collection = bpy.data.collections.new("Empty")
    bpy.context.scene.collection.children.link(collection)
    return collection.name


# ---- photos and import -------------------------------------------------------------------------------------------

def write_capture(folder: Path) -> Path:
    """Four photos with distortion, as instant-ngp writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = []
    for i, place in enumerate([(4, 0, 1), (0, 4, 1), (-4, 0, 1), (0, -4, 2)]):
        image = bpy.data.images.new(f"photo{i}", 40, 30)
        image.filepath_raw, image.file_format = str(folder / f"photo{i}.png"), "PNG"
        image.save()
        bpy.data.images.remove(image)
        pose = Matrix.Translation(place) @ (-Vector(place)).to_track_quat("-Z", "Y").to_matrix().to_4x4()
        frames.append({"file_path": f"photo{i}.png", "transform_matrix": [list(row) for row in pose]})
    text = {"fl_x": 50.0, "fl_y": 48.0, "cx": 21.0, "cy": 14.0, "w": 40, "h": 30, "k1": -0.1, "k2": 0.02, "p1": 0.001,
            "p2": 0.0, "camera_model": "OPENCV", "frames": frames}
    path = folder / "transforms.json"
    path.write_text(json.dumps(text))
    return path


def check_an_imported_capture_is_gathered_as_it_was_read() -> None:
    path = write_capture(FOLDER / "capture")
    part("scene.importer").import_capture(bpy.context.scene, path)
    bpy.context.view_layer.update()
    read = part("formats.folder").read_capture(path)
    gathered = part("scene.photos").gather(bpy.context.scene, FOLDER / "photos")
    assert len(gathered.views) == len(read.views) == 4
    for before, after in zip(read.views, gathered.views, strict=True):
        np.testing.assert_allclose(after.world_from_camera, before.world_from_camera, atol=1e-5)
        for name in ("width", "height", "fx", "fy", "cx", "cy"):
            np.testing.assert_allclose(getattr(after.camera, name), getattr(before.camera, name), atol=1e-3)
        assert after.camera.model == before.camera.model and after.camera.distortion == before.camera.distortion
        assert (gathered.folder / after.picture).read_bytes() == (read.folder / before.picture).read_bytes()


def check_photos_of_a_folder_become_a_mesh_with_the_cameras_that_took_them() -> None:
    scene = bpy.context.scene
    write_capture(FOLDER / "walk").unlink()
    assert not bpy.ops.maquette.reconstruct_capture.poll()
    assert bpy.ops.maquette.photos_to_mesh(directory=str(FOLDER / "walk")) == {"FINISHED"}
    made = next(o for o in scene.objects if "maquette_job" in o)
    cameras = sorted((o for o in scene.objects if o.type == "CAMERA"), key=lambda o: o.name)
    assert [o.name for o in cameras] == ["photo0", "photo1", "photo2", "photo3"] and scene.camera == cameras[0]
    assert scene.render.resolution_x == 40 and cameras[0].users_collection[0].name == "walk"
    for camera in cameras:
        image = camera.data.background_images[0].image
        assert Path(bpy.path.abspath(image.filepath)) == FOLDER / "walk" / f"{camera.name}.png", "the user's own file"
    made.location = (0, 0, 5)
    bpy.context.view_layer.update()
    assert tuple(cameras[2].matrix_world.translation) == (2, 0, 5), "cameras go where the mesh goes"
    bpy.context.view_layer.objects.active = made
    assert bpy.ops.maquette.reconstruct_again() == {"FINISHED"}
    assert sum(o.type == "CAMERA" for o in scene.objects) == 4
    settings = scene.maquette.capture
    assert (settings.views, settings.photos) == ("folder", str(FOLDER / "walk"))
    assert bpy.ops.maquette.reconstruct_capture.poll()
    settings.photos = str(FOLDER / "nowhere")
    assert not bpy.ops.maquette.reconstruct_capture.poll()


def check_cameras_without_a_photo_are_skipped_and_counted() -> None:
    gather = part("scene.photos").gather
    add_camera((3, 3, 3), "Bare")
    refused(lambda: gather(bpy.context.scene, FOLDER / "bare"), "none of 1", "Bare")
    part("scene.importer").import_capture(bpy.context.scene, write_capture(FOLDER / "capture"))
    found = gather(bpy.context.scene, FOLDER / "bare")
    assert len(found.views) == 4 and "1 of 5" in found.warnings[0] and "Bare" in found.warnings[0]
    bpy.data.objects["Bare"].hide_render = True
    assert not gather(bpy.context.scene, FOLDER / "bare").warnings
    first = next(o for o in bpy.context.scene.objects if o.type == "CAMERA" and o.name != "Bare")
    image = first.data.background_images[0].image
    image.filepath = str(FOLDER / "gone.png")
    refused(lambda: gather(bpy.context.scene, FOLDER / "bare"), first.name, "gone.png")
    image.source = "MOVIE"
    refused(lambda: gather(bpy.context.scene, FOLDER / "bare"), first.name, "movie")


# ---- meshes ------------------------------------------------------------------------------------------------------

def cube_mesh(colour: int = 200) -> Any:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], np.int32)
    texture = np.zeros((8, 4, 3), np.uint8)
    texture[0, 0] = (colour, 10, 20)  # the upper left corner
    uvs = np.linspace(0, 1, faces.size * 2, dtype=np.float32).reshape(-1, 3, 2)
    return part("formats.mesh").Mesh(corners, faces, normals=corners / np.sqrt(3), corner_uvs=uvs, texture=texture)


def check_what_is_drawn_around_the_subject_bounds_it() -> None:
    box, scene = part("scene.bounds").box, bpy.context.scene
    for name, shape in (("Cube around", "CUBE"), ("Ball around", "SPHERE"), ("Arrow", "SINGLE_ARROW")):
        empty = bpy.data.objects.new(name, None)
        empty.empty_display_type, empty.empty_display_size = shape, 2.0
        empty.location, empty.scale, empty.rotation_euler = (1, 2, 3), (1.0, 0.5, 0.25), (0, 0, np.pi / 4)
        scene.collection.objects.link(empty)
    bpy.ops.mesh.primitive_cube_add(size=2, location=(0, 0, 5))
    solid = bpy.context.object
    bpy.context.view_layer.update()
    # The cube's corners reach (2 + 1) / √2 from its middle; of the ball it is √(2² + 1²) / √2.
    for name, reach in (("Cube around", 3 / 2**0.5), ("Ball around", 2.5**0.5)):
        found = box(scene, capture_recipe(bounds=name))
        assert np.allclose(found, [[1 - reach, 2 - reach, 2.5], [1 + reach, 2 + reach, 3.5]], atol=1e-5), found
    refused(lambda: box(scene, capture_recipe(bounds="Arrow")), "bounds", "Arrow")
    refused(lambda: box(scene, capture_recipe(bounds="nowhere")), "bounds", "nowhere")
    refused(lambda: box(scene, capture_recipe(bounds=solid.name)), "disable it in renders")
    solid.hide_render = True
    assert np.allclose(box(scene, capture_recipe(bounds=solid.name)), [[-1, -1, 4], [1, 1, 6]])
    assert box(scene, capture_recipe(bounds="0,0,0,1,2,3")).tolist() == [[0, 0, 0], [1, 2, 3]]
    assert box(scene, capture_recipe()) is None


def check_a_mesh_is_inserted_as_it_is() -> None:
    mesh = cube_mesh()
    made = part("scene.meshes").new_object(mesh, "Würfel", bpy.context.scene.collection)
    data = made.data
    co = np.empty(24, np.float32)
    data.vertices.foreach_get("co", co)
    np.testing.assert_array_equal(co.reshape(-1, 3), mesh.vertices)
    uv = np.empty(72, np.float32)
    data.uv_layers.active.uv.foreach_get("vector", uv)
    np.testing.assert_allclose(uv.reshape(-1, 3, 2), mesh.corner_uvs)
    corners = np.array([n.vector for n in data.corner_normals])
    np.testing.assert_allclose(corners, mesh.normals[mesh.faces.ravel()], atol=2e-3)
    image = next(n.image for n in data.materials[0].node_tree.nodes if n.type == "TEX_IMAGE")
    assert image.packed_file and image.colorspace_settings.name == "sRGB" and tuple(image.size) == (4, 8)
    pixels = np.empty(4 * 8 * 4, np.float32)
    image.pixels.foreach_get(pixels)
    np.testing.assert_allclose(pixels.reshape(8, 4, 4)[-1, 0, :3] * 255, (200, 10, 20), atol=0.5)


def check_quads_are_polygons_of_four_corners() -> None:
    triangles = cube_mesh()
    uvs = triangles.corner_uvs.copy()
    uvs[1::2, :2] = uvs[0::2, [0, 2]]
    mesh = replace(triangles, quads=5, corner_uvs=uvs)  # the sixth side stays two triangles
    data = part("scene.meshes").blender_mesh(mesh, "Box")
    assert [len(p.vertices) for p in data.polygons] == [4] * 5 + [3] * 2
    assert list(data.polygons[0].vertices) == [0, 1, 3, 2]
    assert all(p.normal.dot(p.center) > 0 for p in data.polygons)
    uv = np.empty((26, 2), np.float32)
    data.uv_layers.active.uv.foreach_get("vector", uv.ravel())
    corners = np.concatenate([c.ravel() for c in mesh.polygons()])
    np.testing.assert_allclose(uv, uvs.reshape(-1, 2)[corners])
    normals = np.array([n.vector for n in data.corner_normals])
    np.testing.assert_allclose(normals, mesh.normals[mesh.faces.ravel()[corners]], atol=2e-3)


def check_a_swap_keeps_what_is_the_artists() -> None:
    meshes = part("scene.meshes")
    made = meshes.new_object(cube_mesh(), "Cube", bpy.context.scene.collection)
    made.location, made.name = (1, 2, 3), "Mine"
    made.modifiers.new("Soft", "SUBSURF")
    extra = bpy.data.materials.new("Extra")
    made.data.materials.append(extra)
    twin = bpy.data.objects.new("Twin", made.data)
    names = (made.data.name, [m.name for m in made.data.materials], len(bpy.data.images), len(bpy.data.meshes))
    image = next(n.image for n in made.data.materials[0].node_tree.nodes if n.type == "TEX_IMAGE").name
    meshes.swap(made, cube_mesh(100))
    assert (made.name, tuple(made.location), made.modifiers[0].name) == ("Mine", (1, 2, 3), "Soft")
    assert names == (made.data.name, [m.name for m in made.data.materials], len(bpy.data.images), len(bpy.data.meshes))
    new = next(n.image for n in made.data.materials[0].node_tree.nodes if n.type == "TEX_IMAGE")
    assert new.name == image and abs(new.pixels[4 * 4 * 7] * 255 - 100) < 0.5
    assert twin.data == made.data


def check_the_original_is_what_renders_show() -> None:
    """Modifiers as they render, instances, all of the subject's objects; nothing that is hidden in renders."""
    scene = bpy.context.scene
    small_scene()
    soft = scene.objects["Cube"].modifiers.new("Soft", "SUBSURF")
    soft.levels, soft.render_levels = 0, 2
    add_cube("Hidden", (0, 0, 4)).hide_render = True
    part_of = add_cube("Part")
    library = bpy.data.collections.new("Library")
    scene.collection.objects.unlink(part_of)
    library.objects.link(part_of)
    for i in range(2):
        copy = bpy.data.objects.new(f"Copy {i}", None)
        copy.instance_type, copy.instance_collection, copy.location = "COLLECTION", library, (3 * i + 3, 0, 0)
        scene.collection.objects.link(copy)
    bpy.context.view_layer.update()
    before = everything(scene)
    mesh = part("scene.original").rendered_surface(scene, capture_recipe())
    assert everything(scene) == before
    assert len(mesh.faces) == 6 * 16 * 2 + 2 * 12, len(mesh.faces)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), (7, 1, 1), atol=1e-5)


def bumpy_mesh(colour: int = 200) -> Any:
    return replace(cube_mesh(colour), normal_map=np.full((8, 4, 3), (128, 128, colour), np.uint8))


def check_tangents_of_a_normal_map_are_blenders() -> None:
    mesh = cube_mesh()
    rng = np.random.default_rng(3)
    uvs = rng.random((12, 3, 2)).astype(np.float32)  # half of them mirrored
    uvs[1::2, :2] = uvs[0::2, [0, 2]]  # whole across each side's diagonal
    mesh = replace(mesh, corner_uvs=uvs)
    data = part("scene.meshes").blender_mesh(mesh, "Frames")
    data.calc_tangents(uvmap=data.uv_layers[0].name)
    tangent, bitangent, _ = part("neural.meshing.tangents").tangent_frames(mesh)
    np.testing.assert_allclose([loop.tangent for loop in data.loops], tangent.reshape(-1, 3), atol=5e-3)
    np.testing.assert_allclose([loop.bitangent for loop in data.loops], bitangent.reshape(-1, 3), atol=5e-3)
    assert {loop.bitangent_sign for loop in data.loops} == {-1.0, 1.0}


def check_a_normal_map_comes_stays_and_goes_with_the_mesh() -> None:
    meshes = part("scene.meshes")
    made = meshes.new_object(bumpy_mesh(), "Bumps", bpy.context.scene.collection)
    tree = made.data.materials[0].node_tree

    def maps() -> list[Any]:
        return [link.from_node for link in tree.links if link.to_node.type == "NORMAL_MAP"]

    assert len(maps()) == 1 and maps()[0].image.colorspace_settings.name == "Non-Color"
    bend = next(n for n in tree.nodes if n.type == "NORMAL_MAP")
    assert bend.space == "TANGENT" and bend.uv_map == made.data.uv_layers[0].name
    assert bend.outputs["Normal"].links[0].to_socket.name == "Normal"
    count, name = len(bpy.data.images), maps()[0].image.name
    meshes.swap(made, bumpy_mesh(100))
    assert len(bpy.data.images) == count and maps()[0].image.name == name
    assert abs(maps()[0].image.pixels[2] * 255 - 100) < 0.5
    color = next(link.from_node for link in tree.links if link.to_socket.name == "Base Color")
    assert abs(color.image.pixels[4 * 4 * 7] * 255 - 100) < 0.5
    meshes.swap(made, cube_mesh())
    assert not maps(), "the old map would bend the new mesh"
    meshes.swap(made, bumpy_mesh())
    assert len(maps()) == 1


def check_a_mesh_is_read_with_its_modifiers_in_the_world() -> None:
    cube = add_cube(place=(5, 0, 0))
    cube.scale = (-1, 1, 1)
    mirror = cube.modifiers.new("Array", "ARRAY")
    mirror.count = 3
    bpy.context.view_layer.update()
    mesh = part("scene.meshes").mesh_from_object(cube, bpy.context.evaluated_depsgraph_get())
    assert len(mesh.faces) == 36
    np.testing.assert_allclose([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], [[0, -1, -1], [6, 1, 1]], atol=1e-5)
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert abs(volume - 24) < 1e-3, "outside stays outside under a mirroring scale"


def check_long_names_fit() -> None:
    made = part("scene.meshes").new_object(cube_mesh(), "ü" * 300, bpy.context.scene.collection)
    assert made.name == "ü" * (part("scene.compat").NAME_BYTES // 2)


def check_a_texture_comes_on_a_map_of_its_own_and_leaves_the_artists() -> None:
    texturing, pictured = part("scene.texturing"), part("formats.pictured")
    thing, folder = add_cube("Retopology", (1, 2, 3)), FOLDER / "pictured"
    thing.scale = (-2, 1, 1)  # mirrored
    data = thing.data
    own = data.uv_layers.new(name="Mine")
    own.uv.foreach_set("vector", np.linspace(0, 1, 48, dtype=np.float32))
    kept = bpy.data.materials.new("Kept")
    data.materials.append(kept)
    bpy.context.view_layer.objects.active = thing
    thing.select_set(True)
    bpy.context.view_layer.update()
    counts = len(bpy.data.objects), len(bpy.data.meshes)
    texturing.gather(bpy.context, folder)
    assert counts == (len(bpy.data.objects), len(bpy.data.meshes)) and bpy.context.view_layer.objects.active == thing
    assert [layer.name for layer in data.uv_layers] == ["Mine"], "nothing changes before the result comes"
    mesh = part("formats.mesh").read_npz(folder / "mesh.npz")
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    assert abs(np.einsum("ij,ij->i", a - [1, 2, 3], np.cross(b - a, c - a)).sum() / 6 - 16) < 1e-3, "faces look outward"
    (u0, v0), (u1, v1), (u2, v2) = mesh.corner_uvs.transpose(1, 2, 0)
    assert (np.abs((u1 - u0) * (v2 - v0) - (u2 - u0) * (v1 - v0)) > 1e-3).all() and mesh.corner_uvs.min() >= 0
    textured = replace(mesh, texture=np.full((8, 8, 3), 90, np.uint8))
    for _ in range(2):  # the second time renews what the first has made
        assert texturing.lay_on(thing, textured, *pictured.read_loops(folder))
        assert [layer.name for layer in data.uv_layers] == ["Mine", "Maquette"] and data.uv_layers.active.name == "Mine"
        assert data.uv_layers["Mine"].active_render and [m.name for m in data.materials][:1] == ["Kept"]
        assert len(data.materials) == 2 and data.polygons[0].material_index == 1
    uv = np.empty(48, np.float32)
    data.uv_layers["Mine"].uv.foreach_get("vector", uv)
    np.testing.assert_allclose(uv, np.linspace(0, 1, 48), atol=1e-6)
    data.uv_layers["Maquette"].uv.foreach_get("vector", uv)
    np.testing.assert_allclose(uv.reshape(-1, 2)[np.load(folder / "loops.npz")["loops"]], mesh.corner_uvs, atol=1e-6)
    tree = data.materials[1].node_tree
    assert [n.uv_map for n in tree.nodes if n.type == "UVMAP"] == ["Maquette"]
    assert not texturing.lay_on(add_cube(), textured, np.zeros((12, 3), np.int32), 99), "another mesh by now"
    thing.modifiers.new("More", "SUBSURF")
    bpy.context.view_layer.update()
    refused(lambda: texturing.gather(bpy.context, folder), "Retopology", "modifiers")


# ---- images ------------------------------------------------------------------------------------------------------

def ramp_image(name: str = "Ramp", **options: Any) -> Any:
    """6 × 4 pixels that are not saved: red grows to the right, green downwards, alpha falls to the right."""
    image = bpy.data.images.new(name, 6, 4, alpha=True, **options)
    image.pixels.foreach_set(ramp()[::-1].ravel())
    return image


def ramp() -> np.ndarray:
    """What the ramp's pixels are, row 0 on top."""
    rgba = np.zeros((4, 6, 4), np.float32)
    rgba[..., 0] = np.arange(6) / 5
    rgba[..., 1] = np.arange(4)[:, None] / 3
    rgba[..., 3] = 1 - np.arange(6) / 10
    return rgba


def written(image: Any) -> np.ndarray:
    """The pixels (H, W, 4) of 0 to 255 that a job gets of an image, row 0 on top."""
    path = FOLDER / "written.png"
    part("scene.images").write(image, path)
    read = bpy.data.images.load(str(path), check_existing=False)
    read.alpha_mode = "CHANNEL_PACKED"  # as they stand in the file
    pixels = np.empty(len(read.pixels), np.float32)
    read.pixels.foreach_get(pixels)
    shape = (read.size[1], read.size[0], 4)
    bpy.data.images.remove(read)
    return pixels.reshape(shape)[::-1] * 255


def check_unsaved_packed_saved_and_float_images_are_written_as_they_look() -> None:
    np.testing.assert_allclose(written(ramp_image()), ramp() * 255, atol=0.6)
    packed = ramp_image("Packed")
    packed.pack()
    np.testing.assert_allclose(written(packed), ramp() * 255, atol=0.6)
    saved = ramp_image("Saved")
    saved.filepath_raw, saved.file_format = str(FOLDER / "saved.png"), "PNG"
    saved.save()
    np.testing.assert_allclose(written(saved), ramp() * 255, atol=1.1)
    linear = ramp_image("Linear", float_buffer=True)  # linear and premultiplied
    straight = (ramp()[..., :3] / ramp()[..., 3:]).clip(0, 1)
    encoded = np.where(straight <= 0.0031308, 12.92 * straight, 1.055 * straight ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(written(linear)[..., :3], encoded * 255, atol=1)


def check_what_is_no_still_image_is_refused_by_its_name() -> None:
    inputs, recipe = part("scene.inputs"), part("recipes").recipe_of("picture")

    def gather(**values: Any) -> Any:
        return lambda: inputs.gather(bpy.context, recipe(**values), FOLDER / "picture")
    refused(gather(), "none is chosen")
    refused(gather(image="Gone"), 'no image "Gone"')
    movie = ramp_image("Film")
    movie.source = "MOVIE"
    refused(gather(image="Film"), "Film", "movie")
    lost = ramp_image("Lost")
    lost.filepath_raw, lost.file_format = str(FOLDER / "lost.png"), "PNG"
    lost.save()
    (FOLDER / "lost.png").unlink()
    lost.reload()
    refused(gather(image="Lost"), "Lost", "lost.png", "restore it")
    ramp_image("Right")
    assert gather(image="Right")() == {"width": 6, "height": 4}


def check_a_fitted_image_is_a_new_one_that_is_packed() -> None:
    ramp_image()
    settings = bpy.context.scene.maquette.picture
    settings.image, settings.seconds, settings.width, settings.size = "Ramp", 2.0, 32, "12x8"
    assert bpy.ops.maquette.reconstruct_picture() == {"FINISHED"}
    made = bpy.data.images["Ramp fitted"]
    assert tuple(made.size) == (12, 8) and made.packed_file and not made.filepath
    assert made.colorspace_settings.name == "sRGB" and made.channels == 4
    assert json.loads(made["maquette_recipe"])["image"] == "Ramp" and json.loads(made["maquette_sources"]) == ["Ramp"]
    assert not bpy.context.scene.objects and "Ramp" in bpy.data.images
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "fitted.blend"))
    part("jobs.store").clean()
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "fitted.blend"))
    again = bpy.data.images["Ramp fitted"]
    assert len(again.pixels) == 12 * 8 * 4, "it is in the file, whatever becomes of the job"


# ---- operators, in a Blender without a window --------------------------------------------------------------------

def check_reconstruct_waits_and_inserts() -> None:
    small_scene()
    assert bpy.ops.maquette.reconstruct_capture.poll()
    assert bpy.ops.maquette.reconstruct_capture() == {"FINISHED"}
    made = next(o for o in bpy.context.scene.objects if "maquette_job" in o)
    assert len(made.data.polygons) == 12
    stored = json.loads(made["maquette_recipe"])
    job = part("jobs.store").find_job(made["maquette_job"])
    assert stored == job.report()["recipe"] == job.description["recipe"]
    assert job.target["blender"] == sys.executable, "the worker asks this Blender"
    made.name, made.location = "Kept", (9, 0, 0)
    bpy.context.view_layer.objects.active = made
    first = made["maquette_job"]
    assert bpy.ops.maquette.reconstruct_again() == {"FINISHED"}
    assert made.name == "Kept" and made["maquette_job"] != first and tuple(made.location) == (9, 0, 0)
    assert sum("maquette_job" in o for o in bpy.context.scene.objects) == 1


def check_a_scene_without_cameras_is_refused_in_one_line() -> None:
    assert not bpy.ops.maquette.reconstruct_capture.poll()
    small_scene()
    bpy.data.objects["Camera 0"].data.type = "PANO"
    try:
        bpy.ops.maquette.reconstruct_capture()
    except RuntimeError as problem:
        assert "Camera 0" in str(problem) and "panoramic" in str(problem) and "Traceback" not in str(problem)
    else:
        raise AssertionError("it was not refused")
    assert not part("jobs.store").list_jobs() or all(
        job.status().state == "done" for job in part("jobs.store").list_jobs())


def check_the_command_line_takes_the_open_scene() -> None:
    small_scene()
    out = FOLDER / "command.blend"
    main = sys.modules[MODULE]._command_line
    code = main(["capture", "-o", str(out), "--quiet", "--overwrite"], in_blender=True, python=PYTHON)
    assert code == 0 and out.is_file()
    assert any("maquette_job" in o for o in bpy.context.scene.objects)
    assert main(["capture", "-o", str(FOLDER / "command.txt"), "--quiet"], in_blender=True, python=PYTHON) == 2


def check_the_batch_example_captures_files() -> None:
    small_scene()
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "batch.blend"))
    sys.argv[1:] = ["--", str(FOLDER / "batch"), "--seconds", "5", str(FOLDER / "batch.blend")]
    try:
        runpy.run_path(str(Path(__file__).parents[2] / "examples" / "batch.py"), run_name="__main__")
    except SystemExit as end:
        assert end.code == 0
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "batch" / "batch.blend"))
    made = next(o for o in bpy.context.scene.objects if "maquette_job" in o)
    assert json.loads(made["maquette_recipe"])["seconds"] == 5.0
    assert json.loads((FOLDER / "batch" / "batch.report.json").read_text())["recipe"]["size"] == 32


def check_selected_objects_are_gathered_as_a_volume() -> None:
    inputs, recipe = part("scene.inputs"), part("recipes").recipe_of("voxels")()
    refused(lambda: inputs.gather(bpy.context, recipe, FOLDER / "volume"), "no mesh is selected")
    add_cube("Chosen", (3, 0, 0)).select_set(True)
    add_cube("Other")
    bpy.context.view_layer.update()
    inputs.gather(bpy.context, recipe, FOLDER / "volume")
    mesh = part("formats.mesh").read_npz(FOLDER / "volume" / "mesh.npz")
    assert len(mesh.faces) == 12 and mesh.vertices[:, 0].min() == 2


def check_a_volume_object_is_gathered_as_an_octree() -> None:
    inputs, volumes, recipe = part("scene.inputs"), part("scene.volumes"), part("recipes").recipe_of("voxels")()
    data = bpy.data.volumes.new("Ball")
    thing = bpy.data.objects.new("Ball", data)
    thing.location = (5, 0, 0)
    bpy.context.scene.collection.objects.link(thing)
    thing.select_set(True)
    bpy.context.view_layer.update()
    refused(lambda: inputs.gather(bpy.context, recipe, FOLDER / "vdb"), 'volume "Ball" has no .vdb file')
    try:
        vdb = volumes._module()
    except part("recipes").InputError as problem:  # 4.2 as a module of another Python has none
        assert bpy.app.version < (4, 4, 0) and "has no OpenVDB module" in str(problem)
        return
    vdb.write(str(FOLDER / "ball.vdb"), grids=[vdb.createLevelSetSphere(1.0, voxelSize=0.1)])
    data.filepath = str(FOLDER / "ball.vdb")
    inputs.gather(bpy.context, recipe, FOLDER / "vdb")
    tree = part("formats.octree").read_octree(FOLDER / "vdb" / "grid.octree")
    filled = tree.filled()
    places = np.argwhere(filled) @ tree.world_from_grid[:3, :3].T + tree.world_from_grid[:3, 3]
    np.testing.assert_allclose(places.mean(axis=0), (5, 0, 0), atol=0.01)
    np.testing.assert_allclose(filled.sum() * 1e-3, 4 / 3 * np.pi, rtol=0.02, err_msg="a ball of radius 1")
    volumes.write_input(FOLDER / "ball.vdb", part("recipes").recipe_of("sdf")(), FOLDER / "vdb")
    solid, = part("formats.solids").read_solids(FOLDER / "vdb")
    np.testing.assert_array_equal(solid.filled(), filled)
    add_cube("Other").select_set(True)
    refused(lambda: inputs.gather(bpy.context, recipe, FOLDER / "vdb"), "a volume among them; select it alone")


def check_voxels_of_an_object_come_back_in_its_place() -> None:
    add_cube("Chosen", (3, 0, 0)).select_set(True)
    bpy.context.scene.maquette.voxels.resolution = 16
    bpy.context.scene.maquette.voxels.method = "cubify"
    bpy.context.view_layer.update()
    assert bpy.ops.maquette.reconstruct_voxels() == {"FINISHED"}
    made = next(o for o in bpy.context.scene.objects if "maquette_job" in o)
    corners = np.array([v.co for v in made.data.vertices])
    np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [[2, -1, -1], [4, 1, 1]], atol=0.3)
    bpy.context.view_layer.objects.active = made
    made.select_set(True)
    bpy.data.objects["Chosen"].select_set(False)
    bpy.data.objects["Chosen"].location = (0, 0, 7)
    assert bpy.ops.maquette.reconstruct_again() == {"FINISHED"}
    assert np.array([v.co for v in made.data.vertices])[:, 2].min() > 5, "it is made of its source again"


def add_cloud(name: str, place: tuple[float, ...]) -> Any:
    """A point cloud of a cube's eight corners, made by geometry nodes, as 4.2 has no other way."""
    tree = bpy.data.node_groups.new(name, "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    cube, corners = tree.nodes.new("GeometryNodeMeshCube"), tree.nodes.new("GeometryNodeMeshToPoints")
    cube.inputs["Size"].default_value = (2, 2, 2)
    tree.links.new(cube.outputs["Mesh"], corners.inputs["Mesh"])
    tree.links.new(corners.outputs["Points"], tree.nodes.new("NodeGroupOutput").inputs["Geometry"])
    cloud = bpy.data.objects.new(name, bpy.data.pointclouds.new(name))
    cloud.location = place
    cloud.modifiers.new(name, "NODES").node_group = tree
    bpy.context.scene.collection.objects.link(cloud)
    return cloud


def check_selected_objects_are_gathered_as_solids_the_active_one_first() -> None:
    inputs, recipe = part("scene.inputs"), part("recipes").recipe_of("sdf")()
    cube, cloud = add_cube("A cube", (3, 0, 0)), add_cloud("B cloud", (0, 0, 5))
    corners = bpy.data.meshes.new("corners")
    corners.from_pydata([(0, 0, 0), (2, 0, 0), (0, 2, 0)], [], [])
    attribute = corners.attributes.new("normal", "FLOAT_VECTOR", "POINT")
    attribute.data.foreach_set("vector", [0.0, 0.0, 2.0] * 3)
    loose = bpy.data.objects.new("C loose", corners)
    loose.scale = (1, 1, -1)
    bpy.context.scene.collection.objects.link(loose)
    for thing in (cube, cloud, loose):
        thing.select_set(True)
    bpy.context.view_layer.objects.active = loose
    bpy.context.view_layer.update()
    summary = inputs.gather(bpy.context, recipe, FOLDER / "solids")
    assert summary["solids"] == 3 and summary["faces"] == 6
    points, mesh, more = part("formats.solids").read_solids(FOLDER / "solids")
    np.testing.assert_allclose(points.positions, [(0, 0, 0), (2, 0, 0), (0, 2, 0)])
    np.testing.assert_allclose(points.normals, [(0, 0, -1)] * 3, err_msg="normals turn with the object")
    assert len(mesh.faces) == 12 and mesh.vertices[:, 0].min() == 2
    assert more.positions[:, 2].min() == 4 and more.normals is None
    bpy.context.view_layer.objects.active = cube
    corners.clear_geometry()
    refused(lambda: inputs.gather(bpy.context, recipe, FOLDER / "solids"), 'object "C loose" has neither faces nor')


def check_the_active_cube_loses_what_the_other_covers() -> None:
    for name, place in (("A other", (1, 0, 0)), ("Active", (0, 0, 0))):
        add_cube(name, place).select_set(True)
    bpy.context.view_layer.objects.active = bpy.data.objects["Active"]
    settings = bpy.context.scene.maquette.sdf
    settings.resolution, settings.combine, settings.sharp = 32, "difference", True
    bpy.context.view_layer.update()
    assert bpy.ops.maquette.reconstruct_sdf() == {"FINISHED"}
    made = next(o for o in bpy.context.scene.objects if "maquette_job" in o)
    corners = np.array([v.co for v in made.data.vertices])
    np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [[-1, -1, -1], [0, 1, 1]], atol=0.02)


def check_a_random_shape_stands_at_the_cursor_and_the_models_shapes_are_suggested() -> None:
    scene = bpy.context.scene
    scene.cursor.location = (1, 2, 3)
    settings = scene.maquette.shape_random
    names = part("scene.properties").SUGGESTED["like"](settings, bpy.context, "TABLE")
    assert len(names) > 3 and all("table" in name for name in names)
    settings.like, settings.resolution = names[0], 16
    assert bpy.ops.maquette.reconstruct_shape_random() == {"FINISHED"}
    made = next(o for o in scene.objects if "maquette_job" in o)
    assert tuple(made.location) == (1, 2, 3)
    settings.model = "no such model"
    assert part("scene.properties").SUGGESTED["like"](settings, bpy.context, "") == []


def disc_image(name: str, x: float = 70.0, y: float = 30.0, radius: float = 20.0) -> bpy.types.Image:
    """An image of 96 × 64 with an orange disc on nothing; y from its top."""
    columns, rows = np.meshgrid(np.arange(96) + 0.5, np.arange(64) + 0.5)
    alpha = np.hypot(columns - x, rows - y) < radius
    pixels = np.dstack([alpha * 0.9, alpha * 0.5, alpha * 0.1, alpha]).astype(np.float32)
    image = bpy.data.images.new(name, 96, 64, alpha=True)
    image.pixels.foreach_set(pixels[::-1].ravel())
    image.update()
    return image


def seen_in_pixels(thing: bpy.types.Object, scene: bpy.types.Scene) -> np.ndarray:
    """Where the scene's camera sees an object's vertices, (N, 2) pixels from the upper left."""
    from bpy_extras.object_utils import world_to_camera_view
    bpy.context.view_layer.update()
    places = [world_to_camera_view(scene, scene.camera, thing.matrix_world @ v.co) for v in thing.data.vertices]
    return np.array([(p.x * scene.render.resolution_x, (1 - p.y) * scene.render.resolution_y) for p in places])


def check_a_photo_becomes_a_mesh_that_its_camera_sees_as_the_photo_does() -> None:
    scene = bpy.context.scene
    scene.cursor.location = (1, 2, 3)
    settings = scene.maquette.image
    settings.image, settings.method, settings.texture = disc_image("ball.png").name, "inflate", 64
    settings.fit = False
    assert bpy.ops.maquette.reconstruct_image() == {"FINISHED"}
    made = next(o for o in scene.objects if o.get("maquette_task") == "image")
    assert tuple(made.location) == (1, 2, 3) and made.name == "ball"
    assert made.data.uv_layers and made.data.materials
    assert json.loads(made["maquette_recipe"])["image"] == "ball.png"
    camera = scene.camera
    assert camera.parent == made and camera.data.background_images[0].image.packed_file
    assert (scene.render.resolution_x, scene.render.resolution_y) == (96, 64)
    for move in ((0, 0, 0), (5, -4, 2)):
        made.location = move
        places = seen_in_pixels(made, scene)
        np.testing.assert_allclose([places.min(axis=0), places.max(axis=0)], [[50, 10], [90, 50]], atol=1.0)
    # Again: the same object, its place and its camera.
    name, before = made.name, len(bpy.data.objects)
    bpy.context.view_layer.objects.active = made
    assert bpy.ops.maquette.reconstruct_again() == {"FINISHED"}
    assert len(bpy.data.objects) == before and tuple(bpy.data.objects[name].location) == (5, -4, 2)


def check_a_photos_file_becomes_a_mesh_and_the_view_is_the_photos() -> None:
    scene = bpy.context.scene
    scene.camera = bpy.data.objects.new("mine", bpy.data.cameras.new("mine"))
    image = disc_image("dropped")
    image.filepath_raw, image.file_format = str(FOLDER / "dropped.png"), "PNG"
    image.save()
    bpy.data.images.remove(image)
    settings = scene.maquette.image
    settings.method, settings.texture, settings.fit = "inflate", 64, False
    assert bpy.ops.maquette.image_to_mesh(filepath=str(FOLDER / "dropped.png")) == {"FINISHED"}
    made = next(o for o in scene.objects if o.get("maquette_task") == "image")
    assert scene.camera.name == "mine" and scene.render.resolution_x != 96, "the scene's own are left alone"
    bpy.context.view_layer.objects.active = made
    assert bpy.ops.maquette.view_photo() == {"FINISHED"}
    assert scene.camera.parent == made and scene.render.resolution_x == 96
    try:
        bpy.ops.maquette.image_to_mesh(filepath=str(FOLDER / "absent.png"))
    except RuntimeError as problem:
        assert "cannot be read" in str(problem)
    else:
        raise AssertionError("an absent file was not refused")
    assert hasattr(bpy.types, "MAQUETTE_FH_photo")


def check_a_morph_moves_by_its_slider() -> None:
    morph, formats, mesh_class = part("scene.morph"), part("formats.morph"), part("formats.mesh").Mesh
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    steps = [mesh_class(corners * (1 + number), faces) for number in range(4)]
    collection = bpy.context.scene.collection
    for shared, halfway in ((True, 2.5), (False, 3.0)):
        thing = morph.new_object(formats.Morph(steps, shared), "Morph", collection)
        for place, size in ((0.0, 1.0), (1 / 3, 2.0), (0.5, halfway), (1.0, 4.0)):
            thing["Morph"] = place
            thing.update_tag()
            bpy.context.view_layer.update()
            depsgraph = bpy.context.evaluated_depsgraph_get()
            seen = [thing] if shared else [c for c in thing.children if not c.evaluated_get(depsgraph).hide_viewport]
            found = part("scene.meshes").joined([part("scene.meshes").mesh_from_object(o, depsgraph) for o in seen])
            assert len(found.faces) == 4
            np.testing.assert_allclose(found.vertices.max(), size, rtol=1e-5, err_msg=f"{shared} {place}")
        morph.fill(thing, formats.Morph(steps[:2], shared), collection) if not shared else None
        assert shared or len(thing.children) == 2, "filled again, it has the new steps alone"


def check_settings_survive_the_file() -> None:
    bpy.context.scene.maquette.capture.faces = 1234
    bpy.ops.maquette.preset(task="capture", preset="draft")
    link = bpy.context.scene.maquette.jobs.add()
    link.name, link.replaces = "a-job", "Object"
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "settings.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    enable()
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "settings.blend"))
    settings = bpy.context.scene.maquette
    assert settings.capture.faces == 10_000 and settings.capture.seconds == 30.0
    assert settings.jobs["a-job"].replaces == "Object"


# ---- fields ------------------------------------------------------------------------------------------------------

def captured_cube() -> Any:
    """The stand-in's result, active."""
    small_scene()
    assert not bpy.ops.maquette.turntable.poll() and not bpy.ops.maquette.render_field.poll()
    assert bpy.ops.maquette.reconstruct_capture() == {"FINISHED"}
    made = next(o for o in bpy.context.scene.objects if "maquette_job" in o)
    bpy.context.view_layer.objects.active = made
    return made


def rgba(image: Any) -> np.ndarray:
    """An image's pixels (H, W, 4), row 0 on top."""
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    return pixels.reshape(image.size[1], image.size[0], 4)[::-1]


def own_render(scene: Any, path: Path) -> np.ndarray:
    """What Cycles makes of the scene as it is, (H, W, 4)."""
    scene.render.engine, scene.render.film_transparent, scene.cycles.samples = "CYCLES", True, 4
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return rgba(bpy.data.images.load(str(path)))


def check_the_field_of_a_moved_object_overlays_with_the_scenes_own_render() -> None:
    made, scene = captured_cube(), bpy.context.scene
    bpy.data.objects["Cube"].hide_render = True  # the original; the result alone is seen
    scene.camera = add_camera((5, -6, 4), "Looking")
    for number, lens in enumerate(LENSES):
        made.matrix_world = (Matrix.Translation((0.3 * number, 0.1, 0)) @ Matrix.Rotation(0.4 * number, 4, "Z")
                             @ Matrix.Scale(1 + 0.2 * number, 4))
        set_lens(scene.camera, {**lens, "lens": lens["lens"] / 2})
        scene.render.resolution_percentage = 50
        before = set(bpy.data.images)
        assert bpy.ops.maquette.render_field() == {"FINISHED"}
        new = {image.name: image for image in set(bpy.data.images) - before}
        image = next(image for name, image in new.items() if "depth" not in name and "normals" not in name)
        assert len(new) == 3 and image.packed_file and image.get("maquette_task") == "render", list(new)
        assert tuple(image.size) == (lens["x"] // 2, lens["y"] // 2)
        ours, theirs = rgba(image)[..., 3] > 0.5, own_render(scene, FOLDER / f"own{number}.png")[..., 3] > 0.5
        overlap = (ours & theirs).sum() / (ours | theirs).sum()
        assert theirs.sum() > 100 and overlap > 0.94, (lens, overlap)
        depth = next(image for name, image in new.items() if "depth" in name)
        assert depth.colorspace_settings.name == "Non-Color" and rgba(depth)[ours][:, 0].min() > 1
    made.scale.x *= 2
    bpy.context.view_layer.update()
    assert not bpy.ops.maquette.render_field.poll() and bpy.ops.maquette.turntable.poll()
    refused(lambda: part("scene.fields").view_of(bpy.context, made, "Looking"), made.name, "one scale for all axes")
    made.scale.x /= 2
    refused(lambda: part("scene.fields").view_of(bpy.context, made, "Gone"), 'no camera "Gone"')


def check_a_turntable_is_a_sequence_that_outlives_its_job() -> None:
    made, settings = captured_cube(), bpy.context.scene.maquette.render
    settings.frames, settings.size, settings.passes = 3, 48, True
    assert bpy.ops.maquette.turntable() == {"FINISHED"}
    name = f"{made.name} turntable"
    image = bpy.data.images[name]
    assert image.source == "SEQUENCE" and image["maquette_frames"] == 3
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "turntable.blend"))
    part("jobs.store").clean()
    fields = part("scene.fields")
    refused(lambda: fields.file_of(made), made.name, "Reconstruct Again brings it back")
    assert not bpy.ops.maquette.turntable.poll()
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "turntable.blend"))
    again = bpy.data.images[name]
    first = Path(bpy.path.abspath(again.filepath))
    assert first.name == "0001.png" and rgba(bpy.data.images.load(str(first)))[24, 24, 3] > 0.9
    folder = first.parents[1]
    assert len(list(folder.rglob("*.png"))) == 3 and len(list(folder.rglob("*.exr"))) == 6
    bpy.context.view_layer.objects.active = bpy.data.objects["Cube"]
    refused(lambda: fields.ready(Elsewhere(), part("recipes").recipe_of("render")()), "does not come from a capture")


class Elsewhere:
    """A context whose active object is no result, in a scene without any."""

    def __init__(self) -> None:
        self.scene = bpy.data.scenes.new("Empty")
        self.view_layer = bpy.context.view_layer


def check_the_command_line_renders_the_open_scenes_field() -> None:
    captured_cube()
    out = FOLDER / "turn"
    main = sys.modules[MODULE]._command_line
    code = main(["render", "-o", str(out), "--quiet", "--frames", "2", "--size", "32"], in_blender=True, python=PYTHON)
    assert code == 0 and len(list((out / "images").glob("*.png"))) == 2 and (out / "transforms.json").is_file()


def check_methods_are_compared_side_by_side_on_one_capture() -> None:
    small_scene()
    scene = bpy.context.scene
    assert bpy.ops.maquette.compare_methods(methods={"surface", "grid"}) == {"FINISHED"}
    collection = next(c for c in scene.collection.children if "maquette_comparison" in c)
    first, second = sorted(collection.objects, key=lambda o: o.location.x)
    assert [json.loads(o["maquette_recipe"])["method"] for o in (first, second)] == ["surface", "grid"]
    assert "surface" in first.name and "grid" in second.name
    np.testing.assert_allclose([first.location.x, second.location.x], [2.5, 5.0], atol=1e-4)
    assert len(first.users_collection) == 1 and first.data != second.data
    table = bpy.data.texts[collection.name].as_string().splitlines()
    assert table[0].startswith("method") and [line.split()[0] for line in table[1:]] == ["surface", "grid"]
    store = part("jobs.store")
    one, two = (store.find_job(o["maquette_job"]) for o in (first, second))
    assert two.target["input_of"] == one.name
    assert (one.input / "view_0000.exr").stat().st_ino == (two.input / "view_0000.exr").stat().st_ino
    try:
        bpy.ops.maquette.compare_methods(methods={"grid"})
    except RuntimeError as problem:
        assert "two methods or more" in str(problem)
    else:
        raise AssertionError("one method was compared")


# ---- registration ------------------------------------------------------------------------------------------------

def enable() -> None:
    if MODULE not in bpy.context.preferences.addons:
        bpy.ops.preferences.addon_enable(module=MODULE)
    bpy.context.preferences.addons[MODULE].preferences.python = PYTHON


def check_it_leaves_nothing_behind_twice() -> None:
    for _ in range(2):
        bpy.ops.preferences.addon_disable(module=MODULE)
        assert not [name for name in dir(bpy.types) if name.startswith("MAQUETTE")]
        assert not hasattr(bpy.types.Scene, "maquette")
        for handlers in (bpy.app.handlers.load_post, bpy.app.handlers.save_pre):
            assert not [f for f in handlers if MODULE in f.__module__]
        assert not [f for f in getattr(bpy.types.TOPBAR_MT_file_import.draw, "_draw_funcs", []) if MODULE in f.__module__]
        watch = sys.modules.get(f"{MODULE}.operators.watch")
        assert watch is None or not bpy.app.timers.is_registered(watch.look)
        enable()
        assert hasattr(bpy.types, "MAQUETTE_OT_reconstruct_capture") and hasattr(bpy.types, "MAQUETTE_PT_capture")
    assert "torch" not in sys.modules


def check_a_job_goes_on_while_the_extension_is_disabled_and_comes_in_when_it_is_enabled_again() -> None:
    small_scene()
    job = part("operators.submit").submit(bpy.context, capture_recipe())
    part("operators.watch").add(bpy.context.scene, job)
    for _ in range(2):
        assert not job.status().is_over, job.status()
        bpy.ops.preferences.addon_disable(module=MODULE)
        enable()
    assert [link.name for link in bpy.context.scene.maquette.jobs] == [job.name], "the file has kept its link"
    until = time.monotonic() + 60
    while not [o for o in bpy.context.scene.objects if o.get("maquette_job") == job.name]:
        assert time.monotonic() < until and job.status().state != "failed", job.status()
        part("operators.watch").look()
        time.sleep(0.1)
    assert not bpy.context.scene.maquette.jobs


def running_job() -> Any:
    """A job of the open file that has only just begun."""
    small_scene()
    job = part("operators.submit").submit(bpy.context, capture_recipe())
    part("operators.watch").add(bpy.context.scene, job)
    return job


def wait_for_the_result(job: Any) -> Any:
    """The object that a job's result has become, by the timer's own looks."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert job.status().state != "failed", job.status()
        part("operators.watch").look()
        found = [o for o in bpy.data.objects if o.get("maquette_job") == job.name]
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(job.status())


def check_a_result_goes_into_the_scene_that_asked_though_another_is_shown() -> None:
    asked = bpy.context.scene
    job = running_job()
    other = bpy.data.scenes.new("Other")
    if bpy.context.window:
        bpy.context.window.scene = other
    made = wait_for_the_result(job)
    assert made.name in asked.objects and made.name not in other.objects


def check_a_file_that_is_opened_during_a_job_leaves_it_to_the_file_that_asked() -> None:
    job, path = running_job(), str(FOLDER / "asked.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_empty=True)
    for _ in range(20):
        part("operators.watch").look()
        time.sleep(0.1)
    assert not [o for o in bpy.data.objects if "maquette_job" in o], "it is not this file's"
    bpy.ops.wm.open_mainfile(filepath=path)
    assert wait_for_the_result(job).name in bpy.context.scene.objects


def check_an_object_that_is_deleted_during_reconstruct_again_comes_back_as_a_new_one() -> None:
    first = wait_for_the_result(running_job())
    again = part("operators.submit").submit(bpy.context, capture_recipe(), first.name)
    part("operators.watch").add(bpy.context.scene, again, first.name)
    bpy.data.objects.remove(first)
    assert len(wait_for_the_result(again).data.polygons) == 12


def check_the_doctor_puts_its_report_into_a_text() -> None:
    assert bpy.ops.maquette.doctor() == {"FINISHED"}
    said = bpy.data.texts["Maquette Doctor"].as_string()
    assert said.startswith("maquette ") and "cpu" in said and "passed its test" in said, said
    assert "torch" in said and str(Path.home()) not in said and bpy.app.version_string in said, said
    assert bpy.ops.maquette.doctor.poll(), "it can be asked again"


def main() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=True)
    results = {}
    for name, check in list(globals().items()):
        if name.startswith("check_") and isinstance(check, type(main)):
            bpy.ops.wm.read_factory_settings(use_empty=True)
            enable()
            results[name] = ""
            try:
                check()
            except Exception:
                results[name] = traceback.format_exc()
    Path(RESULTS).write_text(json.dumps(results))


try:
    main()
except Exception:
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
sys.stdout.flush()
os._exit(0)
