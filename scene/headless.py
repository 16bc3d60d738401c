"""What needs Blender, for a process without: run by `blender -b --python` or by a Python that has bpy.

    [*blender, headless.py, --, gather, SCENE.blend or VOLUME.vdb, RECIPE.json, INPUT_FOLDER]
    [*blender, headless.py, --, insert, JOB_FOLDER, OUT.blend or OUT.vdb, (--into, SCENE.blend)]
    [*blender, headless.py, --, unlit, MESH.npz, FOLDER]

RECIPE.json is {"task": name, "recipe": {parameters}}; what it leaves out is taken from the settings that the scene
stores. `gather` fills INPUT_FOLDER as a job wants it and writes {"recipe", "summary"} to INPUT_FOLDER/gathered.json.
`unlit` renders a mesh from the cameras of FOLDER/capture.json to their pictures and writes {"version"} of Blender to
FOLDER/blender.json.
Progress goes to stdout as lines `maquette FRACTION MESSAGE`. An error is one line on stderr, exit code as in BY_KIND.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GATHERED = "gathered.json"
VERSION = "blender.json"


def load_package() -> Any:
    """Load the folder above as the package `maquette`, whatever it is called."""
    if "maquette" not in sys.modules:
        spec = importlib.util.spec_from_file_location("maquette", ROOT / "__init__.py",
                                                      submodule_search_locations=[str(ROOT)])
        assert spec and spec.loader
        sys.modules["maquette"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["maquette"])
    return sys.modules["maquette"]


def open_blend(path: str) -> None:
    import bpy
    from maquette.recipes import InputError
    from maquette.scene import properties

    if not Path(path).is_file():
        raise InputError(f"input: there is no file {path}; give a .blend that exists")
    if not hasattr(bpy.types.Scene, "maquette"):  # the extension itself may be enabled in this Blender
        properties.register()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(Path(path).resolve()), load_ui=False)
    except RuntimeError as problem:
        raise InputError(f"input: Blender cannot open {path} ({' '.join(str(problem).split())}); "
                         "give a .blend of this version or older") from None


def say_progress(fraction: float, message: str) -> None:
    print(f"maquette {fraction:.4f} {message}", flush=True)


def gather(blend: str, recipe_file: str, folder: str) -> None:
    import bpy
    from maquette.recipes import recipe_of
    from maquette.scene import inputs, properties, volumes

    asked = json.loads(Path(recipe_file).read_text(encoding="utf-8"))
    cls = recipe_of(asked["task"])
    if blend.lower().endswith(".vdb"):
        recipe = cls.from_json(asked["recipe"])
        summary = volumes.write_input(Path(blend), recipe, Path(folder))
    else:
        open_blend(blend)
        stored = properties.recipe_in(bpy.context.scene, asked["task"]).to_json()
        recipe = cls.from_json({**stored, **asked["recipe"]})
        summary = inputs.gather(bpy.context, recipe, Path(folder), say_progress)
    text = json.dumps({"recipe": recipe.to_json(), "summary": summary})
    (Path(folder) / GATHERED).write_text(text, encoding="utf-8")


class DoneJob:
    """The parts of a job folder that `results.insert` reads."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder)
        self.output = self.path / "output"

    @property
    def target(self) -> dict[str, Any]:
        return self._read("job.json")["target"]

    def report(self) -> dict[str, Any]:
        return self._read("report.json")

    def _read(self, name: str) -> dict[str, Any]:
        from maquette.recipes import InputError
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise InputError(f"job: {self.path / name} cannot be read ({problem}); is the job done?") from None


def insert(job: str, out: str, *into: str) -> None:
    import bpy
    from maquette.recipes import InputError
    from maquette.scene import properties, results

    if into and into[0] != "--into" or len(into) not in (0, 2):
        raise InputError("headless: after OUT.blend only --into SCENE.blend may follow")
    if into:
        open_blend(into[1])
    else:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        if not hasattr(bpy.types.Scene, "maquette"):
            properties.register()
    results.insert_into_open_scene(DoneJob(job))
    results.save(DoneJob(job), Path(out))


def unlit(mesh: str, folder: str) -> None:
    import bpy
    from maquette.formats import capture
    from maquette.formats.mesh import read_npz
    from maquette.scene.unlit import render

    render(read_npz(Path(mesh)), capture.read(Path(folder) / capture.FILE), say_progress)
    (Path(folder) / VERSION).write_text(json.dumps({"version": bpy.app.version_string}), encoding="utf-8")


VERBS: dict[str, Callable[..., None]] = {"gather": gather, "insert": insert, "unlit": unlit}


def main(arguments: list[str]) -> int:
    load_package()
    from maquette.jobs import files
    from maquette.recipes import MaquetteError

    verb, *rest = arguments or [""]
    try:
        if verb not in VERBS:
            raise MaquetteError(f"headless: there is no verb {verb!r}; the verbs are {', '.join(VERBS)}")
        VERBS[verb](*rest)
    except (MaquetteError, OSError) as problem:
        said = problem if isinstance(problem, MaquetteError) else files.explained(problem, Path(rest[-1]))
        print(said, file=sys.stderr)
        return said.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    # Some builds crash while the interpreter ends, after all has gone well: leave at once.
    code = main(sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else [])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
