"""Cameras found for photos without any: a textured box on a textured floor, photographed by walking around it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maquette.formats.unposed import Unposed, gather_unposed
from maquette.neural.motion import find
from maquette.recipes.errors import Cancelled, InputError, MaquetteError

WIDTH, HEIGHT, FOCAL = 320, 240, 330.0
PHOTOS = 9


@cache
def texture(seed: int) -> np.ndarray:
    """(512, 512, 3) of noise in several octaves, which has corners at every scale."""
    random = np.random.default_rng(seed)
    sides = (16, 32, 64, 128, 256)
    layers = [Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).resize((512, 512), Image.Resampling.BICUBIC)
              for side in sides]
    return np.mean([np.asarray(layer, np.float32) for layer in layers], axis=0) * 1.6 - 76


def looking(azimuth: float, elevation: float, distance: float = 4.0) -> np.ndarray:
    """A level camera that looks at the box."""
    back = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = distance * back + (0, 0, 0.4)
    return pose


def photograph(pose: np.ndarray) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8: what the camera sees of the floor z = 0 and of the box |x|, |y| < 0.6, 0 < z < 0.9."""
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5 - WIDTH / 2, np.arange(HEIGHT) + 0.5 - HEIGHT / 2)
    rays = np.stack([columns / FOCAL, -rows / FOCAL, -np.ones_like(rows)], -1) @ pose[:3, :3].T
    eye, lower, upper = pose[:3, 3], np.array([-0.6, -0.6, 0.0]), np.array([0.6, 0.6, 0.9])
    enter, leave = np.sort(((np.stack([lower, upper])[:, None, None] - eye) / rays), axis=0)
    at, axis = enter.max(-1), enter.argmax(-1)
    on_box = at < leave.min(-1)
    place = eye + rays * np.where(on_box, at, -eye[2] / rays[..., 2])[..., None]
    picture = np.zeros((HEIGHT, WIDTH, 3))
    for which, (u, v) in {-1: (0, 1), 0: (1, 2), 1: (0, 2), 2: (0, 1)}.items():
        chosen = (~on_box if which < 0 else on_box & (axis == which))
        index = np.stack([place[chosen][:, u], place[chosen][:, v]], -1) * 100 + 200
        signs = (rays[chosen][:, max(which, 0)] > 0) if which >= 0 else 0
        picture[chosen] = np.where(np.asarray(signs)[..., None], _sample(texture(which + 10), index),
                                   _sample(texture(which + 1), index))
    return picture.clip(0, 255).astype(np.uint8)


def _sample(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Bilinear, repeated."""
    whole = np.floor(index).astype(int)
    part = index - whole
    total = np.zeros((len(index), 3))
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - part[:, :1]) * np.abs(1 - dy - part[:, 1:])
            total += weight * values[(whole[:, 1] + dy) % 512, (whole[:, 0] + dx) % 512]
    return total


POSES = [looking(0.16 * n, 0.55 + 0.1 * np.sin(n)) for n in range(PHOTOS)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Unposed:
    """The photos, one that shows something else, and one that is cut off."""
    folder = tmp_path_factory.mktemp("walk around") / "Bilder ä"
    folder.mkdir()
    for number, pose in enumerate(POSES):
        Image.fromarray(photograph(pose)).save(folder / f"{number}.png")
    Image.fromarray(texture(99)[:HEIGHT, :WIDTH].clip(0, 255).astype(np.uint8)).save(folder / "elsewhere.png")
    whole = (folder / "0.png").read_bytes()
    (folder / "torn.png").write_bytes(whole[:len(whole) // 3])
    files = sorted(folder.iterdir())
    return gather_unposed([folder], files, tmp_path_factory.mktemp("job") / "input")


@pytest.fixture(scope="module")
def found(photos: Unposed, tmp_path_factory: pytest.TempPathFactory) -> tuple[find.Found, Path, list[tuple[float, str]]]:
    folder = tmp_path_factory.mktemp("motion")
    said: list[tuple[float, str]] = []
    return find.find_cameras(photos, folder, seed=0, on_progress=lambda *words: said.append(words)), folder, said


def test_the_cameras_are_found_to_a_fraction_of_a_degree(found: tuple) -> None:
    views = found[0].capture.views
    assert [view.name for view in views] == [str(number) for number in range(PHOTOS)]
    rotation, scale, shift = aligned(np.array([view.world_from_camera[:3, 3] for view in views]),
                                     np.array([pose[:3, 3] for pose in POSES]))
    for view, pose in zip(views, POSES, strict=True):
        place = scale * rotation @ view.world_from_camera[:3, 3] + shift
        assert np.linalg.norm(place - pose[:3, 3]) < 0.02, view.name  # of 4
        turn = (rotation @ view.world_from_camera[:3, :3]).T @ pose[:3, :3]
        assert np.degrees(np.arccos(min((np.trace(turn) - 1) / 2, 1.0))) < 0.3, view.name
        assert view.camera.fx == pytest.approx(FOCAL, rel=0.02) and (view.camera.width, view.camera.height) == (320, 240)
    assert rotation @ [0, 0, 1] == pytest.approx([0, 0, 1], abs=0.05)  # up is up


def test_the_sparse_points_lie_on_what_was_photographed(found: tuple) -> None:
    views, points = found[0].capture.views, found[0].capture.points
    rotation, scale, shift = aligned(np.array([view.world_from_camera[:3, 3] for view in views]),
                                     np.array([pose[:3, 3] for pose in POSES]))
    x, y, z = (scale * points @ rotation.T + shift).T
    outside = np.maximum(np.maximum(abs(x), abs(y)) - 0.6, z - 0.9)
    assert len(points) > 200 and np.quantile(np.minimum(abs(z), abs(outside)), 0.9) < 0.05


def test_what_does_not_fit_is_left_out_and_said(found: tuple) -> None:
    figures, warnings = found[0].figures, found[0].capture.warnings
    assert figures["photos"] == PHOTOS + 2 and figures["registered"] == PHOTOS and figures["reprojection_px"] < 0.5
    assert [text.split(";")[0] for text in warnings] == [
        "photos: 1 of 11 cannot be decoded (first: torn.png)",
        "photos: 1 of 11 do not fit to the others (first: elsewhere.png) and are left out"]


def test_progress_only_grows_and_names_what_is_done(found: tuple) -> None:
    fractions = [fraction for fraction, _ in found[2]]
    assert fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] <= 1
    assert any("pairs of photos" in message or "features" in message for _, message in found[2])


def test_a_second_call_takes_what_the_first_has_found(photos: Unposed, found: tuple,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find.subprocess, "Popen", None)
    again = find.find_cameras(photos, found[1], seed=0, on_progress=lambda *words: None)
    assert all((a.world_from_camera == b.world_from_camera).all()
               for a, b in zip(again.capture.views, found[0].capture.views, strict=True))


def test_a_cancel_ends_the_process_at_once(photos: Unposed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cancel(fraction: float, message: str) -> None:
        if message.startswith("features"):
            raise Cancelled("cancelled: by the test")

    children: list[subprocess.Popen] = []

    class Recorded(subprocess.Popen):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            children.append(self)

    monkeypatch.setattr(find.subprocess, "Popen", Recorded)
    with pytest.raises(Cancelled):
        find.find_cameras(photos, tmp_path, seed=0, on_progress=cancel)
    assert children[0].returncode is not None


def aligned(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Rotation, scale and shift that take places a to b (Umeyama 1991)."""
    u, s, vt = np.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((s * signs).sum() / ((a - a.mean(0)) ** 2).sum())
    return rotation, scale, b.mean(0) - scale * rotation @ a.mean(0)


# ---- what follows needs no solver --------------------------------------------------------------------------------

def solved(poses: list[np.ndarray], error: float = 0.2) -> dict[str, np.ndarray]:
    """What the solver would write of true poses."""
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    return {"numbers": np.arange(len(poses)), "camera_from_world": np.linalg.inv(np.stack(poses) @ flip),
            "parameters": np.tile([FOCAL, 160.0, 120.0, 0.0], (len(poses), 1)), "points": np.zeros((4, 3)),
            "error": np.array(error)}


@pytest.mark.parametrize(("orientation", "roll"), [(1, 0.0), (6, -90.0), (8, 90.0), (3, 180.0)])
def test_a_photo_held_on_end_gives_an_upright_world(tmp_path: Path, orientation: int, roll: float) -> None:
    """EXIF says 6 where the stored picture must be turned clockwise to be seen upright: its left is up."""
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    for number in range(4):
        Image.new("RGB", (320, 240)).save(folder / f"{number}.jpg", exif=exif)
    listed = gather_unposed([folder], sorted(folder.iterdir()), tmp_path / "input")
    turn, c, s = np.eye(4), np.cos(np.radians(roll)), np.sin(np.radians(roll))
    turn[:2, :2] = [[c, -s], [s, c]]
    tilt = looking(0.3, 1.0)  # the solver's world, which has no up
    poses = [np.linalg.inv(tilt) @ looking(0.5 * number, 0.4) @ turn for number in range(4)]
    capture = find._checked(listed, listed.photos, [], solved(poses)).capture
    ups = np.stack([view.world_from_camera @ np.linalg.inv(turn) for view in capture.views])[:, :3, 1]
    assert ups[:, 2] == pytest.approx(np.full(4, np.cos(0.4)), abs=1e-6)


def test_too_few_that_fit_are_refused_with_how_to_photograph(photos: Unposed) -> None:
    with pytest.raises(InputError, match=r"^photos: 2 of 11 could be put together.*walk around the subject") as error:
        find._checked(photos, photos.photos, [], solved(POSES[:2]))
    assert "\n" not in str(error.value)


def test_cameras_that_fit_badly_are_said_to(photos: Unposed) -> None:
    warnings = find._checked(photos, photos.photos, [], solved(POSES, error=2.5)).capture.warnings
    assert any("fit to 2.5 px" in text for text in warnings)


def test_without_pycolmap_one_line_says_how_to_install_it(photos: Unposed, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^photos: .*pycolmap.*run.py setup"):
        find.find_cameras(photos, tmp_path, seed=0, on_progress=lambda *words: None)


def test_a_solver_that_dies_is_explained_in_one_line(photos: Unposed, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "solver.py"
    script.write_text("raise SystemExit(7)")
    monkeypatch.setattr(find, "SOLVER", script)
    with pytest.raises(MaquetteError, match=r"exit code 7"):
        find.find_cameras(photos, tmp_path / "motion", seed=0, on_progress=lambda *words: None)


def test_of_many_photos_each_is_matched_with_those_that_look_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycolmap")
    from maquette.neural.motion import solver

    random = np.random.default_rng(0)
    places = random.normal(size=(60, 64, 128)).astype(np.float32)

    def glances(path: Path, count: int) -> np.ndarray:
        """Photos 0 and 30, 1 and 31, … show the same place."""
        shown = places[np.arange(count) % 30] + 0.05 * random.normal(size=(count, 64, 128)).astype(np.float32)
        return shown / np.linalg.norm(shown, axis=2, keepdims=True)

    monkeypatch.setattr(solver, "_glances", glances)
    pairs = solver._pairs(Path(), 60)
    assert {(n, n + 30) for n in range(30)} <= set(pairs) and {(n, n + 1) for n in range(59)} <= set(pairs)
    assert len(pairs) < 400 and all(a < b for a, b in pairs)
    assert len(solver._pairs(Path(), 5)) == 10


def test_the_solver_alone_loads_pycolmap() -> None:
    code = "import sys, maquette.neural.tasks.capture; assert 'pycolmap' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
