"""Reconstruct several .blend files, or the open one, without a window.

    blender -b scene.blend --python examples/batch.py -- OUT_FOLDER [--preset draft] [--seconds 60] [SCENE.blend …]

Each scene is captured with the settings that it stores; options given here win. The result of SCENE.blend is written
to OUT_FOLDER/SCENE.blend, its report beside it. Exit code 0 when all went well, else that
of the first that did not.
"""

import argparse
import importlib
import importlib.util
import os
import sys
from pathlib import Path

import bpy


def maquette():
    """The extension where it is installed, else the checkout that this file lies in."""
    for name in bpy.context.preferences.addons.keys():
        if name.rpartition(".")[2] == "maquette":
            python = bpy.context.preferences.addons[name].preferences.python
            if python:
                os.environ.setdefault("MAQUETTE_PYTHON", bpy.path.abspath(python))
            return importlib.import_module(name)
    root = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location("maquette", root / "__init__.py",
                                                  submodule_search_locations=[str(root)])
    module = importlib.util.module_from_spec(spec)
    sys.modules["maquette"] = module
    spec.loader.exec_module(module)
    module.register()
    return module


def main(arguments):
    parser = argparse.ArgumentParser(prog="batch.py", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("scenes", type=Path, nargs="*")
    parser.add_argument("--preset", default="", choices=("", "draft", "standard", "best"))
    parser.add_argument("--seconds", type=float)
    options = parser.parse_intermixed_args(arguments)
    package = maquette()
    errors = importlib.import_module(f"{package.__name__}.recipes").MaquetteError
    values = {} if options.seconds is None else {"seconds": options.seconds}
    code = 0
    for scene in options.scenes or [None]:
        if scene:
            bpy.ops.wm.open_mainfile(filepath=str(scene.resolve()))
        stem = Path(bpy.data.filepath or "scene").stem
        try:
            result = package.capture(out=options.out / f"{stem}.blend", preset=options.preset, overwrite=True, **values)
        except errors as problem:
            print(f"{stem}: {problem}", file=sys.stderr)
            code = code or problem.exit_code
            continue
        print(f"{stem}: {len(result.mesh.faces)} faces in {result.report['seconds']['total']:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[sys.argv.index("--") + 1:]))
