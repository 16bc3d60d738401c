"""What an installation has, for `maquette doctor` and for whoever helps its user."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

from .formats.report import program_version
from .jobs import backend, machine, process, store
from .recipes import MaquetteError

# Runs in the backend: what it has, its heaviest packages really imported.
_LOOK = """
import json, platform
from importlib.metadata import version
found = {"python": platform.python_version()}
for name in ("numpy", "numba", "scipy", "trimesh", "torch"):
    try:
        __import__(name)
        found[name] = version(name)
    except Exception as error:
        found[name] = f"missing ({error})"
if not found["torch"].startswith("missing"):
    import torch
    found["devices"] = ["cpu"] + [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found["devices"].append("mps")
print(json.dumps(found))
"""


def look(python: str | Path | None = None) -> dict[str, object]:
    """By name: versions, devices, memory, the Blender that would be used, the jobs' folder and its size."""
    found: dict[str, object] = {"maquette": program_version(), "folder": str(process.ROOT),
                                "system": f"{platform.system()} {platform.machine()}", "cores": machine.cores(),
                                "memory_free_mb": machine.available_memory_mb()}
    try:
        chosen = backend.find_backend_python(python)
        said = subprocess.run([chosen, "-c", _LOOK], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        found |= {"backend": str(chosen), **(json.loads(said.stdout) if said.returncode == 0 else
                                             {"python": f"cannot be used ({said.stderr.strip()[-200:]})"})}
    except MaquetteError as error:
        found["backend"] = f"none ({error})"
    try:
        found["blender"] = backend.find_blender()[0]
    except MaquetteError as error:
        found["blender"] = f"none ({error})"
    folder = store.jobs_folder()
    return found | {"jobs": str(folder), "jobs_count": len(store.list_jobs()), "jobs_mb": store.size(folder) // 10**6}
