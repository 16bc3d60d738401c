"""Solids made of solids: set operations, fillets, offsets and walls against what they are by definition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from maquette.neural.geometry.solids import Complement, Intersection, Offset, Sheet, Union, Wall, difference


@dataclass(frozen=True)
class Ball:
    centre: tuple[float, float, float]
    radius: float
    lipschitz: float = 1.0

    @property
    def box(self) -> np.ndarray:
        return np.array([self.centre, self.centre]) + self.radius * np.array([[-1.0], [1.0]])

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return (points - torch.tensor(self.centre)).norm(dim=1) - self.radius


@dataclass(frozen=True)
class HalfSpace:
    """Below a plane through the origin."""

    axis: int
    lipschitz: float = 1.0

    @property
    def box(self) -> np.ndarray:
        return np.array([[-1.0] * 3, [1.0] * 3])

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return points[:, self.axis]


ONE, OTHER = Ball((0, 0, 0), 1.0), Ball((1, 0, 0), 0.75)
coordinates = st.floats(-2, 2, width=32)
places = st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=20)


def at(*places: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(places, dtype=torch.float32)


@given(places)
@settings(deadline=None)
def test_signs_are_those_of_the_sets(where: list[tuple[float, float, float]]) -> None:
    points = at(*where)
    one, other = ONE(points) < 0, OTHER(points) < 0
    assert ((Union([ONE, OTHER])(points) < 0) == (one | other)).all()
    assert ((Intersection([ONE, OTHER])(points) < 0) == (one & other)).all()
    on_the_edge = OTHER(points) == 0
    assert ((difference(ONE, [OTHER])(points) < 0) == (one & ~other))[~on_the_edge].all()


@given(places, places, st.floats(0, 0.5))
@settings(deadline=None)
def test_no_combination_is_steeper_than_its_parts(here: list[tuple], there: list[tuple], blend: float) -> None:
    count = min(len(here), len(there))
    a, b = at(*here[:count]), at(*there[:count])
    for solid in (Union([ONE, OTHER], blend), difference(ONE, [OTHER], blend), Offset(ONE, 0.3), Wall(ONE, 0.2),
                  Sheet(ONE, 0.2), Intersection([ONE, OTHER], blend)):
        assert solid.lipschitz == 1.0
        assert ((solid(a) - solid(b)).abs() <= (a - b).norm(dim=1) + 1e-5).all()


def test_a_blend_rounds_an_inner_right_angle_like_a_fillet_of_its_radius() -> None:
    """Two half spaces: the fillet's circle of radius r has its nearest point at r (1 − √½) from both planes."""
    corner = Union([HalfSpace(0), HalfSpace(1)], blend=0.5)
    height = 0.5 * (1 - 0.5**0.5)
    assert corner(at((height, height, 0)))[0].item() == pytest.approx(0, abs=1e-6)
    assert corner(at((1.0, 0.1, 0)))[0].item() == pytest.approx(0.1), "far from the edge nothing changes"


def test_an_offset_moves_the_surface_and_its_box() -> None:
    grown = Offset(ONE, 0.25)
    assert grown(at((1.25, 0, 0)))[0].item() == pytest.approx(0)
    assert np.array_equal(grown.box, [[-1.25] * 3, [1.25] * 3])
    assert np.array_equal(Offset(ONE, -0.25).box, ONE.box)


def test_a_wall_keeps_the_outer_surface_and_is_as_thick_as_asked() -> None:
    values = Wall(ONE, 0.2)(at((1.0, 0, 0), (0.9, 0, 0), (0.8, 0, 0), (0, 0, 0), (1.5, 0, 0)))
    assert values.tolist() == pytest.approx([0, -0.1, 0, 0.8, 0.5], abs=1e-6)


def test_a_sheet_is_thickened_on_both_sides() -> None:
    values = Sheet(ONE, 0.2)(at((1.1, 0, 0), (1.0, 0, 0), (0.9, 0, 0)))
    assert values.tolist() == pytest.approx([0, -0.1, 0], abs=1e-6)
    assert np.allclose(Sheet(ONE, 0.2).box, [[-1.1] * 3, [1.1] * 3])


def test_the_box_of_a_combination_holds_its_surface() -> None:
    assert np.array_equal(Union([ONE, OTHER]).box, [[-1, -1, -1], [1.75, 1, 1]])
    assert np.array_equal(Intersection([ONE, OTHER]).box, [[0.25, -0.75, -0.75], [1, 0.75, 0.75]])
    assert np.array_equal(difference(ONE, [OTHER]).box, ONE.box)
    apart = Intersection([ONE, Ball((9, 0, 0), 1.0)]).box
    assert (apart[1] >= apart[0]).all(), "solids without a common part have an empty box, not a negative one"
    assert Complement(ONE)(at((0, 0, 0)))[0].item() == pytest.approx(1)
