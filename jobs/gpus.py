"""The GPUs that the system tells of, whether or not a torch can use them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import machine

LIMIT = 10.0  # s; a driver that hangs answers nobody
_NVIDIA = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits"]
_WINDOWS = ["powershell", "-NoProfile", "-Command",
            "Get-CimInstance Win32_VideoController | Select-Object Name, DriverVersion | ConvertTo-Json"]


def gpus() -> list[dict[str, Any]]:
    """Of each its name and, where the system tells them, `memory_mb`, `free_mb` and `driver`."""
    found = read_nvidia(_said(_NVIDIA))
    if sys.platform == "win32":
        names = {gpu["name"] for gpu in found}
        return found + [gpu for gpu in read_windows(_said(_WINDOWS)) if gpu["name"] not in names]
    if sys.platform == "darwin":
        return read_macos(_said(["system_profiler", "-json", "SPDisplaysDataType"]))
    return found + amd_on_linux(Path("/sys/class/drm"))


def _said(words: list[str]) -> str:
    """A program's output, empty where it is not there, fails or hangs."""
    try:
        child = subprocess.run(words, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                               timeout=LIMIT, creationflags=machine.NO_WINDOW)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return child.stdout if child.returncode == 0 else ""


def read_nvidia(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        name, *numbers, driver = [cell.strip() for cell in line.split(",")]
        memory = {key: int(number) for key, number in zip(("memory_mb", "free_mb"), numbers, strict=False)
                  if number.isdigit()}
        found.append({"name": name, **memory, "driver": driver})
    return found


def read_windows(text: str) -> list[dict[str, Any]]:
    try:
        cards = json.loads(text)
        return [{"name": str(card["Name"]), "driver": str(card["DriverVersion"])}
                for card in (cards if isinstance(cards, list) else [cards])]
    except (ValueError, KeyError, TypeError):
        return []


def read_macos(text: str) -> list[dict[str, Any]]:
    """Apple's GPUs share the machine's memory, and their driver is the system's."""
    try:
        return [{"name": str(card["sppci_model"])} for card in json.loads(text)["SPDisplaysDataType"]]
    except (ValueError, KeyError, TypeError):
        return []


def amd_on_linux(folder: Path) -> list[dict[str, Any]]:
    """The cards that the kernel's amdgpu drives; the kernel has no name for them but a number."""
    found = []
    for total in sorted(folder.glob("card*/device/mem_info_vram_total")):
        try:
            memory, used = int(total.read_text()), int(total.with_name("mem_info_vram_used").read_text())
            number = total.with_name("device").read_text().strip()
        except (OSError, ValueError):
            continue
        found.append({"name": f"AMD {number}", "memory_mb": memory // 2**20, "free_mb": (memory - used) // 2**20,
                      "driver": "amdgpu"})
    return found
