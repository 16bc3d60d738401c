"""The worker's process: started apart from its parent, asked to stop, killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ..recipes import InputError, MachineError
from . import files, machine, store
from .folder import FINISHED, Job, Status

# The folder that `python FOLDER work JOB` runs; its name is whatever Blender or the user gave it.
ROOT = Path(__file__).parents[1]

ASKED = 0.9  # s that a worker has to stop when it is asked, before it is told by a signal
TOLD = 0.3  # s after which it is killed

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
            "NUMBA_NUM_THREADS")
_children: list[subprocess.Popen] = []


def worker_environment() -> dict[str, str]:
    """The environment of a worker: one core is left to the person where there are more than two.

    torch reads OMP_NUM_THREADS; a user who has set one of these keeps it. A Blender's own Python
    must not reach into the backend's.
    """
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    threads = machine.cores() - 1 if machine.cores() > 2 else machine.cores()
    for name in _THREADS:
        env.setdefault(name, str(threads))
    # torch's and numba's threads would spin while the other's work: on a busy machine that takes most of the time.
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    env.setdefault("NUMBA_CACHE_DIR", str(store.cache_folder() / "numba"))
    return {**env, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def rank() -> int:
    """The number of this process among those that torchrun has started together; the first has the job."""
    return int(os.environ.get("RANK", "0"))


def has_followers() -> bool:
    """Whether torchrun has started others with this process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def adopt(child: subprocess.Popen) -> None:
    """Keep a child that outlives the caller: a Popen that is thrown away would warn, and its process stay a zombie."""
    _children.append(child)


def reap() -> None:
    """Let go of the children that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]


def start_worker(job: Job, python: Path) -> None:
    """Start the job's worker; whoever calls holds the queue's lock (see `queue`)."""
    reap()
    apart: dict = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
                 | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    try:
        with open(job.log, "ab") as log:
            child = subprocess.Popen([python, ROOT, "work", job.path], env=worker_environment(), cwd=job.path.parent,
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log, **apart)
    except OSError as error:
        raise InputError(f"python: {python} cannot be started ({error.strerror}); "
                         "choose the Python of Maquette's backend") from error
    adopt(child)
    job.write_worker(child.pid)


def alive(job: Job) -> bool:
    return job.worker_is_alive()


def cancel(job: Job) -> None:
    """End the job in less than two seconds, leaving no process behind; its checkpoint stays for `resume`."""
    began = time.monotonic()
    if ask_to_stop(job):
        while not press_to_stop(job, time.monotonic() - began):
            time.sleep(0.02)


def ask_to_stop(job: Job) -> bool:
    """Cancel a job without waiting; returns whether its worker has to be pressed (see `press_to_stop`)."""
    with files.locked(job.path.parent / "queue.lock"):
        status = job.status()
        if status.state == "queued":
            job.write_status(Status("cancelled"))
        if status.state == "running":
            job.request_cancel()
        return status.state == "running"


def press_to_stop(job: Job, asked: float) -> bool:
    """Whether the worker that was asked so many seconds ago is gone; one that is not is told, then killed."""
    if not job.worker_is_alive() or not job.cancel_file.exists():  # or it has been resumed
        return True
    if asked < ASKED:
        return False
    worker = job.worker()
    if worker is None or worker["host"] != machine.host():
        raise MachineError(f"job: {job.name} runs on {worker['host'] if worker else 'another machine'} and has not "
                           "stopped yet; it stops when it next looks, or cancel it there")
    if asked < ASKED + TOLD:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker["pid"], signal.SIGTERM)  # on Windows this ends it at once
    else:
        _kill(worker["pid"])
    return asked > ASKED + TOLD + 1.0


def release(folder: Path | None = None) -> list[Job]:
    """Kill the workers that hold memory though their job is over, as one does that hangs in a driver at its end.

    A worker ends with its job, so mostly there are none. Jobs that run are left alone.
    """
    folder = folder or store.jobs_folder()
    if not folder.is_dir():
        return []
    with files.locked(folder / "queue.lock"):
        idle = [job for job in store.list_jobs(folder) if job.status().state in FINISHED and job.worker_is_here()]
        for job in idle:
            worker = job.worker()
            if worker is not None and not _gone(job, ASKED):  # it may be about to end
                _kill(worker["pid"])
    return [job for job in idle if _gone(job, 1.0)]


def _gone(job: Job, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while job.worker_is_alive():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _kill(pid: int) -> None:
    """Kill a worker, which leads a process group of its own, with all that it started."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, creationflags=machine.NO_WINDOW)
        return
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:  # a worker that a person started by hand shares its shell's group
            os.kill(pid, signal.SIGKILL)


def resume(job: Job) -> None:
    """Queue a job again that was interrupted, cancelled or failed; it goes on from its checkpoint."""
    job.recipe  # a job that cannot be read is refused here
    with files.locked(job.path.parent / "queue.lock"):
        state = job.status().state
        if state in ("running", "queued", "done"):
            raise InputError(f"job: {job.name} is {state}; there is nothing to resume")
        job.worker_file.unlink(missing_ok=True)
        job.cancel_file.unlink(missing_ok=True)
        job.write_status(Status("queued"))
