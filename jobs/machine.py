"""What the operating system says of this machine: its processes, memory and cores."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


# A Blender has no console on Windows: without these flags, what it starts would open one for a moment.
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)


def host() -> str:
    return platform.node()


def start_of(pid: int) -> str | None:
    """When the process `pid` was started, None where it is not alive (a zombie is not).

    A pid is given to another process some time after its owner's end; the pair of pid and start
    names one process for good. The text means something on this machine alone.
    """
    if sys.platform == "win32":
        return _start_on_windows(pid)
    if sys.platform == "linux":
        return _start_on_linux(pid)
    return _start_by_ps(pid)


def _start_on_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The second field, the command's name in brackets, may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    state, ticks_since_boot = fields[0], fields[19]
    return None if state in "ZXx" else f"{boot} {ticks_since_boot}"


def _start_by_ps(pid: int) -> str | None:
    """macOS and the BSDs, to the second."""
    said = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True,
                          env={**os.environ, "LC_ALL": "C", "TZ": "UTC"})
    state, _, start = said.stdout.strip().partition(" ")
    return None if said.returncode or not start or state.startswith("Z") else " ".join(start.split())


def _start_on_windows(pid: int) -> str | None:
    import ctypes
    from ctypes import wintypes

    query_limited_information, synchronize, still_running = 0x1000, 0x100000, 0x102
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    kernel.OpenProcess.restype = wintypes.HANDLE
    kernel.OpenProcess.argtypes = wintypes.DWORD, wintypes.BOOL, wintypes.DWORD
    kernel.WaitForSingleObject.argtypes = wintypes.HANDLE, wintypes.DWORD
    kernel.GetProcessTimes.argtypes = (wintypes.HANDLE, *[ctypes.POINTER(wintypes.FILETIME)] * 4)
    kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
    handle = kernel.OpenProcess(query_limited_information | synchronize, False, pid)
    if not handle:
        return None
    try:
        created, ended, in_kernel, in_user = (wintypes.FILETIME() for _ in range(4))
        if kernel.WaitForSingleObject(handle, 0) != still_running or not kernel.GetProcessTimes(
                handle, ctypes.byref(created), ctypes.byref(ended), ctypes.byref(in_kernel), ctypes.byref(in_user)):
            return None
        return str(created.dwHighDateTime << 32 | created.dwLowDateTime)
    finally:
        kernel.CloseHandle(handle)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory_mb() -> int:
    """Memory that a new process can use without swapping; on macOS, which tells no such figure, all there is."""
    if sys.platform == "win32":
        return _windows_memory().available // 2**20
    if sys.platform == "linux":
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return min(int(lines["MemAvailable"].split()[0]) // 1024, _left_in_control_group_mb())
    return total_memory_mb()


def total_memory_mb() -> int:
    """The machine's memory, whatever a container may have of it."""
    if sys.platform == "win32":
        return _windows_memory().total // 2**20
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _left_in_control_group_mb() -> int:
    """What a container's limit leaves (control groups, version 2), else a number beyond any machine."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = int((group / "memory.max").read_text()), int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max"
        return sys.maxsize
    return (limit - used + int(stat["inactive_file"])) // 2**20  # cached files give way


def _windows_memory() -> Any:
    import ctypes

    class MemoryStatus(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong),
                    *[(name, ctypes.c_ulonglong) for name in ("total", "available", "total_paged", "available_paged",
                                                              "total_virtual", "available_virtual", "extended")]]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    ctypes.WinDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return status


def return_free_memory() -> None:
    """Give back to the system what has been freed but lies between what is used; glibc's alone keeps much of that."""
    if sys.platform == "linux":
        import ctypes
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def held_memory_mb() -> int:
    """The memory that this process has resident now; where the system does not tell, the most that it has had."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
    return peak_memory_mb()


def peak_memory_mb() -> int:
    """The most memory that this process has had resident."""
    if sys.platform == "win32":
        return _windows_peak()
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)  # bytes on macOS, KiB elsewhere


def _windows_peak() -> int:
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):  # PROCESS_MEMORY_COUNTERS
        _fields_ = [("size", wintypes.DWORD), ("page_faults", wintypes.DWORD), ("peak", ctypes.c_size_t),
                    *[(f"other_{i}", ctypes.c_size_t) for i in range(7)]]

    counters = Counters(size=ctypes.sizeof(Counters))
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    kernel.K32GetProcessMemoryInfo.argtypes = wintypes.HANDLE, ctypes.c_void_p, wintypes.DWORD
    kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.size)
    return counters.peak // 2**20
