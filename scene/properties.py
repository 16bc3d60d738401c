"""Registered properties: every task's settings, generated from its recipe, and the file's link to its jobs."""

from __future__ import annotations

from typing import Any

import bpy

from ..formats.model import find_model, read_about
from ..recipes import InputError, Parameter, Recipe, tasks

# Subtype and unit of a recipe's unit: what Blender shows and converts.
FLOAT_UNITS = {"s": {"subtype": "TIME_ABSOLUTE", "unit": "TIME_ABSOLUTE"}, "m": {"subtype": "DISTANCE"}, "mm": {"unit": "CAMERA"},
               "%": {"subtype": "PERCENTAGE"}, "rad": {"subtype": "ANGLE"}}
INT_UNITS = {"px": {"subtype": "PIXEL"}, "%": {"subtype": "PERCENTAGE"}}
INT_MAX = 2**31 - 1


def _shapes_of_model(settings: Any, context: bpy.types.Context, typed: str) -> list[str]:
    """What the settings' model was trained on, of which a user picks one."""
    try:
        names = read_about(find_model(settings.model)).get("names", [])
    except InputError:
        return []  # its task says what is wrong
    return [name for name in names if typed.lower() in name.lower()]


FOLDERS = ("photos",)  # texts that are chosen as a folder, by the parameter's name
# Texts that are suggested while they are typed.
SUGGESTED = {"start": _shapes_of_model, "end": _shapes_of_model, "like": _shapes_of_model}


def blender_property(parameter: Parameter) -> Any:
    """The `bpy.props` definition of one parameter of a recipe."""
    common: dict[str, Any] = {"name": parameter.label, "description": parameter.help, "default": parameter.default}
    if parameter.choices:
        items = [(c, c.replace("-", " ").capitalize(), parameter.help) for c in parameter.choices]
        return bpy.props.EnumProperty(items=items, **common)
    if parameter.type is bool:
        return bpy.props.BoolProperty(**common)
    if parameter.type is str:
        if parameter.name in SUGGESTED:
            common["search"] = SUGGESTED[parameter.name]
        if parameter.name in FOLDERS:
            common["subtype"] = "DIR_PATH"
        return bpy.props.StringProperty(**common)
    units = INT_UNITS if parameter.type is int else FLOAT_UNITS
    common |= units.get(parameter.unit, {})
    for name, value in (("min", parameter.min), ("max", parameter.max)):
        if value is not None:
            common[name] = parameter.type(value)
    if parameter.type is int:
        common["max"] = min(common.get("max", INT_MAX), INT_MAX)
        return bpy.props.IntProperty(**common)
    return bpy.props.FloatProperty(**common)


def settings_class(recipe: type[Recipe]) -> type:
    """The PropertyGroup that holds a task's parameters under their own names."""
    annotations = {p.name: blender_property(p) for p in recipe.parameters()}
    return type(f"MAQUETTE_PG_{recipe.task()}", (bpy.types.PropertyGroup,),
                {"__annotations__": annotations, "__doc__": recipe.__doc__, "__module__": __name__})


class MAQUETTE_PG_job(bpy.types.PropertyGroup):
    """A job that this file has started; `name` is its id, the name of its folder."""

    # Session ids do not survive a file, names do: the object that the result replaces, empty for a new one.
    replaces: bpy.props.StringProperty()  # type: ignore[valid-type]


def scene_class(settings: dict[str, type]) -> type:
    """The PropertyGroup behind `scene.maquette`: one pointer a task, and the jobs that this file has started."""
    annotations: dict[str, Any] = {task: bpy.props.PointerProperty(type=cls) for task, cls in settings.items()}
    annotations["jobs"] = bpy.props.CollectionProperty(type=MAQUETTE_PG_job)
    return type("MAQUETTE_PG_scene", (bpy.types.PropertyGroup,),
                {"__annotations__": annotations, "__doc__": "Maquette's settings and jobs in a scene",
                 "__module__": __name__})


def of_scene(scene: bpy.types.Scene) -> Any:
    """`scene.maquette`."""
    return scene.maquette  # type: ignore[attr-defined]


def recipe_in(scene: bpy.types.Scene, task: str) -> Recipe:
    """The recipe that a scene's settings make. InputError where a value is refused."""
    cls = tasks()[task]
    settings = getattr(of_scene(scene), task)
    return cls.from_json({p.name: rounded(getattr(settings, p.name)) for p in cls.parameters()})


def store_recipe(scene: bpy.types.Scene, recipe: Recipe) -> None:
    """Set a scene's settings to a recipe."""
    settings = getattr(of_scene(scene), recipe.task())
    for name, value in recipe.to_json().items():
        try:
            setattr(settings, name, value)
        except (TypeError, ValueError) as problem:
            raise InputError(f"{name}: Blender refuses {value!r} ({problem}); choose another value") from None


def apply_preset(scene: bpy.types.Scene, cls: type[Recipe], preset: str) -> None:
    """Set the parameters that any preset of the task names, to this preset's values or the defaults; no others."""
    named = {name for values in cls.presets.values() for name in values}
    values = cls.preset(preset).to_json()
    settings = getattr(of_scene(scene), cls.task())
    for name in sorted(named):
        setattr(settings, name, values[name])


def rounded(value: Any) -> Any:
    """A float without the digits that Blender's single precision makes up (0.1 is read as 0.10000000149)."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


_registered: list[type] = []


def register() -> None:
    """Register the settings and `scene.maquette`; undone whole where one class fails."""
    settings = {task: settings_class(recipe) for task, recipe in tasks().items()}
    try:
        for cls in (MAQUETTE_PG_job, *settings.values()):
            bpy.utils.register_class(cls)
            _registered.append(cls)
        root = scene_class(settings)
        bpy.utils.register_class(root)
        _registered.append(root)
        bpy.types.Scene.maquette = bpy.props.PointerProperty(type=root)  # type: ignore[attr-defined]
    except Exception:
        unregister()
        raise


def unregister() -> None:
    if hasattr(bpy.types.Scene, "maquette"):
        del bpy.types.Scene.maquette
    while _registered:
        bpy.utils.unregister_class(_registered.pop())
