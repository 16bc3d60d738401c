"""Move the demo's result from its original's place to beside it, for the eye: run with bpy, `-- SCENE.blend`."""

import os
import sys

import bpy

path = sys.argv[sys.argv.index("--") + 1]
bpy.ops.wm.open_mainfile(filepath=path)
for thing in bpy.context.scene.objects:
    if "maquette_job" in thing:
        thing.location.y += 1.5 * thing.dimensions.y
bpy.ops.wm.save_mainfile(compress=True)
sys.stdout.flush()
os._exit(0)
