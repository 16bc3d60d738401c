"""A mesh that Blender renders for the report: its cameras and colours, and what happens where it does not answer."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maquette import api
from maquette.formats import capture as captures
from maquette.formats.mesh import Mesh, write_npz
from maquette.formats.report import rows
from maquette.jobs import headless
from maquette.jobs.folder import Job
from maquette.neural import worker
from maquette.neural.evaluation import in_blender
from maquette.neural.evaluation.pictures import psnr
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.meshing import raster
from maquette.neural.tasks import capture as task
from maquette.recipes.capture import Capture
from maquette.recipes.errors import Cancelled, InputError, MachineError


def view(name: str, eye: tuple[float, float, float], fx: float, fy: float, cx: float, cy: float, width: int,
         height: int, split: str = "test") -> PosedPicture:
    """An empty picture of a camera that looks at the origin."""
    z = np.array(eye) / np.linalg.norm(eye)
    x = np.cross([0, 0, 1.0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3] = np.column_stack((x, np.cross(z, x), z, eye))
    return PosedPicture(name, np.zeros((height, width, 4), np.float32), fx, fy, cx, cy, pose, split=split)


# Wide, on end, off centre, with pixels that are not square either way.
VIEWS = [view("wide", (3, -2, 1.5), 130, 130, 60, 40, 120, 80), view("on end", (-2, 3, 1), 150, 150, 30, 70, 90, 120),
         view("tall pixels", (-2.5, -2, -1.5), 150, 120, 70, 45, 128, 100),
         view("broad pixels", (2, 2, 2.5), 110, 140, 50, 75, 96, 128)]


def box() -> Mesh:
    """No two of its sides, directions or colours alike; the texture is smooth and all of it on each side."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * (0.8, 0.5, 0.3) + (0.1, 0, 0.2)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    square = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]], np.float32)
    uvs = np.stack([square[t] for _ in quads for t in ([0, 1, 2], [0, 2, 3])])
    v, u = np.mgrid[0:1:64j, 0:1:64j]
    texture = (255 * np.stack((0.1 + 0.8 * u, 0.2 + 0.6 * v, 0.5 + 0.2 * np.cos(3 * u)), -1)).astype(np.uint8)
    return Mesh(corners, faces, corner_uvs=uvs, texture=texture)


def drawn(mesh: Mesh, v: PosedPicture) -> Any:
    return raster.render(mesh, v.fx, v.fy, v.cx, v.cy, *v.rgba_srgb.shape[1::-1], v.world_from_camera)


def agreement(python: Path, folder: Path) -> float:
    """The least PSNR of Blender's pictures against the rasterizer's, in dB over the mesh's pixels but for its outline."""
    write_npz(box(), folder / "mesh.npz")
    shown = in_blender.render(folder / "mesh.npz", VIEWS, str(python), folder / "work", lambda done: None)
    assert shown.version[:3] in str(python)
    found = []
    for v in VIEWS:
        ours, theirs = drawn(box(), v), shown.pictures[v.name]
        assert theirs.rgb_srgb.shape == ours.rgb_srgb.shape
        whole = [np.isin(picture.alpha, (0, 1)) for picture in (ours, theirs)]
        found.append(psnr(theirs.over(1), ours.over(1), whole[0] & whole[1] & (ours.alpha + theirs.alpha > 0)))
    print(shown.version, found)
    return min(found)


@pytest.mark.blender
@pytest.mark.parametrize("version", ["4.2.23", "5.0.1"])
def test_blender_shows_what_is_inserted_as_our_own_pictures_do(
        version: str, tmp_path: Path, bpy_python: Callable[[str], Path]) -> None:
    assert agreement(bpy_python(version), tmp_path) > 33


@pytest.mark.blender
@pytest.mark.parametrize(("right", "wrong"), [
    ("is_color: bool = True", "is_color: bool = False"),  # a texture's values taken for linear ones
    ("mesh.vertices.ravel()", "mesh.vertices[:, [0, 2, 1]].ravel()"),
    ("texture[::-1] /", "texture /")])
def test_a_wrong_colour_space_axis_or_row_order_of_what_is_inserted_is_far_off(
        right: str, wrong: str, copied_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        bpy_python: Callable[[str], Path]) -> None:
    inserting = copied_package / "scene" / "meshes.py"
    text = inserting.read_text(encoding="utf-8")
    assert text.count(right) == 1
    inserting.write_text(text.replace(right, wrong), encoding="utf-8")
    monkeypatch.setattr(headless, "SCRIPT", copied_package / "scene" / "headless.py")
    assert agreement(bpy_python("5.0.1"), tmp_path) < 20


# ---- without Blender ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("count", "taken"), [(0, []), (3, [0, 1, 2]), (10, list(range(10))), (11, [0, 2, 4, 6, 8, 10]),
                                              (40, list(range(0, 40, 4)))])
def test_ten_views_at_most_are_taken_evenly(count: int, taken: list[int]) -> None:
    assert in_blender.some(list(range(count))) == taken  # type: ignore[arg-type]


def answer(words: tuple, version: str = "9.9.1") -> None:
    """What the script leaves: each view's picture, here in half-transparent orange."""
    folder = Path(words[2])
    for listed in captures.read(folder / captures.FILE).views:
        size = listed.camera.width, listed.camera.height
        Image.new("RGBA", size, (255, 128, 0, 128)).save(folder / listed.picture)
    (folder / "blender.json").write_text(json.dumps({"version": version}))


def test_blender_gets_the_views_cameras_and_its_pictures_come_back_premultiplied(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(headless, "call", lambda program, *words, **_: (asked.append((program, words)), answer(words)))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "9999.png").write_bytes(b"of an interrupted run")
    shown = in_blender.render(tmp_path / "mesh.npz", VIEWS, sys.executable, tmp_path / "work", lambda done: None)
    assert asked == [([sys.executable], ("unlit", tmp_path / "mesh.npz", tmp_path / "work"))]
    assert not (tmp_path / "work" / "9999.png").exists()
    written = captures.read(tmp_path / "work" / captures.FILE).views
    assert written[1].camera == captures.Camera(90, 120, 150, 150, 30, 70) and written[1].name == "on end"
    np.testing.assert_array_equal(written[3].world_from_camera, VIEWS[3].world_from_camera)
    picture = shown.pictures["tall pixels"]
    assert shown.version == "9.9.1" and picture.rgb_srgb.shape == (100, 128, 3)
    np.testing.assert_allclose(picture.rgb_srgb[5, 5], np.array([255, 128, 0]) * 128 / 255**2, atol=1e-6)
    np.testing.assert_allclose(picture.alpha, 128 / 255)


def program(folder: Path, code: str) -> Path:
    """A program that is run as a Python with bpy would be."""
    path = folder / "python-with-bpy"
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(os.name == "nt", reason="Windows runs no scripts by their first line")
def test_a_cancel_ends_blender_at_once(tmp_path: Path) -> None:
    silent = program(tmp_path, "import os, pathlib, sys, time; "
                               "pathlib.Path(sys.argv[5], 'pid').write_text(str(os.getpid())); time.sleep(60)")
    folder = tmp_path / "work"

    def on_progress(done: float) -> None:
        if (folder / "pid").exists() and (folder / "pid").read_text():
            raise Cancelled("cancelled: job x")
    start = time.monotonic()
    with pytest.raises(Cancelled):
        in_blender.render(tmp_path / "mesh.npz", VIEWS, str(silent), folder, on_progress)
    assert time.monotonic() - start < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)


@pytest.mark.skipif(os.name == "nt", reason="Windows runs no scripts by their first line")
def test_a_blender_that_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_blender, "PATIENCE", 0.5)
    heard: list[float] = []
    silent = program(tmp_path, "import time; print('maquette 0.25 picture 2 of 8', flush=True); time.sleep(60)")
    with pytest.raises(MachineError, match="said nothing"):
        in_blender.render(tmp_path / "mesh.npz", VIEWS, str(silent), tmp_path / "work", heard.append)
    assert heard[0] == 0 and heard[-1] == 0.25


def test_a_job_says_which_blender_to_ask(tmp_path: Path) -> None:
    request = api.Request("capture", blender="/opt/blender")
    job = Job.create(tmp_path / "job", Capture(), target=api.target_of(request))
    assert worker.Running(job, job.recipe, torch.device("cpu"), threading.Event()).blender == "/opt/blender"
    job = Job.create(tmp_path / "other", Capture(), target=api.target_of(replace(request, blender=None)))
    assert worker.Running(job, job.recipe, torch.device("cpu"), threading.Event()).blender == ""


# ---- in the report -----------------------------------------------------------------------------------------------

class Context:
    def __init__(self, folder: Path) -> None:
        self.output, self.checkpoint, self.blender, self.report = folder, folder / "checkpoint", "", {}

    def progress(self, fraction: float) -> None: ...


def photographed(mesh: Mesh) -> list[PosedPicture]:
    photos = []
    for v in VIEWS:
        seen = drawn(mesh, v)
        photos.append(replace(v, rgba_srgb=np.dstack((seen.rgb_srgb, seen.alpha)).astype(np.float32)))
    return [*photos, replace(photos[0], name="train", split="train")]


def test_blenders_figures_stand_beside_the_meshs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = photographed(box())
    seen = {v.name: drawn(box(), v) for v in VIEWS}
    darker = {name: replace(s, rgb_srgb=s.rgb_srgb - 0.1 * s.alpha[..., None]) for name, s in seen.items()}
    monkeypatch.setattr(in_blender, "render", lambda *_: in_blender.Shown("9.9.1", darker))
    context: Any = Context(tmp_path)
    pictures = task._measure_in_blender(context, views)
    assert pictures.keys() == darker.keys()
    expected = np.mean([20 - 10 * np.log10((s.alpha**2).mean()) for s in seen.values()])
    assert context.report["blender_psnr_db"] == pytest.approx(expected, abs=1e-3)
    assert context.report["blender_version"] == "9.9.1" and context.report["blender_views"] == 4
    assert 0.8 < context.report["blender_ssim"] < 1 and "blender_depth" not in context.report
    said = dict(rows({"views": {}, "psnr_db": 31.0, "mesh_psnr_db": 28.386, "mesh_ssim": 0.95, "blender_psnr_db": 28.82,
                      "blender_ssim": 0.948, "blender_version": "9.9.1"}))
    assert said == {"held-out views": "PSNR 31.00 dB", "views of the mesh": "PSNR 28.39 dB, SSIM 0.9500",
                    "in Blender 9.9.1": "PSNR 28.82 dB, SSIM 0.9480"}


def test_the_report_says_why_blender_was_not_asked_and_a_cancel_passes_on(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> Any:
        def render(*_: Any) -> None:
            raise error
        return render
    context: Any = Context(tmp_path)
    monkeypatch.setattr(in_blender, "render", fail(InputError("blender: none was found")))
    assert task._measure_in_blender(context, photographed(box())) == {}
    assert context.report == {"blender_unchecked": "blender: none was found"}
    assert rows(context.report) == [("in Blender", "not checked (blender: none was found)")]
    monkeypatch.setattr(in_blender, "render", fail(Cancelled("cancelled: job x")))
    with pytest.raises(Cancelled):
        task._measure_in_blender(context, photographed(box()))
    context.report.clear()
    assert task._measure_in_blender(context, photographed(box())[-1:]) == {} == context.report
