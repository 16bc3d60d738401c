"""Maquette: neural reconstruction for Blender. The extension's entry and the Python package's."""
