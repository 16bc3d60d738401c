"""Writes docs/tasks.md and the table of tasks in README.md from the recipes (`python3 run.py docs`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maquette.recipes import PRESETS, Parameter, Recipe, tasks

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- made by `run.py docs` -->\n", "<!-- until here -->\n"


def pages() -> dict[Path, str]:
    """The text of every page that is made, by its path."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return {ROOT / "docs/tasks.md": task_page(), readme: before + BEGIN + table_of_tasks() + END + after}


def table_of_tasks() -> str:
    rows = [f"| [{recipe.label}](docs/tasks.md#{task}) | {recipe.__doc__} | `{recipe.example}` |"
            for task, recipe in tasks().items()]
    return "\n".join(["| task | what it makes | example |", "|---|---|---|", *rows]) + "\n"


def task_page() -> str:
    head = ("# The tasks and their parameters\n\nMade from `recipes/` by `python3 run.py docs`. In Blender a parameter "
            "is a row of the panel, on the command line\n`--name value`, in Python a keyword, in JSON a key. "
            "Parameters marked \\* are folded away under *Advanced*.\n")
    return head + "".join(section(task, recipe) for task, recipe in tasks().items())


def section(task: str, recipe: type[Recipe]) -> str:
    lines = ["", f"## {task}", "", str(recipe.__doc__), "", f"    {recipe.example}", "",
             "| parameter | default | range | what it is |", "|---|---|---|---|"]
    lines += [parameter_row(parameter) for parameter in recipe.parameters()]
    lines += ["", "| preset | differs from the defaults in |", "|---|---|"]
    for preset in PRESETS:
        values = ", ".join(f"{name} {shown(value)}" for name, value in recipe.presets.get(preset, {}).items())
        lines.append(f"| {preset} | {values or 'nothing'} |")
    return "\n".join(lines) + "\n"


def parameter_row(parameter: Parameter) -> str:
    if parameter.choices:
        allowed = ", ".join(parameter.choices)
    elif parameter.min is not None and parameter.max is not None:
        allowed = f"{shown(parameter.min)} to {shown(parameter.max)} {parameter.unit}".strip()
    else:
        allowed = {bool: "true, false", str: "text"}.get(parameter.type, parameter.unit)
    star = " \\*" if parameter.advanced else ""
    return f"| {parameter.name}{star} | {shown(parameter.default)} | {allowed} | {parameter.help} |"


def shown(value: Any) -> str:
    """A value as a reader would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:,.0f}" if value == int(value) else f"{value:,}"
    return value or "empty"


def main() -> None:
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
