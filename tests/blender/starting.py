"""What enabling the extension and drawing it does besides: `starting.py -- ZIP RESULTS.json`, in any Blender.

ZIP is installed where it is not yet. The results: the seconds of CPU time that enabling takes, which a busy machine
changes less than the clock's; what was done that nobody had asked for (connections, processes, threads, files written);
what sys.path has more; modules of others.
"""

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

import bpy

ZIP, RESULTS = sys.argv[sys.argv.index("--") + 1:]
MODULE = "bl_ext.user_default.maquette"
# Audit events that start or open something; "open" and those that change folders are looked at by their path.
FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.system", "os.startfile",
             "_thread.start_new_thread", "urllib.", "http.", "ftplib.", "webbrowser.")
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
# Where something may be written: Python's bytecode, the extension's own folder and Blender's notes on its extensions.
OWN = ("/__pycache__/", "/extensions/.user", "/extensions/.cache")

seen = []
listening = False


def listen(event, arguments):
    if not listening:
        return
    if event.startswith(FORBIDDEN):
        seen.append(f"{event} {arguments!r}")
    elif event == "open" and (arguments[2] or 0) & WRITING or event.startswith(CHANGES):
        if not isinstance(arguments[0], int):  # what is open already was seen when it was opened
            path = Path(os.fsdecode(arguments[0])).absolute().as_posix()
            if not any(own in f"{path}/" for own in OWN):
                seen.append(f"{event} {path}")


class Anything:
    """A layout, or what it returns: takes every call and every attribute."""

    def __getattr__(self, name):
        return Anything()

    def __call__(self, *_, **__):
        return Anything()

    def __iter__(self):  # layout.panel returns a header and a body
        return iter((Anything(), Anything()))


class Drawn:
    """`self` of a draw function: the class's own attributes, the preferences' values, and a layout that takes all."""

    def __init__(self, cls, values=None):
        self.layout, self._class, self._values = Anything(), cls, values

    def __getattr__(self, name):
        found = getattr(self._values if self._values is not None else self._class, name)
        return found.__get__(self) if hasattr(found, "__code__") else found


def draw_all():
    """Draw every panel, menu and the preferences, and ask every operator whether it can run, as a redraw does."""
    names = [name for name in dir(bpy.types) if name.startswith("MAQUETTE")]
    assert len(names) > 10, names
    for name in names:
        cls = getattr(bpy.types, name)
        values = bpy.context.preferences.addons[MODULE].preferences if "_AP_" in name else None
        for word in ("draw_header", "draw_header_preset", "draw"):
            if hasattr(vars(cls).get(word), "__code__") and ("_OT_" not in name):
                getattr(cls, word)(Drawn(cls, values), bpy.context)
        if "_OT_" in name and "poll" in vars(cls):
            cls.poll(bpy.context)
    sys.modules[f"{MODULE}.operators.watch"].look()  # what the timer does


def main():
    global listening
    if MODULE not in bpy.context.preferences.addons:
        if not Path(bpy.utils.user_resource("EXTENSIONS"), "user_default", "maquette").exists():
            bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=False)
    sys.addaudithook(listen)
    paths, modules, threads = list(sys.path), set(sys.modules), threading.active_count()
    listening, start = True, time.process_time()
    bpy.ops.preferences.addon_enable(module=MODULE)
    seconds = time.process_time() - start
    for python in ("", sys.executable):
        bpy.context.preferences.addons[MODULE].preferences.python = python
        draw_all()
    listening = False
    new = {name.split(".")[0] for name in set(sys.modules) - modules}
    foreign = new - set(sys.stdlib_module_names) - {"bl_ext", "numpy", "bpy", "_bpy_internal", "bpy_extras", "mathutils"}
    return {"seconds": seconds, "unasked": seen, "threads": threading.active_count() - threads,
            "path": [entry for entry in sys.path if entry not in paths], "foreign": sorted(foreign)}


try:
    Path(RESULTS).write_text(json.dumps(main()))
except BaseException:
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
sys.stdout.flush()
os._exit(0)
