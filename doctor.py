"""What an installation has and whether it works, for `maquette doctor` and for whoever helps its user.

Devices, drivers and packages may crash or hang: each is asked in a process of its own, with a time limit.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .formats.redacted import redacted
from .formats.report import program_version
from .jobs import backend, gpus, machine, planning, process, setup, store
from .recipes import InputError, MachineError, MaquetteError

FORMAT = 1
LIMIT = 90.0  # s for one answer: loading torch, the first time compiling loops, and two seconds of work
WEIGHTS = process.ROOT / "neural" / "weights"

# Runs in the backend: what it has, its heaviest packages really imported, and torch's devices.
_LOOK = """
import json, platform
from importlib.metadata import version
found = {"python": platform.python_version(), "packages": {}, "devices": []}
for name in ("torch", "numpy", "numba", "scipy", "trimesh"):
    try:
        __import__(name)
        found["packages"][name] = version(name)
    except Exception as error:
        found["packages"][name] = "missing (%s)" % (str(error).splitlines() or [type(error).__name__])[0]
if not found["packages"]["torch"].startswith("missing"):
    import torch
    mps = torch.backends.mps.is_available()
    found["build"] = ("CUDA " + torch.version.cuda if torch.version.cuda else
                      "ROCm " + torch.version.hip if torch.version.hip else "Metal" if mps else "CPU")
    found["devices"].append({"device": "cpu"})
    for i in range(torch.cuda.device_count()):
        found["devices"].append({"device": "cuda:%d" % i, "name": torch.cuda.get_device_name(i),
                                 "memory_mb": torch.cuda.get_device_properties(i).total_memory // 2**20})
    if mps:
        found["devices"].append({"device": "mps"})
print(json.dumps(found))
"""


def look(python: str | Path | None = None) -> dict[str, Any]:
    """The report of docs/doctor.md; the exit code of the worst of its `problems` is the command's."""
    problems: list[MaquetteError] = []
    chosen, has = _backend(python, problems)
    devices = [device | {"test": _tried(chosen, device["device"], problems)} for device in has.pop("devices", [])]
    found = {"format": FORMAT, "maquette": program_version(),
             "system": {"name": f"{platform.system()} {platform.release()} {platform.machine()}",
                        "cores": machine.cores()},
             "memory": {"total_mb": machine.total_memory_mb(), "free_mb": machine.available_memory_mb()},
             "disk": _disk(), "jobs": _jobs(), "blender": _blender(), "setup": _setup(), "backend": has,
             "gpus": gpus.gpus(), "devices": devices, "weights": _weights(problems)}
    found["problems"] = [{"kind": problem.kind, "says": str(problem)} for problem in problems]
    return redacted(found, _folders(chosen), _names())


def _ask(words: list[str | Path], env: dict[str, str] | None = None) -> tuple[str, str]:
    """What a process says, and why it did not, where it crashes, fails or hangs."""
    try:
        child = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, errors="replace", env=env,
                                 creationflags=machine.NO_WINDOW)
    except OSError as error:
        return "", f"it cannot be started ({error.strerror})"
    try:
        said, complaint = child.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits inside a driver cannot even be killed
            child.communicate(timeout=5)
        return "", f"it has not answered in {LIMIT:.0f} s"
    if child.returncode == 0:
        return said, ""
    last = (complaint.strip().splitlines() or ["without a word"])[-1]
    return said, f"its process ended with {child.returncode}: {last}"


def _backend(python: str | Path | None, problems: list[MaquetteError]) -> tuple[Path | None, dict[str, Any]]:
    """The backend's Python and what it has; nothing where there is none."""
    try:
        chosen = backend.find_backend_python(python)
    except MaquetteError as error:
        problems.append(error)
        return None, {}
    said, why = _ask([chosen, "-c", _LOOK], process.worker_environment())
    by_setup = {process.ROOT, planning.folder()} & set(chosen.parents)
    made = "set-up" if by_setup else "this Python" if str(chosen) == sys.executable else "named"
    if why:
        problems.append(InputError(f"python: the backend {chosen} cannot be used, {why}; {backend.HOW}"))
        return chosen, {"from": made}
    has = {"from": made, **json.loads(said)}
    absent = [f"{name} is {version}" for name, version in has["packages"].items() if version.startswith("missing")]
    if absent:
        problems.append(InputError(f"python: in the backend {'; '.join(absent)}; {backend.HOW}"))
    return chosen, has


def _tried(python: Path | None, device: str, problems: list[MaquetteError]) -> dict[str, Any]:
    """What the self-test says of a device."""
    assert python is not None
    said, why = _ask([python, process.ROOT, "selftest", device])
    try:
        test = json.loads(said)
    except ValueError:
        test = {"passed": False, "says": why}
    if not test["passed"]:
        mend = "install Maquette's backend again" if device == "cpu" else (
            "restart the machine and bring the driver up to date; until then choose the device cpu")
        problems.append(MachineError(f"device: {device} has not passed its test, {test['says']}; {mend}"))
    return test


def _disk() -> dict[str, Any]:
    folder = store.jobs_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return {"free_mb": shutil.disk_usage(there).free // 2**20}


def _jobs() -> dict[str, Any]:
    states = [job.status().state for job in store.list_jobs()]
    return {"count": len(states), "running": states.count("running"), "queued": states.count("queued"),
            "mb": store.size(store.jobs_folder()) // 10**6}


def _setup() -> dict[str, Any]:
    """How far Maquette's own set-up of a backend is, and for which device it has made one."""
    if setup.python() is not None:
        return {"state": "done", "device": setup.made_for(), "outdated": setup.is_outdated()}
    said = setup.status()
    none_begun = said.state == "queued"
    return {"state": "none" if none_begun else said.state, **({"says": said.message} if said.message else {})}


def _blender() -> dict[str, Any]:
    """The Blender that reads and writes .blend files and looks at meshes; only they need one."""
    try:
        program, *more = backend.find_blender()
    except MaquetteError as error:
        return {"says": str(error)}
    say = ["--version"] if more else ["-c", "import bpy, os; print('Blender', bpy.app.version_string, flush=True); "
                                            "os._exit(0)"]
    said, why = _ask([program, *say])
    line = next((line for line in said.splitlines() if line.startswith("Blender ")), "")
    return {"version": line.removeprefix("Blender ")} if line else {"says": f"{program}: {why or 'not a Blender'}"}


def _weights(problems: list[MaquetteError]) -> list[dict[str, Any]]:
    """Each network that lies in the installation; `pinned` is absent where none of that name ships."""
    lines = [line.split() for line in (WEIGHTS / "SHA256SUMS").read_text().splitlines()]
    pinned = {name: digest for digest, name in lines}
    found = []
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        known = {"pinned": digest == pinned[path.name]} if path.name in pinned else {}
        found.append({"name": path.name, "sha256": digest, **known})
    for name in pinned:
        have = next((entry for entry in found if entry["name"] == name), None)
        if have is None or not have["pinned"]:
            state = "is missing" if have is None else "is not the one that ships"
            problems.append(MachineError(f"weights: {name} {state}; install Maquette again"))
    return found


def _folders(python: Path | None) -> list[str]:
    """Folders that a text may name, their parents too: what is in them has no word of the user's before it."""
    known = [process.ROOT, Path.home(), store.jobs_folder(), store.cache_folder(), planning.folder(),
             Path(sys.executable)]
    if python is not None:
        known.append(Path(python).absolute())
    with contextlib.suppress(MaquetteError):
        known.append(Path(backend.find_blender()[0]))
    return [str(folder) for path in known for folder in (path, *path.parents) if len(folder.parts) > 2]


def _names() -> list[str]:
    names = [machine.host(), machine.host().partition(".")[0], Path.home().name]
    with contextlib.suppress(OSError, KeyError, ImportError):  # a user without a name, as in containers
        names.append(getpass.getuser())
    return names


def text(found: dict[str, Any]) -> str:
    """The report as lines to paste into an issue."""
    has, memory, jobs = found["backend"], found["memory"], found["jobs"]
    rows = [("maquette", found["maquette"]), ("system", f"{found['system']['name']}, {found['system']['cores']} cores"),
            ("memory", f"{memory['free_mb']} of {memory['total_mb']} MB free"),
            ("disk", f"{found['disk']['free_mb']} MB free"),
            ("jobs", f"{jobs['count']}, {jobs['mb']} MB, {jobs['running']} running, {jobs['queued']} waiting"),
            ("blender", found["blender"].get("version") or f"none ({found['blender']['says']})")]
    rows.append(("backend", f"Python {has['python']} ({has['from']}), torch for {has.get('build', 'nothing')}"
                 if "python" in has else "none"))
    made = found["setup"]
    rows.append(("set-up", ", ".join([made["state"], *(made[key] for key in ("device", "says") if key in made),
                                      *(["for an older Maquette"] if made.get("outdated") else [])])))
    rows += [(name, version) for name, version in has.get("packages", {}).items()]
    rows += [("gpu", ", ".join([gpu["name"], *(f"{gpu[key]} {unit}" for key, unit in (
        ("memory_mb", "MB"), ("free_mb", "MB free")) if key in gpu), f"driver {gpu.get('driver', 'of the system')}"]))
        for gpu in found["gpus"]] or [("gpu", "none that the system tells of")]
    for device in found["devices"]:
        test = device["test"]
        about = [device["name"]] if "name" in device else []
        about += [f"{device['memory_mb']} MB"] if "memory_mb" in device else []
        about += [f"passed its test in {test['seconds']} s" if test["passed"] else f"FAILED: {test['says']}"]
        about += [f"error {test['error']}, {test['difference']} from the CPU's reference"] if "error" in test else []
        rows.append((device["device"], ", ".join(about)))
    whose = {True: "as shipped", False: "NOT as shipped", None: "your own"}
    rows += [("weights", f"{entry['name']} {whose[entry.get('pinned')]}, SHA-256 {entry['sha256']}")
             for entry in found["weights"]]
    rows += [("problem", problem["says"]) for problem in found["problems"]] or [("problems", "none")]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {said}" for name, said in rows)
