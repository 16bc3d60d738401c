"""The tasks' recipes. A module here that defines a subclass of Recipe is a task of that module's name."""

from __future__ import annotations

import importlib
import pkgutil

from .base import PRESETS, Estimate, Parameter, Recipe, param
from .errors import BY_KIND, Cancelled, InputError, MachineError, MaquetteError

__all__ = ["BY_KIND", "PRESETS", "Cancelled", "Estimate", "InputError", "MachineError", "MaquetteError",
           "Parameter", "Recipe", "param", "recipe_of", "tasks"]


def tasks() -> dict[str, type[Recipe]]:
    """Every task's recipe class by the task's name, in alphabetical order."""
    found: dict[str, type[Recipe]] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        for value in vars(importlib.import_module(f".{module}", __name__)).values():
            if isinstance(value, type) and issubclass(value, Recipe) and value.task() == module != "base":
                found[module] = value
    return found


def recipe_of(task: str) -> type[Recipe]:
    """The recipe class of `task`, or InputError."""
    known = tasks()
    if task not in known:
        raise InputError(f"task: there is no task {task!r}; the tasks are {', '.join(known)}")
    return known[task]
