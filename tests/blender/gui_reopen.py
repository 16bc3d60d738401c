"""A file saved during a job, closed, and opened again finds its job: `gui_reopen.py -- start|find ZIP PYTHON FILE`."""

import os
import sys
import time
import traceback

import bpy
from mathutils import Vector

WORD, ZIP, PYTHON, FILE = sys.argv[sys.argv.index("--") + 1:]
MODULE = "bl_ext.user_default.maquette"


def start():
    yield 1
    bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=True)
    bpy.context.preferences.addons[MODULE].preferences.python = PYTHON
    bpy.ops.wm.save_userpref()
    scene = bpy.context.scene
    for i, place in enumerate([(6, 0, 3), (-6, 0, 3), (0, 6, 3), (5, 5, -3)]):
        camera = bpy.data.objects.new(f"View {i}", bpy.data.cameras.new(f"View {i}"))
        camera.location = place
        camera.rotation_euler = (-Vector(place)).to_track_quat("-Z", "Y").to_euler()
        scene.collection.objects.link(camera)
    scene.maquette.capture.size, scene.maquette.capture.samples = 32, 1
    assert bpy.ops.maquette.reconstruct_capture("INVOKE_DEFAULT") == {"FINISHED"}
    bpy.ops.wm.save_as_mainfile(filepath=FILE)  # and away, while the views are rendered


def find():
    yield 1
    bpy.ops.wm.open_mainfile(filepath=FILE)
    assert len(bpy.context.scene.maquette.jobs) == 1
    until = time.monotonic() + 60
    while not [o for o in bpy.context.scene.objects if "maquette_job" in o]:
        assert time.monotonic() < until, "the result did not arrive"
        yield 0.2
    assert not bpy.context.scene.maquette.jobs


def tick(run={"start": start, "find": find}[WORD]()):
    try:
        return next(run)
    except BaseException as problem:
        if not isinstance(problem, StopIteration):
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0 if isinstance(problem, StopIteration) else 1)


bpy.context.preferences.view.show_splash = bpy.context.preferences.view.use_save_prompt = False
bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
