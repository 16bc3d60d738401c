"""The extension's zip, and a static repository with it, by Blender's own tool.

    PYTHON_WITH_BPY release/build.py FOLDER [--repository]

Writes FOLDER/ID-VERSION.zip (the manifest's), or a repository into FOLDER, which Blender subscribes to by the address
of its index.json. The same tree makes the same bytes: order, times and rights of the entries are fixed. Only what git
tracks goes in; a tree without git, as an exported archive is, goes in whole. bpy itself is not imported.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LISTING = Path(__file__).with_name("listing.html")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can say
UNIX, PLAIN_FILE = 3, 0o100644 << 16


class Trouble(Exception):
    """One line for the user."""


def tool(*words: str | Path) -> None:
    """Blender's tool for extensions, which checks strictly, tags included; what it says is shown when it refuses."""
    spec = importlib.util.find_spec("bpy")
    if spec is None or spec.origin is None:
        raise Trouble(f"bpy: {sys.executable} has none; `python3 run.py build` chooses a Python that has")
    scripts = next(Path(spec.origin).parent.glob("*/scripts"))
    script = scripts / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
    tags = scripts / "modules" / "_bpy_internal" / "extensions" / "tags.py"
    checks = [] if words[0] == "server-generate" else ["--valid-tags", tags]
    said = subprocess.run([sys.executable, script, words[0], *checks, *words[1:]], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if said.returncode:
        raise Trouble(f"{words[0]}: Blender's own tool refuses: {' '.join(said.stdout.split())}")


def git(*words: str) -> list[str]:
    """The paths that a git command lists, relative to the root."""
    # The tree may belong to another user, as in a container; its own programs run here in any case.
    said = subprocess.run(["git", "-c", "safe.directory=*", *words, "-z"], cwd=ROOT, capture_output=True, text=True)
    if said.returncode:
        raise Trouble(f"git: {' '.join(said.stderr.split())}")
    return sorted(said.stdout.split("\0")[:-1])


def copy_tree(target: Path) -> None:
    """What belongs to the tree, and a line on what does not belong to it yet."""
    if not (ROOT / ".git").exists():
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".*", "__pycache__", "dist", "out"))
        return
    for name in git("ls-files"):
        source, copy = ROOT / name, target / name
        if source.is_symlink() or not source.is_file():
            raise Trouble(f"{name}: git tracks it and it is no plain file here; "
                          f"`git checkout -- {name}` brings it back")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
    left_out = git("ls-files", "--others", "--exclude-standard")
    if left_out:
        print(f"{len(left_out)} files are not tracked by git and left out (first: {left_out[0]})")


def rewrite(source: Path, target: Path) -> None:
    """The same entries, with nothing of the machine and the hour that packed them."""
    with zipfile.ZipFile(source) as packed, zipfile.ZipFile(target, "w") as plain:
        for entry in sorted(packed.infolist(), key=lambda entry: entry.filename):
            fixed = zipfile.ZipInfo(entry.filename, EPOCH)
            fixed.create_system, fixed.external_attr, fixed.compress_type = UNIX, PLAIN_FILE, entry.compress_type
            plain.writestr(fixed, packed.read(entry), compresslevel=9)


def manifest() -> dict[str, str]:
    return tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))


def build(folder: Path) -> Path:
    """FOLDER/ID-VERSION.zip, which Blender's validator has passed."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{manifest()['id']}-{manifest()['version']}.zip"
    with tempfile.TemporaryDirectory() as scratch:
        tree, packed, plain = (Path(scratch) / name for name in ("tree", "packed.zip", made.name))
        copy_tree(tree)
        tool("build", "--source-dir", tree, "--output-filepath", packed)
        rewrite(packed, plain)
        tool("validate", plain)
        shutil.copyfile(plain, made)
    print(f"{shown(made)}  {made.stat().st_size / 1e6:.1f} MB\n"
          f"sha256 {hashlib.sha256(made.read_bytes()).hexdigest()}")
    return made


def repository(folder: Path) -> None:
    """The zip of the last commit with index.json and a page that lists it, in place of what was in FOLDER."""
    if not (ROOT / ".git").exists():
        raise Trouble("git: a release is made from a commit, and this tree has no history; clone the repository")
    changed = git("status", "--porcelain", "--untracked-files=no")
    if changed:
        raise Trouble(f"git: {len(changed)} files differ from the last commit (first: {changed[0][3:]}); "
                      "commit them or put them aside, then release")
    version = manifest()["version"]
    if f"\n## {version}\n" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        raise Trouble(f"CHANGELOG.md: says nothing of version {version}; add a heading `## {version}` and its changes, "
                      "or raise the version in blender_manifest.toml")
    if folder.exists() and any(folder.iterdir()) and not (folder / "index.json").exists():
        raise Trouble(f"{folder}: is no extension repository and would be emptied; name another folder")
    shutil.rmtree(folder, ignore_errors=True)
    build(folder)
    tool("server-generate", "--repo-dir", folder, "--html", "--html-template", LISTING)
    print(f"{shown(folder)}  publish this folder; Blender subscribes to the address of its index.json")


def shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="The extension's zip, and a static repository with it.")
    parser.add_argument("folder", type=Path, help="where to")
    parser.add_argument("--repository", action="store_true", help="a repository of the last commit instead of a zip")
    options = parser.parse_args(arguments)
    try:
        (repository if options.repository else build)(options.folder.absolute())
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 2
    except OSError as problem:
        print(f"{problem.filename}: {problem.strerror}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
