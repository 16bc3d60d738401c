"""One job's folder: what each file in it is called, and what the files together say of the job's state."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ..recipes import InputError, MaquetteError, Recipe, recipe_of
from . import files, machine

FORMAT = 1
FINISHED = ("done", "failed", "cancelled")
# In a job's target: the name of the job whose input it takes, as soon as that is gathered.
INPUT_OF = "input_of"
# In checkpoint/: what a task finds out of its input alone. Jobs that take one input share it.
OF_INPUT = "of_input"
# A worker on another machine cannot be looked at; after this silence it counts as dead.
SILENCE_ELSEWHERE = 600.0  # s


@dataclass(frozen=True)
class Status:
    """How far a job is.

    `state` is queued, running, done, failed, cancelled or interrupted. `kind` of a failed job is that of
    its error: input, machine or defect. A running worker holds `memory_mb` of the machine's memory and `gpu_mb` of
    its GPU's.
    """

    state: str
    stage: str = ""
    fraction: float = 0.0
    seconds_left: float | None = None
    message: str = ""
    kind: str = ""
    memory_mb: int = 0
    gpu_mb: int = 0

    @property
    def is_over(self) -> bool:
        return self.state in (*FINISHED, "interrupted")


class Job:
    """A job folder. Nothing is kept in memory but job.json, which never changes."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.input = self.path / "input"
        self.output = self.path / "output"
        self.checkpoint = self.path / "checkpoint"
        self.preview = self.path / "preview.png"
        self.log = self.path / "log.txt"
        self.cancel_file = self.path / "cancel"
        self.worker_file = self.path / "worker.json"
        self._status_file = self.path / "status.json"
        self._report_file = self.path / "report.json"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @classmethod
    def create(cls, path: Path, recipe: Recipe, *, seed: int = 0, device: str = "auto",
               summary: dict[str, Any] | None = None, target: dict[str, Any] | None = None) -> Job:
        """Write job.json into `path`, whose input/ is complete; from then on it is a job.

        `summary` is what the recipe's estimate needs of the input. `target` says where the result goes;
        "files" in it is the name of a file that the worker writes beside mesh.npz, in that name's form.
        """
        job = cls(path)
        job.input.mkdir(parents=True, exist_ok=True)
        files.write_json(path / "job.json", {
            "format": FORMAT, "task": recipe.task(), "recipe": recipe.to_json(), "seed": seed, "device": device,
            "created": datetime.now(UTC).isoformat(), "summary": summary or {}, "target": target or {}})
        return job

    @cached_property
    def description(self) -> dict[str, Any]:
        """job.json; InputError in one line where it is absent, damaged or of a newer Maquette."""
        path = self.path / "job.json"
        try:
            values = files.read_json(path)
        except OSError:
            raise InputError(f"job: {self.path} has no readable job.json; it was deleted or never "
                             "completed, start a new job") from None
        except ValueError as error:
            raise InputError(f"job: {path} is damaged ({error}); start a new job") from None
        version = values.get("format")
        if version != FORMAT:
            raise InputError(f"job: {path} has format {version!r} and this Maquette reads {FORMAT}; "
                             "use the Maquette that wrote it")
        absent = {"task", "recipe", "seed", "device", "created", "summary", "target"} - values.keys()
        if absent:
            raise InputError(f"job: {path} lacks {', '.join(sorted(absent))}; start a new job")
        return values

    @property
    def task(self) -> str:
        return self.description["task"]

    @cached_property
    def recipe(self) -> Recipe:
        return recipe_of(self.task).from_json(self.description["recipe"])

    @property
    def created(self) -> str:
        """When, in UTC; the text sorts by time."""
        return self.description["created"]

    @property
    def target(self) -> dict[str, Any]:
        return self.description["target"]

    def status(self) -> Status:
        """What the folder says now. Never raises: whatever is wrong with the folder is its message."""
        if not self.path.exists():
            return Status("failed", message=f"job: {self.path} was deleted; start a new one", kind="input")
        try:
            self.description
        except MaquetteError as error:
            return Status("failed", message=str(error), kind=error.kind)
        said = self._said()
        if said.state in FINISHED:
            return said
        if self.worker_is_alive():
            return said if said.state == "running" else Status("running", "starting")
        # The worker may have said its last word between the two looks above.
        said = self._said()
        if said.state in FINISHED or said.state == "queued" and not self.worker_file.exists():
            return said
        if self.cancel_file.exists():
            return Status("cancelled", said.stage, said.fraction)
        if said.state == "interrupted":
            return said
        why = "its process ended without a word; resume it" if said.state == "running" else (
            f"its process ended at its start ({self._last_line()}); `maquette doctor` says what is wrong, then resume it")
        return Status("interrupted", said.stage, said.fraction, message=why)

    def _last_line(self) -> str:
        """What the worker has said last."""
        try:
            return self.log.read_text(errors="replace").strip().splitlines()[-1][:200]
        except (OSError, IndexError):
            return "without a word"

    def _said(self) -> Status:
        """status.json as it stands."""
        try:
            values = files.read_json(self._status_file)
            return Status(**{f.name: values[f.name] for f in fields(Status) if f.name in values})
        except OSError:
            return Status("interrupted", message="it was never started; resume it")
        except (ValueError, TypeError) as error:
            return Status("interrupted", message=f"status.json is damaged ({error}); resume the job")

    def lacks_input(self) -> bool:
        """Whether the job waits for an input that is gathered for another one, which is still there."""
        if INPUT_OF not in self.target or any(self.input.iterdir()):
            return False
        return (self.path.parent / Path(self.target[INPUT_OF]).name).is_dir()

    def write_status(self, status: Status) -> None:
        files.write_json(self._status_file, asdict(status))

    def worker(self) -> dict[str, Any] | None:
        """worker.json: pid, start and host; None where there is none that can be read."""
        try:
            values = files.read_json(self.worker_file)
            return {"pid": int(values["pid"]), "start": str(values["start"]), "host": str(values["host"])}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_worker(self, pid: int) -> None:
        files.write_json(self.worker_file, {"pid": pid, "start": machine.start_of(pid) or "", "host": machine.host()})

    def worker_is_alive(self) -> bool:
        worker = self.worker()
        if worker is None:
            return False
        if worker["host"] != machine.host():
            return self._seconds_of_silence() < SILENCE_ELSEWHERE
        return machine.start_of(worker["pid"]) == worker["start"]

    def worker_is_here(self) -> bool:
        """Whether the worker lives on this machine, whatever the job's state is."""
        worker = self.worker()
        return worker is not None and worker["host"] == machine.host() and self.worker_is_alive()

    def _seconds_of_silence(self) -> float:
        try:
            return datetime.now().timestamp() - self._status_file.stat().st_mtime
        except OSError:
            return SILENCE_ELSEWHERE

    def request_cancel(self) -> None:
        """Ask the worker to stop; it looks for the file several times a second."""
        try:
            self.cancel_file.touch()
        except OSError as error:
            raise files.explained(error, self.cancel_file) from error

    def report(self) -> dict[str, Any]:
        """report.json of a job that is done, or InputError."""
        try:
            return files.read_json(self._report_file)
        except (OSError, ValueError) as error:
            raise InputError(f"job: {self._report_file} cannot be read ({error}); "
                             f"the job's log is {self.log}") from None

    def write_report(self, report: dict[str, Any]) -> None:
        files.write_json(self._report_file, report)

    def result_files(self) -> Path:
        """The folder with the file that `target` asks for, and those that go with it."""
        return self.output / "files"
