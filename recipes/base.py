"""What a task is: a frozen dataclass whose fields say everything about its parameters.

Blender's properties, the panel's rows, the command line, the job's JSON and the documentation's
tables are generated from these fields, so a parameter is written once.
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args, get_origin

from .errors import InputError

PRESETS = ("draft", "standard", "best")


def param(default: Any, help: str, *, unit: str = "", min: float | None = None, max: float | None = None,
          label: str = "", group: str = "", advanced: bool = False, pattern: str = "") -> Any:
    """One parameter of a recipe.

    `help` is its sentence in the tooltip, `--help` and the docs. `unit` is an SI symbol, "px", "%"
    or empty. `min` and `max` are inclusive. `advanced` folds it away in the panel.
    `group` is the heading it stands under; empty is the task's own. `pattern` is the regular expression that
    a text must match as a whole; `help` says it in words.
    """
    about = {"help": help, "unit": unit, "min": min, "max": max, "label": label, "group": group,
             "advanced": advanced, "pattern": pattern}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Parameter:
    """A recipe's parameter as its surfaces see it. `type` is bool, int, float or str."""

    name: str
    type: type
    default: Any
    help: str
    unit: str
    min: float | None
    max: float | None
    label: str
    group: str
    advanced: bool
    pattern: str
    choices: tuple[str, ...]

    def check(self, value: Any) -> Any:
        """Return `value` in the parameter's type, or raise InputError that names it."""
        if self.choices:
            if value not in self.choices:
                raise InputError(f"{self.name}: {value!r} is not one of {', '.join(self.choices)}; choose one of them")
            return value
        if self.type is bool:
            if not isinstance(value, bool):
                raise InputError(f"{self.name}: {value!r} is not true or false; give one of them")
            return value
        if self.type is str:
            if not isinstance(value, str):
                raise InputError(f"{self.name}: {value!r} is not a text; give one")
            if self.pattern and not re.fullmatch(self.pattern, value):
                raise InputError(f"{self.name}: {value!r} is not of its form; give: {self.help}")
            return value
        return self._check_number(value)

    def _check_number(self, value: Any) -> int | float:
        whole = self.type is int
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InputError(f"{self.name}: {value!r} is not a {'whole ' if whole else ''}number; give one")
        if whole and value != int(value):
            raise InputError(f"{self.name}: {value!r} is not a whole number; give one")
        unit = f" {self.unit}" if self.unit else ""
        if self.min is not None and value < self.min:
            raise InputError(f"{self.name}: {value} is too small; give {self.min}{unit} or more")
        if self.max is not None and value > self.max:
            raise InputError(f"{self.name}: {value} is too large; give {self.max}{unit} or less")
        return self.type(value)


@dataclass(frozen=True)
class Estimate:
    """What a job is expected to need."""

    memory_mb: int
    seconds: float
    gpu_mb: int = 0


@dataclass(frozen=True)
class Recipe:
    """Base of all tasks' recipes. A subclass lies in a module of this package named after its task."""

    label: ClassVar[str]
    # What its button says.
    action: ClassVar[str] = "Reconstruct"
    # The kind of its input, one of those that `formats.inputs` reads from files and `scene.inputs` from Blender;
    # "none" where the recipe is all it needs.
    input: ClassVar[str]
    # "mesh", "texture" (a mesh that was there), "field" or "volume" (a mesh, and the field or octree that it is of),
    # "morph", "objects", "picture", "pictures" (a folder of them) or "model": the form of the result, hence of OUT.
    output: ClassVar[str] = "mesh"
    # The methods, of the parameter `method`, that are compared where the user names none: those that take no hours.
    compared: ClassVar[tuple[str, ...]] = ()
    # The kind of model, as its file says, that the parameter `model` takes or that training makes; empty where
    # `model` is a file of another program.
    model_kind: ClassVar[str] = ""
    # A line of the command line for the table of tasks.
    example: ClassVar[str] = ""
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    def __post_init__(self) -> None:
        for parameter in self.parameters():
            object.__setattr__(self, parameter.name, parameter.check(getattr(self, parameter.name)))

    @classmethod
    def task(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def words(cls) -> list[str]:
        """The task on the command line: of a family of tasks the family's name comes first (`shape_train`)."""
        return cls.task().split("_", 1)

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        hints = typing.get_type_hints(cls)
        return tuple(_parameter(f, hints[f.name]) for f in dataclasses.fields(cls))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Recipe:
        """Build from JSON; absent parameters take their defaults, unknown ones are refused by name."""
        names = [p.name for p in cls.parameters()]
        unknown = [name for name in values if name not in names]
        if unknown:
            raise InputError(f"recipe: {cls.task()} has no parameter {unknown[0]!r}; it has {', '.join(names)}")
        return cls(**values)

    @classmethod
    def preset(cls, name: str, **values: Any) -> Recipe:
        """The recipe of a preset, `values` over it."""
        if name not in PRESETS:
            raise InputError(f"preset: {name!r} is not one of {', '.join(PRESETS)}; choose one of them")
        return cls.from_json({**cls.presets.get(name, {}), **values})

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def for_out(self, ending: str) -> Recipe:
        """The recipe where OUT has this ending, which may hold less than the recipe would make."""
        return self

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        """What a job with an input of this `summary` (see `formats.inputs`) needs."""
        raise NotImplementedError

    def with_preset(self, name: str) -> Recipe:
        """This recipe with what any preset of its task names as in the preset `name`."""
        named = {key for values in self.presets.values() for key in values}
        values = self.preset(name).to_json()
        return self.from_json({**self.to_json(), **{key: values[key] for key in named}})

    def smaller(self, summary: dict[str, Any]) -> tuple[str, Recipe] | None:
        """The largest preset that needs less memory than this recipe, and the recipe with it; None where none does."""
        needed = self.estimate(summary).memory_mb
        for name in reversed(PRESETS):
            recipe = self.with_preset(name)
            if recipe.estimate(summary).memory_mb < needed:
                return name, recipe
        return None


def _parameter(f: dataclasses.Field, hint: Any) -> Parameter:
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    m = f.metadata
    return Parameter(f.name, str if choices else hint, f.default, m["help"], m["unit"], m["min"], m["max"],
                     m["label"] or f.name.replace("_", " ").title(), m["group"], m["advanced"], m["pattern"],
                     choices)
