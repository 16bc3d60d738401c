"""Fields to pictures: the turntable, the task through its job, and its pictures read back as a capture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maquette import api
from maquette.formats import exr, renders
from maquette.formats.capture import Camera, View
from maquette.formats.fields import FILE, gather_field
from maquette.formats.folder import read_capture
from maquette.formats.pictures import read_depth
from maquette.formats.transforms import read_cameras, write_transforms
from maquette.neural.fields import stored
from maquette.neural.fields.surface import SurfaceField
from maquette.neural.geometry.views import load_views
from maquette.neural.rendering.lattice import Lattice
from maquette.neural.rendering.turntable import turntable
from maquette.neural.tasks import render
from maquette.recipes.errors import Cancelled, InputError
from maquette.recipes.render import Render

CPU = torch.device("cpu")
CENTRE, RADIUS = np.array([1.0, 2.0, 3.0]), 0.4


def ball() -> SurfaceField:
    """Of one colour, (0.8, 0.5, 0.2) sRGB, about CENTRE."""
    lattice = Lattice.over(np.stack([CENTRE - 0.5, CENTRE + 0.5]), 32)
    distances = torch.from_numpy(np.linalg.norm(lattice.corner_points() - CENTRE, axis=-1) - RADIUS) / lattice.voxel
    field = SurfaceField(lattice, distances.float(), 3.5, 0.1)
    field.rows.color.zero_()
    field.rows.color[:, :3] = torch.tensor([0.8, 0.5, 0.2])
    return field


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("field") / "ball.safetensors"
    stored.save(ball(), path)
    return path


class Plain(SimpleNamespace):
    """A context that records, and that cancels at a picture."""

    def __init__(self, folder: Path, field: Path, recipe: Render, cancel_at: str = "never") -> None:
        super().__init__(recipe=recipe, device=CPU, seed=0, report={}, said=[], previews=[], warnings=[],
                         cancel_at=cancel_at, input=folder / "input", output=folder / "output",
                         checkpoint=folder / "checkpoint")
        for path in (self.input, self.output, self.checkpoint):
            path.mkdir(parents=True, exist_ok=True)
        if not (self.input / FILE).exists():
            gather_field([field], self.input, recipe)

    def stage(self, name: str, upto: float) -> None: ...

    def progress(self, fraction: float, message: str = "") -> None:
        self.said.append((fraction, message))
        if message.startswith(self.cancel_at):
            raise Cancelled("cancelled")

    def preview(self, rgb: np.ndarray) -> None:
        self.previews.append(rgb)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def projected(view: View, points: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of world points (N, 3)."""
    x, y, z = ((points - view.world_from_camera[:3, 3]) @ view.world_from_camera[:3, :3]).T
    c = view.camera
    return np.stack([c.cx - c.fx * x / z, c.cy + c.fy * y / z], axis=1)


@pytest.mark.parametrize("elevation", [-90.0, -10.0, 0.0, 35.0, 90.0])
def test_a_turntable_shows_the_whole_box_from_as_near_as_may_be(elevation: float) -> None:
    box = np.array([[-1.0, 0.0, 2.0], [1.0, 0.5, 5.0]])
    corners = np.stack(np.meshgrid(*box.T, indexing="ij"), axis=-1).reshape(-1, 3)
    views = turntable(box, 12, 100, elevation, 50.0)
    seen = np.concatenate([projected(view, corners) for view in views])
    assert 0 < seen.min() and seen.max() < 100
    assert np.abs(seen - 50).max() == pytest.approx(50 / 1.05)
    for view in views:
        rotation = view.world_from_camera[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) > 0 and abs(rotation[2, 0]) < 1e-12  # upright
        np.testing.assert_allclose(projected(view, box.mean(axis=0)[None]), [[50, 50]], atol=1e-9)


def test_a_turntable_begins_at_the_front_and_turns_counter_clockwise_from_above() -> None:
    views = turntable(np.array([[-1.0] * 3, [1.0] * 3]), 4, 72, 0.0, 36.0, distance=10.0)
    places = [view.world_from_camera[:3, 3].round(9).tolist() for view in views]
    assert places == [[0, -10, 0], [10, 0, 0], [0, 10, 0], [-10, 0, 0]]
    assert [view.name for view in views] == ["0001", "0002", "0003", "0004"]
    assert views[0].camera.fx == 72  # 36 mm on 36 mm


def test_a_turntable_of_a_ball_is_read_back_as_a_capture_with_its_depth(field: Path, tmp_path: Path) -> None:
    context = Plain(tmp_path, field, Render(frames=3, size=96, elevation=0.0, distance=2.0))
    render.run(context)
    folder = context.output / renders.FOLDER
    assert context.report["pictures"] == {"count": 3, "width": 96, "height": 96}
    assert context.previews and context.previews[0].shape == (96, 96, 3)
    capture = read_capture(folder)
    for view, wanted in zip(capture.views, turntable(ball().box, 3, 96, 0.0, 50.0, 2.0), strict=True):
        np.testing.assert_allclose(view.world_from_camera, wanted.world_from_camera, atol=1e-9)
        assert view.camera == wanted.camera
    picture = load_views(capture, pytest.fail)[0]
    # Straight alpha: the colour is the ball's wherever there is some.
    np.testing.assert_allclose(picture.rgba_srgb[48, 48], [0.8, 0.5, 0.2, 1.0], atol=0.01)
    assert picture.rgba_srgb[0, 0].tolist() == [0, 0, 0, 0]
    straight = pixels(folder / "images/0001.png")
    rim = (straight[..., 3] > 20) & (straight[..., 3] < 235)
    assert rim.sum() > 20
    np.testing.assert_allclose(straight[rim][:, :3] / 255, np.tile([0.8, 0.5, 0.2], (rim.sum(), 1)), atol=0.03)
    # Along the axis, for every pixel that sees the ball.
    assert picture.depth is not None and picture.depth[48, 48] == pytest.approx(2.0 - RADIUS, abs=0.01)
    assert np.isnan(picture.depth[0, 0])


def test_depth_is_along_the_axis_and_normals_are_the_worlds(field: Path, tmp_path: Path) -> None:
    context = Plain(tmp_path, field, Render(frames=1, size=200, elevation=0.0, distance=1.2))
    render.run(context)
    folder = context.output / renders.FOLDER
    depth = read_depth(folder / "depth/0001.exr")
    focal = 50 / 36 * 200
    u = (np.arange(200) + 0.5 - 100) / focal
    a = u**2 + u[:, None] ** 2 + 1  # a ray's squared length for one of depth
    root = 1.2**2 - a * (1.2**2 - RADIUS**2)
    true = (1.2 - np.sqrt(np.maximum(root, 0))) / a
    sees = root > 0.02
    assert sees.sum() > 5000
    np.testing.assert_allclose(depth[sees], true[sees], atol=0.01)
    channels = exr.read_channels(folder / "normals/0001.exr")
    assert set(channels) == {"R", "G", "B"} and channels["R"].dtype == np.float32
    normals = np.stack([channels[c] for c in "RGB"], axis=-1)
    z, x = np.meshgrid(-u, u, indexing="ij")
    point = np.stack([x, np.ones_like(x), z], axis=-1) * true[..., None] - [0, 1.2, 0]
    np.testing.assert_allclose(normals[sees], point[sees] / RADIUS, atol=0.06)
    raw = exr.read_channels(folder / "depth/0001.exr")["Y"]
    assert raw[0, 0] == 0 and normals[0, 0].tolist() == [0, 0, 0]


def test_bands_make_the_same_picture_as_one_rendering(field: Path) -> None:
    f = stored.load(field, CPU)
    view = turntable(f.box, 1, 61, 30.0, 50.0)[0]
    c, said = view.camera, []
    whole = f.render(c.fx, c.fy, c.cx, c.cy, 61, 61, view.world_from_camera)
    bands = render.Bands(f, pixels=200)
    banded = bands.render(view, said.append)
    assert len(said) > 2 and said[-1] == 1 and said == sorted(said)
    np.testing.assert_allclose(banded.rgb_srgb, whole.rgb_srgb, atol=1e-5)
    np.testing.assert_allclose(banded.depth, whole.depth, atol=1e-5)


def test_a_cancelled_render_goes_on_where_it_was(field: Path, tmp_path: Path) -> None:
    recipe = Render(frames=3, size=32)
    first = Plain(tmp_path, field, recipe, cancel_at="picture 3")
    with pytest.raises(Cancelled):
        render.run(first)
    written = sorted((first.checkpoint / renders.FOLDER / "images").iterdir())
    assert [path.name for path in written] == ["0001.png", "0002.png"]
    written[0].write_bytes(b"as it was")
    second = Plain(tmp_path, field, recipe)
    render.run(second)
    images = renders.images_in(second.output / renders.FOLDER)
    assert [path.name for path in images] == ["0001.png", "0002.png", "0003.png"]
    assert images[0].read_bytes() == b"as it was" and images[2].read_bytes()[:4] == b"\x89PNG"
    assert len(second.previews) == 1


def cameras_file(path: Path, **more: Any) -> Path:
    """Two cameras without pictures, one with a lens of its own; the paths are a stranger's."""
    views = turntable(ball().box, 2, 40, 10.0, 50.0)
    frames = [{"file_path": name, "transform_matrix": view.world_from_camera.tolist()}
              for name, view in zip(("shots/b", "shots/a"), views, strict=True)]
    frames[1] |= {"fl_x": 80.0, "fl_y": 60.0, "cx": 17.0, "w": 30, "h": 20}
    path.write_text(json.dumps({"w": 40, "h": 40, "fl_x": 55.0, "frames": frames, **more}))
    return path


def test_cameras_of_a_file_need_no_pictures_and_keep_their_order_size_and_names(field: Path, tmp_path: Path) -> None:
    path = cameras_file(tmp_path / "cameras.json", k1=0.1)
    context = Plain(tmp_path / "job", field, Render(cameras=str(path), passes=False))
    render.run(context)
    folder = context.output / renders.FOLDER
    assert context.warnings == ["cameras: their lens distortion is left out; the pictures are those of a pinhole"]
    assert sorted(p.name for p in folder.iterdir()) == ["images", "transforms.json"]
    again = read_cameras(folder / "transforms.json")
    assert [view.name for view in again] == ["b", "a"]
    assert again[1].camera == Camera(30, 20, 80.0, 60.0, 17.0, 10.0)
    assert pixels(folder / "images/a.png").shape == (20, 30, 4)


def test_a_size_scales_the_cameras_of_a_file_and_frames_takes_the_first(field: Path, tmp_path: Path) -> None:
    path = cameras_file(tmp_path / "cameras.json")
    context = Plain(tmp_path / "job", field, Render(cameras=str(path), frames=1, size=80))
    render.run(context)
    (view,) = read_cameras(context.output / renders.FOLDER / "transforms.json")
    assert (view.name, view.camera) == ("b", Camera(80, 80, 110.0, 110.0, 40.0, 40.0))


def test_views_of_one_name_in_several_folders_get_files_of_their_own() -> None:
    camera = Camera(1, 1, 1.0, 1.0, 0.5, 0.5)
    views = [View(name, camera, np.eye(4), "") for name in ("../a/x y", "../a/x_y", "ü")]
    paths = [view.picture for view in renders.named(views, passes=False)]
    assert paths == ["images/0001_.._a_x_y.png", "images/0002_.._a_x_y.png", "images/0003__.png"]


@pytest.mark.parametrize(("text", "says"), [
    ("[]", "has no list of frames"),
    ('{"fl_x": 5, "frames": [{"file_path": "a", "transform_matrix": 3}]}', "it has no w and h"),
    ('{"w": 4, "h": 4, "fl_x": 5, "frames": [{"file_path": "../a", "transform_matrix": 3}]}', "leads out of"),
    ('{"w": 4, "h": 4, "fl_x": 5, "frames": [{"file_path": "a", "transform_matrix": 3}]}', "is not 4×4 numbers"),
])
def test_cameras_that_are_none_are_refused(field: Path, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match=says):
        gather_field([field], tmp_path / "input", Render(cameras=str(tmp_path / "c.json")))


def test_what_is_no_field_and_cameras_that_are_not_there_are_refused(field: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cameras: .*none.json does not exist; give a transforms.json"):
        gather_field([field], tmp_path / "input", Render(cameras=str(tmp_path / "none.json")))
    with pytest.raises(InputError, match="2 inputs are given; render takes one"):
        gather_field([field, field], tmp_path / "input", Render())
    with pytest.raises(InputError, match="cannot be read"):
        gather_field([tmp_path], tmp_path / "input", Render())


def test_the_estimate_grows_with_pictures_and_pixels() -> None:
    seconds = [Render(**values).estimate(summary).seconds for values, summary in (
        ({"frames": 1}, {}), ({}, {}), ({"size": 1024}, {}), ({}, {"views": 500, "largest": [1920, 1080]}))]
    assert seconds == sorted(seconds) and seconds[0] < 10
    assert Render(frames=2).taken(7) == 2 and Render().taken(7) == 7 and Render().taken(0) == 60


def test_python_renders_a_folder(field: Path, tmp_path: Path) -> None:
    """Through the worker."""
    result = api.render(field, out=tmp_path / "turn", frames=2, size=32)
    assert sorted(p.relative_to(tmp_path / "turn").as_posix() for p in (tmp_path / "turn").rglob("*.*")) == [
        "depth/0001.exr", "depth/0002.exr", "images/0001.png", "images/0002.png", "normals/0001.exr",
        "normals/0002.exr", "transforms.json"]
    assert result.mesh is None and result.path == result.job.output / "pictures"
    assert json.loads((tmp_path / "turn.report.json").read_text())["pictures"]["count"] == 2
    with pytest.raises(InputError, match="turn exists; give --overwrite"):
        api.render(field, out=tmp_path / "turn")


def test_one_picture_of_a_jobs_field_is_the_first_cameras(field: Path, tmp_path: Path) -> None:
    made_by = tmp_path / "job"
    (made_by / "output").mkdir(parents=True)
    (made_by / "output" / FILE).write_bytes(field.read_bytes())
    cameras = cameras_file(tmp_path / "cameras.json")
    job = api.start(api.Request("render", (made_by,), {"cameras": str(cameras)}, tmp_path / "one.png"))
    assert job.recipe.to_json()["frames"] == 1
    context = Plain(job.path, field, job.recipe)
    render.run(context)
    renders.write_out(context.output / renders.FOLDER, tmp_path / "one.png")
    assert pixels(tmp_path / "one.png").shape == (40, 40, 4)


@pytest.mark.parametrize(("out", "says"), [("x.jpg", "is no folder's name and does not end in .png"),
                                           ("file", "is a file; name a folder")])
def test_an_out_that_is_neither_folder_nor_picture_is_refused(field: Path, tmp_path: Path, out: str,
                                                              says: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=says):
        api.render(field, out=tmp_path / out)


def test_an_empty_folder_is_taken_and_one_with_files_is_not(field: Path, tmp_path: Path) -> None:
    (tmp_path / "turn").mkdir()
    request = api.Request("render", (field,), {}, tmp_path / "turn")
    api._check_out(request, tmp_path / "turn", api.ENDINGS["pictures"])
    (tmp_path / "turn/mine.txt").write_text("")
    with pytest.raises(InputError, match="exists; give --overwrite"):
        api._check_out(request, tmp_path / "turn", api.ENDINGS["pictures"])
    api._check_out(replace(request, overwrite=True), tmp_path / "turn", api.ENDINGS["pictures"])
    assert [path.name for path in (tmp_path / "turn").iterdir()] == ["mine.txt"]


def test_a_transforms_file_of_ours_is_nerfstudios_form(tmp_path: Path) -> None:
    view = View("a", Camera(4, 3, 5.0, 6.0, 2.5, 1.5), np.eye(4), "images/a.png", depth="depth/a.exr")
    write_transforms([view], tmp_path / "transforms.json")
    assert json.loads((tmp_path / "transforms.json").read_text()) == {"camera_model": "PINHOLE", "frames": [{
        "file_path": "images/a.png", "w": 4, "h": 3, "fl_x": 5.0, "fl_y": 6.0, "cx": 2.5, "cy": 1.5,
        "depth_file_path": "depth/a.exr", "transform_matrix": np.eye(4).tolist()}]}
