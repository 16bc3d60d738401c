"""What Blender asks of an extension: it starts fast and does nothing by itself, writes nowhere but in its own folder,
brings no modules, paths or threads into Blender. `test_blender_wheels.py` has what it leaves behind."""

from __future__ import annotations

import ast
import json
import os
import statistics
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from maquette.jobs import builds
from maquette.recipes import InputError

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).with_name("blender")
VERSIONS = ("4.2.23", "4.5.15", "5.0.1")
BLENDERS_ROOMS = ("scene", "operators", "panels", "recipes", "formats", "jobs")
# Waits for a Blender that it has started, for the command line; Blender's rooms do not load it.
THREADED = ROOT / "jobs" / "headless.py"
ENABLING = 0.2  # s
BUSY = 1.75  # times as much CPU time as where nothing else runs


def sources(*rooms: str) -> Iterator[tuple[Path, ast.Module]]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """The names of all modules that a file imports, relative ones without their dots."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names)}
    return names


def test_blenders_rooms_import_nothing_that_runs_beside_blender_or_reaches_the_network() -> None:
    apart = {"threading", "_thread", "multiprocessing", "concurrent", "asyncio"}
    network = {"socket", "ssl", "urllib", "http", "ftplib", "smtplib", "socketserver", "xmlrpc", "requests"}
    for path, tree in sources(*BLENDERS_ROOMS):
        tops = {name.split(".")[0] for name in imported(tree)}
        assert not tops & network, path
        assert not tops & apart or path == THREADED, path
        if path.relative_to(ROOT).parts[0] in ("scene", "operators", "panels"):
            assert "jobs.headless" not in imported(tree), path


def test_what_blender_loads_leaves_pythons_paths_and_modules_alone() -> None:
    for path, tree in sources(*BLENDERS_ROOMS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.path", "sys.meta_path", "sys.path_hooks"):
                pytest.fail(f"{path}:{node.lineno} uses {ast.unparse(node)}")
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("site.addsitedir", "os.chdir"):
                pytest.fail(f"{path}:{node.lineno} calls {ast.unparse(node.func)}")


def test_what_blender_starts_opens_no_console_window_on_windows() -> None:
    elsewhere = {"jobs/headless.py", "jobs/machine.py"}  # for the command line, which has a console; for macOS
    for path, tree in sources("jobs", "operators", "scene", "panels"):
        if path.relative_to(ROOT).as_posix() in elsewhere:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("subprocess.run", "subprocess.Popen"):
                named = {keyword.arg for keyword in node.keywords}  # None: a dict of more, which differs by platform
                assert named & {"creationflags", None}, f"{path}:{node.lineno} may open a window"


def test_classes_have_the_names_that_blender_wants() -> None:
    kinds = {"Operator": "OT", "Panel": "PT", "Menu": "MT", "Header": "HT", "UIList": "UL", "FileHandler": "FH",
             "PropertyGroup": "PG", "AddonPreferences": "AP"}
    for path, tree in sources("scene", "operators", "panels"):
        for node in ast.walk(tree):
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                kind = kinds.get(ast.unparse(base).removeprefix("bpy.types."))
                at_top = node in tree.body  # others are made by a function that names them
                assert kind is None or not at_top or node.name.startswith(f"MAQUETTE_{kind}_"), f"{path}: {node.name}"


def test_permissions_say_what_for() -> None:
    permissions = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))["permissions"]
    assert set(permissions) == {"files", "network"}
    assert all(0 < len(reason) <= 64 and reason[-1].isalnum() for reason in permissions.values())


# ---- on Windows --------------------------------------------------------------------------------------------------

IN_BLENDER = (r"C:\Users\ann\AppData\Roaming\Blender Foundation\Blender\4.5\extensions\.user\user_default\maquette"
              r"\backend")
A_LICENCE = (r"\01234567\env\Lib\site-packages\torch-2.13.0+cu130.dist-info\licenses\third_party\kineto\libkineto\third_party"
             r"\dynolog\third_party\prometheus-cpp\3rdparty\civetweb\src\third_party\duktape-1.8.0\LICENSE.txt")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`jobs.planning`, which takes this for a Windows that refuses long paths, in a Blender's extension."""
    from maquette.jobs import planning

    for name, value in (("LOCALAPPDATA", r"C:\Users\ann\AppData\Local"), ("MAQUETTE_BACKEND", "")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(planning, "sys", SimpleNamespace(**{**vars(sys), "platform": "win32"}))
    monkeypatch.setattr(planning, "_long_paths_are_allowed", lambda: False)
    planning.use_folder(Path(IN_BLENDER))
    yield planning
    planning.use_folder(None)


def test_the_backend_is_where_torchs_longest_path_is_none_too_long_for_windows(windows: ModuleType) -> None:
    assert len(IN_BLENDER + A_LICENCE) > 259
    assert str(windows.folder()).startswith(r"C:\Users\ann\AppData\Local")
    assert len(str(windows.folder()) + A_LICENCE) <= 259
    assert windows.excess(Path(IN_BLENDER)) == len(IN_BLENDER + A_LICENCE) - 259


def test_the_backend_is_in_the_extensions_folder_where_windows_takes_long_paths(
        windows: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_long_paths_are_allowed", lambda: True)
    assert windows.folder() == Path(IN_BLENDER)


def test_a_named_folder_that_is_too_long_for_windows_is_refused_with_its_remedy(
        windows: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAQUETTE_BACKEND", "/" + "x" * 90)
    with pytest.raises(InputError, match="characters too long for Windows; name a shorter one in MAQUETTE_BACKEND"):
        windows.plan(builds.choose("cpu"))


# ---- in Blender --------------------------------------------------------------------------------------------------

def started(words: list[str | Path], built: Path, folder: Path) -> dict[str, Any]:
    """What `starting.py` finds in a Blender that these words start, whose user folder is `folder`."""
    results = folder / "results.json"
    env = {name: value for name, value in os.environ.items()
           if name not in ("MAQUETTE_JOBS", "PYTHONDONTWRITEBYTECODE")}
    said = subprocess.run([*words, "--", built, results], env={**env, "BLENDER_USER_RESOURCES": str(folder)},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200)
    assert said.returncode == 0, said.stdout[-3000:]
    return json.loads(results.read_text())


def assert_it_starts_well(words: list[str | Path], built: Path, folder: Path) -> None:
    first, *more = (started(words, built, folder) for _ in range(4))  # the first compiles bytecode, once
    for found in (first, *more):
        assert not found["unasked"], "it did what nobody had asked for"
        assert not found["threads"] and not found["path"] and not found["foreign"], found
    seconds = statistics.median(found["seconds"] for found in more)
    assert seconds <= ENABLING * BUSY, f"enabling takes {seconds:.2f} s of CPU time"


@pytest.mark.blender
@pytest.mark.parametrize("version", VERSIONS)
def test_enabling_is_fast_and_does_nothing_that_nobody_asked_for(
        version: str, built: Path, tmp_path: Path, bpy_python: Callable[[str], Path]) -> None:
    assert_it_starts_well([bpy_python(version), HERE / "starting.py"], built, tmp_path)


@pytest.mark.gui
@pytest.mark.parametrize("version", ["5.2", "4.3"])
def test_enabling_is_fast_in_a_blender_with_a_window_too(
        version: str, built: Path, tmp_path: Path, blender_program: Callable[[str], list[str | Path]]) -> None:
    assert_it_starts_well([*blender_program(version), "-b", "--python", HERE / "starting.py"], built, tmp_path)


# ---- nothing is written beside __file__ --------------------------------------------------------------------------

@pytest.mark.blender
def test_the_installed_zip_works_in_a_folder_that_cannot_be_written(
        built: Path, tmp_path: Path, bpy_python: Callable[[str], Path]) -> None:
    """A scene is gathered, a worker makes a mesh, and it is read back; the folder is the same afterwards."""
    installed, cube = tmp_path / "maquette", tmp_path / "cube.obj"
    zipfile.ZipFile(built).extractall(installed)
    for path in (installed, *installed.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = contents(installed)
    cube.write_text("".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
                    + "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n")
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MAQUETTE_BLENDER": str(bpy_python("4.5.15"))}
    try:
        said = subprocess.run([sys.executable, installed, "sdf", cube, "-o", tmp_path / "out.blend", "--quiet",
                               "--resolution", "24", "--budget", "100"], env=env, cwd=tmp_path, capture_output=True,
                              text=True, timeout=300)
        assert said.returncode == 0, said.stderr
        assert (tmp_path / "out.blend").stat().st_size > 1000
        assert contents(installed) == before
    finally:
        for path in (installed, *installed.rglob("*")):
            path.chmod(0o755)


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of all files and folders."""
    return {path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in folder.rglob("*")}
