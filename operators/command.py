"""`blender -b SCENE.blend --command maquette …`: the command line's words, on the open scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy

from . import environment

_registered: list[Any] = []


def register(main: Callable[..., int]) -> None:
    """Give Blender's command line the word `maquette`; `main` is `cli.main`, its result the exit code."""

    def run(arguments: list[str]) -> int:
        return main(arguments, in_blender=True, python=environment.chosen_python(bpy.context) or None)

    _registered.append(bpy.utils.register_cli_command("maquette", run))


def unregister() -> None:
    while _registered:
        bpy.utils.unregister_cli_command(_registered.pop())
