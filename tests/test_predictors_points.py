"""Point Set Generation: its loss, its points and the mesh of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.formats.model import write_model
from maquette.neural.evaluation.audit import audit
from maquette.neural.geometry.outward import outward
from maquette.neural.predictors.points import EACH, FREE, Network, mesh_of
from maquette.neural.predictors.predictor import load, network_of, packed

SMALL = {"pose": {"width": 4, "features": 8}, "points": {"width": 4, "features": 8},
         "voxels": {"width": 4, "features": 8, "cells": 4}, "octree": {"width": 4, "levels": 7}}


def ellipsoid(axes: tuple[float, float, float], count: int, noise: float) -> np.ndarray:
    random = np.random.default_rng(0)
    points = random.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points * axes + random.normal(size=points.shape) * noise


def closed(figures: dict[str, int]) -> bool:
    return figures["faces"] > 0 and not any(figures[name] for name in (
        "open_edges", "nonmanifold_edges", "flipped_edges", "inward_components"))


def test_the_way_back_counts_half(pictured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two true points and three predicted ones, by hand."""
    network, batch = Network(width=4, features=4), pictured([(0.8, 0.3, 0.3)])
    predicted = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 2.0, 0.0]]])
    monkeypatch.setattr(network, "forward", lambda images: predicted)
    loss, parts = network.loss(replace(batch, points=torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]]])), 0.0)
    assert parts == pytest.approx({"missed": (0 + 1) / 2, "strayed": (0 + 1 + 5) / 3})
    assert loss.item() == pytest.approx(0.5 + 0.5 * 2)


def test_points_that_know_nothing_cover_the_picture(pictured) -> None:
    network = Network(width=4, features=4)
    with torch.no_grad():
        for layer in (network.free[-1], network.map[-1]):
            layer.weight.zero_()
            layer.bias.zero_()
        points = network(pictured([(0.8, 0.3, 0.3)]).images[:, 0])[0]
    assert points.shape == (1024, 3)
    assert not points[:FREE].any()
    on_map = points[FREE:].reshape(16, 16, EACH, 3)
    assert on_map[0, 0].tolist() == [[-0.9375, 0.9375, 0.0]] * EACH  # the upper left pixel
    assert on_map[15, 0, 0].tolist() == [-0.9375, -0.9375, 0.0]


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_points_of_a_whole_surface_face_outward(noise: float) -> None:
    axes = (0.8, 0.3, 0.1)
    points = ellipsoid(axes, 1024, noise)
    within = np.random.default_rng(1).uniform(-0.04, 0.04, (40, 3))
    kept, normals = outward(np.concatenate((points, within)))
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1)
    assert ((kept / np.square(axes) * normals).sum(axis=1) > 0).mean() > 0.98
    assert (np.abs(kept) < 0.04).all(axis=1).sum() <= 4  # hardly one that lies within


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_mesh_of_points_is_closed_and_near_them(noise: float) -> None:
    axes = (0.8, 0.3, 0.4)
    mesh = mesh_of(ellipsoid(axes, 1024, noise))
    assert closed(audit(mesh))
    away = np.abs(np.linalg.norm(mesh.vertices / axes, axis=1) - 1)
    assert np.median(away) < 0.02 + 2 * noise


@pytest.mark.parametrize("points", [np.zeros((1024, 3)), ellipsoid((0.5, 0.5, 0.0), 1024, 0.0),
                                    ellipsoid((0.5, 0.0, 0.0), 1024, 0.0), np.eye(3), ellipsoid((1, 1, 1), 1024, 0.5)],
                         ids=["one place", "a plane", "a line", "three points", "a cloud"])
def test_whatever_the_points_are_there_is_a_closed_mesh(points: np.ndarray) -> None:
    assert closed(audit(mesh_of(points)))


def test_it_learns_two_pictures_by_heart(pictured) -> None:
    torch.manual_seed(0)
    network = Network(width=8, features=32)
    axes = [(0.8, 0.3, 0.3), (0.3, 0.7, 0.5)]
    batch = pictured(axes, points=512)
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3)
    for _ in range(80):
        loss, parts = network.loss(batch, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert max(parts.values()) < 0.01
    for images, distance, half in zip(batch.images, batch.distance, axes, strict=True):
        mesh = network.eval().predict(images, distance)
        assert closed(audit(mesh))
        assert np.median(np.abs(np.linalg.norm(mesh.vertices / half, axis=1) - 1)) < 0.2


@pytest.mark.parametrize("method", SMALL)
def test_a_network_comes_back_from_its_file(method: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = network_of(method)(**SMALL[method])
    write_model(packed(network, {}), tmp_path / "a.safetensors")
    torch.manual_seed(1)
    back = load(tmp_path / "a.safetensors", method, torch.device("cpu"))
    assert (back.architecture, back.grid) == (SMALL[method], network.grid)
    images = torch.rand(1, 6, 128, 128)
    with torch.no_grad():
        if method == "voxels":
            one, other = network.eval()(images[None]), back(images[None])
        elif method == "octree":
            one, other = network.eval()(images)[0].scores, back(images)[0].scores
        else:
            one, other = (each.eval()(images)[0] for each in (network, back))
    assert torch.allclose(one, other, atol=2e-3)  # the file has half the digits
