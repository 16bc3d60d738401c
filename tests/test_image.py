"""A photo to a mesh: the crop, what stands in the world, the job from a file to OUT, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from maquette import cli
from maquette.formats import objects
from maquette.formats.capture import Camera
from maquette.formats.inputs import gather
from maquette.formats.mesh import Mesh
from maquette.formats.meshes import read_mesh
from maquette.formats.model import Model, write_model
from maquette.formats.pictures import focal_length, read_picture
from maquette.neural.geometry import crop, standing
from maquette.neural.geometry.mirror import plane_of
from maquette.neural.meshing.raster import project, render
from maquette.neural.predictors import inflate, shipped, view
from maquette.neural.tasks import image as task
from maquette.recipes import InputError, Recipe
from maquette.recipes.image import Image as ImageRecipe
from PIL import Image


def disc(width: int = 96, height: int = 64, x: float = 60.0, y: float = 24.0, radius: float = 16.0) -> np.ndarray:
    """An orange disc (H, W, 4) float32 on nothing."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    alpha = (np.hypot(columns - x, rows - y) < radius).astype(np.float32)
    return np.dstack([alpha * 0.9, alpha * 0.5, alpha * 0.1, alpha]).astype(np.float32)


def save(rgba: np.ndarray, path: Path, **more: Any) -> Path:
    Image.fromarray((rgba * 255 + 0.5).astype(np.uint8)).save(path, **more)
    return path


# ---- the view frame ----------------------------------------------------------------------------------------------

def test_the_crops_border_lies_at_one_in_the_plane_of_the_origin() -> None:
    distance = torch.tensor([view.distance_of(math.radians(90))])
    assert distance.item() == pytest.approx(1.0)
    places = view.project(torch.tensor([[[1.0, 1.0, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, -1.0]]]), distance)
    # Half as far is twice as large, twice as far half as large; y goes down.
    torch.testing.assert_close(places, torch.tensor([[[1.0, -1.0], [1.0, 0.0], [0.5, 0.0]]]))


@given(st.floats(1.1, 20.0), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.floats(-0.9, 0.9))
def test_what_is_unprojected_projects_to_its_place(distance: float, x: float, y: float, z: float) -> None:
    far, places = torch.tensor([distance]), torch.tensor([[[x, y]]])
    there = view.unproject(places, torch.tensor([[z]]), far)
    torch.testing.assert_close(view.project(there, far), places, atol=1e-5, rtol=1e-5)


def test_a_frustum_grid_begins_at_the_upper_left_of_the_nearest_slice() -> None:
    centres = view.frustum_centres(2, torch.tensor([2.0]))[0]
    torch.testing.assert_close(centres[0, 0, 0], torch.tensor([-0.375, 0.375, 0.5]))  # −½ · (2 − ½) / 2
    torch.testing.assert_close(centres[1, 1, 0], torch.tensor([-0.625, -0.625, -0.5]))


def test_rays_say_where_in_the_crop_a_pixel_lies_and_how_wide_the_lens_is() -> None:
    seen = view.with_rays(torch.zeros(1, 4, 2, 2), torch.tensor([2.0]))
    assert seen.shape == (1, 6, 2, 2)
    torch.testing.assert_close(seen[0, 4], torch.tensor([[-0.25, 0.25], [-0.25, 0.25]]))
    torch.testing.assert_close(seen[0, 5], torch.tensor([[0.25, 0.25], [-0.25, -0.25]]))


# ---- the crop ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("x", "y", "focal"), [(48, 32, 500.0), (60, 24, 100.0), (18, 46, 60.0)])
def test_a_crop_shows_the_object_in_the_middle_and_as_large_as_agreed(x: float, y: float, focal: float) -> None:
    rgba = disc(x=x, y=y)
    found = crop.around(rgba[..., 3], focal)
    seen = found.picture(rgba, 64)
    rows, columns = np.nonzero(seen[3].numpy() >= 0.5)
    margin = 64 * (1 - view.FILL) / 2
    for low, high in ((rows.min(), rows.max() + 1), (columns.min(), columns.max() + 1)):
        assert abs((low + high) / 2 - 32) <= 1
        assert abs(low - margin) <= 2.5
    inside = seen[:, 32, 32]
    torch.testing.assert_close(inside, torch.tensor([0.9, 0.5, 0.1, 1.0]))


@given(st.floats(8, 88), st.floats(8, 56), st.floats(40, 2000))
@settings(max_examples=20)
def test_places_in_a_crop_are_where_its_pixels_are_taken_from(x: float, y: float, focal: float) -> None:
    found = crop.around(disc(x=x, y=y, radius=7)[..., 3], focal)
    there = found._places(4).reshape(-1, 2)
    pixels = (there + 1) / 2 * [96, 64]
    back = found.to_crop(pixels)
    axis = (np.arange(4) + 0.5) / 2 - 1
    np.testing.assert_allclose(back, np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), atol=1e-9)


def test_a_large_photo_is_averaged_before_it_is_sampled() -> None:
    checks = (np.indices((1024, 1024)).sum(axis=0) % 2).astype(np.float32)
    rgba = np.dstack([checks, checks, checks, np.ones_like(checks)])
    rgba[:16] = rgba[-16:] = rgba[:, :16] = rgba[:, -16:] = 0
    seen = crop.around(rgba[..., 3], 2000.0).picture(rgba, 32)
    assert abs(seen[0, 12:20, 12:20] - 0.5).max() < 0.02


# ---- standing ----------------------------------------------------------------------------------------------------

def inflated(rgba: np.ndarray, focal: float) -> tuple[Mesh, crop.Crop]:
    found = crop.around(rgba[..., 3], focal)
    seen = view.with_rays(found.picture(rgba, view.SIDE)[None], torch.tensor([found.distance]))
    return inflate.Network().predict(seen, torch.tensor(found.distance)), found


@pytest.mark.parametrize("elevation", [0.0, 0.4])
def test_the_camera_sees_the_standing_mesh_where_the_photo_shows_it(elevation: float) -> None:
    rgba, focal = disc(), 120.0
    mesh, found = inflated(rgba, focal)
    up = standing.upward(found, elevation)
    (stood,), pose = standing.stand([mesh], [found], up, 2.0)
    assert np.ptp(stood.vertices, axis=0).max() == pytest.approx(2.0, rel=1e-5)
    assert stood.vertices[:, 2].min() == pytest.approx(0.0, abs=1e-5)
    seen = render(stood, focal, focal, 48, 32, 96, 64, pose)
    both = (seen.alpha > 0.5) & (rgba[..., 3] > 0.5)
    assert both.sum() / ((seen.alpha > 0.5) | (rgba[..., 3] > 0.5)).sum() > 0.97


def test_what_is_seen_from_above_stands_on_one_ground() -> None:
    """Two like balls, the farther one higher in the picture and smaller."""
    focal, photos = 100.0, [disc(y=44, x=30, radius=15), disc(y=16, x=70, radius=8)]
    made = [inflated(rgba, focal) for rgba in photos]
    up = standing.upward(made[0][1], math.radians(30))
    meshes, pose = standing.stand([m for m, _ in made], [c for _, c in made], up, 1.0)
    assert all(mesh.vertices[:, 2].min() == pytest.approx(0.0, abs=1e-4) for mesh in meshes)
    far = [np.linalg.norm(mesh.vertices.mean(axis=0) - pose[:3, 3]) for mesh in meshes]
    assert far[1] > far[0]
    for mesh, rgba in zip(meshes, photos, strict=True):
        places = project(mesh.vertices, focal, focal, 48, 32, pose)
        rows, columns = np.nonzero(rgba[..., 3])
        np.testing.assert_allclose(places[:, 0].max(), columns.max() + 1, atol=1)
        np.testing.assert_allclose(places[:, 1].max(), rows.max() + 1, atol=1)


def test_a_mirror_plane_is_found_where_the_mesh_is_like_itself() -> None:
    import trimesh

    box = trimesh.creation.box((1.0, 0.6, 0.4)).subdivide().subdivide()
    mesh = Mesh(box.vertices + [0.07, 0, 0], box.faces)
    facing = np.array([0.0, math.cos(math.pi), 0.0, 0.9])  # the camera looks along the plane
    normal, offset = plane_of(facing, mesh)
    np.testing.assert_allclose(normal, [1, 0, 0], atol=1e-6)
    assert offset == pytest.approx(0.07, abs=0.02)
    assert plane_of(np.array([0.0, -1.0, 0.0, 0.2]), mesh) is None


@pytest.mark.parametrize("degrees", [-30, 20])
def test_a_mirror_plane_that_is_told_askew_is_put_right_by_the_mesh(degrees: float) -> None:
    import trimesh

    box = trimesh.creation.box((1.0, 0.6, 0.4)).subdivide().subdivide()
    askew = 2 * (math.pi / 2 + math.radians(degrees))
    normal, _ = plane_of(np.array([0.0, math.cos(askew), math.sin(askew), 0.9]), Mesh(box.vertices, box.faces))
    assert math.degrees(math.acos(min(1, normal[0]))) < 2


# ---- what comes out ----------------------------------------------------------------------------------------------

def test_objects_come_back_from_their_folder(tmp_path: Path) -> None:
    mesh, _ = inflated(disc(), 100.0)
    save(disc(), tmp_path / "photo.png")
    made = objects.Objects((mesh, mesh), Camera(96, 64, 100.0, 100.0, 48.0, 32.0), np.eye(4), tmp_path / "photo.png")
    objects.write(made, tmp_path)
    found = objects.read(tmp_path / objects.FILE)
    np.testing.assert_array_equal(found.meshes[1].faces, mesh.faces)
    assert found.camera == made.camera and found.photo == made.photo
    (tmp_path / "object_001.npz").unlink()
    with pytest.raises(InputError, match="objects: .* cannot be read"):
        objects.read(tmp_path / objects.FILE)


def test_a_file_that_names_others_elsewhere_reads_none_of_them(tmp_path: Path) -> None:
    mesh, _ = inflated(disc(), 100.0)
    (tmp_path / "in").mkdir()
    save(disc(), tmp_path / "in" / "photo.png")
    made = objects.Objects((mesh,), Camera(1, 1, 1, 1, 0, 0), np.eye(4), tmp_path / "in/photo.png")
    objects.write(made, tmp_path / "in")
    about = json.loads((tmp_path / "in" / objects.FILE).read_text())
    (tmp_path / "in/object_000.npz").rename(tmp_path / "object_000.npz")
    (tmp_path / "in" / objects.FILE).write_text(json.dumps({**about, "meshes": ["../object_000.npz"]}))
    with pytest.raises(InputError, match="cannot be read"):
        objects.read(tmp_path / "in" / objects.FILE)


class Plain:
    """A job's context that remembers."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.seed, self.device = recipe, 0, torch.device("cpu")
        self.input, self.output, self.checkpoint = (folder / name for name in ("input", "output", "checkpoint"))
        self.output.mkdir(parents=True)
        self.report: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.warn = self.warnings.append

    def stage(self, name: str, upto: float) -> None: ...

    def progress(self, fraction: float, message: str = "") -> None: ...

    def preview(self, rgb: np.ndarray) -> None: ...


def made(folder: Path, *photos: Path, **values: Any) -> tuple[objects.Objects, Plain]:
    """What the task makes of photos, without a process of its own."""
    recipe = ImageRecipe(**{"method": "inflate", "texture": 64, "fit": False, **values})
    context = Plain(recipe, folder / "job")
    gather("photos", photos, context.input, recipe)
    task.run(context)
    return objects.read(context.output / objects.FILE), context


QUICK = ["--method", "inflate", "--texture", "64", "--no-fit", "--quiet"]


def test_a_cut_out_photo_becomes_a_mesh_file_with_its_report(tmp_path: Path) -> None:
    photo = save(disc(), tmp_path / "ball.png")
    assert cli.main(["image", str(photo), "-o", str(tmp_path / "ball.glb"), *QUICK]) == 0
    mesh = read_mesh(tmp_path / "ball.glb")
    assert mesh.texture is not None and np.ptp(mesh.vertices, axis=0).max() == pytest.approx(1.0, abs=1e-3)
    report = json.loads((tmp_path / "ball.report.json").read_text())
    assert report["method"] == "inflate" and report["name"] == "ball"
    assert report["objects"][0]["silhouette_iou"] > 0.97
    assert report["mesh"]["open_edges"] == report["mesh"]["nonmanifold_edges"] == 0
    red, green, blue = np.median(mesh.texture.reshape(-1, 3), axis=0)
    assert red > green > blue, "the photo's orange"


def test_two_objects_in_one_photo_become_two_meshes(tmp_path: Path) -> None:
    photo = save(np.maximum(disc(x=24, y=32), disc(x=72, y=32)), tmp_path / "two.png")
    found, context = made(tmp_path, photo)
    assert len(found.meshes) == 2 and len(context.report["objects"]) == 2
    left, right = sorted(mesh.vertices[:, 0].mean() for mesh in found.meshes)
    assert right - left > 0.9


def test_the_photos_own_focal_length_is_used(tmp_path: Path) -> None:
    rgb = Image.fromarray((disc()[..., :3] * 255).astype(np.uint8))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    rgb.save(tmp_path / "with.jpg", exif=exif)
    rgb.save(tmp_path / "without.jpg")
    assert focal_length(tmp_path / "with.jpg") == 28 and focal_length(tmp_path / "without.jpg") is None


# ---- what is refused ---------------------------------------------------------------------------------------------

def clear(path: Path) -> None:
    save(np.zeros((32, 32, 4), np.float32), path)


def one_pixel(path: Path) -> None:
    save(np.ones((1, 1, 4), np.float32), path)


def truncated(path: Path) -> None:
    save(disc(), path)
    path.write_bytes(path.read_bytes()[:200])


def huge(path: Path) -> None:
    """Only the header says so."""
    save(disc(), path)
    data = bytearray(path.read_bytes())
    data[16:24] = (20_000).to_bytes(4) * 2
    path.write_bytes(data)


def empty(path: Path) -> None:
    Image.new("RGB", (64, 64), (120, 130, 140)).save(path)


def speck(path: Path) -> None:
    rgba = np.zeros((400, 400, 4), np.float32)
    rgba[200, 200] = 1
    save(rgba, path)


def no_picture(path: Path) -> None:
    path.write_text("a text")


@pytest.mark.parametrize(("make", "complaint"), [
    (clear, "transparent"), (one_pixel, "1×1"), (truncated, "cannot be read"), (huge, "20000×20000"),
    (empty, "nothing in it differs"), (speck, "hardly a pixel"), (no_picture, "cannot be read")])
def test_a_photo_that_shows_nothing_ends_in_one_line(make: Any, complaint: str, tmp_path: Path) -> None:
    make(tmp_path / "photo.png")
    with pytest.raises(InputError, match=complaint) as refusal:
        made(tmp_path, tmp_path / "photo.png")
    assert len(str(refusal.value).splitlines()) == 1
    assert "photo_000" not in str(refusal.value), "the user knows no copy"


def test_what_is_wrong_with_the_photo_from_behind_is_said_of_that(tmp_path: Path) -> None:
    clear(tmp_path / "back.png")
    with pytest.raises(InputError, match="behind: every pixel of it is transparent"):
        made(tmp_path, save(disc(), tmp_path / "ball.png"), behind=str(tmp_path / "back.png"))


def test_a_mask_of_other_proportions_is_refused(tmp_path: Path) -> None:
    Image.new("L", (64, 96), 255).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match="mask: it has 64×96 pixels, not the photo's proportions of 96×64"):
        made(tmp_path, save(disc(), tmp_path / "ball.png"), mask=str(tmp_path / "mask.png"))


def test_rounded_corners_are_no_cut_out(tmp_path: Path) -> None:
    ball = disc(x=48, y=32)
    rgba = ball + (1 - ball[..., 3:])  # before white
    rgba[:4, :4] = rgba[-4:, -4:] = 0
    found, _ = made(tmp_path, save(rgba, tmp_path / "card.png"))
    size = np.ptp(found.meshes[0].vertices, axis=0)
    assert size[0] == pytest.approx(size[2], rel=0.05), "the ball, not the card"


def test_of_very_many_objects_the_largest_are_made(tmp_path: Path) -> None:
    columns, rows = np.meshgrid(np.arange(160) + 0.5, np.arange(64) + 0.5)
    alpha = (np.hypot(columns % 32 - 16, rows % 32 - 16) < 10).astype(np.float32)
    found, context = made(tmp_path, save(np.dstack([alpha] * 4), tmp_path / "dots.png"))
    assert len(found.meshes) == task.MOST_OBJECTS == 8
    assert any("shows 10 objects" in line for line in context.warnings)


def test_what_was_taken_for_want_of_a_network_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    _, context = made(tmp_path, save(disc(), tmp_path / "ball.png"), method="auto")
    assert context.report["method"] == "inflate"
    assert [line.split(":")[0] for line in context.warnings] == ["method", "pose"]


def test_an_outline_that_is_not_met_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "fit", lambda mesh, rgba, distance, **more: Mesh(0.9 * mesh.vertices, mesh.faces))
    _, context = made(tmp_path, save(disc(), tmp_path / "ball.png"), fit=True)
    assert any("meets 8" in line and "97 % is usual" in line for line in context.warnings)


def test_a_network_that_makes_nothing_finite_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Mesh(np.full((3, 3), np.nan), np.array([[0, 1, 2]]))
    monkeypatch.setattr(inflate.Network, "predict", lambda self, images, distance: broken)
    with pytest.raises(InputError, match="model: what it makes of the photo is not finite"):
        made(tmp_path, save(disc(), tmp_path / "ball.png"))


def test_a_method_without_a_network_takes_no_model(tmp_path: Path) -> None:
    write_model(Model({}, {"kind": "image", "method": "octree", "architecture": {}}), tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match="model: inflate needs none"):
        made(tmp_path, save(disc(), tmp_path / "ball.png"), model=str(tmp_path / "mine.safetensors"))


def test_the_report_does_not_overwrite_the_mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, out = save(disc(), tmp_path / "ball.png"), str(tmp_path / "ball.glb")
    assert cli.main(["image", str(photo), "-o", out, "--report", out, *QUICK]) == 2
    assert "report: " in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["L", "LA", "CMYK", "P", "I;16"])
def test_photos_of_all_kinds_of_colour_are_read(mode: str, tmp_path: Path) -> None:
    grey = Image.fromarray((disc()[..., 1] * 255).astype(np.uint8))
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    (grey.convert("I").point(lambda v: v * 256).convert("I;16") if mode == "I;16" else grey.convert(mode)).save(path)
    assert read_picture(path, upright=True).rgba_srgb.shape == (64, 96, 4)


def test_of_an_animation_the_first_picture_is_taken_and_said_so(tmp_path: Path) -> None:
    frames = [Image.fromarray((disc(x=x) * 255).astype(np.uint8)) for x in (40, 60)]
    frames[0].save(tmp_path / "two.png", save_all=True, append_images=frames[1:])
    _, context = made(tmp_path, tmp_path / "two.png")
    assert any("2 pictures" in line for line in context.warnings)


def test_several_photos_are_refused_where_a_method_takes_one(tmp_path: Path) -> None:
    photo = save(disc(), tmp_path / "ball.png")
    with pytest.raises(InputError, match="2 photos are given and inflate takes 1"):
        made(tmp_path, photo, photo)


@pytest.mark.parametrize(("content", "complaint"), [
    (b"", "not a safetensors file"), (b"nonsense" * 10, "not a safetensors file")])
def test_a_damaged_network_ends_in_one_line(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        made(tmp_path, save(disc(), tmp_path / "ball.png"), model=str(tmp_path / "mine.safetensors"))


@pytest.mark.parametrize("method", ["pose", "detector", "os", None])
def test_a_network_that_makes_no_shapes_is_refused_by_name(method: str | None, tmp_path: Path) -> None:
    write_model(Model({}, {"kind": "image", "method": method, "architecture": {}}), tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match=f"model: .* is a network of {method!r}, which makes no shapes"):
        made(tmp_path, save(disc(), tmp_path / "ball.png"), method="auto", model=str(tmp_path / "mine.safetensors"))


def test_what_is_not_to_be_taken_for_symmetric_is_not(tmp_path: Path) -> None:
    photo = save(disc(), tmp_path / "ball.png")
    for symmetric in (True, False):
        _, context = made(tmp_path / str(symmetric), photo, symmetric=symmetric)
        assert context.report["objects"][0]["mirrored"] is symmetric


def test_a_model_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="model of kind 'deepsdf'.*takes one of kind 'image'"):
        made(tmp_path, save(disc(), tmp_path / "ball.png"), model="furniture-food")
