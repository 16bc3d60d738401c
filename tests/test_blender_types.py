"""Blender's rooms against the types of the oldest Blender."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_mypy_finds_nothing_against_the_oldest_stubs(tmp_path: Path) -> None:
    for needed in ("mypy", "bpy-stubs"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    said = subprocess.run([sys.executable, "-m", "mypy", "--cache-dir", tmp_path, "scene", "operators", "panels"],
                          cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, "\n".join(line[:200] for line in said.stdout.splitlines())
