"""What all tests share: the shared data, a copy of the package with a task for the tests, few threads."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
IN_CI = os.environ.get("CI") == "true"

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, str(min(2, os.cpu_count() or 1)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: an error shows early."""
    items.sort(key=lambda item: [item.get_closest_marker(name) is not None for name in ("gui", "blender", "slow")])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo
                              ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that is about to skip for want of something is a failure, unless it says that it may."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and not _may_skip(report):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


def _may_skip(report: pytest.TestReport) -> bool:
    """Devices, systems and Blenders with a window that no CI machine can be asked to have."""
    reason = str(report.longrepr)
    allowed = ("CUDA", "MPS", "Windows", "macOS", "user whose rights", "cannot be had on this machine")
    return any(word in reason for word in allowed)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with test data beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("there is no ../shared with test data beside this checkout")
    return SHARED


def _of_tests(name: str) -> ModuleType:
    """The module of a file of tests, for what it makes for others too."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def bpy_python() -> Callable[[str], Path]:
    """The Python of a bpy wheel by its version; the test is skipped where there is none."""
    return _of_tests("test_blender_wheels").bpy_python


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension's zip."""
    return _of_tests("test_blender_wheels").build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def blender_program() -> Callable[[str], list[str | Path]]:
    """The words that start a Blender of a version without its window; the test is skipped where there is none."""
    return _of_tests("test_blender_gui").program_words


@pytest.fixture(autouse=True)
def jobs_of_their_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees or leaves jobs or a backend in the user's folders."""
    folder = tmp_path_factory.mktemp("jobs")
    monkeypatch.setenv("MAQUETTE_JOBS", str(folder))
    monkeypatch.setenv("MAQUETTE_BACKEND", str(folder / "backend"))
    return folder


def copy_package(folder: Path) -> Path:
    """The package's own files, copied to `folder`, under another name as Blender would have it."""
    ignore = shutil.ignore_patterns("__pycache__", "tests", "benchmarks", "docs", "demo", "examples", "out", "dist",
                                    ".*", "requirements", "release")
    shutil.copytree(ROOT, folder, ignore=ignore)
    return folder


@pytest.fixture
def copied_package(tmp_path: Path) -> Path:
    """The package's own files, for a test that changes them."""
    return copy_package(tmp_path / "package")


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package with one more task, `rehearsal`, added as anyone adds one: a recipe and a task file."""
    root = copy_package(tmp_path_factory.mktemp("house") / "any-name")
    shutil.copy(ROOT / "tests/rehearsal/recipe.py", root / "recipes/rehearsal.py")
    shutil.copy(ROOT / "tests/rehearsal/task.py", root / "neural/tasks/rehearsal.py")
    name = "a_package_of_another_name"
    spec = importlib.util.spec_from_file_location(name, root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec and spec.loader
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    for part in ("recipes", "recipes.rehearsal", "jobs.folder", "jobs.store", "jobs.process", "jobs.queue",
                 "jobs.run", "jobs.backend", "jobs.machine", "jobs.files", "api", "cli"):
        importlib.import_module(f"{name}.{part}")
    yield package
    for loaded in [key for key in sys.modules if key.split(".")[0] == name]:
        del sys.modules[loaded]


@pytest.fixture(scope="session")
def ball() -> Callable[..., list]:
    """Pictures of a ball of radius 0.5 whose colour is its normal, seen from all around."""
    import numpy as np

    from maquette.neural.geometry.posed import PosedPicture

    def pictures(count: int = 24, size: int = 64, centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
                 has_alpha: bool = True) -> list:
        """Every eighth is a test view; without alpha the ball is before grey."""
        focal = 1.2 * size
        made = []
        for n in range(count):
            z = 1 - (2 * n + 1) / count
            turn = n * 2.399963
            back = np.array([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z])
            right = np.cross([0.0, 0.0, 1.0], back)
            right /= np.linalg.norm(right)
            pose = np.eye(4)
            pose[:3, :3] = np.stack([right, np.cross(back, right), back], 1)
            pose[:3, 3] = 2.0 * back
            at = (np.arange(size) + 0.5 - size / 2) / focal
            directions = np.stack([*np.meshgrid(at, -at), -np.ones((size, size))], -1) @ pose[:3, :3].T
            a, b = (directions**2).sum(-1), directions @ pose[:3, 3]
            root = b * b - a * (pose[:3, 3] @ pose[:3, 3] - 0.25)
            alpha = (root > 0).astype(np.float32)
            depth = (-b - np.sqrt(np.maximum(root, 0))) / a
            normal = (pose[:3, 3] + depth[..., None] * directions) / 0.5
            colour = np.where(alpha[..., None] > 0, normal * 0.5 + 0.5, 0 if has_alpha else 0.5)
            alpha = alpha if has_alpha else np.ones_like(alpha)
            pose[:3, 3] += centre
            made.append(PosedPicture(f"{n}.png", np.dstack([colour, alpha]).astype(np.float32), focal, focal, size / 2,
                                     size / 2, pose, split="train" if n % 8 else "test", has_alpha=has_alpha))
        return made

    return pictures


@pytest.fixture(scope="session")
def pictured() -> Callable[..., Any]:
    """A `Batch` of ellipsoids, one for each row of half axes, in grey: what networks are trained with, in small."""
    import torch

    from maquette.neural.predictors.predictor import Batch
    from maquette.neural.predictors.view import SIDE, frustum_centres, unproject, with_rays

    def batch(axes: list[tuple[float, float, float]], *, grid: int = 0, views: int = 1, points: int = 2048) -> Batch:
        """All views are alike; the camera is 4 away."""
        half = torch.tensor(axes)[:, None]
        distance = torch.full((len(axes),), 4.0)
        axis = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        places = torch.stack((x, y), dim=-1).reshape(1, -1, 2).expand(len(axes), -1, -1)
        # A ray from the camera, in the frame where the ellipsoid is the unit ball.
        camera = torch.tensor([0.0, 0.0, 4.0]) / half
        along = unproject(places, torch.zeros(places.shape[:2]), distance) / half - camera
        b, a, c = (along * camera).sum(-1), along.square().sum(-1), camera.square().sum(-1) - 1
        alpha = (b * b > a * c).float().reshape(-1, 1, SIDE, SIDE)
        images = with_rays(torch.cat((0.5 * alpha, 0.5 * alpha, 0.5 * alpha, alpha), dim=1), distance)
        on_ball = torch.randn(len(axes), points, 3, generator=torch.Generator().manual_seed(0))
        on_ball /= on_ball.norm(dim=-1, keepdim=True)
        normals = on_ball / half / (on_ball / half).norm(dim=-1, keepdim=True)
        inside = (frustum_centres(grid, distance) / half[:, None, None]).norm(dim=-1) < 1
        pose = torch.tensor([0.3, 1.0, 0.0, 1.0]).expand(len(axes), -1)
        return Batch(images[:, None].expand(-1, views, -1, -1, -1), distance, on_ball * half, normals, inside.float(),
                     pose)

    return batch


@pytest.fixture
def transforms(tmp_path: Path) -> Path:
    """Four tiny views in a ring."""
    import numpy as np
    from PIL import Image

    frames = []
    for i in range(4):
        turn = np.pi / 2 * i
        x, z = np.array([-np.sin(turn), np.cos(turn), 0]), np.array([np.cos(turn), np.sin(turn), 0])
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack((x, np.cross(z, x), z))
        pose[:3, 3] = 3 * z
        frames.append({"file_path": f"v{i}.png", "transform_matrix": pose.tolist()})
        Image.fromarray(np.full((8, 8, 4), 255, np.uint8)).save(tmp_path / f"v{i}.png")
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({"camera_angle_x": 0.8, "frames": frames}))
    return path
