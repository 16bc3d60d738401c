"""Who may import whom: the table of rooms in the design, asserted on the source and on what is really loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Which of the package's own rooms a room may import, and which other packages beside the standard library.
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "recipes": (set(), set()),
    "formats": ({"recipes"}, {"numpy", "PIL", "trimesh", "scipy", "OpenEXR"}),
    "jobs": ({"recipes"}, set()),
    "scene": ({"formats", "recipes"}, {"bpy", "_cycles", "mathutils", "numpy"}),
    "operators": ({"scene", "jobs", "recipes"}, {"bpy", "bpy_extras", "mathutils"}),
    "panels": ({"jobs", "recipes"}, {"bpy", "bl_operators", "bl_ui"}),
    "neural": ({"formats", "recipes", "jobs"}, {"torch", "numpy", "numba", "scipy", "safetensors", "xatlas",
                                                "fast_simplification", "trimesh", "PIL", "cv2", "pycolmap"}),
}
# Blender's Python has numpy and nothing else: there these are imported where they are used, by the backend alone.
ONLY_WHEN_USED = {"PIL", "trimesh", "scipy", "OpenEXR"}
ROOT_FILES = {
    "__init__": ({"operators", "panels", "scene", "cli", "api", "recipes"}, {"bpy"}),
    "__main__": ({"cli"}, set()),
    "compare": ({"api", "formats", "jobs", "recipes"}, set()),
    "cli": ({"api", "compare", "doctor", "terminal", "formats", "jobs", "recipes", "neural"}, {"bpy"}),
    "api": ({"formats", "jobs", "recipes", "scene"}, {"bpy"}),
    "terminal": ({"jobs"}, {"rich"}),
    "doctor": ({"formats", "jobs", "recipes"}, set()),
    "run": (set(), set()),
}


def imports_of(path: Path, room: str) -> Iterator[tuple[str, str, bool]]:
    """(own or other, name, at module level) of every import outside TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    depth = len(path.relative_to(ROOT).parts) - 1
    typing_only = {id(node) for block in ast.walk(tree) if isinstance(block, ast.If)
                   and ast.unparse(block.test) == "TYPE_CHECKING" for node in ast.walk(block)}
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield "other", alias.name.split(".")[0], id(node) in top
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                yield "other", (node.module or "").split(".")[0], id(node) in top
            elif node.level == depth + 1:  # up to the package's root
                for name in [node.module] if node.module else [alias.name for alias in node.names]:
                    yield "own", name.split(".")[0], id(node) in top
            else:
                yield "own", room, id(node) in top


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_design_allows(room: str) -> None:
    own, other = ROOMS[room]
    assert sources(room)
    for path in sources(room):
        for kind, name, at_top in imports_of(path, room):
            where = f"{path.relative_to(ROOT)} imports {name}"
            if kind == "own":
                assert name in own | {room}, where
            elif name == "maquette":
                assert path.name == "headless.py", f"{where} by its name, which Blender changes"
            else:
                assert name in other or name in sys.stdlib_module_names, where
                assert not (room == "formats" and at_top and name in ONLY_WHEN_USED), f"{where} at its top"


@pytest.mark.parametrize("name", ROOT_FILES)
def test_a_file_of_the_root_imports_only_what_it_may(name: str) -> None:
    own, other = ROOT_FILES[name]
    for kind, imported, at_top in imports_of(ROOT / f"{name}.py", name):
        where = f"{name}.py imports {imported}"
        if kind == "own" or imported == "maquette":
            assert imported in own | {"maquette"}, where
        else:
            assert imported in other or imported in sys.stdlib_module_names, where
            assert not at_top or imported != "bpy", where


def test_every_source_stands_in_a_room() -> None:
    apart = {"tests", "benchmarks", "docs", "demo", "examples", "release", "requirements", "out", "dist"}
    for path in ROOT.rglob("*.py"):
        first, *more = path.relative_to(ROOT).parts
        if not first.startswith(".") and first not in apart:
            assert first in ROOMS if more else path.stem in ROOT_FILES, path


def loaded_by(code: str, *, blocked: str = "") -> set[str]:
    """The packages that a new Python has loaded after `code`, in which `blocked` cannot be imported."""
    block = f"import sys; sys.modules[{blocked!r}] = None\n" if blocked else "import sys\n"
    said = subprocess.run([sys.executable, "-c", f"{block}{code}\nprint(*sorted(sys.modules))"], capture_output=True,
                          text=True)
    assert said.returncode == 0, said.stderr
    return {name.split(".")[0] for name in said.stdout.split() if blocked != name}


def every_module(room: str) -> str:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources(room)]
    return "\n".join(f"import maquette.{name.removesuffix('.__init__')}" for name in names)


@pytest.mark.parametrize("room", ["recipes", "jobs"])
def test_recipes_and_jobs_load_the_standard_library_alone(room: str) -> None:
    assert not loaded_by(every_module(room)) & {"torch", "numpy", "bpy"}


def test_formats_load_no_torch_and_no_bpy() -> None:
    assert not loaded_by(every_module("formats")) & {"torch", "bpy", *ONLY_WHEN_USED}


def test_importing_maquette_loads_no_torch_numpy_or_bpy() -> None:
    assert not loaded_by("import maquette") & {"torch", "numpy", "bpy"}
    assert not loaded_by("from maquette import capture") & {"torch", "bpy"}
    assert not loaded_by("import maquette.cli, maquette.api") & {"torch", "numpy", "bpy", "rich"}


def test_neural_imports_without_bpy() -> None:
    assert "torch" in loaded_by(every_module("neural"), blocked="bpy")


def test_every_module_is_of_a_size_that_fits_in_a_head() -> None:
    for room in ROOMS:
        for path in sources(room):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path
