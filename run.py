#!/usr/bin/env python3
"""Set-up and daily commands of a checkout: python3 run.py WORD [ARGS…]

    demo              capture demo/demo.blend and write out/demo/
    test [--all] …    the test-suite; --all adds the slow ones, the rest goes to pytest
    test-gui …        the tests in a Blender with a window alone
    bench [NAME…]     benchmarks/NAME.py; without a name, list them
    docs [--pictures] write docs/tasks.md from the recipes and the site to out/site/; make its pictures anew
    build             the extension's zip, in dist/
    release           a repository of the last commit that Blender can subscribe to, in dist/repository/
    maquette ARGS…    the command line
    setup [--blender] the environments alone, which the other words make when they need them

Needs nothing but Python 3.11 or newer. The backend and the tests' tools go to .venv/, Blender as a module to
.blenders/VERSION/ (350 MB to download, 1 GB on disk each); both are remade when requirements/ changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent
REQUIREMENTS = ROOT / "requirements"
BIN, EXE = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")
DEMO_BLENDER = "4.5.15"
BLENDERS = ("4.2.23", DEMO_BLENDER, "5.0.1")
# Starts a Blender with a window on a screen of its own, where the shared tools lie beside the checkout.
REAL_BLENDER = ROOT.parent / "shared" / "tools" / "real_blender.sh"
# Debian's names for the system libraries that the bpy wheels link; others name them much the same.
PACKAGES = {"libGL.so.1": "libgl1", "libEGL.so.1": "libegl1", "libX11.so.6": "libx11-6", "libXi.so.6": "libxi6",
            "libXrender.so.1": "libxrender1", "libXfixes.so.3": "libxfixes3", "libXxf86vm.so.1": "libxxf86vm1",
            "libXext.so.6": "libxext6", "libSM.so.6": "libsm6", "libICE.so.6": "libice6",
            "libxkbcommon.so.0": "libxkbcommon0", "libgomp.so.1": "libgomp1"}

# `import maquette` in the environment is this checkout, whatever its folder is called.
SHIM = '''"""Loads the checkout at ROOT as the package maquette."""
import importlib.util
import sys
from pathlib import Path

ROOT = Path({root!r})
_spec = importlib.util.spec_from_file_location("maquette", ROOT / "__init__.py",
                                               submodule_search_locations=[str(ROOT)])
_package = importlib.util.module_from_spec(_spec)
sys.modules["maquette"] = _package
_spec.loader.exec_module(_package)
if __name__ == "__main__":
    from maquette.cli import main
    sys.exit(main(sys.argv[1:]))
'''


class Trouble(Exception):
    """One line for the user."""


def say(text: str) -> None:
    print(text, flush=True)


def call(*words: str | Path, env: dict[str, str] | None = None) -> int:
    return subprocess.run([str(word) for word in words], cwd=ROOT, env={**os.environ, **(env or {})}).returncode


def python_of(environment: Path) -> Path:
    return environment / BIN / f"python{EXE}"


def backend() -> Path:
    """The Python of .venv, which has the backend and the tests' tools."""
    environment, lists = ROOT / ".venv", ["backend.txt", "tests.txt"]
    sources = [*lists, "torch.txt", "torch-cpu.txt", "cuda.txt"]
    python = python_of(environment)
    if is_complete(environment, sources):
        return python
    with making(environment, Path(sys.executable), "torch and what belongs to it", sources):
        # A machine whose pip is told of torch's CPU build gets that; the public one needs CUDA's libraries on Linux.
        if not installed(python, "torch-cpu.txt", stderr=subprocess.DEVNULL):
            lists = ["torch.txt", *(["cuda.txt"] if sys.platform == "linux" else []), *lists]
        for name in lists:
            install(python, name)
        folder = Path(output(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
        (folder / "maquette.py").write_text(SHIM.format(root=str(ROOT)))
    return python


def blender(version: str) -> Path:
    """The Python of .blenders/VERSION, which has bpy."""
    environment, sources = ROOT / ".blenders" / version, [f"bpy-{version}.txt"]
    if not is_complete(environment, sources):
        with making(environment, python_3_11(), f"Blender {version} as a module", sources):
            install(python_of(environment), sources[0])
            check_libraries(environment)
    return python_of(environment)


def python_3_11() -> Path:
    """The bpy wheels of Blender 4.2 to 5.0 are for Python 3.11 alone."""
    if sys.version_info[:2] == (3, 11):
        return Path(sys.executable)
    found = shutil.which("python3.11")
    if found is None:
        raise Trouble("python3.11: not found, and Blender's modules need it; install it beside this Python "
                      f"{sys.version_info[0]}.{sys.version_info[1]}")
    return Path(found)


def is_complete(environment: Path, sources: list[str]) -> bool:
    stamp = environment / "complete"
    return stamp.exists() and stamp.read_text() == fingerprint(sources)


@contextmanager
def making(environment: Path, python: Path, what: str, sources: list[str]) -> Iterator[None]:
    """Make an empty environment to be filled in the body, after which it counts as complete.

    One that a killed set-up has left is made anew: pip cannot tell a package that is half there.
    Downloads are in pip's own cache.
    """
    start = time.monotonic()
    say(f"Setting up {environment.relative_to(ROOT)}, once: {what}")
    shutil.rmtree(environment, ignore_errors=True)
    if call(python, "-m", "venv", environment):
        raise Trouble(f"venv: {python} cannot make an environment; on Debian and Ubuntu, apt-get install "
                      "python3-venv, then run this again")
    yield
    (environment / "complete").write_text(fingerprint(sources))
    say(f"  done in {time.monotonic() - start:.0f} s")


def fingerprint(sources: list[str]) -> str:
    text = "".join((REQUIREMENTS / name).read_text() for name in sources) + SHIM + str(ROOT) + sys.version
    return hashlib.sha256(text.encode()).hexdigest()


def install(python: Path, requirements: str) -> None:
    if not installed(python, requirements):
        raise Trouble(f"pip: requirements/{requirements} could not be installed (see above); check the network "
                      "and the room on the disk, then run this again")


def installed(python: Path, requirements: str, stderr: int | None = None) -> bool:
    # The lists are complete; without --no-deps torch would ask for CUDA's libraries where it need not.
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "-qq", "install", "--no-deps",
           "--require-hashes", "--only-binary", ":all:", "--progress-bar", "off", "-r", REQUIREMENTS / requirements]
    return subprocess.run([str(word) for word in pip], stderr=stderr).returncode == 0


def output(*words: str | Path) -> str:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True).stdout.strip()


def check_libraries(environment: Path) -> None:
    """Name the system libraries that bpy lacks here, with the line that installs them on Debian and Ubuntu."""
    if sys.platform != "linux":
        return
    module = next(environment.glob("lib/python*/site-packages/bpy/__init__.so"))
    said = subprocess.run(["ldd", module], capture_output=True, text=True).stdout
    absent = re.findall(r"^\s*(\S+) => not found", said, re.MULTILINE)
    if absent:
        packages = " ".join(sorted({PACKAGES.get(name, name) for name in absent}))
        raise Trouble(f"Blender: {len(absent)} system libraries are missing ({', '.join(absent)}); "
                      f"apt-get install {packages}")


def demo(arguments: list[str]) -> int:
    python, bpy = backend(), blender(DEMO_BLENDER)
    return call(python, ROOT / "demo" / "run.py", *arguments, env={"MAQUETTE_BLENDER": str(bpy)})


def test(arguments: list[str]) -> int:
    """Without --all, what takes more than half a minute is left out; windows open only where nobody sees them."""
    python = backend()
    site_tools()
    for version in BLENDERS:
        blender(version)
    left_out = [*(["slow"] if "--all" not in arguments else []), *(["gui"] if not REAL_BLENDER.exists() else [])]
    chosen = " and ".join(f"not {mark}" for mark in left_out)
    return call(python, "-m", "pytest", "-m", chosen, *(word for word in arguments if word != "--all"))


def test_gui(arguments: list[str]) -> int:
    if not REAL_BLENDER.exists() and not shutil.which("blender"):
        raise Trouble("blender: none with a window was found; put one on the PATH")
    return call(backend(), "-m", "pytest", "-m", "gui", *arguments)


def bench(arguments: list[str]) -> int:
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
    unknown = [name for name in arguments if name not in names]
    if unknown or not arguments:
        say(f"benchmarks: {', '.join(names) or 'none'}")
        return 2 if unknown else 0
    python = backend()
    scripts = [ROOT / "benchmarks" / f"{name}.py" for name in arguments]
    if any("requirements/peers.txt" in script.read_text() for script in scripts):
        add_peers(python)
    return max(call(python, script) for script in scripts)


def add_peers(python: Path) -> None:
    """Install what some benchmarks compare with; those go on without, and say so."""
    stamp, made_of = ROOT / ".venv" / "peers", fingerprint(["peers.txt"])
    if stamp.exists() and stamp.read_text() == made_of:
        return
    say("Adding to .venv, once: what this benchmark compares with")
    if installed(python, "peers.txt"):
        stamp.write_text(made_of)


def docs(arguments: list[str]) -> int:
    python = backend()
    if "--pictures" in arguments:
        bpy = str(blender(DEMO_BLENDER))
        code = call(python, ROOT / "docs" / "pictures.py", env={"MAQUETTE_BLENDER": bpy})
        if code:
            return code
    return call(python, ROOT / "docs" / "tasks.py") or call(
        site_tools(), "-m", "mkdocs", "build", "--strict", "--quiet", env={"NO_MKDOCS_2_WARNING": "1"})


def site_tools() -> Path:
    """The Python of .docs, which makes the site."""
    environment = ROOT / ".docs"
    if not is_complete(environment, ["docs.txt"]):
        with making(environment, Path(sys.executable), "what makes the documentation's site", ["docs.txt"]):
            install(python_of(environment), "docs.txt")
    return python_of(environment)


def build(arguments: list[str]) -> int:
    return call(blender(DEMO_BLENDER), ROOT / "release" / "build.py", ROOT / "dist")


def release(arguments: list[str]) -> int:
    return call(blender(DEMO_BLENDER), ROOT / "release" / "build.py", ROOT / "dist" / "repository", "--repository")


def maquette(arguments: list[str]) -> int:
    words = [str(backend()), str(ROOT), *arguments]
    if os.name == "nt":
        return subprocess.run(words).returncode
    os.execv(words[0], words)  # Ctrl-C and the exit code are the command's own


def setup(arguments: list[str]) -> int:
    backend()
    for version in BLENDERS if "--blender" in arguments else ():
        blender(version)
    return 0


WORDS: dict[str, Callable[[list[str]], int]] = {
    "demo": demo, "test": test, "test-gui": test_gui, "bench": bench, "docs": docs, "build": build,
    "release": release, "maquette": maquette, "setup": setup}


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036
        print(f"python: this is {sys.version.split()[0]}; Maquette needs 3.11 or newer", file=sys.stderr)
        return 2
    word, *rest = arguments or ["--help"]
    if word not in WORDS:
        print(__doc__.strip())
        return 0 if word in ("-h", "--help") else 2
    try:
        return WORDS[word](rest)
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
