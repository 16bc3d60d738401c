"""A Blender without a window, for the parts of a command that need one: reading and writing .blend files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from ..recipes import BY_KIND, InputError, MachineError, MaquetteError
from .process import ROOT

SCRIPT = ROOT / "scene" / "headless.py"


def call(blender: list[str], *words: str | Path, log: Path, on_progress: Callable[[float, str], None]) -> None:
    """Run a verb of scene/headless.py and wait; its error lines and Blender's go to `log`.

    Raises what the script's exit code says, with the last line of its errors.
    """
    with open(log, "ab") as errors:
        before = errors.tell()
        try:
            child = subprocess.Popen([*blender, SCRIPT, "--", *words], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace")
        except OSError as error:
            raise InputError(f"blender: {blender[0]} cannot be started ({error.strerror}); "
                             "name another by --blender") from error
    with child:
        assert child.stdout
        try:
            for line in child.stdout:
                word, _, rest = line.partition(" ")
                fraction, _, message = rest.partition(" ")
                if word == "maquette":
                    on_progress(float(fraction), message.strip())
            code = child.wait()
        except BaseException:
            child.kill()
            raise
    if code:
        lines = log.read_bytes()[before:].decode(errors="replace").strip().splitlines()
        if code < 0:
            raise MachineError(f"blender: it was killed (signal {-code}), as systems do that run out of memory; "
                               "give the command again")
        if not lines and not shutil.disk_usage(log.parent).free:
            raise MachineError(f"disk: no space is left for {log.parent}; free some, then give the command again")
        _raise(code, lines[-1] if lines else f"Blender ended with {code}", log)


def _raise(code: int, last_line: str, log: Path) -> None:
    errors = {error.exit_code: error for error in BY_KIND.values()}
    if code in errors and errors[code] is not MaquetteError:
        raise errors[code](last_line)
    raise MaquetteError(f"blender: a defect of Maquette or a crash of Blender ({last_line}); the log is {log}")
