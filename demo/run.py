"""The demo, run by `run.py demo`: demo.blend's cameras to a textured mesh, written to out/demo/.

Options go to the capture: `run.py demo --seconds 30`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "demo"


def main(arguments: list[str]) -> int:
    from maquette import api, cli, terminal
    from maquette.formats.mesh import read_npz
    from maquette.formats.meshes import write_mesh
    from maquette.formats.report import rows, write_report
    from maquette.jobs import backend
    from maquette.recipes import MaquetteError

    OUT.mkdir(parents=True, exist_ok=True)
    scene = OUT / "demo.blend"
    words = ["capture", str(ROOT / "demo" / "demo.blend"), "-o", str(scene), "--overwrite", *arguments]
    try:
        options = cli._parser().parse_args(words)
        request = api.Request("capture", tuple(options.input), cli.given_values(options), scene,
                              OUT / "report.json", options.seed, options.device, overwrite=True)
        with terminal.narrator(options.quiet, options.json) as narrate:
            job = api.perform(request, narrate)
        subprocess.run([*backend.find_blender(), ROOT / "demo" / "beside.py", "--", scene], check=True,
                       stdout=subprocess.DEVNULL)
        write_mesh(read_npz(job.output / "mesh.npz"), OUT / "demo.glb")
        shutil.copyfile(job.output / "preview.png", OUT / "preview.png")
        write_report(job.report(), OUT / "report.json")
    except MaquetteError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    made = [(name, str(OUT / name)) for name in ("demo.blend", "demo.glb", "preview.png", "report.json")]
    print(terminal.table(rows(job.report()) + made))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
