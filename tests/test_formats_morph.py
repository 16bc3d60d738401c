"""Morphs: steps in order through the job folder's form and into files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from maquette.formats import morph
from maquette.formats.mesh import Mesh
from maquette.formats.meshes import read_mesh
from maquette.formats.morph import Morph

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


def steps(count: int) -> list[Mesh]:
    return [Mesh(CORNERS * (1 + number), FACES) for number in range(count)]


@pytest.mark.parametrize("shared", [True, False])
def test_a_morph_survives_its_file(tmp_path: Path, shared: bool) -> None:
    morph.write_npz(Morph(steps(12), shared), tmp_path / "morph.npz")
    found = morph.read_npz(tmp_path / "morph.npz")
    assert found.shared is shared and len(found.steps) == 12
    for number, step in enumerate(found.steps):
        assert np.array_equal(step.vertices, CORNERS * (1 + number)) and np.array_equal(step.faces, FACES)


def test_steps_stand_in_a_row_without_touching_and_each_for_itself(tmp_path: Path) -> None:
    """Widths 1, 2 and 3, with a fifth of the widest between them: they begin at 0, 1.6 and 4.2."""
    morph.write_morph(Morph(steps(3), True), tmp_path / "a.ply")
    row = read_mesh(tmp_path / "a.ply").vertices.reshape(3, 4, 3)
    assert row[:, :, 0].min(axis=1) == pytest.approx([0, 1.6, 4.2])
    assert row[:, :, 0].max(axis=1) == pytest.approx([1, 3.6, 7.2])
    assert np.array_equal(read_mesh(tmp_path / "a_002.ply").vertices, CORNERS * 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ply", "a_000.ply", "a_001.ply", "a_002.ply"]
