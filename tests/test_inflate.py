"""Inflating a silhouette: outlines whose shape is known, perspective, parts, holes, and what is no outline."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from maquette.formats.mesh import Mesh
from maquette.neural.evaluation.audit import audit, is_closed
from maquette.neural.kernels.raster import rasterise
from maquette.neural.meshing.raster import project
from maquette.neural.predictors import view
from maquette.neural.predictors.inflate import FACES, Network, inflated
from maquette.recipes.errors import InputError

DISTANCE = view.distance_of(np.radians(40))
FINE = 512
Y, X = (np.mgrid[:FINE, :FINE] + 0.5) * 2 / FINE - 1


def reduced(mask: np.ndarray) -> np.ndarray:
    """A fine mask as a crop's soft alpha."""
    step = FINE // view.SIDE
    return mask.reshape(view.SIDE, step, view.SIDE, step).mean(axis=(1, 3))


def silhouette(mesh: Mesh, distance: float = DISTANCE, side: int = FINE) -> np.ndarray:
    camera = np.eye(4)
    camera[2, 3] = distance
    focal = distance * side / 2
    corners = project(mesh.vertices, focal, focal, side / 2, side / 2, camera)[mesh.faces]
    return rasterise(corners, side, side).face >= 0


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def assert_closed(mesh: Mesh, parts: int = 1) -> None:
    found = audit(mesh)
    assert is_closed(found) and found["components"] == parts and not found["inward_components"]
    assert not found["nonmanifold_edges"] + found["nonmanifold_vertices"] + found["zero_area_faces"]
    assert 2000 <= len(mesh.faces) <= FACES


@pytest.mark.parametrize("distance", [1.8, DISTANCE, 50.0])
def test_a_disc_becomes_the_sphere_whose_outline_it_is(distance: float) -> None:
    mask = np.hypot(X, Y) < 0.85
    mesh = inflated(reduced(mask), distance)
    assert_closed(mesh)
    # The cone from (0, 0, distance) through the disc touches a sphere about the origin of this radius.
    radius = 0.85 / np.sqrt(1 + (0.85 / distance) ** 2)
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) / radius - 1).max() < 0.02
    assert overlap(silhouette(mesh, distance), mask) > 0.995


def test_a_long_bar_has_a_round_cross_section() -> None:
    mask = (np.abs(X) < 0.85) & (np.abs(Y) < 0.15)
    mesh = inflated(reduced(mask), 50.0)
    assert_closed(mesh)
    middle = mesh.vertices[np.abs(mesh.vertices[:, 0]) < 0.5]
    assert np.abs(np.hypot(middle[:, 1], middle[:, 2]) / 0.15 - 1).max() < 0.04
    assert overlap(silhouette(mesh, 50.0), mask) > 0.995


def test_a_small_disc_aside_becomes_a_ball_there() -> None:
    mask = (np.hypot(X, Y) < 0.2) | (np.hypot(X - 0.6, Y - 0.6) < 0.2)
    mesh = inflated(reduced(mask), DISTANCE)
    assert_closed(mesh, parts=2)
    aside = mesh.vertices[mesh.vertices[:, 0] > 0.3].astype(np.float64)
    sphere, *_ = np.linalg.lstsq(np.column_stack((2 * aside, np.ones(len(aside)))), (aside ** 2).sum(axis=1))
    radius = np.sqrt(sphere[3] + (sphere[:3] ** 2).sum())
    assert radius == pytest.approx(0.2, rel=0.1) and sphere[0] == pytest.approx(0.6, rel=0.05)
    assert np.abs(np.linalg.norm(aside - sphere[:3], axis=1) / radius - 1).max() < 0.1


def test_holes_stay_and_specks_go() -> None:
    ring = (np.hypot(X, Y) < 0.85) & (np.hypot(X, Y) > 0.4)
    speck = (np.hypot(X - 0.9, Y - 0.9) < 0.015) | (np.hypot(X, Y) < 0.02)
    mesh = inflated(reduced(ring | speck), DISTANCE)
    assert_closed(mesh)
    assert audit(mesh)["genus"] == 1
    assert overlap(silhouette(mesh), ring) > 0.99


def test_the_object_reaches_as_far_forward_as_back_and_the_outline_is_met_all_the_same() -> None:
    mask = (np.hypot(X - 0.3, Y) < 0.5) | ((np.abs(Y + 0.1) < 0.05) & (np.abs(X) < 0.8))
    mesh = inflated(reduced(mask), DISTANCE)
    assert mesh.vertices[:, 2].min() == pytest.approx(-mesh.vertices[:, 2].max(), abs=0.003)
    assert overlap(silhouette(mesh), mask) > 0.99


def test_a_mask_without_soft_edges_makes_no_stairs() -> None:
    mask = reduced(np.abs(Y - 0.2 * X) < 0.3) >= 0.5
    mesh = inflated(mask.astype(np.float64), 50.0)
    middle = mesh.vertices[(np.abs(mesh.vertices[:, 0]) < 0.5) & (np.abs(mesh.vertices[:, 2]) < 0.01)]
    assert len(middle) > 10
    aside = np.abs(-middle[:, 1] - 0.2 * middle[:, 0]) - 0.3
    assert np.abs(aside).max() < 0.6 * 2 / view.SIDE


def test_it_takes_the_first_picture_as_networks_do_and_has_no_weights() -> None:
    alpha = torch.from_numpy(reduced(np.hypot(X, Y) < 0.5)).float()
    rgba = alpha.expand(2, 4, -1, -1)
    distance = torch.tensor(DISTANCE, dtype=torch.float64)
    network = Network()
    mesh = network.predict(view.with_rays(rgba, distance.expand(2)), distance)
    assert np.array_equal(mesh.vertices, inflated(alpha.double().numpy(), DISTANCE).vertices)
    assert not list(network.parameters())


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_a_picture_that_shows_nothing_is_refused_in_one_line(alpha: float) -> None:
    with pytest.raises(InputError, match="no pixel is half opaque") as caught:
        inflated(np.full((view.SIDE, view.SIDE), alpha), DISTANCE)
    assert "\n" not in str(caught.value)


def test_an_outline_that_passes_just_beside_the_pixels_centres_does_no_harm() -> None:
    alpha = np.zeros((view.SIDE, view.SIDE))
    alpha[10:118, 20:40] = alpha[80:100, 20:100] = 1
    for soft in (1e-12, 1e-6, 1e-3):
        edged = alpha.copy()
        edged[10:118, 40], edged[79, 41:100] = 0.5 + soft, 0.5 - soft
        mesh = inflated(edged, DISTANCE)
        assert np.abs(mesh.vertices).max() < 1 and np.ptp(mesh.vertices[:, 2]) < 0.6


def test_a_crop_that_is_all_foreground_closes_at_the_border() -> None:
    assert_closed(inflated(np.ones((view.SIDE, view.SIDE)), DISTANCE))


def test_the_answer_is_there_at_once() -> None:
    alpha = reduced(np.hypot(X, Y) < 0.85)
    inflated(alpha, DISTANCE)
    start = time.process_time()
    inflated(alpha, DISTANCE)
    assert time.process_time() - start < 1.5  # 0.4 s on a free core
