"""The zip is the same bytes wherever and whenever it is made; Blender takes it from a repository that is a folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).with_name("blender")
VERSIONS = ("4.2.23", "4.5.15", "5.0.1")
COMPILED = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"PK\x03\x04")  # Linux, Windows, macOS, wheels

pytestmark = pytest.mark.blender

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def make(bpy_python: Callable[[str], Path]) -> Make:
    def run(tree: Path, *words: str | Path, **options: str) -> subprocess.CompletedProcess[str]:
        """release/build.py of a tree."""
        return subprocess.run([bpy_python("4.5.15"), tree / "release" / "build.py", *words], capture_output=True,
                              text=True, env={**os.environ, **options})
    return run


@pytest.fixture
def tree(tmp_path: Path, built: Path) -> Path:
    """A checkout in another folder with the files of this one, committed; `built` is made of the same."""
    folder = tmp_path / "some where else" / "tree"
    names = [*zipfile.ZipFile(built).namelist(), "release/build.py", "release/listing.html", ".gitattributes",
             ".gitignore"]
    for name in reversed(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    git(folder, "init", "-q")
    commit(folder)
    return folder


def git(tree: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=T", "-c", "user.email=t@localhost", *words], cwd=tree, check=True)


def commit(tree: Path) -> None:
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "All of it")


def set_version(tree: Path, number: str) -> None:
    manifest = tree / "blender_manifest.toml"
    manifest.write_text(re.sub(r'^version = ".*"', f'version = "{number}"', manifest.read_text(), flags=re.M))


def version_of(tree: Path, number: str) -> Path:
    """The tree as a maintainer leaves it for this version."""
    set_version(tree, number)
    with (tree / "CHANGELOG.md").open("a") as file:
        file.write(f"\n## {number}\n")
    commit(tree)
    return tree


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- the zip -----------------------------------------------------------------------------------------------------

def test_the_same_tree_makes_the_same_bytes_in_another_folder_at_another_time_with_other_rights(
        built: Path, tree: Path, tmp_path: Path, make: Make) -> None:
    for path in tree.rglob("*"):
        if ".git" not in path.parts and path.is_file():
            os.utime(path, (1_000_000_000, 1_000_000_000))  # 2001
            path.chmod(0o700)
    before = os.umask(0o077)
    try:
        said = make(tree, tmp_path / "other", TZ="Pacific/Kiritimati", LC_ALL="C")
    finally:
        os.umask(before)
    assert said.returncode == 0, said.stderr
    made = tmp_path / "other" / built.name
    assert digest(made) == digest(built)
    assert f"sha256 {digest(built)}" in said.stdout and f"{built.stat().st_size / 1e6:.1f} MB" in said.stdout


def test_the_zip_holds_the_extension_and_nothing_else(built: Path) -> None:
    names = zipfile.ZipFile(built).namelist()
    assert "blender_manifest.toml" in names and "neural/worker.py" in names
    rooms = {name.split("/")[0] for name in names if "/" in name}
    assert rooms == {"formats", "jobs", "neural", "operators", "panels", "recipes", "requirements", "scene"}, rooms
    lists = {name.split("/")[1] for name in names if name.startswith("requirements/")}
    assert lists == {"backend.txt", "cuda.txt", "torch.txt", "torch-cpu.txt", "torch-cuda.txt", "torch-rocm.txt"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".blend")]


def test_one_zip_serves_all_platforms_since_nothing_in_it_is_compiled(built: Path) -> None:
    with zipfile.ZipFile(built) as packed:
        for entry in packed.infolist():
            assert not packed.open(entry).read(4).startswith(COMPILED), entry.filename
            assert not entry.filename.endswith((".so", ".pyd", ".dll", ".dylib", ".whl", ".pyc")), entry.filename
        manifest = tomllib.loads(packed.read("blender_manifest.toml").decode())
    assert "platforms" not in manifest and "wheels" not in manifest


def test_what_git_does_not_track_stays_out_and_is_said(tree: Path, tmp_path: Path, make: Make) -> None:
    (tree / "formats" / "stray.py").write_text("")
    (tree / "neural" / "weights" / "secret.safetensors").write_text("")
    said = make(tree, tmp_path / "out")
    assert said.returncode == 0, said.stderr
    assert "2 files are not tracked by git and left out (first: formats/stray.py)" in said.stdout
    names = zipfile.ZipFile(next((tmp_path / "out").glob("*.zip"))).namelist()
    assert not [name for name in names if "stray" in name or "secret" in name]


def test_a_tracked_file_that_is_gone_or_a_link_is_refused_by_its_name(tree: Path, tmp_path: Path, make: Make) -> None:
    (tree / "cli.py").unlink()
    (tree / "cli.py").symlink_to("/etc/hostname")
    said = make(tree, tmp_path / "out")
    assert said.returncode == 2 and said.stderr.startswith("cli.py: git tracks it"), said.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_an_exported_tree_without_git_makes_the_same_zip(built: Path, tree: Path, tmp_path: Path, make: Make) -> None:
    shutil.rmtree(tree / ".git")
    assert make(tree, tmp_path / "out").returncode == 0
    assert digest(tmp_path / "out" / built.name) == digest(built)


def test_blenders_own_complaint_is_passed_on_in_one_line(tree: Path, tmp_path: Path, make: Make) -> None:
    manifest = tree / "blender_manifest.toml"
    manifest.write_text(manifest.read_text().replace('"Mesh"]', '"Sculpture"]'))
    said = make(tree, tmp_path / "out")
    assert said.returncode == 2 and len(said.stderr.splitlines()) == 1, said.stderr
    assert "Sculpture" in said.stderr and not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_blenders_validator_passes_it_with_its_own_tags(version: str, built: Path,
                                                              bpy_python: Callable[[str], Path]) -> None:
    python = bpy_python(version)
    tool = next(python.parents[1].glob("lib*/**/bl_pkg/cli/blender_ext.py"))
    tags = next(python.parents[1].glob("lib*/**/_bpy_internal/extensions/tags.py"))
    said = subprocess.run([python, tool, "validate", "--valid-tags", tags, built], capture_output=True, text=True)
    assert said.returncode == 0 and "Success" in said.stdout, said.stdout + said.stderr


def test_the_version_is_in_one_place(built: Path) -> None:
    from maquette.formats.report import program_version

    version = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))["version"]
    assert built.name == f"maquette-{version}.zip" and program_version() == version
    with zipfile.ZipFile(built) as packed:
        for name in packed.namelist():
            if name.endswith(".py"):
                assert f'"{version}"' not in packed.read(name).decode(), name
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})


# ---- the repository ----------------------------------------------------------------------------------------------

def test_a_release_is_a_folder_with_the_zip_its_index_and_a_page(built: Path, tree: Path, tmp_path: Path,
                                                                 make: Make) -> None:
    folder = tmp_path / "repository"
    for _ in range(2):  # the second takes the place of the first
        assert make(tree, folder, "--repository").returncode == 0
    assert {path.name for path in folder.iterdir()} == {built.name, "index.json", "index.html"}
    entry, = json.loads((folder / "index.json").read_text())["data"]
    assert entry["archive_url"] == f"./{built.name}" and entry["archive_hash"] == f"sha256:{digest(built)}"
    assert entry["archive_size"] == built.stat().st_size
    page = (folder / "index.html").read_text()
    assert built.name in page and not re.search(r"20\d\d-\d\d", page), "no date, so that it is reproducible too"


def test_a_release_of_uncommitted_changes_is_refused(tree: Path, tmp_path: Path, make: Make) -> None:
    with (tree / "cli.py").open("a") as file:
        file.write("# changed\n")
    said = make(tree, tmp_path / "repository", "--repository")
    assert said.returncode == 2 and "1 files differ from the last commit (first: cli.py)" in said.stderr


def test_a_release_whose_changes_are_not_told_is_refused(tree: Path, tmp_path: Path, make: Make) -> None:
    set_version(tree, "0.0.7")
    commit(tree)
    said = make(tree, tmp_path / "repository", "--repository")
    assert said.returncode == 2 and said.stderr.startswith("CHANGELOG.md: says nothing of version 0.0.7"), said.stderr
    assert not (tmp_path / "repository").exists()


def test_a_release_empties_no_folder_that_is_something_else(tree: Path, tmp_path: Path, make: Make) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    said = make(tree, tmp_path, "--repository")
    assert said.returncode == 2 and "is no extension repository" in said.stderr
    assert (tmp_path / "thesis.txt").exists()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of tmp_path / "served" on this machine."""
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("version", VERSIONS)
def test_blender_follows_a_repository_on_a_server_while_it_is_open(
        version: str, tree: Path, tmp_path: Path, make: Make, served: str,
        bpy_python: Callable[[str], Path]) -> None:
    results, profile = tmp_path / "results.json", tmp_path / "profile"
    profile.mkdir()
    env = {**os.environ, "BLENDER_USER_RESOURCES": str(profile)}
    env.pop("MAQUETTE_JOBS", None)
    assert make(version_of(tree, "0.0.8"), tmp_path / "served", "--repository").returncode == 0
    assert make(version_of(tree, "0.0.10"), tmp_path / "next", "--repository").returncode == 0
    publish = shlex.join(["cp", "-r", f"{tmp_path}/next/.", str(tmp_path / "served")])
    said = subprocess.run([bpy_python(version), HERE / "subscribing.py", f"{served}/index.json", publish, results],
                          env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200)
    assert said.returncode == 0, said.stdout[-3000:]
    before, after = json.loads(results.read_text())
    assert before[:2] == ["0.0.8", "cpu"] and Path(before[2]).is_relative_to(profile)
    assert after == ["0.0.10", *before[1:]]


@pytest.mark.gui
@pytest.mark.parametrize("version", ["5.2", "4.3"])
def test_blender_subscribes_installs_and_upgrades_and_keeps_jobs_and_preferences(
        version: str, tree: Path, tmp_path: Path, make: Make,
        blender_program: Callable[[str], list[str | Path]]) -> None:
    folder, profile = tmp_path / "repository", tmp_path / "profile"
    words, env = blender_program(version), {**os.environ, "BLENDER_USER_RESOURCES": str(profile)}
    env.pop("MAQUETTE_JOBS", None)
    profile.mkdir()

    def blender(*more: str | Path) -> str:
        said = subprocess.run([*words, "--online-mode", *more], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=200)
        assert said.returncode == 0, said.stdout
        return said.stdout

    def release(number: str) -> None:
        assert make(version_of(tree, number), folder, "--repository").returncode == 0

    def look(act: str) -> list[str]:
        """The installed version, the preference and the jobs' folder, as a Blender that starts has them."""
        code = ("import bpy, tomllib, importlib\n"
                "name = 'bl_ext.releases.maquette'\n"
                "settings = bpy.context.preferences.addons[name].preferences\n"
                f"{act}\n"
                "store = importlib.import_module(name + '.jobs.store')\n"
                "report = importlib.import_module(name + '.formats.report')\n"
                "print('seen', report.program_version(), settings.device, store.jobs_folder())")
        return re.findall(r"^seen (\S+) (\S+) (.+)$", blender("-b", "--python-exit-code", "1", "--python-expr", code),
                          re.MULTILINE)[0]

    release("0.0.8")
    blender("--command", "extension", "repo-add", "releases", "--name", "Releases", "--clear-all", "--url",
            (folder / "index.json").as_uri())
    blender("--command", "extension", "sync")
    blender("--command", "extension", "install", "maquette", "--enable")
    number, _, jobs = look("settings.device = 'cpu'; bpy.ops.wm.save_userpref()")
    assert number == "0.0.8" and Path(jobs).is_relative_to(profile)
    (Path(jobs) / "capture-1").mkdir(parents=True)
    (Path(jobs) / "capture-1" / "job.json").write_text("{}")
    release("0.0.9")
    blender("--command", "extension", "sync")
    blender("--command", "extension", "update")
    assert list(look("")) == ["0.0.9", "cpu", jobs]
    assert (Path(jobs) / "capture-1" / "job.json").exists()
