"""Blender's data ↔ formats: views, captures, meshes with materials, settings."""


def register() -> None:
    from . import properties

    properties.register()


def unregister() -> None:
    from . import properties

    properties.unregister()
