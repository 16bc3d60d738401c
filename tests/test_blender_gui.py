"""The extension in Blenders with a window, driven by simulated events."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).with_name("blender")
SHARED_SCRIPT = Path(__file__).parents[2] / "shared" / "tools" / "real_blender.sh"

pytestmark = pytest.mark.gui


def wheels() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheels", Path(__file__).with_name("test_blender_wheels.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def brought(version: str) -> Path | None:
    """The script that brings Blenders, when it has brought this one; None where there is no script."""
    script = Path(os.environ.get("MAQUETTE_REAL_BLENDER") or SHARED_SCRIPT)
    if not script.exists():
        if shutil.which("blender") is None:
            pytest.skip("no Blender with a window: none on the PATH, and no script that brings one")
        return None
    if subprocess.run(["bash", script, "install", version], stdout=subprocess.DEVNULL).returncode == 77:
        pytest.skip(f"Blender {version} cannot be had on this machine")
    return script


def blender_words(version: str, profile: Path) -> list[str]:
    """What opens a Blender with a window: the script that brings one, else the blender on the PATH."""
    script = brought(version)
    return ["bash", str(script), "gui", version, "--profile", str(profile), "--"] if script else ["blender"]


def program_words(version: str) -> list[str | Path]:
    """The same Blender as a program without its window; BLENDER_USER_RESOURCES names its profile."""
    script = brought(version)
    return ["bash", script, "run", version, "--"] if script else ["blender"]


def run(version: str, tmp_path: Path, script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*blender_words(version, tmp_path / "profile"), "--enable-event-simulate", "--python",
                           HERE / script, "--", *words],
                          env={k: v for k, v in os.environ.items() if k != "MAQUETTE_JOBS"}, timeout=400,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stand_in(tmp_path: Path) -> Path:
    return wheels().with_stand_in(wheels().build(tmp_path), tmp_path)


@pytest.mark.parametrize("version", ["5.2", "4.3"])
def test_an_artist_reconstructs_cancels_resumes_undoes_and_does_it_again(version: str, tmp_path: Path) -> None:
    pictures = Path(os.environ.get("MAQUETTE_PICTURES") or tmp_path) / f"gui-{version}"
    pictures.mkdir(parents=True, exist_ok=True)
    said = run(version, tmp_path, "gui_capture.py", stand_in(tmp_path), sys.executable, pictures)
    assert said.returncode == 0, f"{said.stdout[-4000:]}\n(pictures in {pictures})"


def test_a_file_closed_during_a_job_finds_it_when_it_is_opened_again(tmp_path: Path) -> None:
    built, file = stand_in(tmp_path), tmp_path / "scene.blend"
    for word in ("start", "find"):
        said = run("5.2", tmp_path, "gui_reopen.py", word, built, sys.executable, file)
        assert said.returncode == 0, f"{word}: {said.stdout[-4000:]}"
