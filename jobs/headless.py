"""A Blender without a window, for the parts of a command that need one: reading and writing .blend files."""

from __future__ import annotations

import queue
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ..recipes import BY_KIND, InputError, MachineError, MaquetteError
from .process import ROOT

SCRIPT = ROOT / "scene" / "headless.py"
LOOK_EVERY = 0.1  # s
_LET_GO = 1.0  # s after the end of a killed Blender in which its pipe closes, unless it has left children


def nothing() -> None:
    """For who does not want to be asked."""


def call(blender: list[str], *words: str | Path, log: Path, on_progress: Callable[[float, str], None],
         look: Callable[[], None] = nothing) -> None:
    """Run a verb of scene/headless.py and wait; its error lines and Blender's go to `log`.

    `look` is called ten times a second meanwhile. What it or `on_progress` raises ends Blender and passes on. Raises
    what the script's exit code says, with the last line of its errors.
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
        heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(child.stdout, heard), daemon=True)
        reader.start()
        try:
            while (line := _next(heard, look)) is not None:
                word, _, rest = line.partition(" ")
                fraction, _, message = rest.partition(" ")
                if word == "maquette":
                    on_progress(float(fraction), message.strip())
            code = child.wait()
        except BaseException:
            child.kill()
            reader.join(_LET_GO)
            raise
    if code:
        lines = log.read_bytes()[before:].decode(errors="replace").strip().splitlines()
        if code < 0:
            raise MachineError(f"blender: it was killed (signal {-code}), as systems do that run out of memory; "
                               "give the command again")
        if not lines and not shutil.disk_usage(log.parent).free:
            raise MachineError(f"disk: no space is left for {log.parent}; free some, then give the command again")
        _raise(code, lines[-1] if lines else f"Blender ended with {code}", log)


def _read(pipe: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    """Hand on a pipe's lines, and None after the last: Windows cannot wait for a pipe and for a time."""
    for line in pipe:
        lines.put(line)
    lines.put(None)


def _next(lines: queue.SimpleQueue[str | None], look: Callable[[], None]) -> str | None:
    while True:
        look()
        try:
            return lines.get(timeout=LOOK_EVERY)
        except queue.Empty:
            continue


def _raise(code: int, last_line: str, log: Path) -> None:
    errors = {error.exit_code: error for error in BY_KIND.values()}
    if code in errors and errors[code] is not MaquetteError:
        raise errors[code](last_line)
    raise MaquetteError(f"blender: a defect of Maquette or a crash of Blender ({last_line}); the log is {log}")
