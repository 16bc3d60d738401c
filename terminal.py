"""What the command line says while a job runs: a bar on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from .jobs.folder import Status

LINE_EVERY = 0.1  # of the job


class Quiet(AbstractContextManager):
    """Says nothing; base of the others."""

    def __call__(self, status: Status) -> None:
        """Hear a status."""

    def __exit__(self, *_: Any) -> None:
        """End what is drawn."""


class Lines(Quiet):
    """A line when a stage begins, and every tenth of the job."""

    def __init__(self) -> None:
        self._stage, self._next = "", 0.0

    def __call__(self, status: Status) -> None:
        if status.state not in ("queued", "running"):
            return
        stage = stage_of(status)
        if stage != self._stage or status.fraction >= self._next:
            self._stage = stage
            self._next = status.fraction + LINE_EVERY
            print(f"{status.fraction:4.0%}  {stage}{left(status)}", flush=True)


class JsonLines(Quiet):
    """One JSON object a line, as in status.json."""

    def __call__(self, status: Status) -> None:
        print(json.dumps({key: value for key, value in asdict(status).items() if value not in ("", None)}), flush=True)


class Bar(Quiet):
    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn
        self._progress = Progress(TextColumn("{task.percentage:3.0f} %"), BarColumn(), TextColumn("{task.description}"),
                                  transient=True)
        self._bar = self._progress.add_task("starting", total=1.0)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __call__(self, status: Status) -> None:
        from rich.markup import escape
        message = f"  {status.message}" if status.state == "running" and status.message else ""
        self._progress.update(self._bar, completed=status.fraction,
                              description=escape(stage_of(status) + message + left(status)))

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()


def stage_of(status: Status) -> str:
    return "waiting for the job before" if status.state == "queued" else status.stage or status.state


def left(status: Status) -> str:
    """ ", 2 min left", or nothing where it is not known."""
    seconds = status.seconds_left
    if seconds is None or status.state != "running":
        return ""
    return f", {seconds:.0f} s left" if seconds < 100 else f", {seconds / 60:.0f} min left"


def held(status: Status) -> str:
    """The memory that a running worker holds, "1,024 MB, 2,048 MB of the GPU"."""
    if status.state != "running":
        return ""
    return ", ".join([*([f"{status.memory_mb:,} MB"] if status.memory_mb else []),
                      *([f"{status.gpu_mb:,} MB of the GPU"] if status.gpu_mb else [])])


def narrator(quiet: bool, as_json: bool) -> Quiet:
    if quiet:
        return Quiet()
    if as_json:
        return JsonLines()
    return Bar() if sys.stdout.isatty() and importlib.util.find_spec("rich") else Lines()


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as they must be, two spaces apart."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows)


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
