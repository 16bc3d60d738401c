"""COLMAP's sparse models, on models written here by hand, and the same cameras in every form."""

import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from maquette.formats import colmap
from maquette.formats.cameras import MODELS
from maquette.formats.folder import read_capture
from maquette.recipes import InputError

CV_FROM_GL = np.diag([1.0, -1.0, -1.0, 1.0])
NUMBERS = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "RADIAL": 3, "OPENCV": 4, "OPENCV_FISHEYE": 5,
           "FULL_OPENCV": 6, "FOV": 7, "SIMPLE_RADIAL_FISHEYE": 8, "RADIAL_FISHEYE": 9, "THIN_PRISM_FISHEYE": 10}


def quaternion(rotation):
    """w, x, y, z of a rotation matrix, from the eigenvector of Bar-Itzhack's matrix."""
    r = rotation
    k = np.array([[r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0], [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
                  [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
                  [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)]])
    x, y, z, w = np.linalg.eigh(k / 3)[1][:, 3]
    return np.array([w, x, y, z])


def level_camera(angle):
    place = np.array([4 * np.cos(angle), 4 * np.sin(angle), 1.5])
    back = place / np.linalg.norm(place)
    right = np.cross([0, 0, 1], back) / np.linalg.norm(np.cross([0, 0, 1], back))
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, place], axis=1)
    return pose


POSES = [level_camera(angle) for angle in np.linspace(0, 6, 7)]
POINTS = np.array([[1.0, 2, 3], [-1, 0.5, 0]])


def poses_of(images):
    return [(name, camera, *pose_words(pose)) for name, camera, pose in images]


def pose_words(pose):
    camera_from_world = np.linalg.inv(pose @ CV_FROM_GL)
    return quaternion(camera_from_world[:3, :3]), camera_from_world[:3, 3]


def write_binary(folder, cameras, images, points=POINTS):
    """cameras: {number: (model, width, height, values)}; images: [(name, camera, pose)]."""
    folder.mkdir(parents=True, exist_ok=True)
    data = struct.pack("<Q", len(cameras))
    for number, (model, width, height, values) in cameras.items():
        data += struct.pack(f"<IiQQ{len(values)}d", number, NUMBERS.get(model, 99), width, height, *values)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(images))
    for i, (name, camera, q, t) in enumerate(poses_of(images)):
        data += struct.pack("<I7dI", i + 1, *q, *t, camera) + name.encode() + b"\0"
        data += struct.pack("<Q", i) + struct.pack("<ddq", 1.5, 2.5, -1) * i
    (folder / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(points))
    for i, point in enumerate(points):
        data += struct.pack("<Q3d3BdQ", i, *point, 1, 2, 3, 0.5, i) + struct.pack("<II", 1, 1) * i
    (folder / "points3D.bin").write_bytes(data)


def write_text(folder, cameras, images, points=POINTS):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.txt").write_text("# a comment\n" + "".join(
        f"{number} {model} {width} {height} {' '.join(map(repr, values))}\n"
        for number, (model, width, height, values) in cameras.items()))
    (folder / "images.txt").write_text("# a comment\n# another\n" + "".join(
        f"{i} {' '.join(repr(float(v)) for v in (*q, *t))} {camera} {name}\n" + ("1.5 2.5 -1 " * i).strip() + "\n"
        for i, (name, camera, q, t) in enumerate(poses_of(images))))
    (folder / "points3D.txt").write_text("# a comment\n" + "".join(
        f"{i} {x!r} {y!r} {z!r} 1 2 3 0.5 1 1\n" for i, (x, y, z) in enumerate(points.tolist())))


PINHOLE = {1: ("PINHOLE", 16, 12, [20.0, 21.0, 8.5, 5.5])}
IMAGES = [(f"{i:02d}.png", 1, pose) for i, pose in enumerate(POSES)]
WRITERS = {"binary": write_binary, "text": write_text}


def save_pictures(folder, names=tuple(name for name, _, _ in IMAGES)):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 12)).save(folder / name)


def error_of(path):
    with pytest.raises(InputError) as caught:
        read_capture(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("model, pictures, given", [
    ("sparse/0", "images", "."), ("sparse", "images", "."), (".", "images", "."), (".", ".", "."),
    ("colmap/sparse/0", "images", "."), ("sparse/0", "input", "."), ("sparse/0", "images", "sparse/0"),
    ("sparse/0", "images", "sparse/0/cameras"), ("sparse_txt", "images", "sparse_txt")])
def test_every_layout_is_found(tmp_path, form, model, pictures, given):
    WRITERS[form](tmp_path / model, PINHOLE, IMAGES)
    save_pictures(tmp_path / pictures)
    path = tmp_path / given
    if given.endswith("cameras"):
        path = path.with_suffix(".bin" if form == "binary" else ".txt")
    capture = read_capture(path)
    assert np.allclose([v.world_from_camera for v in capture.views], POSES, atol=1e-9)
    assert np.allclose(capture.points, POINTS)
    assert all((capture.folder / v.picture).is_file() for v in capture.views)


def test_the_same_cameras_in_five_forms_read_back_equal(tmp_path):
    for form, write in WRITERS.items():
        write(tmp_path / form / "sparse/0", PINHOLE, IMAGES)
    listed = [{"file_path": f"images/{name}", "transform_matrix": pose.tolist()} for name, _, pose in IMAGES]
    intrinsics = {"fl_x": 20.0, "fl_y": 21.0, "cx": 8.5, "cy": 5.5}
    for form, shared, frames in (("shared", {**intrinsics, "w": 16, "h": 12}, listed),
                                 ("per image", {}, [{**frame, **intrinsics} for frame in listed])):
        (tmp_path / form).mkdir()
        (tmp_path / form / "transforms.json").write_text(json.dumps({**shared, "frames": frames}))
    (tmp_path / "poses").mkdir()
    np.savetxt(tmp_path / "poses/poses.txt", (np.array(POSES) @ CV_FROM_GL).reshape(-1, 16))
    np.savetxt(tmp_path / "poses/K.txt", [[20, 0, 8.5], [0, 21, 5.5], [0, 0, 1]])
    read = {}
    for form in ("binary", "text", "shared", "per image", "poses"):
        save_pictures(tmp_path / form / "images")
        read[form] = read_capture(tmp_path / form)
    for form, capture in read.items():
        for ours, view in zip(read["shared"].views, capture.views, strict=True):
            assert (view.name, view.camera, view.picture) == (ours.name, ours.camera, ours.picture), form
            assert np.allclose(view.world_from_camera, ours.world_from_camera, atol=1e-9), form


def test_a_world_with_y_down_is_turned_upright_and_keeps_its_scale(tmp_path):
    y_down = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    write_binary(tmp_path, PINHOLE, [(name, 1, y_down @ pose) for name, _, pose in IMAGES], POINTS @ y_down[:3, :3].T)
    save_pictures(tmp_path / "images")
    capture = read_capture(tmp_path)
    assert np.allclose([v.world_from_camera for v in capture.views], POSES, atol=1e-9)
    assert np.allclose(capture.points, POINTS)


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("name", [name for name in MODELS if name in NUMBERS])
def test_every_camera_model_is_read_with_its_parameters(tmp_path, form, name):
    parameters = MODELS[name][1]
    values = [20.0 if p.startswith("f") else 6.0 if p.startswith("c") else 0.01 * (i + 1)
              for i, p in enumerate(parameters)]
    WRITERS[form](tmp_path, {1: (name, 16, 12, values)}, IMAGES)
    save_pictures(tmp_path)
    camera = read_capture(tmp_path).views[0].camera
    assert (camera.model, camera.fx, camera.cx) == (MODELS[name][0], 20.0, 6.0)
    assert camera.distortion == {p: v for p, v in zip(parameters, values) if p[0] in "kp"}


@pytest.mark.parametrize("name", ["FOV", "THIN_PRISM_FISHEYE"])
@pytest.mark.parametrize("form", WRITERS)
def test_other_camera_models_are_refused_by_name(tmp_path, form, name):
    WRITERS[form](tmp_path, {1: (name, 16, 12, [20.0] * 12)}, IMAGES)
    assert f"the camera model {name} is not supported" in error_of(tmp_path)


def test_camera_models_of_newer_versions_are_refused_by_number(tmp_path):
    write_binary(tmp_path, {1: ("NEW", 16, 12, [20.0])}, IMAGES)
    assert "the camera model number 99 is not supported" in error_of(tmp_path)


def test_absent_pictures_are_counted_and_several_models_are_told(tmp_path):
    write_binary(tmp_path / "sparse/0", PINHOLE, IMAGES)
    write_binary(tmp_path / "sparse/1", PINHOLE, IMAGES[:2])
    assert "none of the 7 pictures" in error_of(tmp_path)
    save_pictures(tmp_path / "images", ["00.png", "01.png", "02.png", "03.png"])
    capture = read_capture(tmp_path)
    assert len(capture.views) == 4
    assert capture.warnings == ("sparse: the folder holds 2 models that do not belong together; 0 is used",
                                "views: 3 of 7 pictures are missing (first: 04.png); they are skipped")


def test_masks_in_colmaps_own_place_are_taken(tmp_path):
    write_text(tmp_path / "sparse", PINHOLE, IMAGES)
    save_pictures(tmp_path / "images")
    save_pictures(tmp_path / "masks", ["02.png.png"])
    assert [v.mask for v in read_capture(tmp_path).views[1:4]] == [None, "masks/02.png.png", None]


def test_pictures_in_folders_within_folders_and_names_with_spaces_are_found(tmp_path):
    images = [(f"left side/{i} a.png", 1, pose) for i, pose in enumerate(POSES)]
    for form, write in WRITERS.items():
        write(tmp_path / form / "sparse", PINHOLE, images)
        save_pictures(tmp_path / form / "images", [name for name, _, _ in images])
        assert [v.name for v in read_capture(tmp_path / form).views] == [f"{i} a" for i in range(7)]


def test_a_picture_outside_the_folder_is_refused_by_name(tmp_path):
    write_text(tmp_path / "in/sparse", PINHOLE, [("../../out.png", 1, POSES[0]), *IMAGES])
    save_pictures(tmp_path / "in/images")
    assert "'../../out.png' leads out" in error_of(tmp_path / "in")


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin", "points3D.bin"])
def test_a_cut_off_model_gets_one_line_that_names_the_file(tmp_path, file):
    write_binary(tmp_path, PINHOLE, IMAGES)
    save_pictures(tmp_path)
    whole = (tmp_path / file).read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        (tmp_path / file).write_bytes(whole[:length])
        assert f"{file} is cut off after {length} bytes" in error_of(tmp_path)


@pytest.mark.parametrize("file, line", [("cameras.txt", "1 PINHOLE sixteen 12 1 1 1 1\n"), ("cameras.txt", "1\n"),
                                        ("images.txt", "1 1 0 0\n\n"), ("images.txt", "1 a 0 0 0 0 0 0 1 00.png\n\n"),
                                        ("points3D.txt", "1 a b c\n")])
def test_a_line_that_is_not_in_the_form_is_named(tmp_path, file, line):
    write_text(tmp_path, PINHOLE, IMAGES)
    save_pictures(tmp_path)
    (tmp_path / file).write_text("# a comment\n" + line)
    assert f"{file}: line 2 is not in COLMAP's form" in error_of(tmp_path)


def test_poses_that_are_none_are_refused_by_the_images_name(tmp_path):
    write_text(tmp_path, PINHOLE, IMAGES)
    save_pictures(tmp_path)
    for pose in ("nan 0 0 0 0 0 0", "0 0 0 0 1 2 3"):
        (tmp_path / "images.txt").write_text(f"1 {pose} 1 00.png\n\n")
        assert error_of(tmp_path) == "images: 00.png has no valid pose; remove it from the model"
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 5 00.png\n\n")
    assert "00.png names camera 5" in error_of(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=st.sampled_from(list(WRITERS)), file=st.sampled_from(["cameras", "images", "points3D"]),
       place=st.floats(0, 1), junk=st.binary(max_size=12), lost=st.integers(0, 12))
def test_whatever_happens_to_a_models_bytes_gives_a_capture_or_one_line(tmp_path, form, file, place, junk, lost):
    WRITERS[form](tmp_path / form, PINHOLE, IMAGES)
    save_pictures(tmp_path / form)
    path = tmp_path / form / (file + (".bin" if form == "binary" else ".txt"))
    data = path.read_bytes()
    at = int(place * len(data))
    path.write_bytes(data[:at] + junk + data[at + lost:])
    try:
        read_capture(tmp_path / form)
    except InputError as error:
        assert "\n" not in str(error)


sides = st.integers(1, 10_000)
coefficients = st.floats(-1, 1, allow_subnormal=False)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\"), min_size=1, max_size=20)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=st.sampled_from([n for n in MODELS if n in NUMBERS]), width=sides, height=sides,
       focal=st.floats(1e-3, 1e6), values=st.lists(coefficients, min_size=8, max_size=8),
       rotation=st.lists(st.floats(-1, 1), min_size=4, max_size=4), place=st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3),
       name=names)
def test_whatever_is_written_in_the_binary_form_is_read_back(tmp_path, model, width, height, focal, values, rotation,
                                                             place, name):
    parameters = MODELS[model][1]
    numbers = [focal if p.startswith("f") else 3.5 if p.startswith("c") else values[i % 8]
               for i, p in enumerate(parameters)]
    q = np.array(rotation) if np.linalg.norm(rotation) > 1e-3 else np.array([1.0, 0, 0, 0])
    camera_from_world = colmap._camera_from_world(q, np.array(place), name)
    write_binary(tmp_path, {7: (model, width, height, numbers)},
                 [(name, 7, np.linalg.inv(camera_from_world) @ CV_FROM_GL)])
    camera = colmap._Binary.cameras(tmp_path)[7]
    assert (camera.width, camera.height, camera.fx, camera.cy) == (width, height, focal, 3.5)
    assert camera.distortion == {p: v for p, v in zip(parameters, numbers) if p[0] in "kp" and v}
    (image,) = colmap._Binary.images(tmp_path)
    assert (image.name, image.camera) == (name, 7)
    assert np.allclose(image.camera_from_world, camera_from_world, atol=1e-9 * max(1, np.abs(place).max()))
