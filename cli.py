"""The command line: a subcommand a task, generated from its recipe, and the words for jobs, results and set-up."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from . import api, compare, doctor, terminal
from .formats import comparison
from .formats.report import as_json, program_version, rows
from .jobs import backend, builds, files, planning, process, run, setup, store
from .jobs.folder import Job
from .recipes import (
    BY_KIND,
    PRESETS,
    Cancelled,
    InputError,
    MachineError,
    MaquetteError,
    Parameter,
    Recipe,
    recipe_of,
    tasks,
)

# These need nothing but the standard library; the others go on in the backend where this Python is not it.
_LIGHT = ("jobs", "cancel", "clean", "doctor", "setup")


def main(arguments: list[str], *, in_blender: bool = False, python: str | Path | None = None) -> int:
    """Run a command; the exit code is 0 done, 1 defect, 2 input, 3 cancelled, 4 machine.

    `in_blender` is `blender -b SCENE --command maquette …`: a task without an input takes the open scene,
    and `python` is the backend's, which does everything else.
    """
    as_json = "--json" in arguments
    _on_termination(signal.default_int_handler)  # it cancels as Ctrl-C does
    try:
        options = _parser().parse_args(arguments)
        if options.word not in _LIGHT and not _is_here(options, in_blender):
            return _in_backend(arguments, backend.find_backend_python(python), in_blender)
        if options.word == "setup" and in_blender:  # Blender's Python does it, in a process of its own
            return _in_backend(arguments, Path(sys.executable), in_blender)
        options.python = python
        return options.act(options) or 0
    except MaquetteError as error:
        _say_error(error, as_json)
        return error.exit_code
    except KeyboardInterrupt:
        _say_error(Cancelled("cancelled: give the command again, or see `maquette jobs`"), as_json)
        return Cancelled.exit_code
    except BrokenPipeError:  # the reader of this output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:  # the last resort: a traceback never reaches a user
        return _say_defect(error, as_json)


def _is_here(options: argparse.Namespace, in_blender: bool) -> bool:
    if in_blender:
        return options.word in tasks() and not options.input
    return importlib.util.find_spec("torch") is not None


def _in_backend(arguments: list[str], python: Path, in_blender: bool) -> int:
    env = process.worker_environment() | {"MAQUETTE_JOBS": str(store.jobs_folder()), "MAQUETTE_BACKEND": str(planning.folder())}
    if in_blender:
        import bpy
        env.setdefault("MAQUETTE_BLENDER", bpy.app.binary_path)
    child = subprocess.Popen([python, process.ROOT, *arguments], env=env)
    _on_termination(lambda *_: child.terminate())
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # it has heard Ctrl-C itself and is ending
            continue


def _on_termination(act: Callable[..., Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # no other may say what a signal does
        signal.signal(signal.SIGTERM, act)


def _say_error(error: MaquetteError, as_json: bool) -> None:
    if as_json:
        state = "cancelled" if isinstance(error, Cancelled) else "failed"
        print(json.dumps({"state": state, "kind": error.kind, "message": str(error)}), flush=True)
    else:
        print(f"maquette: {error}", file=sys.stderr, flush=True)


def _say_defect(error: Exception, as_json: bool) -> int:
    log = store.cache_folder() / "defect.txt"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)))
        where = f"the log is {log}"
    except OSError:
        where = f"no log could be written to {log}"
    _say_error(MaquetteError(f"a defect of Maquette ({type(error).__name__}: {str(error).splitlines()[:1]}); {where}"),
               as_json)
    return MaquetteError.exit_code


class _Parser(argparse.ArgumentParser):
    """One line for an error, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` says more")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("maquette", description="Neural reconstruction for Blender.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"maquette {program_version()}")
    words = parser.add_subparsers(dest="word", metavar="WORD", required=True)
    families: dict[str, Any] = {}
    for recipe in tasks().values():
        *family, word = recipe.words()
        among = families.get(family[0]) if family else words
        if among is None:
            among = families[family[0]] = _family(words, family[0])
        _add_task(among.add_parser(word, help=recipe.__doc__, description=recipe.__doc__, allow_abbrev=False,
                                   epilog=f"example: {recipe.example}"), recipe)
    _add_compare(words.add_parser("compare", help="several methods of capturing on one input, side by side",
                                  description=_compare.__doc__, allow_abbrev=False), recipe_of("capture"))
    for word, act, help in (("jobs", _jobs, "list the jobs"), ("resume", _resume, "go on with a job"),
                            ("cancel", _cancel, "stop a job"), ("clean", _clean, "delete jobs that are over"),
                            ("work", _work, "run a job in this process"),
                            ("evaluate", _evaluate, "audit a mesh, measure a result against the truth"),
                            ("setup", _setup, "make the backend, which everything else needs"),
                            ("doctor", _doctor, "say what this installation has, and try its devices"),
                            ("selftest", _selftest, "try one device in this process")):
        sub = words.add_parser(word, help=help, description=act.__doc__, allow_abbrev=False)
        sub.set_defaults(act=act)
        _ARGUMENTS[word](sub)
    return parser


def _family(words: Any, name: str) -> Any:
    """The second words of the tasks that share their first."""
    members = [recipe.words()[1] for recipe in tasks().values() if recipe.words()[0] == name]
    parser = words.add_parser(name, help=f"{name}: {', '.join(members)}", allow_abbrev=False)
    return parser.add_subparsers(dest="word", metavar="WORD", required=True)


def _add_task(parser: argparse.ArgumentParser, recipe: type[Recipe]) -> None:
    parser.set_defaults(act=_task, word=recipe.task())
    if recipe.words()[0] == "train":
        parser.add_argument("--data", nargs="+", type=Path, metavar="FOLDER", default=[], help="the same as INPUT")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT",
                        help="the result; its ending chooses the form: "
                             + " ".join(ending or "none (a folder)" for ending in api.ENDINGS[recipe.output]))
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="default: STEM.report.json beside OUT")
    _add_options(parser, recipe)


def _add_compare(parser: argparse.ArgumentParser, recipe: type[Recipe]) -> None:
    methods = next(p for p in recipe.parameters() if p.name == "method").choices
    parser.set_defaults(act=_compare, word=recipe.task())
    parser.add_argument("--methods", default=",".join(recipe.compared), metavar="A,B,…",
                        help=f"of {','.join(methods)}, in this order (default {','.join(recipe.compared)})")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="a folder for all results")
    _add_options(parser, recipe, but="method")


def _add_options(parser: argparse.ArgumentParser, recipe: type[Recipe], but: str = "") -> None:
    """What all words that start jobs of a recipe take; every parameter `but` one."""
    parser.add_argument("input", nargs="*", type=Path, metavar="INPUT",
                        help="files or folders; in `blender --command`, none is the open scene")
    parser.add_argument("--preset", choices=PRESETS, help="a set of parameters; those given beside it win")
    parser.add_argument("--recipe", type=Path, metavar="FILE.json", help="parameters from a recipe or a report")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--quiet", action="store_true", help="say errors alone")
    parser.add_argument("--json", action="store_true", help="say progress and the result as lines of JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    parser.add_argument("--blender", metavar="PATH",
                        help="a blender, or a Python with bpy, for .blend files and to look at the mesh")
    group = parser.add_argument_group("parameters")
    for parameter in recipe.parameters():
        if parameter.name != but:
            _add_parameter(group, parameter)


def _add_parameter(group: Any, parameter: Parameter) -> None:
    about = [f"default {parameter.default}" if parameter.default != "" else ""]
    if parameter.min is not None and parameter.max is not None and parameter.type is not bool:
        about.append(f"{parameter.min} to {parameter.max} {parameter.unit}".strip())
    about = [text for text in about if text]
    options: dict[str, Any] = {"dest": f"parameter.{parameter.name}", "default": argparse.SUPPRESS, "help": (
        parameter.help + (f" ({'; '.join(about)})" if about else "")).replace("%", "%%")}
    if parameter.type is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options["metavar"] = "{" + ",".join(parameter.choices) + "}" if parameter.choices else parameter.unit or (
            "TEXT" if parameter.type is str else "N")
    group.add_argument("--" + parameter.name.replace("_", "-"), **options)


def given_values(options: argparse.Namespace) -> dict[str, Any]:
    """The recipe's parameters that the user gave: the preset's, over them the file's, over them the options'."""
    recipe = recipe_of(options.word)
    values = recipe.preset(options.preset).to_json() if options.preset else {}
    if options.recipe:
        values |= _recipe_file(options.recipe, options.word)
    types = {parameter.name: parameter.type for parameter in recipe.parameters()}
    for name, value in vars(options).items():
        _, prefix, parameter = name.rpartition("parameter.")
        if prefix:
            values[parameter] = _number(value) if types[parameter] in (int, float) else value
    recipe.from_json(values)
    return values


def _number(text: str) -> int | float | str:
    """The number, or the text itself, which the recipe then refuses by the parameter's name."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _recipe_file(path: Path, task: str) -> dict[str, Any]:
    """A recipe's JSON, or that of a report or a job, which hold one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"recipe: {path} cannot be read as JSON ({error}); give a recipe or a report") from None
    if not isinstance(values, dict):
        raise InputError(f"recipe: {path} is not a JSON object; give a recipe or a report")
    if values.get("task", task) != task:
        raise InputError(f"recipe: {path} is of the task {values['task']!r}; give one of {task!r}")
    found = values.get("recipe", values)
    if not isinstance(found, dict):
        raise InputError(f"recipe: {path} has a recipe that is not a JSON object; give a recipe or a report")
    return found


def _task(options: argparse.Namespace) -> None:
    request = api.Request(options.word, (*options.input, *getattr(options, "data", ())), given_values(options), options.out, options.report,
                          options.seed, options.device, options.overwrite, options.blender)
    if process.rank():
        return _follow()
    python = backend.find_backend_python(options.python)
    with terminal.narrator(options.quiet, options.json) as narrate:
        job = api.perform(request, narrate, python, on_job=_say_to_followers)
    _say_result(job, options)


def _compare(options: argparse.Namespace) -> None:
    """Capture by several methods one after the other, into one folder: a mesh and a report of each, a table of their
    figures (compare.csv, compare.json) and one view by each (compare.png)."""
    request = api.Request(options.word, tuple(options.input), given_values(options), options.out, seed=options.seed,
                          device=options.device, overwrite=options.overwrite, blender=options.blender)
    python = backend.find_backend_python(options.python)
    methods = [method.strip() for method in options.methods.split(",") if method.strip()]
    with terminal.narrator(options.quiet, options.json) as narrate:
        rows = compare.compare(request, methods, narrate, python)
    if options.json:
        print(json.dumps({"state": "done", "out": str(options.out.absolute()), "methods": rows}))
    elif not options.quiet:
        print(comparison.text(rows))
        print(f"all of it is in {options.out.absolute()}")


def _say_to_followers(job: Job) -> None:
    """Tell the other processes that torchrun has started with this one, if it has, which job they share."""
    if process.has_followers():
        from .neural.training import processes
        processes.tell_job(job.path)


def _follow() -> None:
    """Take part in the job of the first of the processes that torchrun has started."""
    os.environ.update(process.worker_environment())  # before torch reads it
    from .neural import worker
    from .neural.training import processes
    worker.follow(processes.job_told())


def _say_result(job: Job, options: argparse.Namespace) -> None:
    if options.quiet:
        return
    report, target = job.report(), job.target
    if options.json:
        print(json.dumps({"state": "done", "out": target.get("out"), "job": str(job.path), "report": report}))
        return
    for warning in report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    lines = rows(report) + [(name, str(target[name])) for name in ("out", "report") if name in target]
    print(terminal.table(lines))


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """A word that takes none."""


def _json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def _jobs_arguments(parser: argparse.ArgumentParser) -> None:
    _json_argument(parser)
    parser.add_argument("--release", action="store_true",
                        help="end workers that still hold memory though their job is over")


def _job_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="a name that `maquette jobs` lists, or a job's folder")


def _resume_arguments(parser: argparse.ArgumentParser) -> None:
    _job_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="say errors alone")
    parser.add_argument("--json", action="store_true", help="say progress and the result as lines of JSON")


def _clean_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", nargs="*", help="these alone, interrupted ones too")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("result", type=Path, metavar="RESULT", help="a mesh, a picture or a folder of pictures")
    parser.add_argument("--truth", type=Path, metavar="TRUE",
                        help="what it should be; a mesh is audited without it, too")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the numbers there too")


def _setup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "rocm", "mps"), default="auto",
                        help="which torch: auto looks for a GPU's driver")
    parser.add_argument("--folder", type=Path, help="where to; by default the user's data folder, or the extension's")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="take all packages from there, not the network")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--remove", action="store_true", help="delete the backend")
    parser.add_argument("--json", action="store_true", help="say progress as lines of JSON")


def _jobs(options: argparse.Namespace) -> None:
    """List the jobs with their state, size, and the memory that the worker of a running one holds."""
    if options.release:
        ended = process.release()
        print(f"{len(ended)} workers ended whose jobs are over" + "".join(f"\n{job.name}" for job in ended))
        return
    jobs = store.list_jobs()
    sizes = [store.size(job.path) for job in jobs]
    states = [job.status() for job in jobs]
    if options.json:
        print(json.dumps([{"job": job.name, "state": status.state, "fraction": status.fraction, "bytes": size,
                           "memory_mb": status.memory_mb, "gpu_mb": status.gpu_mb}
                          for job, status, size in zip(jobs, states, sizes, strict=True)]))
        return
    if jobs:
        print(terminal.table([(job.name, status.state, f"{status.fraction:.0%}", terminal.megabytes(size),
                               " ".join(text for text in (terminal.held(status), status.message) if text))
                              for job, status, size in zip(jobs, states, sizes, strict=True)]))
    print(f"{len(jobs)} jobs, {terminal.megabytes(sum(sizes))} in {store.jobs_folder()}")


def _resume(options: argparse.Namespace) -> None:
    """Go on with a job that was interrupted, cancelled or failed; write the result of one that is done."""
    job = store.find_job(options.job)
    if (job.path / "scene.blend").exists():  # gone when Blender has rendered all views from it
        raise InputError(f"views: those of job {job.name} are not all rendered; resume it in Blender's Maquette tab")
    python = backend.find_backend_python(options.python)
    if job.status().state not in ("done", "running", "queued"):
        process.resume(job)
    with terminal.narrator(options.quiet, options.json) as narrate:
        run.wait(job, python, narrate)
        api.deliver(job, narrate)
    _say_result(job, options)


def _cancel(options: argparse.Namespace) -> None:
    """Stop a job; what it has computed stays for `resume`."""
    job = store.find_job(options.job)
    process.cancel(job)
    state = job.status().state
    print(f"{job.name} is {state}" + ("" if state == "done" else f"; `maquette resume {job.name}` goes on with it"))


def _clean(options: argparse.Namespace) -> None:
    """Delete the jobs that are done, failed or cancelled, or the ones named; say how much room that gave."""
    freed = sum(store.remove(store.find_job(name)) for name in options.job) if options.job else store.clean()
    print(f"{terminal.megabytes(freed)} freed in {store.jobs_folder()}")


def _work(options: argparse.Namespace) -> None:
    """Run a job in this process, as the workers do that other words start."""
    os.environ.update(process.worker_environment())  # before torch reads it
    from .neural.worker import run_and_leave
    run_and_leave(Path(options.job).absolute())


def _evaluate(options: argparse.Namespace) -> None:
    """Measure a result of any program, against the truth where it is given."""
    from .neural import evaluation
    for path in (options.result, options.truth):
        if path and not path.exists():
            raise InputError(f"evaluate: {path} does not exist; check the path")
    if options.report:
        api.check_writable(options.report.absolute())
    figures = evaluation.evaluate(options.result, options.truth)
    print(evaluation.table(figures))
    if options.report:
        files.atomic_write(options.report, as_json(figures))


def _setup(options: argparse.Namespace) -> None:
    """Make an environment with torch and all that belongs to it, in a folder of its own; nothing else is changed.

    What is going to be done is said first. Cancelled or killed, it goes on when it is run again.
    """
    if options.remove:
        print(f"{terminal.megabytes(setup.remove(options.folder))} freed in {options.folder or planning.folder()}")
        return
    plan = planning.plan(builds.choose(options.device), options.folder, options.wheels)
    if not options.json:
        print(plan.text(), flush=True)
    if options.dry_run:
        return
    if setup.is_made(plan):
        print(json.dumps({"state": "done", "folder": str(plan.place)}) if options.json else "it is there and up to date")
        return
    with terminal.narrator(False, options.json) as narrate:
        said = setup.carry_out(plan, narrate)
    print(json.dumps({"state": "done", "folder": str(plan.place)}) if options.json else said)


def _selftest_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="DEVICE", help="as torch calls it: cpu, cuda:0, mps")


def _doctor(options: argparse.Namespace) -> int:
    """Say what this installation has, try its devices, and check its weights: a report without names of folders or
    of the user. The exit code is 0 where all of it is well, 2 without a backend, 4 for a device or a file."""
    found = doctor.look(options.python)
    print(json.dumps(found, indent=1) if options.json else doctor.text(found), flush=True)
    if sys.stdout.isatty():
        print(f"\nFor you alone: Maquette is in {process.ROOT}, its jobs in {store.jobs_folder()}", file=sys.stderr)
    return max((BY_KIND[problem["kind"]].exit_code for problem in found["problems"]), default=0)


def _selftest(options: argparse.Namespace) -> int:
    """Train a small field on one device and check its numbers, as `doctor` does on each in a process of its own."""
    os.environ.update(process.worker_environment())  # before torch reads it
    from .neural import selftest
    said = selftest.run(options.name)
    print(json.dumps(said))
    return 0 if said["passed"] else MachineError.exit_code


_ARGUMENTS = {"jobs": _jobs_arguments, "resume": _resume_arguments, "cancel": _job_argument, "clean": _clean_arguments,
              "work": _job_argument, "evaluate": _evaluate_arguments, "doctor": _json_argument,
              "setup": _setup_arguments, "selftest": _selftest_arguments}
