"""The demo, run by `run.py demo`: demo.blend's cameras to a textured mesh, written to out/demo/."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import maquette
from maquette import terminal
from maquette.formats.meshes import write_mesh
from maquette.formats.report import rows
from maquette.jobs import backend
from maquette.recipes import PRESETS, MaquetteError

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "out" / "demo"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py demo", description=__doc__)
    parser.add_argument("--seconds", type=float, help="training time; that of the demo's recipe unless given")
    parser.add_argument("--preset", choices=PRESETS, default="")
    options = parser.parse_args(arguments)
    values = {} if options.seconds is None else {"seconds": options.seconds}
    OUT.mkdir(parents=True, exist_ok=True)
    scene = OUT / "demo.blend"
    try:
        with terminal.narrator(False, False) as narrate:
            result = maquette.capture(HERE / "demo.blend", out=scene, preset=options.preset, overwrite=True,
                                      on_status=narrate, **values)
        subprocess.run([*backend.find_blender(), HERE / "beside.py", "--", scene], check=True,
                       stdout=subprocess.DEVNULL)
        write_mesh(result.mesh, OUT / "demo.glb")
    except MaquetteError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    shutil.copyfile(result.job.output / "preview.png", OUT / "preview.png")
    (OUT / "demo.report.json").replace(OUT / "report.json")
    made = [(name, str(OUT / name)) for name in ("demo.blend", "demo.glb", "preview.png", "report.json")]
    print(terminal.table([*rows(result.report), *made]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
