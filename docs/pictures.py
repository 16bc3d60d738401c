"""Make the pictures of the documentation by running Maquette, so that they show what it does now.

    python3 run.py docs --pictures

Everything begins with demo/demo.blend or a model that ships; seeds are fixed. Which command made which picture is written
to docs/images/made.json. Takes some minutes on two cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
IMAGES = DOCS / "images"
SIDE = 360  # px
# Those that take longer and are made apart.
OTHERS = {"hen.png": "python3 run.py demo, and a render of out/demo/demo.blend from four sides",
          "demo.png": "python3 run.py demo; out/demo/preview.png",
          "morph.png": "maquette shape interpolate --start NAME --end NAME --steps 5 -o OUT.blend, and a render of it",
          "photos.jpg": "python3 run.py bench photos --sheet docs/images/photos.jpg",
          "cost.png": "python benchmarks/capture.py --cost --methods grid --tests 10 --sizes 50 100 200 --plot OUT.png"}


def main() -> None:
    made = dict(OTHERS)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MAQUETTE_JOBS"] = str(Path(scratch) / "jobs")
        os.chdir(scratch)

        def maquette(line: str) -> str:
            print(f"maquette {line}", flush=True)
            words = line.replace("demo.blend", str(ROOT / "demo" / "demo.blend")).split()
            subprocess.run([sys.executable, ROOT, *words, "--quiet", "--overwrite"], check=True)
            return f"maquette {line}"

        made["task-capture.png"] = maquette("capture demo.blend -o hen.glb --seconds 90")
        made["task-sdf.png"] = maquette("sdf hen.glb -o solid.glb --budget 2000")
        made["task-voxels.png"] = maquette("voxels hen.glb -o blocks.glb --method cubify --resolution 40")
        made["task-shape.png"] = maquette(
            "shape interpolate --start furniture/kaykit_armchair --end furniture/kaykit_couch --steps 3 -o between.glb")
        capture = next(path for path in (Path(scratch) / "jobs").iterdir() if path.name.startswith("capture"))
        maquette(f"render {capture} -o turntable --frames 3 --elevation 20 --size {SIDE}")
        made["task-render.png"] = "maquette render JOB -o turntable --frames 3 --elevation 20"

        meshes = {"task-capture.png": "hen.glb", "task-sdf.png": "solid.glb", "task-voxels.png": "blocks.glb",
                  "task-shape.png": "between.glb"}
        for name, mesh in meshes.items():
            subprocess.run([os.environ["MAQUETTE_BLENDER"], DOCS / "render_mesh.py", mesh, IMAGES / name, str(SIDE)],
                           check=True, stdout=subprocess.DEVNULL)
        frames = [Image.open(path) for path in sorted(Path("turntable/images").glob("*.png"))]
        beside(frames).save(IMAGES / "task-render.png", optimize=True)
        beside([Image.open(IMAGES / name) for name in meshes]).save(IMAGES / "tasks.png", optimize=True)
    made["tasks.png"] = "the four above, side by side"
    (IMAGES / "made.json").write_text(json.dumps(made, indent=1) + "\n")


def beside(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size in a row, over white."""
    row = Image.new("RGB", (sum(p.width for p in pictures), pictures[0].height), "white")
    for number, picture in enumerate(pictures):
        row.paste(picture, (number * picture.width, 0), picture if picture.mode == "RGBA" else None)
    return row


if __name__ == "__main__":
    main()
