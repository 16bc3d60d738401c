"""The worker: runs one job's task in a process of its own and says in the job's folder how far it is."""

from __future__ import annotations

import faulthandler
import gc
import io
import json
import os
import platform
import shutil
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..formats.report import plain, program_version
from ..formats.results import FORMS
from ..jobs import files, machine, store
from ..jobs.folder import FINISHED, Job, Status
from ..recipes import Cancelled, InputError, MachineError, MaquetteError, Recipe

STATUS_EVERY = 0.2  # s
PREVIEW_EVERY = 1.0  # s
LOOK_FOR_CANCEL_EVERY = 0.05  # s
NICE = 10  # how far the worker stands back behind what the person does
PROGRAM = program_version()  # read now: an upgrade may put another one here while the job runs
# Of the resolution asked for, where the GPU's memory was not enough for that.
LOWERED = 0.7


class Running:
    """The task's view of its job (see `context.Context`)."""

    def __init__(self, job: Job, recipe: Recipe, device: torch.device, stop: threading.Event) -> None:
        self.recipe = recipe
        self.seed = int(job.description["seed"])
        self.device = device
        self.input, self.output, self.checkpoint = job.input, job.output, job.checkpoint
        self.blender = str(job.target.get("blender", ""))
        self.report: dict[str, Any] = {}
        self.warnings: list[str] = []
        self._job, self._stop = job, stop
        self._began = time.monotonic()
        self._expected = recipe.estimate(job.description["summary"]).seconds
        self._stage, self._message, self._from, self._upto, self._done = "starting", "", 0.0, 0.0, 0.0
        self._said = self._shown = self._looked = -1e9
        self._say()

    def stage(self, name: str, upto: float) -> None:
        _free(self.device)  # what the stage before has left
        self._stage, self._message = name, ""
        self._from, self._upto, self._done = self._upto, upto, self._upto
        print(f"{time.monotonic() - self._began:8.1f} s  {name}", flush=True)
        self._say()
        self.progress(0.0)

    def progress(self, fraction: float, message: str = "") -> None:
        now = time.monotonic()
        if now - self._looked > LOOK_FOR_CANCEL_EVERY:
            self._looked = now
            if self._stop.is_set() or self._job.cancel_file.exists():
                raise Cancelled(f"cancelled: job {self._job.name}")
        self._message = message or self._message
        self._done = self._from + (self._upto - self._from) * min(max(fraction, 0.0), 1.0)
        if now - self._said > STATUS_EVERY:
            self._say()

    def preview(self, rgb: np.ndarray) -> None:
        if time.monotonic() - self._shown < PREVIEW_EVERY:
            return
        self._shown = time.monotonic()
        from PIL import Image
        png = io.BytesIO()
        Image.fromarray(rgb).save(png, "png", compress_level=1)
        files.atomic_write(self._job.preview, png.getvalue())

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            print(f"warning: {text}", flush=True)

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def _say(self) -> None:
        self._said = time.monotonic()
        self._job.write_status(Status("running", self._stage, round(self._done, 4), self._seconds_left(),
                                      self._message, memory_mb=machine.held_memory_mb(), gpu_mb=_held(self.device)))

    def _seconds_left(self) -> float:
        """The recipe's estimate at first, more and more what the speed so far promises."""
        estimated = self._expected * (1 - self._done)
        if self._done == 0:
            return round(estimated, 1)
        measured = self.seconds() * (1 - self._done) / self._done
        return round((1 - self._done) * estimated + self._done * measured, 1)


def main(path: Path) -> int:
    """Run the job in `path`; the exit code is the command line's. All that is said goes to its log.txt."""
    job = Job(path)
    terminal = os.dup(2)
    try:
        _claim(job)
        _say_to(job.log)
        stop = _listen()
        code = _run_and_say(job, stop)
    except MaquetteError as error:
        os.write(terminal, f"maquette: {error}\n".encode())
        code = error.exit_code
    finally:
        os.close(terminal)
    return code


def _claim(job: Job) -> None:
    """Write worker.json; refuse a job that is over or that another worker has."""
    job.description  # refused here where it cannot be read
    with files.locked(job.path.parent / "queue.lock"):
        status, worker = job.status(), job.worker()
        mine = worker is not None and worker["pid"] in (os.getpid(), os.getppid())  # the parent: Windows' launcher
        if status.state in FINISHED or status.state == "running" and not mine:
            raise InputError(f"job: {job.name} is {status.state}; resume it, or start a new one")
        job.write_worker(os.getpid())


def _say_to(log: Path) -> None:
    """Send this process's output, that of its libraries too, to the log."""
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise files.explained(error, log) from error
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    faulthandler.enable()


def _listen() -> threading.Event:
    """Lower this process's priority; the event is set when a signal asks it to stop."""
    stop = threading.Event()
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: stop.set())
    if hasattr(os, "nice"):
        os.nice(NICE)
    with suppress(OSError):  # Linux weighs sessions against each other first, and the worker has its own
        Path("/proc/self/autogroup").write_text(str(NICE))
    return stop


def _run_and_say(job: Job, stop: threading.Event) -> int:
    """Run the task; whatever comes of it is the job's last status."""
    try:
        report = _run(job, stop)
        job.write_report(report)
        job.write_status(Status("done", fraction=1.0, seconds_left=0.0, message=_done_message(report)))
        return 0
    except Exception as error:  # the one place where every error ends
        explained = _explained(error, job)
        state = "cancelled" if isinstance(explained, Cancelled) else "failed"
        if state == "failed":
            traceback.print_exc()
        said = job.status()
        _write_last(job, Status(state, said.stage, said.fraction, None, str(explained), explained.kind))
        return explained.exit_code


def _write_last(job: Job, status: Status) -> None:
    try:
        job.write_status(status)
    except MachineError:  # a full disk: a resumed worker makes output/ anew
        shutil.rmtree(job.output, ignore_errors=True)
        job.write_status(status)


def _done_message(report: dict[str, Any]) -> str:
    count = len(report["warnings"])
    return f"done in {report['seconds']['total']:.0f} s" + (f", {count} warnings" if count else "")


def _explained(error: Exception, job: Job) -> MaquetteError:
    if isinstance(error, MaquetteError):
        return error
    if isinstance(error, OSError) and isinstance(files.explained(error, job.path), MachineError):
        return files.explained(error, job.path)
    if _is_gpu_full(error):
        return MachineError("memory: the GPU has too little for this job, at a lower resolution too; lower "
                            "`resolution` further or choose the device cpu")
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return MachineError("memory: the machine has run out of it; close other programs or lower `resolution`")
    if _this_file() != THIS_FILE:
        return MachineError("maquette: it was updated or removed while this job ran; resume the job")
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return MaquetteError(f"{job.task}: a defect of Maquette ({what}); the log is {job.log}")


def _this_file() -> tuple[int, int] | None:
    """What tells this file from one that an upgrade puts in its place; None where there is none any more."""
    try:
        found = os.stat(__file__)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


THIS_FILE = _this_file()


def _run(job: Job, stop: threading.Event) -> dict[str, Any]:
    """Run the job's task to output/; return the whole report."""
    recipe = job.recipe
    print(f"maquette {PROGRAM}, task {job.task}, {json.dumps(recipe.to_json())}", flush=True)
    task = import_module(f"..tasks.{job.task}", __name__)
    device = _device(job.description["device"])
    estimate = recipe.estimate(job.description["summary"])
    _check_memory(estimate.memory_mb)
    shutil.rmtree(job.output, ignore_errors=True)
    for folder in (job.output, job.checkpoint):
        folder.mkdir(exist_ok=True)
    store.take_found(job)
    context = Running(job, _lowered_before(job), device, stop)
    try:
        task.run(context)
    except Exception as error:
        lower = _lowered(context.recipe) if _is_gpu_full(error) and context.recipe == recipe else None
        if lower is None:
            raise
        context = _start_lowered(job, context, lower, stop)
        task.run(context)
    if context.recipe != recipe:
        asked, taken = (r.to_json()["resolution"] for r in (recipe, context.recipe))
        context.warn(f"resolution: {asked} is too much for the GPU's memory; it was {taken}")
    _write_result(job)
    return _report(job, context, estimate.memory_mb)


def _device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; mps lacks operations that tasks use and must be asked for."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if name not in there:
        raise InputError(f"device: {name!r} is not one of auto, cpu, cuda, mps; choose one of them")
    if not there[name]:
        raise MachineError(f"device: torch {torch.__version__} finds no {name} device on this machine; "
                           "choose auto or cpu")
    return torch.device(name)


def _check_memory(needed_mb: int) -> None:
    free_mb = machine.available_memory_mb()
    if needed_mb > free_mb:
        raise MachineError(f"memory: the job needs about {needed_mb} MB and {free_mb} MB are free; close other "
                           "programs, or ask for less: another preset, a lower resolution, texture or batch")


def _is_gpu_full(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "MPS backend out of memory" in str(error)


def _lowered(recipe: Recipe) -> Recipe | None:
    """The recipe with its resolution lowered, None where it has none to lower."""
    parameter = next((p for p in recipe.parameters() if p.name == "resolution"), None)
    if parameter is None:
        return None
    now = recipe.to_json()["resolution"]
    lower = max(int(now * LOWERED), int(parameter.min or 1))
    return recipe.from_json({**recipe.to_json(), "resolution": lower}) if lower < now else None


def _start_lowered(job: Job, before: Running, recipe: Recipe, stop: threading.Event) -> Running:
    """Begin anew at a lower resolution, which a resumed worker finds written beside its checkpoint."""
    print(f"the GPU is full; again with {json.dumps(recipe.to_json())}", flush=True)
    for folder in (job.checkpoint, job.output):
        shutil.rmtree(folder)
        folder.mkdir()
    files.write_json(job.checkpoint / "lowered.json", recipe.to_json())
    gc.collect()
    _free(before.device)
    return Running(job, recipe, before.device, stop)


def _free(device: torch.device) -> None:
    """Give back to the system, and to the GPU, what torch and the C library keep of freed memory for later."""
    machine.return_free_memory()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _held(device: torch.device) -> int:
    """The GPU's memory that this process holds, MiB."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device) // 2**20
    return torch.mps.driver_allocated_memory() // 2**20 if device.type == "mps" else 0


def _lowered_before(job: Job) -> Recipe:
    path = job.checkpoint / "lowered.json"
    return type(job.recipe).from_json(files.read_json(path)) if path.exists() else job.recipe


def _write_result(job: Job) -> None:
    """Write the result in the form that the job's target asks for, so that any Python can hand it over."""
    name = job.target.get("files")
    if name:
        machine.return_free_memory()
        folder = job.result_files()
        folder.mkdir()
        form = FORMS[job.recipe.output]
        form.write(job.output / form.file, folder / Path(name).name)


class Following:
    """The view of a task that takes part in another process's job: it reads, and says and writes nothing."""

    def __init__(self, job: Job) -> None:
        self.recipe, self.seed = job.recipe, int(job.description["seed"])
        self.device = _device(job.description["device"])
        if self.device.type == "cuda":
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        self.input, self.output, self.checkpoint = job.input, job.output, job.checkpoint
        self.blender = ""
        self.report: dict[str, Any] = {}

    def stage(self, name: str, upto: float) -> None: ...

    def progress(self, fraction: float, message: str = "") -> None: ...

    def preview(self, rgb: np.ndarray) -> None: ...

    def warn(self, text: str) -> None: ...


def follow(path: Path) -> None:
    """Take part in the job in `path`, which another process runs (see `training.processes`)."""
    job = Job(path)
    import_module(f"..tasks.{job.task}", __name__).run(Following(job))


def _report(job: Job, context: Running, estimated_mb: int) -> dict[str, Any]:
    memory = {"estimated_mb": estimated_mb, "peak_mb": machine.peak_memory_mb()}
    if context.device.type == "cuda":
        memory["gpu_peak_mb"] = torch.cuda.max_memory_allocated() // 2**20
    seconds = {"total": round(context.seconds(), 2), **context.report.pop("seconds", {})}
    return plain({"maquette": PROGRAM, "versions": _versions(), "task": job.task, "recipe": job.recipe.to_json(),
                  "seed": context.seed, "device": context.device.type, "warnings": context.warnings,
                  "seconds": seconds, "memory": memory, **context.report})


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    for name in ("numba", "scipy", "trimesh"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"system": f"{platform.system()} {platform.machine()}", "cores": str(machine.cores())} | (
        {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def run_and_leave(path: Path) -> None:
    """`main`, and out without the interpreter's end, which takes torch up to a second."""
    code = main(path)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
