"""The paths that an input file names: they stay in the input's folder, and file endings are forgiven."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from ..recipes.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".exr")


def inside(folder: Path, name: object, where: str) -> Path:
    """The path of `name`, which the file `where` gives relative to `folder`; InputError where it leads out of it.

    The check is on the words of the path: a symbolic link that the user has put into the folder is followed.
    """
    if not isinstance(name, str) or not name or any(c < " " for c in name):
        raise InputError(f"{where}: {name!r} is not the path of a file; give one relative to {folder}")
    root = os.path.abspath(folder)
    path = Path(os.path.normpath(os.path.join(root, name.replace("\\", "/"))))
    if not path.is_relative_to(root):
        raise InputError(f"{where}: {name!r} leads out of the folder {root}; move the file into it and name it there")
    return path


def natural(name: str) -> list[tuple[str, int]]:
    """Sort key under which r_2 comes before r_10."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", str(name))]


class PictureFinder:
    """Finds files by the names that other files give them: ending in capitals, missing, added or replaced."""

    def __init__(self) -> None:
        self._listings: dict[Path, dict[str, str]] = {}

    def find(self, path: Path) -> Path | None:
        """`path`, or the picture beside it that differs in its ending alone; None where there is none."""
        listing = self._listing(path.parent)
        stems = (path.name, path.stem) if path.suffix else (path.name,)
        for name in (path.name, *(stem + ending for stem in stems for ending in PICTURES)):
            found = listing.get(name) or listing.get(name.lower())
            if found:
                return path.parent / found
        return None

    def _listing(self, folder: Path) -> dict[str, str]:
        """The folder's files by their names and by their names in small letters."""
        if folder not in self._listings:
            try:
                names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
            except OSError:
                names = []
            self._listings[folder] = {n.lower(): n for n in names} | {n: n for n in names}
        return self._listings[folder]


def missing_pictures(missing: list[str], total: int) -> str:
    """The warning that counts the pictures that are named but absent."""
    are = "is" if len(missing) == 1 else "are"
    they = "it is" if len(missing) == 1 else "they are"
    return f"views: {len(missing)} of {total} pictures {are} missing (first: {missing[0]}); {they} skipped"


def view_names(pictures: Iterable[Path]) -> list[str]:
    """A unique name for each picture: its path without the folders that all share and without the ending."""
    paths = [str(p.with_suffix("")) for p in pictures]
    shared = os.path.commonpath([os.path.dirname(p) for p in paths]) if paths else ""
    names: dict[str, None] = {}
    for path in paths:
        name = base = Path(os.path.relpath(path, shared)).as_posix()
        number = 1
        while name in names:
            name, number = f"{base}.{number:03d}", number + 1
        names[name] = None
    return list(names)


def link_file(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, a copy of it where the file system cannot do that."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            if os.access(source, os.R_OK):
                raise  # the target's disk is at fault, which the caller explains
            raise InputError(f"input: {source} cannot be copied ({error.strerror}); "
                             "make it readable or leave it out") from error
