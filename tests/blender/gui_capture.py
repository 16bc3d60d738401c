"""Drives a Blender with a window: the tab, Reconstruct, progress, Cancel, Resume, the result, undo, again.

    blender --enable-event-simulate --python gui_capture.py -- ZIP BACKEND_PYTHON PICTURES_FOLDER

Ends with exit code 0 when all went as a user expects.
"""

import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import bpy
from mathutils import Vector

ZIP, PYTHON, PICTURES = sys.argv[sys.argv.index("--") + 1:]
MODULE = "bl_ext.user_default.maquette"


def window():
    return bpy.context.window_manager.windows[0]


def area():
    return next(a for a in window().screen.areas if a.type == "VIEW_3D")


def sidebar():
    return next(r for r in area().regions if r.type == "UI")


def event(type, value, x, y, **more):
    window().event_simulate(type=type, value=value, x=int(x), y=int(y), **more)


def picture(name):
    subprocess.run(["maim", str(Path(PICTURES) / f"{name}.png")], check=True)


def small_scene():
    """A cube and six cameras, rendered in a moment."""
    scene = bpy.context.scene
    for thing in [o for o in scene.objects if o.type == "CAMERA"]:
        bpy.data.objects.remove(thing)
    for i, place in enumerate([(6, 0, 3), (-6, 0, 3), (0, 6, 3), (0, -6, 3), (5, 5, -3), (-5, -5, -3)]):
        camera = bpy.data.objects.new(f"Camera {i}", bpy.data.cameras.new(f"Camera {i}"))
        camera.location = place
        camera.rotation_euler = (-Vector(place)).to_track_quat("-Z", "Y").to_euler()
        scene.collection.objects.link(camera)
    settings = scene.maquette.capture
    settings.size, settings.samples, settings.seconds = 128, 64, 10
    scene.render.resolution_x = scene.render.resolution_y = 64


def link():
    return bpy.context.scene.maquette.jobs[0]


def status():
    from importlib import import_module
    folder = import_module(f"{MODULE}.jobs.folder")
    store = import_module(f"{MODULE}.jobs.store")
    return folder.Job(store.jobs_folder() / link().name).status()


def wait_for(what, seconds=60.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"in vain: {what.__doc__ or what}"
        yield 0.2


def results():
    return [o for o in bpy.context.scene.objects if "maquette_job" in o]


def steps():
    view = bpy.context.preferences.view
    view.show_splash = view.use_save_prompt = False
    yield 1
    event("ESC", "PRESS", 10, 10)
    event("ESC", "RELEASE", 10, 10)
    yield 0.5
    bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=True)
    bpy.context.preferences.addons[MODULE].preferences.python = PYTHON
    small_scene()
    bpy.ops.ed.undo_push(message="Small scene")
    area().spaces.active.show_region_ui = True
    yield 1.5
    sidebar().active_panel_category = "Maquette"
    sidebar().tag_redraw()
    yield 1.5
    picture("1_tab")
    with bpy.context.temp_override(window=window(), area=area()):
        assert bpy.ops.maquette.reconstruct_capture.poll()
        began = time.monotonic()
        assert bpy.ops.maquette.reconstruct_capture("INVOKE_DEFAULT") == {"FINISHED"}
        print("pressing Reconstruct took", round(time.monotonic() - began, 2), "s")
    yield from wait_for(lambda: status().stage == "Rendering views")
    yield 0.5
    picture("2_rendering")
    yield from wait_for(lambda: status().stage == "Training" and status().fraction > 0.3)
    yield 0.7
    picture("3_training")
    began = time.monotonic()
    bpy.ops.maquette.cancel(job=link().name)
    took = time.monotonic() - began
    print("Cancel took", round(took, 2), "s")
    assert took < 0.1, "it asks, and lets the timer see to it"
    yield from wait_for(lambda: status().state == "cancelled", 2.5)
    yield 1.0
    picture("4_cancelled")
    bpy.ops.maquette.resume(job=link().name)
    yield from wait_for(lambda: bool(results()))
    yield 1.0
    picture("5_result")
    made = results()[0]
    assert len(made.data.polygons) == 12 and made.data.uv_layers and made.data.materials[0]
    assert not bpy.context.scene.maquette.jobs
    yield from undo_and_again(made.name)


def undo_and_again(name):
    with bpy.context.temp_override(window=window(), area=area()):
        bpy.ops.ed.undo()
    yield 1.5
    assert not results(), "one undo removes the result, and it does not come back"
    with bpy.context.temp_override(window=window(), area=area()):
        bpy.ops.ed.redo()
    yield 0.5
    made = results()[0]
    made.location = (3, 0, 0)
    made.name = "My cube"
    made.modifiers.new("Bevel", "BEVEL")
    old = made.data.name
    with bpy.context.temp_override(window=window(), area=area(), object=made, active_object=made):
        assert bpy.ops.maquette.reconstruct_again("INVOKE_DEFAULT") == {"FINISHED"}
    before = made.data[MODULE.split(".")[-1] + "_job"]
    yield from wait_for(lambda: results()[0].data["maquette_job"] != before)
    made = results()[0]
    assert (made.name, tuple(made.location), len(made.modifiers)) == ("My cube", (3, 0, 0), 1)
    assert made.data.name == old and len(results()) == 1
    yield 0.7
    picture("6_again")


def tick(run=steps()):
    try:
        return next(run)
    except BaseException as problem:
        if not isinstance(problem, StopIteration):
            traceback.print_exc()
            picture("0_failed")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0 if isinstance(problem, StopIteration) else 1)


bpy.app.timers.register(tick, first_interval=1.0)
