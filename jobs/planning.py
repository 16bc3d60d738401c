"""What a set-up of the backend will do: where, out of which Python, by which commands."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ..recipes import InputError, MachineError
from .builds import LISTS, Build

PYTHONS = (3, 11), (3, 14)  # for which all packages have wheels
SPARE_MB = 500
IN_ENVIRONMENT = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")
# A program that reads what was installed: a wheel that is whole may still lack a library of the system.
TRY = ("import torch, numpy, scipy, numba, trimesh, xatlas, safetensors, PIL, cv2, OpenEXR\n"
       "print('torch', torch.__version__, '| CUDA', torch.cuda.is_available(), '| Metal', "
       "torch.backends.mps.is_available())")

# Windows takes paths of 259 characters unless its owner has allowed longer ones; in an environment they have up to
# this many more than its place, for a licence of a library in torch.
LONGEST, INSIDE = 259, len("/01234567/env/Lib/site-packages/") + 173

_chosen: Path | None = None


def use_folder(path: Path | None) -> None:
    """Keep the backend in `path` (Blender's folder for the extension), None for the user's data folder."""
    global _chosen
    _chosen = path


def folder() -> Path:
    """MAQUETTE_BACKEND, else what `use_folder` chose, else the user's data folder, whose path is shorter."""
    named = os.environ.get("MAQUETTE_BACKEND")
    if named:
        return Path(named).absolute()
    return _chosen if _chosen and excess(_chosen) <= 0 else _data_folder()


def excess(place: Path) -> int:
    """By how many characters the path of a place is too long for an environment."""
    return len(str(place)) + INSIDE - LONGEST if sys.platform == "win32" and not _long_paths_are_allowed() else 0


def _long_paths_are_allowed() -> bool:
    import winreg
    where = r"SYSTEM\CurrentControlSet\Control\FileSystem"
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, where) as key:  # type: ignore[attr-defined]
            return winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1  # type: ignore[attr-defined]
    except OSError:
        return False


def folders_of_others() -> list[Path]:
    """Where other versions of Blender, the newest first, and the command line keep theirs; none where one is named.

    Blender's is VERSION/extensions/.user/REPOSITORY/ID/backend: a new Blender begins with another folder.
    """
    if _chosen is None or os.environ.get("MAQUETTE_BACKEND"):
        return []
    found = _chosen.parents[5].glob("/".join(("*", *_chosen.parts[-5:]))) if len(_chosen.parts) > 6 else []
    return [*sorted((path for path in found if path != _chosen), reverse=True), _data_folder() / "backend"]


def _data_folder() -> Path:
    if sys.platform == "win32":  # as short as can be
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "Maquette/env"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/maquette/backend"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "maquette/backend"


@dataclass(frozen=True)
class Plan:
    """What a set-up will do. `base` is the Python that the environment is made of."""

    build: Build
    place: Path
    base: Path
    wheels: Path | None = None  # a folder of all wheels, in place of the network
    lists: Path = LISTS

    @property
    def copies_base(self) -> bool:
        """Blender's own Python goes with Blender; a copy of it stays."""
        return _is_blenders(prefix()) and self.base.is_relative_to(prefix())

    @property
    def name(self) -> str:
        told = f"{digest_of(self.build.lists, self.lists)} {self.build.device} {sys.version_info[:2]} {self.base}"
        return hashlib.sha256(told.encode()).hexdigest()[:8]

    @property
    def environment(self) -> Path:
        return self.place / self.name / "env"

    def commands(self) -> list[list[str]]:
        """The programs that are run, in order."""
        base = self.place / self.name / "base" / self.base.relative_to(prefix()) if self.copies_base else self.base
        made = self.environment / IN_ENVIRONMENT
        return [[str(base), "-m", "venv", str(self.environment)],
                *[[str(made), *self._pip(name)] for name in self.build.lists], [str(made), "-c", TRY]]

    def text(self) -> str:
        """What a person should know before."""
        source = f"from {self.wheels}" if self.wheels else f"about {self.build.download_mb} MB to download"
        return "\n".join([f"{self.build.label}: {source}, {self.build.disk_mb} MB on the disk, in {self.place}",
                          *([f"copy {prefix()}"] if self.copies_base else []),
                          *(" ".join(words) for words in self.commands()[:-1])])

    def _pip(self, name: str) -> list[str]:
        path = self.lists / name
        # The lists are complete; without --no-deps torch would ask for CUDA's libraries where it need not.
        words = ["-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "2", "install", "--no-deps",
                 "--only-binary", ":all:", "--progress-bar", "off", "--cache-dir", str(self.place / "downloads")]
        words += ["--require-hashes"] if "--hash=" in path.read_text(encoding="utf-8") else []
        if self.wheels:
            words += ["--no-index", "--find-links", str(self.wheels)]
        elif self.build.index and name.startswith("torch"):
            words += ["--index-url", self.build.index]
        return [*words, "-r", str(path)]


def plan(build: Build, where: Path | None = None, wheels: Path | None = None) -> Plan:
    """The plan of a set-up by this Python. Raises InputError where it cannot be, MachineError where the disk is full."""
    base = _base()
    if wheels is not None and not any(wheels.glob("*.whl")):
        raise InputError(f"wheels: {wheels} has no .whl files; give the folder that you filled on another machine")
    place = (where or folder()).absolute()
    if excess(place) > 0:
        raise InputError(f"folder: the path {place} is {excess(place)} characters too long for Windows; name a shorter "
                         r"one in MAQUETTE_BACKEND, C:\maquette say, or allow long paths in Windows")
    above = next(path for path in (place, *place.parents) if path.exists())
    free, needed = shutil.disk_usage(above).free // 10**6, build.disk_mb + build.download_mb + SPARE_MB
    if free < needed and not (place / "downloads").exists():
        raise MachineError(f"disk: {free} MB are free at {above}, and the backend for {build.device} needs about "
                           f"{needed}; free some, or choose another folder")
    return Plan(build, place, base, wheels.absolute() if wheels else None)


def _base() -> Path:
    """This Python; where it is of another version or cannot make environments, as Blender's in some Linux
    distributions, the newest on the PATH that can. Nothing is started to find out. InputError where there is none."""
    low, high = PYTHONS
    this = sys.version_info[:2]
    if low <= this <= high and importlib.util.find_spec("ensurepip"):
        return Path(sys._base_executable if sys.prefix != sys.base_prefix else sys.executable)  # type: ignore[attr-defined]
    for minor in range(high[1], low[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and (Path(found).resolve().parents[1] / "lib" / f"python3.{minor}" / "ensurepip").is_dir():
            return Path(found)
    why = "cannot make environments" if low <= this <= high else f"is not 3.{low[1]} to 3.{high[1]}"
    raise InputError(f"python: this Python {this[0]}.{this[1]} {why} and no other was found; on Debian and Ubuntu "
                     "apt-get install python3-venv, elsewhere install a Python that the backend's packages are for: "
                     f"3.{low[1]} to 3.{high[1]}")


def digest_of(lists: tuple[str, ...] | list[str], where: Path = LISTS) -> str:
    texts = [(where / name).read_bytes() for name in lists if (where / name).is_file()]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def prefix() -> Path:
    return Path(sys.base_prefix)


def _is_blenders(prefix: Path) -> bool:
    return prefix.name == "python" and re.fullmatch(r"\d+\.\d+", prefix.parent.name) is not None
