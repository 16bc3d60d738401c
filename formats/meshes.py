"""Mesh files: .glb .gltf .obj .ply .stl .off read, .glb .obj .ply .stl written, and the job folder's own .npz.

Quads are written as such into .obj, .ply and .npz, as triangles into the others; but .npz, all are read as triangles.
glTF has Y up and is turned here, (x, y, z) of Blender is (x, −z, y) of the file; the other forms carry no axes
and are taken as they are.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes.errors import InputError, MachineError
from .mesh import Mesh, read_npz, write_npz
from .ply import in_triangles, write_ply
from .pictures import srgb_from_linear

READABLE = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".npz")
WRITABLE = (".glb", ".obj", ".ply", ".stl", ".npz")
_Y_UP = (".glb", ".gltf")
# These forms cannot give one vertex two normals or texture coordinates, so they repeat its position instead.
_SPLIT = (".glb", ".gltf", ".obj", ".stl")
_BLENDER_FROM_GLTF = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def read_mesh(path: Path, *, weld: bool = True) -> Mesh:
    """Read a mesh file; InputError where it is missing, damaged, without faces or not finite.

    Several objects or materials become one mesh with one texture. Vertices that the form had to repeat
    (equal bit for bit) are one again, unless told not to `weld`. A file that it names must lie in its own folder.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in READABLE:
        raise InputError(f"mesh: {path} has an ending that is not read; give one of {' '.join(READABLE)}")
    if not path.is_file():
        raise InputError(f"mesh: {path} does not exist; check the path")
    if path.stat().st_size == 0:
        raise InputError(f"mesh: {path} is empty (0 bytes); write it again")
    try:
        mesh = read_npz(path) if ending == ".npz" else _load(path)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # each of the parsers fails in its own way on a damaged file
        raise InputError(f"mesh: {path} cannot be read as {ending[1:]} ({_line(error)}); "
                         "it may be damaged or cut short, write it again") from error
    _check(mesh, path)
    mesh = _weld(mesh) if weld and ending in _SPLIT else mesh
    return mesh.transformed(_BLENDER_FROM_GLTF) if ending in _Y_UP else mesh


def write_mesh(mesh: Mesh, path: Path) -> None:
    """Write a mesh in the form of the path's ending, complete or not at all; see `write_meshes`."""
    write_meshes([mesh], path)


def write_meshes(meshes: Sequence[Mesh], path: Path) -> None:
    """Write meshes in the form of the path's ending, complete or not at all.

    Several stay apart in a .glb and become one in the other forms. A texture goes into a .glb, beside an .obj as STEM.mtl and STEM.png, into a .ply as vertex colours.
    A normal map goes with it into a .glb, and beside an .obj as STEM.normal.png.
    InputError where the ending is unknown, the folder cannot be written or there are no faces.
    """
    path = Path(path)
    write: Callable[[Path], None] | None = {
        ".glb": lambda to: _write_glb(meshes, to), ".obj": lambda to: _write_obj(joined(meshes), to),
        ".ply": lambda to: _write_ply(joined(meshes), to), ".stl": lambda to: _write_stl(joined(meshes), to),
        ".npz": lambda to: write_npz(joined(meshes), to)}.get(path.suffix.lower())
    if write is None:
        raise InputError(f"out: {path} has an ending that is not written; give one of {' '.join(WRITABLE)}")
    if not all(len(mesh.faces) for mesh in meshes):
        raise InputError(f"out: the mesh for {path} has no faces; nothing is written")
    if not path.parent.is_dir():
        raise InputError(f"out: the folder {path.parent} does not exist; make it or choose another")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".maquette-") as folder:
            write(Path(folder) / path.name)
            # The mesh itself comes last: what it names is there before it is.
            for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name):
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
                os.replace(file, path.parent / file.name)
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"out: {path} cannot be written ({error.strerror}); choose another place") from error
    except OSError as error:
        raise MachineError(f"out: {path} cannot be written ({_line(error)}); free some space or choose "
                           "another disk") from error


def _load(path: Path) -> Mesh:
    import trimesh

    resolver = trimesh.resolvers.FilePathResolver(str(path))  # refuses what lies outside the file's folder
    binary = io.BytesIO(in_triangles(path.read_bytes())) if path.suffix.lower() == ".ply" else None
    scene = trimesh.load_scene(binary or str(path), file_type=path.suffix[1:].lower(), process=False,
                               resolver=resolver)
    parts = []
    for node in scene.graph.nodes_geometry:
        world_from_part, name = scene.graph[node]
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            part = _part(geometry, linear_colors=path.suffix.lower() in _Y_UP)
            _check(part, path)
            parts.append(part.transformed(world_from_part))
    if not parts:
        raise InputError(f"mesh: {path} has no faces; give a mesh, not points or curves")
    return joined(parts)


def _part(geometry: Any, linear_colors: bool) -> Mesh:
    from trimesh.visual.color import to_rgba

    # The file's own normals lie in trimesh's cache; asking for them by name would compute some where it has none.
    normals = geometry._cache.cache.get("vertex_normals")
    visual = geometry.visual
    more: dict[str, Any] = {}
    colors = visual.vertex_colors if visual.kind == "vertex" else None
    if visual.kind == "texture":
        image = getattr(visual.material, "baseColorTexture", None) or getattr(visual.material, "image", None)
        if image is not None and visual.uv is not None:
            more = {"corner_uvs": np.asarray(visual.uv)[geometry.faces], "texture": np.asarray(image.convert("RGB"))}
            bumps = getattr(visual.material, "normalTexture", None)
            if bumps is not None:
                more["normal_map"] = np.asarray(bumps.convert("RGB"))
        else:  # vertex colours beside a material
            colors = visual.vertex_attributes.get("color")
    if colors is not None:
        shares = to_rgba(colors)[:, :3] / 255  # from whole numbers or fractions
        more["colors"] = srgb_from_linear(shares) if linear_colors else shares
    return Mesh(geometry.vertices, geometry.faces, normals, **more)


def joined(parts: Sequence[Mesh]) -> Mesh:
    """One mesh of several. Different textures come to lie side by side in one."""
    if len(parts) == 1:
        return parts[0]
    start = np.cumsum([0, *(len(part.vertices) for part in parts)])
    joined = Mesh(np.concatenate([part.vertices for part in parts]),
                  np.concatenate([part.faces + first for part, first in zip(parts, start, strict=False)]))
    for name in ("normals", "colors"):
        if all(getattr(part, name) is not None for part in parts):
            more: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts])}
            joined = replace(joined, **more)
    if all(part.texture is None for part in parts):
        return joined
    grey = np.full((1, 1, 3), 204, np.uint8)
    textures = [grey if part.texture is None else part.texture for part in parts]
    strip = _side_by_side(textures)
    uvs, left = [], 0
    for part, texture in zip(parts, textures, strict=True):
        height, width = texture.shape[:2]
        uv = np.full((len(part.faces), 3, 2), 0.5) if part.corner_uvs is None else part.corner_uvs
        uv = uv - np.floor(uv.min(axis=1, keepdims=True))  # repeats begin at 0 again
        uvs.append(np.stack(((left + uv[..., 0] * width) / strip.shape[1],
                             1 - (1 - uv[..., 1]) * height / strip.shape[0]), axis=-1))
        left += width
    return replace(joined, corner_uvs=np.concatenate(uvs), texture=strip, normal_map=_joined_bumps(parts, textures))


def _joined_bumps(parts: Sequence[Mesh], textures: Sequence[np.ndarray]) -> np.ndarray | None:
    """The parts' normal maps where their textures come to lie; those of another size are left out."""
    if all(part.normal_map is None for part in parts):
        return None
    flat = np.array([128, 128, 255], np.uint8)
    return _side_by_side([np.broadcast_to(flat, texture.shape) if part.normal_map is None
                          or part.normal_map.shape != texture.shape else part.normal_map
                          for part, texture in zip(parts, textures, strict=True)])


def _side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    strip = np.zeros((max(p.shape[0] for p in pictures), sum(p.shape[1] for p in pictures), 3), np.uint8)
    left = 0
    for picture in pictures:
        strip[:picture.shape[0], left:left + picture.shape[1]] = picture
        left += picture.shape[1]
    return strip


def _check(mesh: Mesh, path: Path) -> None:
    if not len(mesh.faces) or not len(mesh.vertices):
        raise InputError(f"mesh: {path} has no faces; give a mesh, not points or curves")
    bad = np.flatnonzero(~np.isfinite(mesh.vertices).all(axis=1))
    if len(bad):
        raise InputError(f"mesh: {path} has {len(bad)} vertices that are not finite (first: {bad[0]}); "
                         "remove them")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise InputError(f"mesh: {path} has a face with vertex {mesh.faces.max()} of {len(mesh.vertices)}; "
                         "it may be cut short, write it again")


def _weld(mesh: Mesh) -> Mesh:
    """Join vertices of equal position. Normals stay where they agree: one that was split was a hard edge."""
    _, first, index = np.unique(mesh.vertices + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # as in the file
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    first = first[order]
    index = rank[index.reshape(-1)]
    normals = mesh.normals
    if normals is not None:
        agree = (normals * normals[first][index]).sum(axis=1) > 0.99
        normals = normals[first] if agree.all() else None
    return replace(mesh, vertices=mesh.vertices[first], faces=index[mesh.faces], normals=normals,
                   colors=None if mesh.colors is None else mesh.colors[first])


def _split_at_seams(faces: np.ndarray, corner_uvs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Repeat each vertex for every texture coordinate it has.

    Returns the old vertex of each new one (N,), the faces in new vertices (F, 3) and the UVs (N, 2).
    """
    corners = np.column_stack((faces.reshape(-1).astype(np.float64), corner_uvs.reshape(-1, 2)))
    unique, index = np.unique(corners, axis=0, return_inverse=True)
    return unique[:, 0].astype(np.int64), index.reshape(-1, 3), unique[:, 1:]


def linear_from_srgb(value: np.ndarray) -> np.ndarray:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _bytes(colors: np.ndarray) -> np.ndarray:
    return (np.clip(colors, 0, 1) * 255 + 0.5).astype(np.uint8)


def _write_glb(meshes: Sequence[Mesh], path: Path) -> None:
    import trimesh

    scene = trimesh.Scene()
    for number, mesh in enumerate(meshes):
        name = path.stem if len(meshes) == 1 else f"{path.stem} {number + 1}"
        scene.add_geometry(_glb_part(mesh, name), node_name=name, geom_name=name)
    normals = all(mesh.normals is not None for mesh in meshes)
    path.write_bytes(trimesh.exchange.gltf.export_glb(scene, include_normals=normals))


def _glb_part(mesh: Mesh, name: str) -> Any:
    import trimesh
    from PIL import Image

    mesh = mesh.transformed(np.linalg.inv(_BLENDER_FROM_GLTF))
    vertices, faces, normals = mesh.vertices, mesh.faces, mesh.normals
    visual: Any = None
    material = trimesh.visual.material.PBRMaterial(name=name, metallicFactor=0.0, roughnessFactor=1.0)
    if mesh.texture is not None and mesh.corner_uvs is not None:
        old, faces, uvs = _split_at_seams(faces, mesh.corner_uvs)
        vertices, normals = vertices[old], None if normals is None else normals[old]
        material.baseColorTexture = Image.fromarray(mesh.texture)
        if mesh.normal_map is not None:
            material.normalTexture = Image.fromarray(mesh.normal_map)
        visual = trimesh.visual.TextureVisuals(uv=uvs, material=material)
    elif mesh.colors is not None:
        visual = trimesh.visual.ColorVisuals(vertex_colors=_bytes(linear_from_srgb(mesh.colors)))
    return trimesh.Trimesh(vertices, faces, vertex_normals=normals, visual=visual, process=False)


def _write_ply(mesh: Mesh, path: Path) -> None:
    colors = mesh.colors
    if mesh.texture is not None and mesh.corner_uvs is not None:
        colors = _vertex_colors(mesh, mesh.texture, mesh.corner_uvs)
    write_ply(mesh, None if colors is None else _bytes(colors), path)


def _write_stl(mesh: Mesh, path: Path) -> None:
    import trimesh

    path.write_bytes(trimesh.exchange.stl.export_stl(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)))


def _write_obj(mesh: Mesh, path: Path) -> None:
    """Written here because an .obj indexes positions, UVs and normals apart: nothing has to be split."""
    from PIL import Image

    positions = mesh.faces + 1
    uv_index = normal_index = None
    if mesh.texture is None or mesh.corner_uvs is None:
        lines = _rows("v", mesh.vertices if mesh.colors is None else np.hstack((mesh.vertices, mesh.colors)))
    else:
        uvs, index = np.unique(mesh.corner_uvs.reshape(-1, 2), axis=0, return_inverse=True)
        uv_index = index.reshape(-1, 3) + 1
        lines = [f"mtllib {path.stem}.mtl", "usemtl material", *_rows("v", mesh.vertices), *_rows("vt", uvs)]
        pictures = {"map_Kd": (mesh.texture, f"{path.stem}.png"), "norm": (mesh.normal_map, f"{path.stem}.normal.png")}
        material = "newmtl material\nKd 1 1 1\nKs 0 0 0\n"
        for word, (picture, name) in pictures.items():
            if picture is not None:
                material += f"{word} {name}\n"
                Image.fromarray(picture).save(path.parent / name)
        (path.parent / f"{path.stem}.mtl").write_text(material)
    if mesh.normals is not None:
        normal_index = positions
        lines += _rows("vn", mesh.normals)
    for polygons in mesh.polygons():
        lines += _face_rows(polygons, positions, uv_index, normal_index)
    path.write_text("\n".join(lines) + "\n")


def _rows(word: str, values: np.ndarray) -> list[str]:
    form = word + " %.9g" * values.shape[1]  # nine digits hold a float32 exactly
    return [form % row for row in map(tuple, values.tolist())]


def _face_rows(polygons: np.ndarray, positions: np.ndarray, uvs: np.ndarray | None,
               normals: np.ndarray | None) -> list[str]:
    """A row for each polygon, whose corners (N, 3 or 4) are places in the flattened indices."""
    corner = "%d" + ("/%d" if uvs is not None else "/" if normals is not None else "") + (
        "/%d" if normals is not None else "")
    columns = [i.reshape(-1)[polygons] for i in (positions, uvs, normals) if i is not None]
    table = np.stack(columns, axis=2).reshape(len(polygons), len(columns) * polygons.shape[1])
    form = " ".join(["f", *[corner] * polygons.shape[1]])
    return [form % row for row in map(tuple, table.tolist())]


def _vertex_colors(mesh: Mesh, texture: np.ndarray, corner_uvs: np.ndarray) -> np.ndarray:
    """The texture's colour at each vertex, (V, 3) sRGB: the mean over its corners; grey where it has none."""
    height, width = texture.shape[:2]
    u, v = np.moveaxis(corner_uvs.reshape(-1, 2), 1, 0)
    column = np.clip((u % 1.0) * width, 0, width - 1).astype(int)
    row = np.clip((1 - v % 1.0) * height, 0, height - 1).astype(int)
    samples, corner = texture[row, column] / 255, mesh.faces.reshape(-1)
    count = np.bincount(corner, minlength=len(mesh.vertices))
    total = [np.bincount(corner, samples[:, c], len(mesh.vertices)) for c in range(3)]
    return np.where(count > 0, np.stack(total) / np.maximum(count, 1), 0.5).T


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120] or type(error).__name__


