"""Which build of torch a machine can use, and the lists of packages that make a backend with it."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ..recipes import InputError
from .process import ROOT

LISTS = ROOT / "requirements"
# The makers of torch keep its builds for one kind of device here; every other package is where pip looks by itself.
INDEX = "https://download.pytorch.org/whl/"
OTHERS_MB, OTHERS_ON_DISK_MB = 330, 820  # the packages beside torch


@dataclass(frozen=True)
class Build:
    """A build of torch. Sizes are in MB, of all that is downloaded with it and of what is on the disk then."""

    device: str
    label: str
    lists: tuple[str, ...]
    download_mb: int
    disk_mb: int
    index: str = ""  # where torch itself is, where pip's own index does not have this build


def builds(system: str | None = None, machine: str | None = None) -> dict[str, Build]:
    """What there is for a system ("linux", "win32", "darwin") and a processor, this machine's by default, by device.

    Raises InputError where torch is made for none.
    """
    system, machine = system or sys.platform, (machine or platform.machine()).lower()
    arm = machine in ("arm64", "aarch64")
    if system == "darwin" and arm:
        found = [Build("mps", "Apple GPU (Metal)", ("torch.txt",), 90, 400)]
    elif system == "win32" and not arm:
        found = [Build("cpu", "Processor alone", ("torch.txt",), 130, 500),
                 Build("cuda", "NVIDIA GPU (CUDA)", ("torch-cuda.txt",), 1900, 4600, INDEX + "cu130")]
    elif system.startswith("linux") and arm:
        found = [Build("cpu", "Processor alone", ("torch-cpu.txt",), 150, 600, INDEX + "cpu")]
    elif system.startswith("linux"):
        found = [Build("cpu", "Processor alone", ("torch-cpu.txt",), 190, 760, INDEX + "cpu"),
                 Build("cuda", "NVIDIA GPU (CUDA)", ("torch.txt", "cuda.txt"), 2600, 6500),
                 Build("rocm", "AMD GPU (ROCm)", ("torch-rocm.txt",), 5000, 17000, INDEX + "rocm7.2")]
    else:
        raise InputError(f"set-up: there is no torch for {system} on {machine}; name a Python that has one in "
                         "MAQUETTE_PYTHON or the preferences")
    return {b.device: Build(b.device, b.label, (*b.lists, "backend.txt"), b.download_mb + OTHERS_MB,
                            b.disk_mb + OTHERS_ON_DISK_MB, b.index) for b in found}


def choose(device: str = "auto") -> Build:
    """The build for a device, or for the best that this machine seems to have; nothing is started to find out."""
    there = builds()
    if device != "auto" and device not in there:
        raise InputError(f"set-up: there is no torch for {device} on this system; choose of {', '.join(there)}")
    if device != "auto":
        return there[device]
    seen = {"cuda": _has_nvidia, "rocm": _has_rocm}
    return next((b for name, b in there.items() if name in seen and seen[name]()), next(iter(there.values())))


def _has_nvidia() -> bool:
    """Whether NVIDIA's driver is installed: with a card alone torch finds nothing."""
    if sys.platform == "win32":
        return Path(r"C:\Windows\System32\nvcuda.dll").exists()
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _has_rocm() -> bool:
    return Path("/dev/kfd").exists() and Path("/opt/rocm").exists()
