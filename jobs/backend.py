"""The other programs that a job needs: the Python with torch, and a Blender where a .blend is read or written."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ..recipes import InputError
from . import machine, planning, setup
from .process import ROOT

HOW = "press Set Up Backend in the tab Maquette, run `maquette setup`, or name one in MAQUETTE_PYTHON or the preferences"


def find_backend_python(explicit: str | Path | None = None, *, tried: bool = True) -> Path:
    """The Python with torch: `explicit`, else MAQUETTE_PYTHON, else this one, else the one that set-up made.

    It is started to see whether it has torch; with `tried=False` its file alone is looked at, as a panel that is
    drawn must do.
    """
    named = explicit or os.environ.get("MAQUETTE_PYTHON")
    if named:
        _check_python(Path(named), tried)
        return Path(named)
    if importlib.util.find_spec("torch"):
        return Path(sys.executable)
    of_checkout = ROOT / ".venv" / planning.IN_ENVIRONMENT
    python = of_checkout if of_checkout.exists() else setup.python()
    if python is None:
        raise InputError(f"python: no Python with torch was found; {HOW}")
    _check_python(python, tried)
    return python


def _check_python(python: Path, tried: bool) -> None:
    if not tried:
        if shutil.which(python) is None:
            raise InputError(f"python: {python} is not a program; {HOW}")
        return
    # Looking whether it is there takes 30 ms, importing it two seconds; the worker will see soon enough.
    look = "import importlib.util, sys; sys.exit(3 if importlib.util.find_spec('torch') is None else 0)"
    try:
        said = subprocess.run([python, "-c", look], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                              creationflags=machine.NO_WINDOW)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"python: {python} cannot be started ({error}); {HOW}") from None
    if said.returncode:
        raise InputError(f"python: no torch in the chosen Python {python}; {HOW}")


def find_blender(explicit: str | Path | None = None) -> list[str]:
    """The words that run a script with bpy, to be followed by the script, "--" and its arguments.

    `explicit`, else MAQUETTE_BLENDER: a blender executable or a Python that has bpy. Else this Python if
    it has bpy, else one that set-up made, else the blender on the PATH.
    """
    named = explicit or os.environ.get("MAQUETTE_BLENDER")
    if named:
        program = shutil.which(str(named))
        if program is None:
            raise InputError(f"blender: {named} is not a program; name a blender executable or a Python with bpy")
        return _script_words(program)
    if importlib.util.find_spec("bpy"):
        return [sys.executable]
    made = sorted((ROOT / ".blenders").glob(f"*/{planning.IN_ENVIRONMENT}"), key=_version)
    if made:
        return [str(made[-1])]
    program = shutil.which("blender")
    if program is None:
        raise InputError("blender: this needs one and none was found; name one by --blender or MAQUETTE_BLENDER, or "
                         "put it on the PATH")
    return _script_words(program)


def _version(python: Path) -> list[int]:
    name = python.relative_to(ROOT / ".blenders").parts[0]
    return [int(part) for part in name.split(".") if part.isdigit()]


def _script_words(program: str) -> list[str]:
    if Path(program).name.lower().startswith("python"):
        return [program]
    return [program, "--background", "--factory-startup", "--python-exit-code", "1", "--python"]
