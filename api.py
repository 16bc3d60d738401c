"""The tasks as Python functions, and the way of a job from its input to OUT that they share with the command line."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .jobs import backend, files, headless, run, store
from .jobs.folder import Job, Status
from .recipes import Cancelled, InputError, MaquetteError, Recipe, recipe_of, tasks

if TYPE_CHECKING:
    from .formats.mesh import Mesh

# Read and written by Blender; the other forms by the backend.
_BY_BLENDER = (".blend", ".vdb")
# The forms of OUT by what the task's result is.
_MESHES = (".blend", ".glb", ".obj", ".ply", ".stl", ".npz")
ENDINGS = {"mesh": _MESHES, "texture": _MESHES, "field": (*_MESHES, ".safetensors"),
           "volume": (*_MESHES, ".octree", ".vdb"), "morph": _MESHES, "objects": _MESHES, "picture": (".png",), "pictures": ("", ".png"),
           "model": (".safetensors",)}
_COMPANIONS = {".obj": (".mtl", ".png", ".normal.png")}

OnStatus = Callable[[Status], None]


def silent(status: Status) -> None:
    """For who does not want to hear of progress."""


@dataclass(frozen=True)
class Request:
    """What a user asks for. `values` are the recipe's parameters that were given, `out` where the result goes."""

    task: str
    inputs: tuple[Path, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    out: Path | None = None
    report: Path | None = None
    seed: int = 0
    device: str = "auto"
    overwrite: bool = False
    blender: str | None = None

    def recipe(self) -> Recipe:
        return recipe_of(self.task).from_json(self.values)

    def is_of_open_scene(self) -> bool:
        """Whether the scene that is open in this Blender is the input, or takes the result where none is needed."""
        return not self.inputs and importlib.util.find_spec("bpy") is not None

    def report_path(self, out: Path) -> Path:
        """Where the report goes, beside `out` unless the user says."""
        return self.report or out.with_name(f"{out.stem}.report.json")


@dataclass(frozen=True)
class Result:
    """What a task function returns: the mesh where the task makes one, section 7's report, the job, and the file
    that holds the result in the job's folder."""

    mesh: Mesh | None
    report: dict[str, Any]
    job: Job
    path: Path


def start(request: Request, on_status: OnStatus = silent) -> Job:
    """Check all that can be checked beforehand, then gather the input into a new job.

    Without inputs the scene that is open in this Blender is gathered.
    """
    recipe = request.recipe()
    if request.out:
        _check_out(request, request.out, ENDINGS[recipe.output])
    if not request.inputs and recipe.input not in ("none", "ends") and not request.is_of_open_scene():
        raise InputError(f"input: none was given; {recipe.example}")
    for path in request.inputs:
        if not path.exists():
            raise InputError(f"input: {path} does not exist; check the path")
    words = backend.find_blender(request.blender) if _needs_blender(request) else []
    path = store.new_job_path(request.task)
    try:
        recipe, summary = _gather(request, recipe, words, Job(path), on_status)
        if request.out:
            recipe = recipe.for_out(request.out.suffix.lower())
        return Job.create(path, recipe, seed=request.seed, device=request.device, summary=summary,
                          target=target_of(request))
    except KeyboardInterrupt:
        shutil.rmtree(path, ignore_errors=True)
        raise Cancelled("cancelled: before the job began; give the command again") from None
    except MaquetteError as error:
        if error.exit_code != 1:  # a defect's log is kept
            shutil.rmtree(path, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise files.explained(error, path) from error


def _needs_blender(request: Request) -> bool:
    paths = [*request.inputs, *([request.out] if request.out and not request.is_of_open_scene() else [])]
    return any(path.suffix.lower() in _BY_BLENDER for path in paths)


def _check_out(request: Request, out: Path, endings: tuple[str, ...]) -> None:
    if out.suffix.lower() not in endings:
        raise InputError(f"out: {out.name!r} {_should_be(endings)}; the ending chooses the form")
    if request.report_path(out).absolute() in [path.absolute() for path in (out, *_companions(out))]:
        raise InputError(f"report: {request.report_path(out)} is where the result goes; give it another name")
    for path in (out, request.report_path(out), *_companions(out)):
        if path == out and not out.suffix:
            check_folder(out.absolute())
        else:
            check_writable(path.absolute())
        if is_there(path) and not request.overwrite:
            raise InputError(f"out: {path} exists; give --overwrite or another name")


def _should_be(endings: tuple[str, ...]) -> str:
    """What is said of an OUT that has none of these endings; none at all is a folder's."""
    named = " ".join(ending for ending in endings if ending)
    return f"is no folder's name and does not end in {named}" if "" in endings else f"does not end in one of {named}"


def is_there(path: Path) -> bool:
    """Whether there is something that writing would replace."""
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _companions(out: Path) -> list[Path]:
    return [out.with_suffix(ending) for ending in _COMPANIONS.get(out.suffix.lower(), ())]


def check_folder(path: Path) -> None:
    """InputError or MachineError where no folder can be made at `path`, or nothing written into the one there is."""
    if path.exists() and not path.is_dir():
        raise InputError(f"out: {path} is a file; name a folder")
    check_writable((path if path.is_dir() else path.parent) / f"{path.name}.part")


def check_writable(path: Path) -> None:
    """InputError or MachineError where no file can be written at `path`; its folder is made."""
    if path.is_dir():
        raise InputError(f"out: {path} is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise files.explained(error, path) from error


def target_of(request: Request) -> dict[str, Any]:
    """Where the result goes, and which Blender the job has to take where one is known."""
    blender = request.blender or (_this_blender() if request.is_of_open_scene() else "")
    return ({"blender": blender} if blender else {}) | _place_of(request)


def _this_blender() -> str:
    from .scene import compat
    return compat.program()


def _place_of(request: Request) -> dict[str, Any]:
    if request.out is None:
        return {}
    out, scene = request.out.absolute(), _scene_of(request)
    target: dict[str, Any] = {"out": str(out), "report": str(request.report_path(out)),
                              "overwrite": request.overwrite}
    if out.suffix.lower() not in _BY_BLENDER:
        return target | {"files": out.name}
    return target | ({"into": str(scene)} if scene and out.suffix.lower() == ".blend" else {})


def _scene_of(request: Request) -> Path | None:
    """The .blend that the result belongs into."""
    if request.is_of_open_scene():
        import bpy
        return Path(bpy.data.filepath) if bpy.data.filepath else None
    blends = [path.absolute() for path in request.inputs if path.suffix.lower() == ".blend"]
    return blends[0] if blends else None


def _gather(request: Request, recipe: Recipe, blender: list[str], job: Job,
            on_status: OnStatus) -> tuple[Recipe, dict[str, Any]]:
    """Fill the job's input/; return the recipe, which a scene may complete, and the summary."""

    def on_progress(fraction: float, message: str) -> None:
        on_status(Status("running", "Gathering", fraction, message=message))

    job.input.mkdir()
    on_progress(0.0, "")
    if request.is_of_open_scene():
        return _gather_open_scene(request, job, on_progress)
    if request.inputs and request.inputs[0].suffix.lower() in _BY_BLENDER:
        if len(request.inputs) > 1:
            raise InputError(f"input: {request.inputs[0]} comes with other files; give it alone")
        return _gather_blend(request, blender, job, on_progress)
    from .formats.inputs import gather
    return recipe, gather(recipe.input, list(request.inputs), job.input, recipe)


def _gather_open_scene(request: Request, job: Job, on_progress: Callable[[float, str], None]
                       ) -> tuple[Recipe, dict[str, Any]]:
    import bpy

    from .scene import inputs, properties
    assert bpy.context.scene
    stored = properties.recipe_in(bpy.context.scene, request.task).to_json()
    recipe = recipe_of(request.task).from_json({**stored, **request.values})
    return recipe, inputs.gather(bpy.context, recipe, job.input, on_progress)


def _gather_blend(request: Request, blender: list[str], job: Job, on_progress: Callable[[float, str], None]
                  ) -> tuple[Recipe, dict[str, Any]]:
    asked = job.path / "asked.json"
    files.write_json(asked, {"task": request.task, "recipe": request.values})
    headless.call(blender, "gather", request.inputs[0].absolute(), asked, job.input, log=job.log,
                  on_progress=on_progress)
    asked.unlink()
    gathered = files.read_json(job.input / "gathered.json")
    return recipe_of(request.task).from_json(gathered["recipe"]), gathered["summary"]


def deliver(job: Job, on_status: OnStatus = silent) -> None:
    """Bring the result of a job that is done, and its report, to where its target says."""
    target = job.target
    if "out" not in target:
        return
    out, report = Path(target["out"]), Path(target["report"])
    if out.suffix.lower() in _BY_BLENDER:
        _refuse_existing(job, [out, report])
        into = ["--into", target["into"]] if "into" in target else []
        headless.call(backend.find_blender(target.get("blender")), "insert", job.path, out, *into, log=job.log,
                      on_progress=lambda fraction, message: on_status(
                          Status("running", "Writing", fraction, message=message)))
    else:
        folder = job.result_files()
        made = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == out.name)
        wanted = {path: out.parent / path.relative_to(folder) for path in made}  # OUT itself comes last
        _refuse_existing(job, [report, *wanted.values()])
        for path, place in wanted.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            files.atomic_write(place, path.read_bytes())
    files.atomic_write(report, (json.dumps(job.report(), indent=1) + "\n").encode())


def _refuse_existing(job: Job, paths: list[Path]) -> None:
    there = [path for path in paths if path.exists()]
    if there and not job.target["overwrite"]:
        raise InputError(f"out: {there[0]} exists; move it away, then `maquette resume {job.name}` writes the result")


def perform(request: Request, on_status: OnStatus = silent, python: Path | None = None,
            on_job: Callable[[Job], None] = lambda job: None) -> Job:
    """Gather, run and deliver a request; raise what goes wrong. `on_job` hears of the job before it runs."""
    python = python or backend.find_backend_python()
    job = start(request, on_status)
    on_job(job)
    run.run(job, python, on_status)
    finish(job, request, on_status)
    return job


def finish(job: Job, request: Request, on_status: OnStatus = silent) -> None:
    """Deliver; a result of the scene that is open here is inserted into it, and saved with it where OUT says so."""
    if not request.is_of_open_scene():
        return deliver(job, on_status)
    from .scene import results
    results.insert_into_open_scene(job)
    if request.out and request.out.suffix.lower() not in _BY_BLENDER:
        deliver(job, on_status)
    elif request.out:
        results.save(job, request.out)
        files.atomic_write(request.report_path(request.out), (json.dumps(job.report(), indent=1) + "\n").encode())


def result_of(job: Job) -> Result:
    from .formats.results import FORMS
    form = FORMS[job.recipe.output]
    path = job.output / form.file
    return Result(form.mesh(path) if form.mesh else None, job.report(), job, path)


def _function(recipe: type[Recipe]) -> Callable[..., Result]:
    """The task as a function whose keywords are the recipe's parameters."""

    def task(*inputs: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, preset: str = "",
             device: str = "auto", seed: int = 0, overwrite: bool = False, blender: str | None = None,
             on_status: OnStatus = silent, **values: Any) -> Result:
        if preset:
            values = recipe.preset(preset, **values).to_json()
        request = Request(recipe.task(), tuple(Path(path) for path in inputs), values, Path(out) if out else None,
                          seed=seed, device=device, overwrite=overwrite, blender=blender)
        return result_of(perform(request, on_status))

    own = [p for p in inspect.signature(task).parameters.values() if p.kind is not p.VAR_KEYWORD]
    keywords = [inspect.Parameter(p.name, inspect.Parameter.KEYWORD_ONLY, default=p.default, annotation=p.type)
                for p in recipe.parameters()]
    task.__signature__ = inspect.Signature([*own, *keywords], return_annotation=Result)  # type: ignore[attr-defined]
    task.__name__ = task.__qualname__ = recipe.task()
    task.__module__ = __name__
    task.__doc__ = _docstring(recipe)
    return task


def _docstring(recipe: type[Recipe]) -> str:
    lines = [recipe.__doc__ or "", "",
             "`inputs` are the command line's; none is the scene that is open in this Blender. `out` is where the",
             "result goes, None for nowhere but the returned `Result`. `preset` is draft, standard or best.",
             "Raises InputError, MachineError, Cancelled or MaquetteError with a line for the user.", ""]
    for p in recipe.parameters():
        lines.append(f"{p.name}: {p.help}{f' [{p.unit}]' if p.unit else ''}")
    return "\n".join(lines)


def __getattr__(name: str) -> Any:
    if name not in tasks():
        raise AttributeError(f"module 'maquette' has no attribute {name!r}")
    function = _function(recipe_of(name))
    setattr(sys.modules[__name__], name, function)
    return function
