"""The extension in real Blenders without a window: the bpy wheels, one process each, `blender/checks.py` inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).with_name("blender")
VERSIONS = ("4.2.23", "4.5.15", "5.0.1")

pytestmark = pytest.mark.blender


def bpy_python(version: str) -> Path:
    """The Python of a bpy wheel that set-up has made, or that MAQUETTE_BLENDERS names the folder of."""
    folder = Path(os.environ.get("MAQUETTE_BLENDERS") or ROOT / ".blenders") / version
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        pytest.skip(f"there is no bpy {version} in {folder}; `python3 run.py setup --blender` makes it")
    return python


def build(folder: Path) -> Path:
    """The extension's zip, as `run.py build` makes it."""
    subprocess.run([bpy_python("4.5.15"), ROOT / "release" / "build.py", folder], check=True)
    return next(folder.glob("*.zip"))


def with_stand_in(built: Path, folder: Path) -> Path:
    """The zip with `blender/stand_in_task.py` as its capture task: Blender's side in seconds."""
    made = folder / "maquette-stand-in.zip"
    with zipfile.ZipFile(built) as source, zipfile.ZipFile(made, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("neural/tasks/capture.py"):
                content = (HERE / "stand_in_task.py").read_bytes()
            target.writestr(entry, content)
    return made


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_holds_in_a_real_blender(version: str, built: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    env = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "user"), "MAQUETTE_JOBS": str(tmp_path / "jobs")}
    (tmp_path / "out").mkdir()
    said = subprocess.run([bpy_python(version), HERE / "checks.py", with_stand_in(built, tmp_path), sys.executable,
                           tmp_path / "out", results], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=500)
    assert results.exists(), said.stdout[-4000:]
    found = json.loads(results.read_text())
    assert len(found) > 10
    failed = {name: trace for name, trace in found.items() if trace}
    assert not failed, "\n\n".join(f"{name}\n{trace}" for name, trace in failed.items())


def test_a_scene_is_gathered_and_a_result_inserted_by_a_process_without_a_window(tmp_path: Path) -> None:
    """The calls that the command line makes, on the demo's own file."""
    python, script = bpy_python("4.5.15"), ROOT / "scene" / "headless.py"
    asked, folder = tmp_path / "asked.json", tmp_path / "input"
    asked.write_text(json.dumps({"task": "capture", "recipe": {"size": 16, "samples": 1}}))
    said = subprocess.run([python, script, "--", "gather", ROOT / "demo" / "demo.blend", asked, folder],
                          capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    gathered = json.loads((folder / "gathered.json").read_text())
    assert gathered["recipe"]["subject"] == "Subject", "what is not given comes from the scene"
    assert gathered["recipe"]["size"] == 16 and gathered["summary"]["views"] == 52
    assert len(list(folder.glob("*.exr"))) == 52 and (folder / "original.npz").exists()


@pytest.mark.parametrize(("words", "complaint"), [
    (["gather", "absent.blend", "asked.json", "input"], "absent.blend"),
    (["gather", "text.blend", "asked.json", "input"], "text.blend"),
    (["insert", "no-job", "out.blend"], "report.json"),
])
def test_bad_words_end_in_one_line_and_code_2(words: list[str], complaint: str, tmp_path: Path) -> None:
    (tmp_path / "asked.json").write_text('{"task": "capture", "recipe": {}}')
    (tmp_path / "text.blend").write_text("this is no .blend")
    said = subprocess.run([bpy_python("4.5.15"), ROOT / "scene" / "headless.py", "--", *words], cwd=tmp_path,
                          capture_output=True, text=True)
    assert said.returncode == 2, said.stderr
    assert complaint in said.stderr and "Traceback" not in said.stderr
