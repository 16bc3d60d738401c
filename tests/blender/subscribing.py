"""Subscribe to a repository, install from it, upgrade: `subscribing.py URL PUBLISH RESULTS.json`, in a bpy wheel.

The command line PUBLISH puts the next version into the repository while this Blender is open. The results are what it has
of the extension before and after: version, device of its preferences, folder of its jobs.
"""

import json
import os
import shlex
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path

import bpy

URL, PUBLISH, RESULTS = sys.argv[1:]
MODULE = "bl_ext.releases.maquette"


def seen():
    settings = bpy.context.preferences.addons[MODULE].preferences
    return [import_module(f"{MODULE}.formats.report").program_version(), settings.device,
            str(import_module(f"{MODULE}.jobs.store").jobs_folder())]


def main():
    bpy.context.preferences.system.use_online_access = True
    extensions = bpy.context.preferences.extensions
    repository = extensions.repos.new(name="Releases", module="releases", remote_url=URL)
    index = list(extensions.repos).index(repository)
    bpy.ops.extensions.repo_sync(repo_index=index)
    bpy.ops.extensions.package_install(repo_index=index, pkg_id="maquette", enable_on_install=True)
    bpy.context.preferences.addons[MODULE].preferences.device = "cpu"
    before = seen()
    subprocess.run(shlex.split(PUBLISH), check=True)
    bpy.ops.extensions.repo_sync(repo_index=index)
    bpy.ops.extensions.package_install(repo_index=index, pkg_id="maquette")  # what Update does
    assert bpy.ops.maquette.preset.poll()
    return [before, seen()]


try:
    Path(RESULTS).write_text(json.dumps(main()))
except BaseException:
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
sys.stdout.flush()
os._exit(0)
