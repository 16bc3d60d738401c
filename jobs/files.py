"""Writing files that another process may read at any moment."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..recipes.errors import InputError, MachineError, MaquetteError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def atomic_write(path: Path, content: bytes) -> None:
    """Replace `path` in one step: a reader sees the old content or the new one, even after a power cut."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _while_another_reads(lambda: os.replace(beside, path))
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise explained(error, path) from error


def write_json(path: Path, values: dict[str, Any]) -> None:
    atomic_write(path, json.dumps(values, indent=1, allow_nan=False).encode())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; ValueError where the file holds anything else, OSError where it cannot be read."""
    values = json.loads(_while_another_reads(path.read_bytes))
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return values


def _while_another_reads(act: Any) -> Any:
    """Windows refuses to replace a file that is open elsewhere, and to open one that is being replaced."""
    for _ in range(100 if os.name == "nt" else 0):
        try:
            return act()
        except PermissionError:
            time.sleep(0.01)
    return act()


def explained(error: OSError, path: Path) -> MaquetteError:
    """The one line that tells a user what the operating system said of `path`."""
    if error.errno in _FULL:
        return MachineError(f"disk: no space is left for {path}; free some, then run or resume the job again")
    return InputError(f"file: {path} cannot be written ({error.strerror or error}); "
                      "choose another folder or mend its permissions")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` against every other process; the system frees it when its holder dies."""
    try:
        file = open(path, "ab")
    except OSError as error:
        raise explained(error, path) from error
    with file:
        _lock(file.fileno())
        try:
            yield
        finally:
            _unlock(file.fileno())


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        while True:
            os.lseek(file, 0, os.SEEK_SET)
            try:
                return msvcrt.locking(file, msvcrt.LK_LOCK, 1)
            except OSError:  # after ten seconds of waiting
                continue

    def _unlock(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
