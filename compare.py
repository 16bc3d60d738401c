"""Several methods on one input, one after the other: the command line's `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import api
from .formats import comparison
from .jobs import backend, files, process, run, store
from .jobs.folder import Job
from .recipes import Cancelled, InputError, MaquetteError, recipe_of


def compare(request: api.Request, methods: Sequence[str], on_status: api.OnStatus = api.silent,
            python: Path | None = None) -> list[comparison.Row]:
    """Run methods of the request's task on its input, which is gathered once; OUT is a folder for all of them.

    It gets a mesh and a report of each method, a table of their figures as CSV and JSON, and a sheet with one view
    by each. A method that fails stops no other: it stands in the table, which is returned, with what it failed with.
    Raises Cancelled, and what the first has failed with where all have.
    """
    python = python or backend.find_backend_python()
    out = _checked_out(request)
    jobs = _jobs(request, out, _checked_methods(request, methods), on_status)
    rows: list[comparison.Row] = []
    problems: list[MaquetteError] = []
    for number, (method, job) in enumerate(jobs.items()):
        try:
            run.run(job, python, _told(on_status, method, number, len(jobs)))
            api.deliver(job, on_status)
            rows.append(comparison.row(method, job.report()))
        except Cancelled:
            for waiting in list(jobs.values())[number + 1:]:
                process.cancel(waiting)
            raise
        except MaquetteError as problem:
            problems.append(problem)
            rows.append(comparison.failed(method, str(problem)))
    if len(problems) == len(rows):
        raise problems[0]
    _write(out, jobs, rows)
    return rows


def _checked_out(request: api.Request) -> Path:
    """The folder, which nothing is in unless it may be overwritten."""
    out = request.out
    if out is None or out.suffix:
        raise InputError(f"out: {out} is no folder's name; give one, for the results of all methods")
    api.check_folder(out.absolute())
    if api.is_there(out) and not request.overwrite:
        raise InputError(f"out: {out} exists; give --overwrite or another name")
    return out


def _checked_methods(request: api.Request, methods: Sequence[str]) -> list[str]:
    parameter = next(p for p in recipe_of(request.task).parameters() if p.name == "method")
    wanted = list(dict.fromkeys(parameter.check(method) for method in methods))
    if len(wanted) < 2:
        raise InputError(f"methods: {', '.join(wanted) or 'none'} is nothing to compare; give two or more of "
                         f"{', '.join(parameter.choices)}")
    return wanted


def _jobs(request: api.Request, out: Path, methods: list[str], on_status: api.OnStatus) -> dict[str, Job]:
    """A job a method, all with the input that is gathered for the first."""
    asked = {method: replace(request, values={**request.values, "method": method}, out=out / f"{method}.glb",
                             overwrite=True) for method in methods}
    first = api.start(asked[methods[0]], on_status)
    jobs = {methods[0]: first}
    for method in methods[1:]:
        recipe = first.recipe.from_json({**first.recipe.to_json(), "method": method})
        jobs[method] = store.new_sharing(first, recipe, api.target_of(asked[method]))
    store.share_input(first)
    return jobs


def _told(on_status: api.OnStatus, method: str, number: int, count: int) -> api.OnStatus:
    """Tells of one method's job as a part of the whole."""
    return lambda status: on_status(replace(
        status, stage=f"{method}: {status.stage or status.state}", fraction=(number + status.fraction) / count,
        seconds_left=None))


def _write(out: Path, jobs: dict[str, Job], rows: list[comparison.Row]) -> None:
    files.atomic_write(out / comparison.CSV, comparison.as_csv(rows))
    files.atomic_write(out / comparison.JSON, comparison.as_json(rows))
    done = [row["method"] for row in rows if "failed" not in row]
    sheet = comparison.sheet([(f"{method}: picture, field, mesh", jobs[method].output / "preview.png")
                              for method in done])
    if sheet:
        files.atomic_write(out / comparison.SHEET, sheet)
