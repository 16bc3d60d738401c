"""Making the backend's environment, once: a Python of its own, torch and what belongs to it.

    FOLDER/current.json    which of the environments below is complete, and what it was made of
    FOLDER/HASH/           an environment, named by all that it is made of; another is made beside it, then it goes
    FOLDER/downloads/      pip's cache, while a set-up is not complete: what has arrived is not loaded again
    FOLDER/status.json     how far the set-up is; FOLDER/log.txt is all that pip has said

Standard library only, on every Python from 3.11: Blender's own runs it in a process apart.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..recipes import Cancelled, InputError, MachineError, MaquetteError
from . import files, machine
from .folder import Status
from .planning import IN_ENVIRONMENT, Plan, digest_of, folder, folders_of_others, prefix

FULL = 10**6  # bytes left, on a disk that is full
LOOK = 0.1  # s between looks at a running program
_PIP = re.compile(r"^\s*(?:Collecting|Downloading|Using cached|Processing|Installing collected packages:) ?(.*)", re.M)


def python(where: Path | None = None) -> Path | None:
    """The Python of the environment that is complete, None where there is none."""
    for place in [where] if where else (folder(), *folders_of_others()):
        made = _current(place)
        found = place / str(made.get("name", "")) / "env" / IN_ENVIRONMENT
        if made and found.exists():
            return found
    return None


def is_made(plan: Plan) -> bool:
    """Whether the environment that a plan would make is there."""
    return _current(plan.place).get("name") == plan.name and python(plan.place) is not None


def made_for(where: Path | None = None) -> str:
    """The device that the environment was made for, empty where there is none."""
    return str(_current(where or folder()).get("device", "")) if python(where) else ""


def is_outdated(where: Path | None = None) -> bool:
    """Whether this version of Maquette would make another environment than the one that is there."""
    made = _current(where or folder())
    lists = made.get("lists", [])
    return python(where) is not None and made.get("sources") != digest_of(lists if isinstance(lists, list) else [])


def status(where: Path | None = None) -> Status:
    """How far the set-up is: queued where none was begun, interrupted where its process is gone."""
    try:
        values = files.read_json((where or folder()) / "status.json")
    except (OSError, ValueError):
        return Status("queued")
    owner, found = values.pop("process", None), Status("failed", message="status.json cannot be read")
    with contextlib.suppress(TypeError):
        found = Status(**{name: value for name, value in values.items() if name != "child"})
    return replace(found, state="interrupted") if found.state == "running" and not _lives(owner) else found


def request_cancel(where: Path | None = None) -> None:
    """Ask a set-up that runs to end; it does within a second."""
    if status(where).state == "running":
        ((where or folder()) / "cancel").touch()


def remove(where: Path | None = None) -> int:
    """Delete the environment and what a set-up has left; returns the bytes that this gave."""
    place = where or folder()
    if status(place).state == "running":
        raise InputError(f"set-up: it is under way in {place}; cancel it first")
    freed = 0
    for path in _own(place):
        freed += sum(file.lstat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else 0
        _delete(path)
    with contextlib.suppress(OSError):
        place.rmdir()
    return freed


def carry_out(plan: Plan, on_status: Callable[[Status], None]) -> str:
    """Make the environment of a plan, from what an earlier one has loaded; returns what its packages say of themselves.

    The environment that was there is used until the new one is complete. Raises Cancelled where `request_cancel` or
    Ctrl-C asked for it, InputError and MachineError with what is to be done.
    """
    return _SetUp(plan, on_status).run()


class _SetUp:
    def __init__(self, plan: Plan, on_status: Callable[[Status], None]) -> None:
        self._plan, self._on_status = plan, on_status
        self._log = plan.place / "log.txt"
        self._child: subprocess.Popen | None = None
        self._status = Status("running")
        self._written: object = None

    def run(self) -> str:
        place = self._plan.place
        try:
            place.mkdir(parents=True, exist_ok=True)
            with files.locked(place / "lock"):
                self._refuse_second()
                self._say("python", 0.0)
            (place / "cancel").unlink(missing_ok=True)
            self._log.write_text("")
            said = self._steps()
        except OSError as error:
            problem = files.explained(error, Path(error.filename or place))
            self._end("failed", str(problem), problem.kind)
            raise problem from error
        except (KeyboardInterrupt, Cancelled):
            self._end("cancelled")
            raise Cancelled("cancelled: what was downloaded is kept; set up again to go on") from None
        except _UnderWay:
            raise
        except MaquetteError as problem:
            self._end("failed", str(problem), problem.kind)
            raise
        self._end("done", said)
        return said

    def _refuse_second(self) -> None:
        """InputError where another process is at it; a program that a killed one has left is ended."""
        place = self._plan.place
        try:
            values = files.read_json(place / "status.json")
        except (OSError, ValueError):
            return
        if values.get("state") == "running" and _lives(values.get("process")):
            raise _UnderWay(f"set-up: it is under way in {place} (process {values['process'][0]}); wait for it or cancel it")
        if _lives(values.get("child")):
            _end_process(values["child"][0])
            while _lives(values["child"]):  # it writes into the folder until it is gone
                time.sleep(LOOK)

    def _steps(self) -> str:
        place, plan = self._plan.place, self._plan
        _delete(place / plan.name)  # pip cannot tell a package that is half there
        (place / plan.name).mkdir()
        if plan.copies_base:
            self._copy(prefix(), place / plan.name / "base")
        make, *installs, look = plan.commands()
        self._call(make, "environment", 0.05, 0.1)
        share = 0.8 / len(installs)
        for number, words in enumerate(installs):
            self._call(words, "packages", 0.1 + share * number, 0.1 + share * (number + 1))
        self._call(look, "check", 0.9, 1.0)
        said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
        files.write_json(place / "current.json", {
            "name": plan.name, "device": plan.build.device, "lists": list(plan.build.lists),
            "sources": digest_of(plan.build.lists, plan.lists), "python": sys.version.split()[0], "said": said})
        for path in _own(place):
            if path.name not in (plan.name, "current.json", "status.json", "log.txt", "lock"):
                _delete(path)
        return said

    def _copy(self, prefix: Path, target: Path) -> None:
        """Copy a Python without its packages, looking for a cancel in between."""
        def ignore(path: str, names: list[str]) -> set[str]:
            self._stop_if_asked()
            leave = {"__pycache__", "test", "idlelib", "tkinter", "turtledemo"} & set(names)
            return leave | ({*names} if Path(path).name == "site-packages" else set())

        shutil.copytree(prefix, target, ignore=ignore, symlinks=True)

    def _call(self, words: list[str], stage: str, start: float, end: float) -> None:
        """Run a program to its end; its words go to the log, of which the last that counts is the message."""
        self._say(stage, start)
        temporary = self._plan.place / "downloads" / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
        env |= {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))}
        group: dict = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW} if (
            sys.platform == "win32") else {"start_new_session": True}
        with open(self._log, "ab") as log:
            log.write(f"$ {' '.join(words)}\n".encode())
            log.flush()
            begin = log.tell()
            try:
                self._child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, **group)
            except OSError as error:
                raise InputError(f"python: {words[0]} cannot be started ({error.strerror})") from None
            self._say(stage, start)
            try:
                while self._child.poll() is None:
                    self._stop_if_asked()
                    self._follow(words, stage, start, end, begin)
                    time.sleep(LOOK)
            except BaseException:
                _end_process(self._child.pid)
                self._child.wait()
                raise
        code, self._child = self._child.returncode, None
        if code and shutil.disk_usage(self._plan.place).free < FULL:  # it could not even say so in the log
            raise OSError(errno.ENOSPC, "no space is left", str(self._plan.place))
        if code:
            raise _explained(stage, self._said(begin), self._log)

    def _follow(self, words: list[str], stage: str, start: float, end: float, begin: int) -> None:
        found = _PIP.findall(self._said(begin))
        if found and "-r" in words:
            count = len(re.findall(r"^\w", Path(words[-1]).read_text(encoding="utf-8"), re.M))
            self._say(stage, start + (end - start) * min(len(found) / (2 * count), 1), found[-1][:80])

    def _said(self, begin: int) -> str:
        with open(self._log, "rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def _stop_if_asked(self) -> None:
        if (self._plan.place / "cancel").exists():
            raise Cancelled("cancelled")

    def _say(self, stage: str, fraction: float, message: str = "") -> None:
        self._write(replace(self._status, stage=stage, fraction=round(fraction, 3), message=message))

    def _end(self, state: str, message: str = "", kind: str = "") -> None:
        with contextlib.suppress(OSError, MaquetteError):  # on a full disk not even this can be written
            (self._plan.place / "cancel").unlink(missing_ok=True)
            if state != "done":  # half an environment is of no use, and may be what fills the disk
                _delete(self._plan.place / self._plan.name)
                _delete(self._plan.place / "downloads" / "tmp")
            self._write(Status(state, self._status.stage, 1.0 if state == "done" else self._status.fraction,
                               message=message, kind=kind))

    def _write(self, status: Status) -> None:
        now = status, self._child.pid if self._child else None
        if now == self._written:
            return
        self._status, self._written = status, now
        files.write_json(self._plan.place / "status.json", {
            **vars(status), "process": _named(os.getpid()), "child": _named(self._child.pid) if self._child else None})
        self._on_status(status)


class _UnderWay(InputError):
    """Another process has the status."""


def _explained(stage: str, said: str, log: Path) -> MaquetteError:
    """Why a program has ended, in one line, from what it has said."""
    if re.search("No space left|not enough space|quota exceeded|File too large", said):
        return files.explained(OSError(errno.ENOSPC, ""), log.parent)
    if "DO NOT MATCH THE HASHES" in said or "HASH MISMATCH" in said.upper():
        named = re.search(r"^ +(\S+) from file|^ +(\S+==\S+) ", said, re.M)
        name = next(filter(None, named.groups()), "a package") if named else "a package"
        return MachineError(f"set-up: {name} is not what Maquette names (its SHA-256 differs), and was not installed; "
                            f"delete or load it again, then set up again ({log})")
    if "is not a valid wheel" in said or "BadZipFile" in said or "has an invalid wheel" in said or "is invalid." in said:
        return MachineError(f"set-up: a package is broken or cut off; delete it from the folder of wheels, or set up "
                            f"again ({log})")
    if "ProxyError" in said or "Cannot connect to proxy" in said:
        return MachineError("network: the proxy refuses the connection; check HTTPS_PROXY and pip's settings, then set "
                            f"up again ({log})")
    if "NewConnectionError" in said or "ReadTimeoutError" in said or "ConnectTimeout" in said:
        return MachineError("network: the packages' server cannot be reached; check the connection, or give a folder of "
                            f"wheels ({log})")
    if "No matching distribution" in said:
        missing = re.search(r"No matching distribution found for (\S+)", said)
        return InputError(f"set-up: {missing[1] if missing else 'a package'} is not there for Python "
                          f"{sys.version_info[0]}.{sys.version_info[1]} on this system; complete the folder of wheels, "
                          f"or see {log}")
    if stage == "environment":
        return InputError("python: it cannot make an environment (on Debian and Ubuntu, apt-get install python3-venv); "
                          f"see {log}")
    lines = said.strip().splitlines() or ["it ended without a word"]
    return MachineError(f"set-up: {stage} failed ({lines[-1][:160]}); see {log}")


def _current(where: Path) -> dict[str, object]:
    try:
        return files.read_json(where / "current.json")
    except (OSError, ValueError):
        return {}


def _own(place: Path) -> list[Path]:
    """What set-ups make in their folder; a file of somebody else's there is not looked at."""
    names = "downloads", "current.json", "status.json", "log.txt", "lock", "cancel"
    return [path for path in (place.iterdir() if place.is_dir() else ())
            if path.name in names or re.fullmatch(r"[0-9a-f]{8}", path.name)]


def _delete(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise MachineError(f"file: {path} cannot be deleted ({error.strerror}); end the jobs that use it, then try "
                           "again") from error


def _named(pid: int) -> list[object]:
    """What names a process for good."""
    return [pid, machine.start_of(pid)]


def _lives(named: object) -> bool:
    return (isinstance(named, list) and len(named) == 2 and isinstance(named[0], int) and named[1] is not None
            and machine.start_of(named[0]) == named[1])


def _end_process(pid: int) -> None:
    """Kill a program that was started as a group of its own, with all that it started."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True,
                       creationflags=machine.NO_WINDOW)
        return
    import signal
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
