"""Lock *.in into *.txt for Linux, macOS and Windows and every Python from 3.11, with hashes.

    python requirements/lock.py [WHEEL…]        needs uv (`pip install uv`)

WHEELs are torch's own CPU builds, which a machine may offer beside the public ones: torch-cpu.txt takes their
hashes, and keeps those it has. What torch's public build needs for CUDA on Linux goes to cuda.txt.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CUDA = re.compile(r"(nvidia-|cuda-|triton==)")
BPY = ("4.2.23", "4.5.15", "5.0.1")
HEAD = "# Made by lock.py from {}; do not edit.\n"


def compiled(text: str, *options: str) -> list[str]:
    """uv's answer to requirements, one entry a package with all its hashes."""
    uv = [sys.executable, "-m", "uv", "pip", "compile", "-", "--universal", "--python-version", "3.11",
          "--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links", "-q"]
    said = subprocess.run([*uv, *options], input=text, capture_output=True, text=True, cwd=HERE)
    if said.returncode:
        sys.exit(said.stderr)
    return re.findall(r"^[^\s#-].*(?:\n    .*)*", said.stdout, re.MULTILINE)


def write(name: str, source: str, entries: list[str]) -> None:
    (HERE / name).write_text(HEAD.format(source) + "\n".join(entries) + "\n")


def write_cpu_torch(version: str, wheels: list[str]) -> None:
    path = HERE / "torch-cpu.txt"
    hashes = {hashlib.sha256(Path(wheel).read_bytes()).hexdigest() for wheel in wheels}
    if path.exists() and f"=={version}+cpu" in path.read_text():
        hashes |= set(re.findall("sha256:([0-9a-f]{64})", path.read_text()))
    write(path.name, "the wheels it was given",
          [" \\\n    ".join([f"torch=={version}+cpu", *(f"--hash=sha256:{digest}" for digest in sorted(hashes))])])


def main(wheels: list[str]) -> None:
    backend = compiled((HERE / "backend.in").read_text())
    torch = [entry for entry in backend if entry.startswith("torch==")]
    cuda = [entry for entry in backend if CUDA.match(entry)]
    write("torch.txt", "backend.in", torch)
    write_cpu_torch(torch[0].split()[0].partition("==")[2], wheels)
    write("cuda.txt", "backend.in", cuda)
    write("backend.txt", "backend.in", [entry for entry in backend if entry not in torch + cuda])
    tests = compiled((HERE / "tests.in").read_text(), "-c", "backend.txt")
    names = {entry.split("==")[0] for entry in backend}
    write("tests.txt", "tests.in", [entry for entry in tests if entry.split("==")[0] not in names])
    peers = compiled((HERE / "peers.in").read_text(), "-c", "backend.txt", "-c", "tests.txt")
    names |= {entry.split("==")[0] for entry in tests}
    write("peers.txt", "peers.in", [entry for entry in peers if entry.split("==")[0] not in names])
    write("docs.txt", "docs.in", compiled((HERE / "docs.in").read_text()))
    for version in BPY:
        # Its wheels are for Python 3.11 alone, which is why the markers of others are left out.
        entries = [entry for entry in compiled(f"bpy=={version}") if "python_full_version >= '3.12'" not in entry]
        write(f"bpy-{version}.txt", "lock.py", entries)


if __name__ == "__main__":
    main(sys.argv[1:])
