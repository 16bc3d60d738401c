"""The backend's environment: planned, made of tiny wheels without the network, killed at every stage, gone on with."""

from __future__ import annotations

import base64
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maquette.jobs import backend, builds, planning, setup
from maquette.recipes import InputError, MachineError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and mounts are Linux's; Windows and macOS differ")

ROOT = Path(__file__).resolve().parents[1]
# `maquette setup …` with the lists of the tests, on any Python from 3.11.
DRIVER = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("maquette", {root!r} + "/__init__.py", submodule_search_locations=[{root!r}])
sys.modules["maquette"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from maquette.jobs import builds
builds.LISTS = Path({lists!r})
from maquette.jobs import planning
planning.TRY, planning.SPARE_MB = "import torch, numpy; print(torch.kind)", {spare}
from maquette.cli import main
sys.exit(main(sys.argv[1:]))
"""


def wheel(folder: Path, name: str, source: str, version: str = "1.0") -> str:
    """A wheel with one module; returns its SHA-256."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    entries = {f"{name}.py": source, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
               f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = [f"{entry},sha256={_digest(text)},{len(text)}" for entry, text in entries.items()] + [f"{info}/RECORD,,"]
    with zipfile.ZipFile(path, "w") as packed:
        for entry, text in {**entries, f"{info}/RECORD": "\n".join(record) + "\n"}.items():
            packed.writestr(entry, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class Bench:
    """A folder of wheels, the lists that pin them, and a place for the backend."""

    def __init__(self, folder: Path) -> None:
        self.wheels, self.lists, self.place = (folder / name for name in ("wheels", "lists", "backend"))
        self.driver = folder / "driver.py"
        self.wheels.mkdir()
        self.lists.mkdir()
        self.driver.write_text(DRIVER.format(root=str(ROOT), lists=str(self.lists), spare=-20_000))
        self.pin("torch-cpu.txt", torch=wheel(self.wheels, "torch", "kind = 'cpu'\n"))
        self.pin("backend.txt", numpy=wheel(self.wheels, "numpy", ""))

    def pin(self, name: str, **hashes: str) -> None:
        (self.lists / name).write_text("".join(f"{package}==1.0 --hash=sha256:{digest}\n"
                                               for package, digest in hashes.items()))

    def words(self, *more: str, offline: bool = True) -> list[str]:
        wheels = ["--wheels", str(self.wheels)] if offline else []
        return [sys.executable, str(self.driver), "setup", "--device", "cpu", "--folder", str(self.place), *wheels,
                *more]

    def run(self, *more: str, offline: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*more, offline=offline), capture_output=True, text=True, timeout=100, **options)

    def says(self) -> str:
        """What torch the environment has."""
        python = setup.python(self.place)
        assert python is not None
        said = subprocess.run([python, "-c", "import torch; print(torch.kind)"], capture_output=True, text=True)
        return said.stdout.strip()

    def wait_for(self, what: Callable[[], bool]) -> None:
        until = time.monotonic() + 60
        while not what():
            assert time.monotonic() < until
            time.sleep(0.005)

    def stage(self) -> str:
        return setup.status(self.place).stage


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def one_line(said: subprocess.CompletedProcess[str]) -> str:
    """The error; more than one line, or a traceback, is a defect."""
    (line,) = said.stderr.strip().splitlines()
    return line


# ---- the plan ----------------------------------------------------------------------------------------------------

def test_a_dry_run_says_torch_folder_size_and_commands_and_does_nothing(bench: Bench) -> None:
    said = bench.run("--dry-run")
    assert said.returncode == 0 and not bench.place.exists()
    for word in ("Processor alone", str(bench.place), "MB on the disk", "--require-hashes", "torch-cpu.txt"):
        assert word in said.stdout


@pytest.mark.parametrize("file,torch", [("", "cpu"), ("/proc/driver/nvidia/version", "cuda"), ("/opt/rocm", "rocm")])
def test_the_machines_files_say_which_torch(file: str, torch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(builds.shutil, "which", lambda name: None)
    monkeypatch.setattr(Path, "exists", lambda self: str(self) in (file, "/dev/kfd"))
    assert builds.choose().device == torch


@pytest.mark.parametrize("system,machine,devices", [
    ("linux", "x86_64", {"cpu", "cuda", "rocm"}), ("linux", "aarch64", {"cpu"}), ("win32", "AMD64", {"cpu", "cuda"}),
    ("darwin", "arm64", {"mps"})])
def test_every_system_has_its_torches_and_their_lists(system: str, machine: str, devices: set[str]) -> None:
    found = builds.builds(system, machine)
    assert set(found) == devices
    assert all((builds.LISTS / name).exists() for build in found.values() for name in build.lists)


def test_a_torch_that_a_system_has_not_is_refused_by_its_name() -> None:
    with pytest.raises(InputError, match="no torch for mps on this system; choose of cpu"):
        builds.choose("mps")
    with pytest.raises(InputError, match="no torch for darwin on x86_64"):
        builds.builds("darwin", "x86_64")


# ---- making ------------------------------------------------------------------------------------------------------

def test_it_is_made_once_found_by_the_backend_and_removed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    said = bench.run()
    assert said.returncode == 0, said.stderr
    assert bench.says() == "cpu" and setup.status(bench.place).state == "done"
    assert not (bench.place / "downloads").exists()
    made = setup.python(bench.place).stat().st_ctime  # type: ignore[union-attr]
    assert "up to date" in bench.run().stdout and setup.python(bench.place).stat().st_ctime == made  # type: ignore

    monkeypatch.setenv("MAQUETTE_BACKEND", str(bench.place))
    monkeypatch.delenv("MAQUETTE_PYTHON", raising=False)
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(backend, "ROOT", bench.lists)
    assert backend.find_backend_python() == setup.python(bench.place)

    assert "MB freed" in bench.run("--remove").stdout
    assert not bench.place.exists()


def test_another_list_makes_it_outdated_and_another_is_made_in_its_place(bench: Bench) -> None:
    assert bench.run().returncode == 0
    first = setup.python(bench.place)
    assert setup.is_outdated(bench.place)  # Maquette's own lists are others than the test's
    bench.pin("torch-cpu.txt", torch=wheel(bench.wheels, "torch", "kind = 'newer'\n"))
    assert bench.run().returncode == 0 and bench.says() == "newer"
    assert first is not None and not first.exists()


@pytest.fixture
def blenders_python(tmp_path: Path) -> Path:
    """A Python that lies as Blender's own does, in VERSION/python."""
    prefix, target = planning.prefix(), tmp_path / "blender" / "5.2" / "python"
    leave = shutil.ignore_patterns("site-packages", "test", "__pycache__", "share", "include")
    shutil.copytree(prefix, target, ignore=leave, symlinks=True)
    return target / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"


def test_it_outlives_the_blender_whose_python_it_was_made_of(bench: Bench, blenders_python: Path) -> None:
    words = [str(blenders_python), *bench.words()[1:]]
    said = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert said.returncode == 0, said.stderr
    shutil.rmtree(blenders_python.parents[3])
    assert bench.says() == "cpu"


def test_a_newer_blender_finds_what_an_older_one_has_made(bench: Bench, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAQUETTE_BACKEND", raising=False)
    old, new = (tmp_path / version / "extensions/.user/user_default/maquette/backend" for version in ("5.1", "5.2"))
    bench.place = old
    assert bench.run().returncode == 0
    monkeypatch.setattr(planning, "_chosen", new)
    assert setup.python() == setup.python(old) is not None


def test_remove_leaves_what_is_not_its_own(bench: Bench) -> None:
    bench.place.mkdir()
    (bench.place / "thesis.txt").touch()
    assert bench.run("--remove").returncode == 0
    assert (bench.place / "thesis.txt").exists()


# ---- faults ------------------------------------------------------------------------------------------------------

STAGES = ["python", "environment", "packages", "check"]


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_stage_it_is_interrupted_and_the_next_one_completes(bench: Bench, stage: str) -> None:
    """Stopped first: the stage cannot pass between the look and the kill. What it runs is left behind, as after a crash."""
    slow = "import time\ntime.sleep(3)\n" if stage == "check" else ""
    bench.pin("torch-cpu.txt", torch=wheel(bench.wheels, "torch", f"{slow}kind = 'cpu'\n"))
    child = subprocess.Popen(bench.words(), stdout=subprocess.DEVNULL)
    bench.wait_for(lambda: bench.stage() in STAGES[STAGES.index(stage):])
    child.send_signal(signal.SIGSTOP)
    child.kill()
    child.wait()
    assert setup.status(bench.place).state == "interrupted" and setup.python(bench.place) is None
    said = bench.run()
    assert said.returncode == 0, said.stderr
    assert bench.says() == "cpu"


def test_ctrl_c_ends_it_with_3_and_says_how_to_go_on(bench: Bench) -> None:
    child = subprocess.Popen(bench.words(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    bench.wait_for(lambda: bench.stage() == "environment")
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=20)
    assert child.returncode == 3 and "set up again to go on" in said and len(said.splitlines()) == 1
    assert setup.status(bench.place).state == "cancelled"
    assert bench.run().returncode == 0


def test_what_the_cancel_button_does_stops_it_within_two_seconds(bench: Bench) -> None:
    child = subprocess.Popen(bench.words(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    bench.wait_for(lambda: bench.stage() == "environment")
    setup.request_cancel(bench.place)
    assert child.wait(2) == 3
    assert setup.status(bench.place).state == "cancelled" and not (bench.place / "cancel").exists()


def test_two_at_once_the_second_is_refused(bench: Bench) -> None:
    first = subprocess.Popen(bench.words(), stdout=subprocess.DEVNULL)
    bench.wait_for(lambda: bench.stage() == "environment")
    second = bench.run()
    assert second.returncode == 2 and "wait for it or cancel it" in one_line(second)
    assert first.wait(60) == 0 and bench.says() == "cpu"


def test_a_wheel_with_another_content_is_refused_by_its_name(bench: Bench) -> None:
    wheel(bench.wheels, "numpy", "print('not what was pinned')\n")
    said = bench.run()
    assert said.returncode == 4 and "numpy" in one_line(said) and "SHA-256" in said.stderr
    assert setup.python(bench.place) is None


def test_a_truncated_wheel_is_refused_by_its_name(bench: Bench) -> None:
    path = bench.wheels / "numpy-1.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes()[:200])
    said = bench.run()
    assert said.returncode == 4 and "numpy" in one_line(said)
    bench.pin("backend.txt", numpy=hashlib.sha256(path.read_bytes()).hexdigest())  # the list itself has the broken one
    said = bench.run()
    assert said.returncode == 4 and "broken or cut off" in one_line(said)


def test_a_wheel_that_is_absent_is_named(bench: Bench) -> None:
    (bench.wheels / "numpy-1.0-py3-none-any.whl").unlink()
    said = bench.run()
    assert said.returncode == 2 and "numpy==1.0 is not there for Python" in one_line(said)


def test_a_torch_that_cannot_be_loaded_is_no_backend(bench: Bench) -> None:
    bench.pin("torch-cpu.txt", torch=wheel(bench.wheels, "torch", "raise OSError('DLL load failed')\n"))
    said = bench.run()
    assert said.returncode == 4 and "check failed (OSError: DLL load failed)" in one_line(said)
    assert setup.python(bench.place) is None


def test_a_proxy_that_refuses_is_one_line(bench: Bench) -> None:
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "PIP_RETRIES": "0",
            "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "https://packages.invalid/simple"}
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        env.pop(name, None)
    said = bench.run(offline=False, env=env)
    assert said.returncode == 4 and "the proxy refuses" in one_line(said) and "HTTPS_PROXY" in said.stderr


def test_too_little_room_is_said_before_anything_is_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 10**9))  # type: ignore
    with pytest.raises(MachineError, match="disk: 1000 MB are free at .*, and the backend for cpu needs about"):
        planning.plan(builds.choose("cpu"), bench.place)
    assert not bench.place.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that has room enough for the plan, less than the wheels need."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("mounting needs a user whose rights allow it")
    yield mount
    subprocess.run(["umount", mount], check=True)


def test_a_disk_that_fills_up_is_one_line_and_room_mends_it(bench: Bench, small_disk: Path) -> None:
    bench.place = small_disk / "backend"
    large = "data = '" + os.urandom(40_000_000).hex() + "'\nkind = 'cpu'\n"
    bench.pin("torch-cpu.txt", torch=wheel(bench.wheels, "torch", large))
    said = bench.run()
    assert said.returncode == 4 and "disk: no space is left" in one_line(said), said.stderr
    assert setup.python(bench.place) is None
    bench.pin("torch-cpu.txt", torch=wheel(bench.wheels, "torch", "kind = 'cpu'\n"))
    assert bench.run().returncode == 0 and bench.says() == "cpu"


def test_files_that_may_not_grow_are_one_line(bench: Bench) -> None:
    """As under a quota."""
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))

    bench.pin("torch-cpu.txt", torch=wheel(bench.wheels, "torch", f"data = {os.urandom(4_000_000).hex()!r}\n"))
    said = bench.run(preexec_fn=limit)
    assert said.returncode == 4 and "disk: no space is left" in one_line(said), said.stderr


@pytest.mark.parametrize("version", [(3, 10), (3, 15)])
def test_a_python_of_the_wrong_version_is_refused_and_another_on_the_path_is_taken(
        version: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Path(planning.prefix()) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    monkeypatch.setattr(planning.sys, "version_info", version)
    monkeypatch.setattr(planning, "SPARE_MB", -20_000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=rf"this Python 3\.{version[1]} is not 3\.11 to 3\.14 and no other was found"):
        planning.plan(builds.choose("cpu"))
    (tmp_path / right.name).symlink_to(right)
    assert planning.plan(builds.choose("cpu")).base == tmp_path / right.name


def test_a_python_that_cannot_make_environments_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="cannot make environments .* apt-get install python3-venv"):
        planning.plan(builds.choose("cpu"))


def test_a_folder_that_cannot_be_made_is_one_line(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bench.place = tmp_path / "file" / "backend"
    said = bench.run()
    assert said.returncode == 2 and "choose another folder" in one_line(said)
