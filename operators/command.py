"""`blender -b SCENE.blend --command maquette …`: the command line's words, on the open scene."""

from __future__ import annotations

from typing import Any

import bpy

from . import environment

_registered: list[Any] = []


def run(arguments: list[str]) -> int:
    """Blender ends with the number as exit code."""
    from .. import cli

    return cli.main(arguments, in_blender=True, python=environment.chosen_python(bpy.context) or None)


def register() -> None:
    _registered.append(bpy.utils.register_cli_command("maquette", run))


def unregister() -> None:
    while _registered:
        bpy.utils.unregister_cli_command(_registered.pop())
