"""transforms.json in its forms, simple folders, and gathering a job's input, on captures made here by hand."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from maquette.formats import capture as captures
from maquette.formats.cameras import rigid, upright
from maquette.formats.folder import read_capture
from maquette.formats.inputs import gather
from maquette.formats.paths import inside
from maquette.recipes import InputError
from maquette.recipes.capture import Capture


def ring(count, radius=4.0, height=1.5):
    """Level cameras on a ring around the z axis, all looking at the origin: (N, 4, 4) camera-to-world."""
    poses = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False) + 0.3:
        place = np.array([radius * np.cos(angle), radius * np.sin(angle), height])
        back = place / np.linalg.norm(place)
        right = np.cross([0, 0, 1], back)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(back, right), back, place], axis=1)
        poses.append(pose)
    return np.array(poses)


def save_picture(path, size=(16, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", size, (200, 100, 50, 255)).save(path)


def write_transforms(folder, poses, shared, name="transforms.json", frames=None, pictures="images/{:02d}.png",
                     present=None):
    """A transforms file with its pictures; `frames` holds further keys of each frame."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for i, pose in enumerate(poses):
        file = pictures.format(i)
        if present is None or i in present:
            save_picture(folder / (file if file.endswith(".png") else file + ".png"))
        listed.append({"file_path": file, "transform_matrix": np.asarray(pose).tolist(),
                       **(frames[i] if frames else {})})
    path = folder / name
    path.write_text(json.dumps({**shared, "frames": listed}))
    return path


INTRINSICS = {"w": 16, "h": 12, "fl_x": 20.0, "fl_y": 21.0, "cx": 8.5, "cy": 5.5}


def error_of(call, *args):
    with pytest.raises(InputError) as caught:
        call(*args)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_nerf_form_has_focal_length_from_the_angle_and_pictures_without_ending(tmp_path):
    poses = ring(4)
    path = write_transforms(tmp_path, poses, {"camera_angle_x": 0.8}, "transforms_train.json", pictures="./train/r_{}")
    capture = read_capture(path)
    camera = capture.views[0].camera
    assert (camera.width, camera.height, camera.cx, camera.cy) == (16, 12, 8.0, 6.0)
    assert camera.fx == camera.fy == pytest.approx(8 / math.tan(0.4))
    assert [v.picture for v in capture.views] == [f"train/r_{i}.png" for i in range(4)]
    assert np.allclose([v.world_from_camera for v in capture.views], poses)


@pytest.mark.parametrize("given", ["folder", "train file"])
def test_the_test_list_beside_the_training_list_becomes_test_views_and_val_is_ignored(tmp_path, given):
    for split, count in (("train", 5), ("val", 3), ("test", 2)):
        write_transforms(tmp_path, ring(count), {"camera_angle_x": 0.8}, f"transforms_{split}.json",
                         pictures=split + "/r_{}")
    capture = read_capture(tmp_path if given == "folder" else tmp_path / "transforms_train.json")
    assert [v.split for v in capture.views] == ["train"] * 5 + ["test"] * 2
    assert capture.views[5].name == "test/r_0"
    assert len({v.name for v in capture.views}) == 7


def test_val_stands_in_for_a_test_list_that_is_absent_or_has_no_pictures(tmp_path):
    write_transforms(tmp_path, ring(5), {"camera_angle_x": 0.8}, "transforms_train.json", pictures="train/r_{}")
    write_transforms(tmp_path, ring(3), {"camera_angle_x": 0.8}, "transforms_val.json", pictures="val/r_{}")
    assert sum(v.split == "test" for v in read_capture(tmp_path).views) == 3
    write_transforms(tmp_path, ring(2), {"camera_angle_x": 0.8}, "transforms_test.json", pictures="test/r_{}",
                     present=[])
    capture = read_capture(tmp_path)
    assert {v.name.split("/")[0] for v in capture.views if v.split == "test"} == {"val"}
    assert capture.warnings == ("views: 2 of 10 pictures are missing (first: test/r_0); they are skipped",)


def test_a_list_that_is_asked_for_by_name_is_read_alone(tmp_path):
    for split in ("train", "val", "test"):
        write_transforms(tmp_path, ring(3), {"camera_angle_x": 0.8}, f"transforms_{split}.json",
                         pictures=split + "/r_{}")
    assert {v.split for v in read_capture(tmp_path / "transforms_val.json").views} == {"train"}


def test_intrinsics_of_a_frame_win_over_shared_ones(tmp_path):
    frames = [{}, {"fl_x": 30.0, "k1": 0.1}, {}]
    capture = read_capture(write_transforms(tmp_path, ring(3), {**INTRINSICS, "camera_model": "OPENCV"},
                                            frames=frames))
    first, second, _ = [v.camera for v in capture.views]
    assert (first.fx, first.fy, first.cx, first.cy, first.model) == (20.0, 21.0, 8.5, 5.5, "pinhole")
    assert (second.fx, second.model, second.distortion) == (30.0, "opencv", {"k1": 0.1})


@pytest.mark.parametrize("keys, model, distortion", [
    ({"camera_model": "PINHOLE", "k1": 0.0}, "pinhole", {}),
    ({"camera_model": "OPENCV", "k1": 0.1, "k2": -0.2, "p1": 0.01, "p2": 0.02, "k3": 0.3}, "opencv",
     {"k1": 0.1, "k2": -0.2, "k3": 0.3, "p1": 0.01, "p2": 0.02}),
    ({"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.4}, "fisheye", {"k1": 0.1, "k4": 0.4}),
    ({"camera_model": "FULL_OPENCV", "k6": 0.6}, "opencv", {"k6": 0.6}),
    ({"k1": 0.1}, "opencv", {"k1": 0.1}),
    ({"is_fisheye": True, "k1": 0.1}, "fisheye", {"k1": 0.1}),
])
def test_each_camera_model_keeps_its_own_coefficients(tmp_path, keys, model, distortion):
    camera = read_capture(write_transforms(tmp_path, ring(3), {**INTRINSICS, **keys})).views[0].camera
    assert (camera.model, camera.distortion) == (model, distortion)


@pytest.mark.parametrize("listed, stored", [
    ("images/a_{}", "images/a_{}.jpg"), ("images/a_{}.jpg", "images/a_{}.JPG"), ("images/a_{}.png", "images/a_{}.jpg"),
    ("images/A_{}.png", "images/a_{}.PNG"), ("images/a_{}.png", "images/a_{}.png.png"),
    ("./images/a.b_{}", "images/a.b_{}.png"), ("images\\a_{}.png", "images/a_{}.png")])
def test_missing_wrong_and_extra_file_endings_are_forgiven(tmp_path, listed, stored):
    frames = [{"file_path": listed.format(i), "transform_matrix": pose.tolist()} for i, pose in enumerate(ring(3))]
    for i in range(3):
        path = tmp_path / stored.format(i)
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 12)).save(path)
    (tmp_path / "transforms.json").write_text(json.dumps({**INTRINSICS, "frames": frames}))
    assert [v.picture for v in read_capture(tmp_path).views] == [stored.format(i) for i in range(3)]


def test_absent_pictures_are_skipped_with_one_warning_that_counts_them(tmp_path):
    write_transforms(tmp_path, ring(8), INTRINSICS, present=[0, 1, 3, 4, 6])
    capture = read_capture(tmp_path)
    assert len(capture.views) == 5
    assert capture.warnings == ("views: 3 of 8 pictures are missing (first: images/02.png); they are skipped",)


def test_a_capture_without_any_picture_is_refused(tmp_path):
    path = write_transforms(tmp_path, ring(8), INTRINSICS, present=[])
    assert error_of(read_capture, tmp_path) == (
        f"views: none of the 8 pictures of {path} exists (first: images/00.png); put them where the file names them")


def test_masks_depth_and_test_names_of_nerfstudio_are_taken(tmp_path):
    frames = [{"mask_path": "masks/0.png", "depth_file_path": f"depth/{i}.png"} for i in range(4)]
    save_picture(tmp_path / "masks/0.png")
    for i in range(4):
        save_picture(tmp_path / f"depth/{i}.png")
    write_transforms(tmp_path, ring(4), {**INTRINSICS, "test_filenames": ["images/02.png"], "applied_transform": [],
                                         "aabb_scale": 16}, frames=frames)
    views = read_capture(tmp_path).views
    assert [v.split for v in views] == ["train", "train", "train", "test"]
    assert (views[0].mask, views[3].depth) == ("masks/0.png", "depth/2.png")
    (tmp_path / "masks/0.png").unlink()
    assert "its mask_path 'masks/0.png' is missing" in error_of(read_capture, tmp_path)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_points_beside_a_transforms_file_are_read(tmp_path, form):
    points = np.array([[1.5, -2.0, 3.25], [0.0, np.nan, 0.0], [4.0, 5.0, 6.0]])
    head = (f"ply\nformat {form} 1.0\ncomment a\nelement vertex 3\nproperty float x\nproperty float y\n"
            "property float z\nproperty uchar red\nelement face 0\nproperty list uchar int vertex_indices\nend_header\n")
    if form == "ascii":
        body = "".join(f"{x} {y} {z} 7\n" for x, y, z in points).encode()
    else:
        order = "<" if "little" in form else ">"
        rows = np.zeros(3, [("p", order + "f4", 3), ("red", "u1")])
        rows["p"] = points
        body = rows.tobytes()
    write_transforms(tmp_path, ring(3), {**INTRINSICS, "ply_file_path": "points.ply"})
    (tmp_path / "points.ply").write_bytes(head.encode() + body)
    assert read_capture(tmp_path).points.tolist() == [[1.5, -2.0, 3.25], [4.0, 5.0, 6.0]]


def test_points_that_cannot_be_read_are_left_out_with_a_warning(tmp_path):
    write_transforms(tmp_path, ring(3), INTRINSICS)
    (tmp_path / "reconstruction.ply").write_text("ply\nformat ascii 1.0\nelement vertex 5\n")
    capture = read_capture(tmp_path)
    assert capture.points is None and "reconstruction.ply" in capture.warnings[0]


@pytest.mark.parametrize("name, why", [
    ("../secret.png", "leads out"), ("images/../../secret.png", "leads out"), ("..\\secret.png", "leads out"),
    ("/etc/passwd", "leads out"), ("..", "leads out"), ("a\0b", "not the path"),
    ("two\nlines.png", "not the path"), ("", "not the path"),
    (7, "not the path"), (None, "not the path")])
def test_paths_that_leave_the_folder_are_refused_by_name(tmp_path, name, why):
    folder = tmp_path / "capture"
    save_picture(tmp_path / "secret.png")
    write_transforms(folder, ring(3), INTRINSICS, frames=[{"file_path": name}, {}, {}])
    text = error_of(read_capture, folder)
    assert repr(name) in text and why in text


def test_an_absolute_path_that_lies_inside_is_taken(tmp_path):
    write_transforms(tmp_path, ring(3), INTRINSICS, frames=[{"file_path": str(tmp_path / "images/00.png")}, {}, {}])
    assert read_capture(tmp_path).views[0].picture == "images/00.png"
    assert inside(tmp_path, "a/../b", "") == tmp_path / "b"


@pytest.mark.parametrize("spoil, word", [
    (lambda m: m.__setitem__((0, 0), np.nan), "NaN"), (lambda m: m.__setitem__((1, 3), np.inf), "NaN"),
    (lambda m: m.__setitem__((slice(0, 3), 1), 0.0), "singular"),
    (lambda m: m.__setitem__((slice(0, 3), 0), -m[:3, 0]), "mirrors"),
    (lambda m: m.__setitem__((slice(0, 3), 0), 2 * m[:3, 0]), "not a rotation"),
    (lambda m: m.__setitem__((3, 0), 1.0), "row")])
def test_a_matrix_that_is_no_pose_is_refused_with_the_name_of_its_view(tmp_path, spoil, word):
    poses = ring(3)
    spoil(poses[1])
    write_transforms(tmp_path, poses, INTRINSICS)
    text = error_of(read_capture, tmp_path)
    assert word in text and "images/01.png" in text


def test_rounded_rotations_are_made_orthonormal_and_scale_is_dropped():
    pose = ring(5)[2]
    rounded = pose.copy()
    rounded[:3, :3] = pose[:3, :3].round(3) * 2.5
    mended = rigid(rounded, "")
    assert np.allclose(mended[:3, :3] @ mended[:3, :3].T, np.eye(3), atol=1e-14)
    assert np.allclose(mended, pose, atol=2e-3) and np.array_equal(mended[:3, 3], pose[:3, 3])
    assert np.allclose(rigid(pose[:3].tolist(), ""), pose)


@pytest.mark.parametrize("text, word", [
    ("{", "not JSON"), ("[" * 100_000, "not JSON"), ("[]", "no list of frames"), ('{"frames": []}', "no cameras"),
    ('{"frames": [3]}', "frame 0"), ('{"frames": [{"file_path": "a"}]}', "frame 0")])
def test_a_broken_transforms_file_gets_one_line(tmp_path, text, word):
    (tmp_path / "transforms.json").write_text(text)
    assert word in error_of(read_capture, tmp_path / "transforms.json")


@pytest.mark.parametrize("keys, word", [
    ({"fl_x": "20"}, "fl_x"), ({"fl_x": 10**400}, "fl_x is 1000"), ({"fl_x": -1.0, "fl_y": 1.0}, "fx is -1.0"), ({"cx": float("nan")}, "cx is nan"),
    ({"w": 0}, "0×12"), ({"w": float("inf")}, "inf"), ({"fl_x": None, "fl_y": None}, "no fl_x"),
    ({"fl_x": None, "camera_angle_x": 4.0}, "4.0 rad"), ({"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR"),
    ({"camera_model": "OPENCV", "k4": 0.1}, "no k4")])
def test_intrinsics_that_make_no_camera_are_refused_by_name(tmp_path, keys, word):
    write_transforms(tmp_path, ring(3), {**INTRINSICS, **keys})
    assert word in error_of(read_capture, tmp_path)


numbers = st.one_of(st.integers(), st.floats(), st.just(10**400))
anything = st.recursive(st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5)),
                        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
                        max_leaves=8)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(["w", "fl_x", "cx", "k1", "camera_model", "camera_angle_x", "file_path", "mask_path", "frames",
                            "transform_matrix", "test_filenames", "ply_file_path"]), value=anything)
def test_whatever_stands_in_a_transforms_file_gives_a_capture_or_one_line(tmp_path, key, value):
    path = write_transforms(tmp_path, ring(3), INTRINSICS)
    text = json.loads(path.read_text())
    (text if key in ("frames", "test_filenames", "ply_file_path") else text["frames"][0])[key] = value
    path.write_text(json.dumps(text))
    try:
        assert len(read_capture(path).views) in (2, 3)
    except InputError as error:
        assert "\n" not in str(error)


def test_a_folder_that_holds_no_capture_says_what_was_looked_for(tmp_path):
    assert "sparse/0/cameras.bin" in error_of(read_capture, tmp_path)
    save_picture(tmp_path / "a.png")
    assert "1 pictures but no cameras" in error_of(read_capture, tmp_path)
    assert "does not exist" in error_of(read_capture, tmp_path / "gone")
    assert "is not a capture" in error_of(read_capture, tmp_path / "a.png")


def test_reading_a_capture_needs_numpy_alone_as_in_blenders_python(tmp_path):
    write_transforms(tmp_path, ring(3), {"camera_angle_x": 0.8}, pictures="r_{}")
    code = ("import sys\nfor name in ('PIL', 'OpenEXR', 'scipy', 'torch', 'trimesh'): sys.modules[name] = None\n"
            "from pathlib import Path\nfrom maquette.formats.inputs import gather\n"
            "from maquette.recipes.capture import Capture\n"
            "print(gather('capture', [Path(sys.argv[1])], Path(sys.argv[2]), Capture())['views'])")
    done = subprocess.run([sys.executable, "-c", code, tmp_path, tmp_path / "job"], capture_output=True, text=True)
    assert done.stdout == "3\n", done.stderr


CV_FROM_GL = np.diag([1.0, -1.0, -1.0, 1.0])


def test_poses_and_intrinsics_in_text_files_make_a_capture(tmp_path):
    poses = ring(6)
    for i in range(6):
        save_picture(tmp_path / f"images/{i * 3:05d}.png")
        save_picture(tmp_path / f"depth/{i * 3:05d}.png")
    np.savetxt(tmp_path / "poses.txt", (poses @ CV_FROM_GL).reshape(6, 16))
    np.savetxt(tmp_path / "K.txt", [[20, 0, 8.5], [0, 21, 5.5], [0, 0, 1]])
    views = read_capture(tmp_path).views
    assert np.allclose([v.world_from_camera for v in views], poses, atol=1e-9)
    assert (views[1].name, views[1].depth, views[1].camera.fy) == ("00003", "depth/00003.png", 21.0)
    np.savetxt(tmp_path / "poses.txt", (poses @ CV_FROM_GL).reshape(6, 16)[:4])
    assert "4 rows of 16 numbers, images/ 6 pictures" in error_of(read_capture, tmp_path)


def test_frames_with_their_own_pose_files_make_a_capture(tmp_path):
    poses = ring(4)
    for i, pose in enumerate(poses):
        save_picture(tmp_path / f"frame-{i:06d}.color.png")
        save_picture(tmp_path / f"frame-{i:06d}.depth.png")
        np.savetxt(tmp_path / f"frame-{i:06d}.pose.txt", pose @ CV_FROM_GL)
    assert "camera-intrinsics.txt is missing" in error_of(read_capture, tmp_path)
    np.savetxt(tmp_path / "camera-intrinsics.txt", [[20, 0, 8], [0, 20, 6], [0, 0, 1]])
    views = read_capture(tmp_path).views
    assert np.allclose([v.world_from_camera for v in views], poses, atol=1e-9)
    assert views[2].depth == "frame-000002.depth.png"


@pytest.mark.parametrize("count", [3, 12])
def test_a_world_without_known_up_is_turned_so_that_level_cameras_are_level(count):
    tilt = np.eye(4)
    tilt[:3, :3] = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    tilt[:3, :3] *= np.sign(np.linalg.det(tilt[:3, :3]))
    poses = tilt @ ring(count)
    turned = upright(poses) @ poses
    assert np.allclose(turned[:, 2, 0], 0, atol=1e-9) and (turned[:, 2, 1] > 0.5).all()
    assert np.allclose(turned[:, 2, 3], 1.5)


def test_cameras_in_a_row_before_a_facade_still_find_up():
    poses = np.repeat(ring(1), 5, axis=0)
    poses[:, 0, 3] += np.arange(5)
    y_down = np.diag([1.0, 1, 1, 1])[[0, 2, 1, 3]] * np.array([1, -1, 1, 1])[:, None]  # up is −y
    turned = upright(y_down @ poses) @ y_down @ poses
    assert np.allclose(turned[:, 2, 0], 0, atol=1e-9) and (turned[:, 2, 1] > 0.5).all()


def gathered(folder, target):
    return gather("capture", [folder], target, Capture())


def test_gathering_writes_a_capture_that_reads_back_the_same(tmp_path):
    frames = [{"file_path": f"images/no such: name? {i}.png", "mask_path": "mask.png"} for i in range(4)]
    for frame in frames:
        save_picture(tmp_path / "in" / frame["file_path"])
    save_picture(tmp_path / "in/mask.png")
    write_transforms(tmp_path / "in", ring(4), {**INTRINSICS, "k1": 0.1}, frames=frames)
    summary = gathered(tmp_path / "in", tmp_path / "job")
    assert summary == {"views": 4, "pixels": 4 * 16 * 12}
    source, taken = read_capture(tmp_path / "in"), captures.read(tmp_path / "job" / "capture.json")
    for a, b in zip(source.views, taken.views, strict=True):
        assert (a.name, a.camera, a.split) == (b.name, b.camera, b.split)
        assert np.array_equal(a.world_from_camera, b.world_from_camera)
        for role in ("picture", "mask"):
            copy = tmp_path / "job" / getattr(b, role)
            assert copy.read_bytes() == (tmp_path / "in" / getattr(a, role)).read_bytes()
            assert all(c.isalnum() or c in "._-/" for c in getattr(b, role))
    (tmp_path / "in").rename(tmp_path / "away")
    assert (tmp_path / "job" / taken.views[0].picture).exists()


def test_a_damaged_capture_of_a_job_gets_one_line(tmp_path):
    write_transforms(tmp_path / "in", ring(4), INTRINSICS)
    gathered(tmp_path / "in", tmp_path / "job")
    path = tmp_path / "job/capture.json"
    whole = json.loads(path.read_text())
    assert "cannot be read (FileNotFoundError" in error_of(captures.read, tmp_path / "capture.json")
    for text, word in (("{", "JSONDecodeError"), ("{}", "KeyError"), (json.dumps({**whole, "format": 2}), "format 2"),
                       (json.dumps({**whole, "views": [{"name": 3}]}), "KeyError"), ("[]", "TypeError")):
        path.write_text(text)
        assert word in error_of(captures.read, path)


def test_a_dense_cloud_is_thinned_in_the_job(tmp_path):
    path = write_transforms(tmp_path / "in", ring(4), INTRINSICS)
    head = "ply\nformat ascii 1.0\nelement vertex 50001\nproperty float x\nproperty float y\nproperty float z\n"
    path.with_name("reconstruction.ply").write_text(head + "end_header\n" + "1 2 3\n" * 50_001)
    gathered(tmp_path / "in", tmp_path / "job")
    assert captures.read(tmp_path / "job/capture.json").points.shape == (16_667, 3)


def test_gathering_copies_where_links_cannot_be_made(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    write_transforms(tmp_path / "in", ring(4), INTRINSICS)
    gathered(tmp_path / "in", tmp_path / "job")
    assert len(list((tmp_path / "job/pictures").iterdir())) == 4


def test_captures_that_show_no_depth_are_refused_before_the_job_starts(tmp_path):
    write_transforms(tmp_path / "two", ring(2), INTRINSICS)
    assert "too few are left for training (2)" in error_of(gathered, tmp_path / "two", tmp_path / "job")
    write_transforms(tmp_path / "one place", np.repeat(ring(1), 9, axis=0), INTRINSICS)
    assert "all 9 stand in one place" in error_of(gathered, tmp_path / "one place", tmp_path / "job")
    assert "2 inputs" in error_of(gather, "capture", [tmp_path, tmp_path], tmp_path / "job", Capture())
