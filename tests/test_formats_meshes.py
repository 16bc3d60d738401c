"""Mesh files are read and written without losing a face, a seam or a colour."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maquette.formats.mesh import Mesh
from maquette.formats.meshes import read_mesh, write_mesh
from maquette.recipes.errors import InputError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "meshes"
needs_meshes = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the test meshes are not at {SHARED}")


def tetrahedron(**more) -> Mesh:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32)
    return Mesh(vertices, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]), **more)


def textured() -> Mesh:
    """Each face has its own island in the texture: every vertex is split three times."""
    corner = np.array([[0.05, 0.05], [0.4, 0.05], [0.05, 0.4]])
    uvs = np.stack([corner + shift for shift in ([0, 0], [0.5, 0], [0, 0.5], [0.5, 0.5])])
    texture = np.zeros((16, 8, 3), np.uint8)
    texture[:8, :, 0], texture[8:, :, 1], texture[:, 4:, 2] = 200, 100, 50
    return tetrahedron(corner_uvs=uvs, texture=texture)


def house(**more) -> Mesh:
    """A quad on the ground, another on its side, and a triangle: (0, 1, 2, 3), (3, 2, 4, 5) and (2, 1, 4)."""
    vertices = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0], [2, 1, 3], [0, 1, 3]], np.float32)
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3], [3, 2, 4], [3, 4, 5], [2, 1, 4]]), quads=2, **more)


def face_set(mesh: Mesh) -> set:
    """Faces as positions, turned so that the least corner comes first: free of the order of vertices."""
    faces = np.round(mesh.triangles().astype(float), 5).tolist()
    return {min(tuple(map(tuple, face[i:] + face[:i])) for i in range(3)) for face in faces}


@pytest.mark.parametrize("ending", [".glb", ".obj", ".ply", ".stl", ".npz"])
def test_every_form_gives_back_the_same_faces_and_vertices(tmp_path, ending):
    write_mesh(tetrahedron(), tmp_path / f"a{ending}")
    back = read_mesh(tmp_path / f"a{ending}")
    assert face_set(back) == face_set(tetrahedron())
    assert back.vertices.shape == (4, 3) and back.faces.dtype == np.int32


def test_gltf_has_y_up_and_blender_z_up(tmp_path):
    write_mesh(tetrahedron(), tmp_path / "a.glb")
    import trimesh
    raw = trimesh.load(tmp_path / "a.glb", force="mesh", process=False)
    # Blender's height of 3 along z is the file's y; Blender's depth of 2 along y is the file's −z.
    assert np.allclose(raw.bounds, [[0, 0, -2], [1, 3, 0]])


@pytest.mark.parametrize("ending", [".glb", ".obj", ".npz"])
def test_texture_and_seams_survive(tmp_path, ending):
    mesh = textured()
    write_mesh(mesh, tmp_path / f"a{ending}")
    back = read_mesh(tmp_path / f"a{ending}")
    assert len(back.vertices) == 4
    assert np.array_equal(back.texture, mesh.texture)
    order = [next(j for j in range(4) if set(map(tuple, back.triangles()[j].tolist())) ==
                  set(map(tuple, mesh.triangles()[i].tolist()))) for i in range(4)]
    for i, j in enumerate(order):
        turn = next(k for k in range(3) if np.allclose(back.triangles()[j][k], mesh.triangles()[i][0]))
        assert np.allclose(np.roll(back.corner_uvs[j], -turn, axis=0), mesh.corner_uvs[i], atol=1e-6)


def test_obj_writes_its_material_and_picture_beside_it(tmp_path):
    write_mesh(textured(), tmp_path / "chair.obj")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chair.mtl", "chair.obj", "chair.png"]
    assert "map_Kd chair.png" in (tmp_path / "chair.mtl").read_text()


def test_ply_of_a_textured_mesh_has_vertex_colours(tmp_path):
    write_mesh(textured(), tmp_path / "a.ply")
    assert read_mesh(tmp_path / "a.ply").colors.shape == (4, 3)


def test_vertex_colours_beside_a_material_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    colored = replace(tetrahedron(), colors=np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]]))
    write_mesh(colored, path)
    content = path.read_bytes()
    length = int.from_bytes(content[12:16], "little")
    tree = json.loads(content[20:20 + length])
    tree["materials"] = [{"pbrMetallicRoughness": {"roughnessFactor": 0.9}}]
    tree["meshes"][0]["primitives"][0]["material"] = 0
    head = json.dumps(tree).encode()
    head += b" " * (-len(head) % 4)
    content = (content[:8] + (len(content) - length + len(head)).to_bytes(4, "little")
               + len(head).to_bytes(4, "little") + content[16:20] + head + content[20 + length:])
    path.write_bytes(content)
    np.testing.assert_allclose(read_mesh(path).colors, colored.colors, atol=0.01)


@pytest.mark.parametrize("ending", [".glb", ".obj", ".ply"])
def test_vertex_colours_survive(tmp_path, ending):
    colors = np.array([[0, 0.5, 1], [1, 1, 1], [0.2, 0.4, 0.6], [1, 0, 0]], np.float32)
    write_mesh(tetrahedron(colors=colors), tmp_path / f"a{ending}")
    back = read_mesh(tmp_path / f"a{ending}")
    index = [np.flatnonzero((back.vertices == v).all(axis=1))[0] for v in tetrahedron().vertices]
    assert np.abs(back.colors[index] - colors).max() < 0.02


@pytest.mark.parametrize("ending", [".glb", ".obj", ".ply", ".npz"])
def test_smooth_normals_survive_and_hard_edges_are_not_smoothed(tmp_path, ending):
    normals = tetrahedron().vertices - [0.2, 0.5, 0.7]
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    write_mesh(tetrahedron(normals=normals), tmp_path / f"a{ending}")
    back = read_mesh(tmp_path / f"a{ending}")
    index = [np.flatnonzero((back.vertices == v).all(axis=1))[0] for v in tetrahedron().vertices]
    assert np.allclose(back.normals[index], normals, atol=1e-5)


def bad_file(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    if name == "cut.glb":
        write_mesh(textured(), path)
        path.write_bytes(path.read_bytes()[:-200])
    elif name == "cut.ply":
        write_mesh(tetrahedron(), path)
        path.write_bytes(path.read_bytes()[:-20])
    elif name == "cut.npz":
        write_mesh(tetrahedron(), path)
        path.write_bytes(path.read_bytes()[:-80])
    elif name == "empty.obj":
        path.write_bytes(b"")
    elif name == "points.ply":
        path.write_text("ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
                        "property float z\nend_header\n0 0 0\n")
    elif name == "nan.obj":
        path.write_text("v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n")
    elif name == "beyond.obj":
        path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n")
    elif name == "pickled.npz":
        np.savez(path, vertices=np.array([{}], object), faces=np.zeros((1, 3)))
    elif name == "noise.stl":
        path.write_bytes(bytes(range(256)) * 3)
    elif name == "a.docx":
        path.write_text("x")
    return path


@pytest.mark.parametrize("name", ["cut.glb", "cut.ply", "cut.npz", "empty.obj", "points.ply", "nan.obj",
                                  "beyond.obj", "pickled.npz", "noise.stl", "a.docx", "absent.obj"])
def test_a_bad_file_is_one_line(tmp_path, name):
    path = bad_file(tmp_path, name)
    with pytest.raises(InputError) as error:
        read_mesh(path)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_a_file_may_not_name_one_outside_its_folder(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    write_mesh(textured(), tmp_path / "secret.obj")
    (inner / "a.obj").write_text((tmp_path / "secret.obj").read_text().replace("secret.mtl", "../secret.mtl"))
    texture = read_mesh(inner / "a.obj").texture  # grey where the material is missing
    assert texture is None or not np.array_equal(texture, textured().texture)
    buffer = {"asset": {"version": "2.0"}, "buffers": [{"uri": "../secret.bin", "byteLength": 36}],
              "bufferViews": [{"buffer": 0, "byteLength": 36}],
              "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
              "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}], "nodes": [{"mesh": 0}],
              "scenes": [{"nodes": [0]}], "scene": 0}
    (tmp_path / "secret.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    (inner / "b.gltf").write_text(json.dumps(buffer))
    with pytest.raises(InputError):
        read_mesh(inner / "b.gltf")
    (inner / "b.gltf").write_text(json.dumps(buffer).replace("../", ""))
    (inner / "secret.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    assert len(read_mesh(inner / "b.gltf").faces) == 1


def test_a_mesh_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3)))
    for mesh, path in [(tetrahedron(), tmp_path / "a.docx"), (empty, tmp_path / "a.glb"),
                       (tetrahedron(), tmp_path / "absent" / "a.glb"), (tetrahedron(), tmp_path / "folder.obj")]:
        (tmp_path / "folder.obj").mkdir(exist_ok=True)
        with pytest.raises(InputError) as error:
            write_mesh(mesh, path)
        assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.obj"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whose rights can be withheld")
def test_a_folder_without_rights_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError):
        write_mesh(tetrahedron(), tmp_path / "a.glb")


@needs_meshes
def test_real_files_have_the_vertices_of_their_table():
    import csv
    with open(SHARED / "index.csv") as file:
        table = {row["file"]: row for row in csv.DictReader(file)}
    for name in ("spot.glb", "bob.glb", "polyhaven_sofa_03.glb", "suzanne.ply", "houseplant_thin.glb"):
        mesh = read_mesh(SHARED / name)
        assert len(mesh.vertices) == int(table[name]["vertices"]), name
        assert len(mesh.faces) == int(table[name]["faces"]), name
        assert (mesh.texture is not None) == (table[name]["textured"] == "yes"), name


def test_quads_are_pairs_of_triangles_in_front():
    quads, triangles = house().polygons()
    assert house().faces.reshape(-1)[quads].tolist() == [[0, 1, 2, 3], [3, 2, 4, 5]]
    assert house().faces.reshape(-1)[triangles].tolist() == [[2, 1, 4]]
    for quads in (3, -1):
        with pytest.raises(ValueError, match="quads"):
            replace(house(), quads=quads)
    with pytest.raises(ValueError, match="quads"):
        replace(house(), faces=house().faces[[1, 0, 2, 3, 4]])


def test_a_quad_that_loses_a_half_becomes_a_triangle_behind_the_others():
    uvs = np.arange(30.0).reshape(5, 3, 2)
    kept = house(corner_uvs=uvs).chosen_faces(np.array([True, False, True, True, True]))
    assert kept.quads == 1 and kept.faces.tolist() == [[3, 2, 4], [3, 4, 5], [0, 1, 2], [2, 1, 4]]
    assert np.array_equal(kept.corner_uvs, uvs[[2, 3, 0, 4]])
    split = house().chosen_faces(np.ones(5, bool), whole=np.array([True, False]))
    assert split.quads == 1 and split.faces.tolist() == house().faces.tolist()


def test_a_mirror_turns_quads_round_as_quads():
    uvs = house().vertices[house().faces][..., :2]
    mirrored = house(corner_uvs=uvs).transformed(np.diag([-1.0, 1, 1, 1]))
    corners = mirrored.faces.reshape(-1)[mirrored.polygons()[0]]
    assert mirrored.quads == 2 and corners.tolist() == [[2, 1, 0, 3], [4, 2, 3, 5]]
    assert np.array_equal(mirrored.corner_uvs, (mirrored.triangles() * [-1, 1, 1])[..., :2])
    before, after = (np.cross(*np.moveaxis(m.triangles()[:, 1:] - m.triangles()[:, :1], 1, 0))
                     for m in (house(), mirrored))
    assert np.allclose(after, before * [-1, 1, 1])  # outside stays outside


@pytest.mark.parametrize("ending", [".glb", ".obj", ".ply", ".stl", ".npz"])
def test_quads_are_written_and_give_back_the_same_surface(tmp_path, ending):
    normals = np.tile([0.0, 0.6, 0.8], (6, 1))
    write_mesh(house(normals=normals, colors=np.full((6, 3), 0.5)), tmp_path / f"a{ending}")
    back = read_mesh(tmp_path / f"a{ending}")
    assert face_set(back) == face_set(house()) and len(back.vertices) == 6
    assert back.quads == (2 if ending == ".npz" else 0)


def test_obj_and_ply_have_faces_of_four_corners(tmp_path):
    write_mesh(house(), tmp_path / "a.obj")
    rows = [line for line in (tmp_path / "a.obj").read_text().splitlines() if line[0] == "f"]
    assert rows == ["f 1 2 3 4", "f 4 3 5 6", "f 3 2 5"]
    write_mesh(house(), tmp_path / "a.ply")
    faces = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")[1][6 * 12:]
    assert [faces[0], faces[17], faces[34]] == [4, 4, 3] and len(faces) == 2 * 17 + 13


def test_quads_keep_their_seams_in_an_obj(tmp_path):
    uvs = np.stack([house().vertices[house().faces][..., i] / 3 for i in (0, 2)], axis=-1)
    write_mesh(house(corner_uvs=uvs, texture=textured().texture), tmp_path / "a.obj")
    back = read_mesh(tmp_path / "a.obj")
    assert np.allclose(back.corner_uvs, back.triangles()[..., [0, 2]] / 3, atol=1e-6)


def test_a_binary_ply_of_polygons_is_read_as_fans_of_triangles(tmp_path):
    header = ("ply\nformat binary_big_endian 1.0\nelement vertex 6\nproperty float x\nproperty float y\n"
              "property float z\nelement face 3\nproperty uchar flag\nproperty list uchar int vertex_indices\n"
              "property float area\nelement edge 1\nproperty int vertex1\nproperty int vertex2\nend_header\n")
    polygons = (3, 2, 4, 5), (2, 1, 4), (0, 1, 2, 4, 5)
    faces = b"".join(struct.pack(f">BB{len(p)}if", 7, len(p), *p, 0.5) for p in polygons)
    body = house().vertices.astype(">f4").tobytes() + faces
    (tmp_path / "a.ply").write_bytes(header.encode() + body + struct.pack(">2i", 0, 1))
    expected = np.array([[3, 2, 4], [3, 4, 5], [2, 1, 4], [0, 1, 2], [0, 2, 4], [0, 4, 5]])
    assert np.array_equal(read_mesh(tmp_path / "a.ply").faces, expected)
    (tmp_path / "a.ply").write_bytes(header.encode() + body[:-9])
    with pytest.raises(InputError):
        read_mesh(tmp_path / "a.ply")
