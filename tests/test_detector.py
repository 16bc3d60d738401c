"""Objects are found in pictures: what is learnt from, what is learnt, and how it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maquette.formats.mesh import Mesh
from maquette.formats.model import FILE
from maquette.formats.shapes import write_shapes
from maquette.neural.evaluation import detections
from maquette.neural.predictors import detector, regions
from maquette.neural.predictors.detector import SIDE, Annotated, Network
from maquette.neural.predictors.predictor import load
from maquette.neural.tasks import train_image
from maquette.neural.training import scenes
from maquette.neural.training.backdrops import backdrop
from maquette.neural.training.corpus import Corpus, prepare
from maquette.neural.training.scenes import ScenePhotographer
from maquette.recipes import Recipe
from maquette.recipes.train_image import TrainImage


def squares(count: int, seed: int, most: int = 2) -> Annotated:
    """Bright squares and dark discs on grey, which take little to learn."""
    random = np.random.default_rng(seed)
    images: np.ndarray = np.full((count, 3, SIDE, SIDE), 0.4, np.float32)
    images += random.normal(0, 0.03, images.shape).astype(np.float32)
    owner, boxes = np.zeros((count, SIDE, SIDE), np.uint8), np.zeros((count, most, 4), np.float32)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    for picture in range(count):
        for number in range(random.integers(1, most + 1)):
            half = random.integers(20, 50)
            # One in the left half, one in the right.
            middle = np.array([random.integers(50, 78) + 128 * number, random.integers(50, 206)])
            away = np.stack((x, y)) - middle[:, None, None]
            inside = np.abs(away).max(axis=0) < half if number else np.hypot(*away) < half
            images[picture][:, inside] += 0.4 if number else -0.35
            owner[picture][inside] = number + 1
            boxes[picture, number] = [*(middle - half), *(middle + half)]
    return Annotated(torch.from_numpy(images.clip(0, 1)), torch.full((count, 2), float(SIDE)),
                     torch.from_numpy(boxes), torch.from_numpy(owner))


def small() -> Network:
    torch.manual_seed(0)
    return Network(width=8, channels=16, features=32)


def write_models(folder: Path) -> None:
    """A box, a tent and a slab, as a job's input."""
    box = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    around = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                       [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])
    tent = box * np.array([1, 1, 0.7], np.float32)
    tent[[1, 5], 1] = tent[[3, 7], 1] = 0.5
    slab = box * np.array([1, 0.5, 0.15], np.float32)
    write_shapes([("a/box", Mesh(box, around)), ("a/tent", Mesh(tent, around)), ("a/wedge", Mesh(slab, around))],
                 folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    write_models(folder)
    return prepare(folder, folder / "subjects", folder / "models.json")


class Plain:
    """A job's context that remembers."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.seed, self.device = recipe, 0, torch.device("cpu")
        self.input, self.output, self.checkpoint = (folder / name for name in ("input", "output", "checkpoint"))
        for path in (self.output, self.checkpoint):
            path.mkdir(parents=True)
        self.report: dict[str, Any] = {}

    def stage(self, name: str, upto: float) -> None: ...

    def warn(self, line: str) -> None: ...

    def progress(self, fraction: float, message: str = "") -> None: ...

    def preview(self, rgb: np.ndarray) -> None: ...


def test_a_detector_is_trained_measured_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_image, "subjects_folder", lambda: tmp_path / "subjects")
    monkeypatch.setattr(train_image, "STILLS", 1)
    context = Plain(TrainImage(method="detector", seconds=1.0, batch=1, held_out=20.0), tmp_path / "job")
    write_models(context.input)
    train_image.run(context)  # type: ignore[arg-type]
    figures = context.report["held_out"]
    assert context.report["models"] == {"train": 2, "held_out": 1} and context.report["steps"] >= 1
    assert figures["pictures"] == train_image.SCENES and figures["objects"] >= train_image.SCENES
    assert all(0 <= figures[name] <= 1 for name in ("box_ap50", "recall", "mask_iou"))
    network = load(context.output / FILE, "detector", torch.device("cpu"))
    assert isinstance(network, Network) and isinstance(network.detect(torch.rand(3, 80, 60)), list)


def test_scenes_are_a_function_of_seed_and_step_alone(corpus: Corpus) -> None:
    first, again = (ScenePhotographer(corpus, [0, 1], seed=3).batch(5, count) for count in (3, 2))
    for name in ("images", "sizes", "boxes", "owner"):
        assert getattr(first, name)[:2].equal(getattr(again, name)), name
    other = ScenePhotographer(corpus, [0, 1], seed=3).batch(6, 2)
    assert not other.images.equal(again.images)


def test_boxes_of_a_scene_hold_what_their_objects_own(corpus: Corpus) -> None:
    batch = ScenePhotographer(corpus, [0, 1], seed=0).batch(0, 12)
    assert batch.images.shape == (12, 3, SIDE, SIDE) and 0 <= batch.images.min() <= batch.images.max() <= 1
    assert len({tuple(size) for size in batch.sizes.tolist()}) > 3
    counts = []
    for size, boxes, owner, image in zip(batch.sizes.int().tolist(), batch.boxes, batch.owner, batch.images,
                                         strict=True):
        width, height = size
        assert max(size) == SIDE and not owner[height:].any() and not owner[:, width:].any()
        assert image[:, height:].eq(detector.BLANK).all() and image[:, :, width:].eq(detector.BLANK).all()
        counts.append(int(owner.max()))
        for number, box in enumerate(boxes.tolist(), 1):
            rows, columns = (owner == number).nonzero(as_tuple=True)
            if number > owner.max():
                assert not any(box)
            else:
                assert len(rows) >= scenes._LEAST
                assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert {1, 2} <= set(counts) <= {1, 2, 3, 4}


def test_what_is_seen_of_too_little_is_no_object_and_the_rest_is_counted_anew() -> None:
    owner = np.zeros((SIDE, SIDE), np.uint8)
    owner[10, 10:20], owner[30:40, 50:70] = 1, 2
    found, boxes = scenes._numbered(owner)
    assert not found[10].any() and (found[30:40, 50:70] == 1).all()
    assert boxes.tolist() == [[50, 30, 70, 40], [0] * 4, [0] * 4, [0] * 4]


def test_what_is_laid_beyond_a_pictures_border_is_cut_off() -> None:
    for side, centre, pixels in ((40, (0, 0), 400), (40, (SIDE, 128), 800), (40, (128, 128), 1600), (40, (-30, 50), 0),
                                 (300, (50, 420), 0), (300, (-160, 128), 0), (300, (128, 128), SIDE**2)):
        crop = np.zeros((side, side, 4), np.float32)
        crop[..., [0, 3]] = 1
        picture = np.full((SIDE, SIDE, 3), 0.5, np.float32)
        alpha = scenes._lay(picture, crop, np.array(centre))
        assert alpha.sum() == pixels == (picture[..., 0] == 1).sum() == (picture[..., 1] == 0).sum()


def test_backdrops_are_pictures_and_each_another() -> None:
    made = [backdrop(np.random.default_rng(number), 64) for number in range(40)]
    assert all(one.shape == (64, 64, 3) and one.dtype == np.float32 and np.isfinite(one).all() for one in made)
    assert all(0 <= one.min() <= one.max() <= 1 for one in made)
    assert len({one.tobytes() for one in made}) == 40


def test_the_default_network_is_small_enough_to_ship() -> None:
    assert sum(p.numel() for p in Network().parameters()) <= 2_500_000


def test_a_square_photo_is_reduced_and_others_are_filled_up() -> None:
    image, size, scale = detector._framed(torch.ones(3, 300, 600))
    assert image.shape == (1, 3, SIDE, SIDE) and size.tolist() == [[256, 128]] and scale == SIDE / 600
    torch.testing.assert_close(image[0, :, :128], torch.ones(3, 128, SIDE))
    assert image[0, :, 128:].eq(detector.BLANK).all()
    for height, width in ((1, 1), (1, 3000), (3000, 2)):
        image, size, _ = detector._framed(torch.rand(3, height, width))
        assert image.shape == (1, 3, SIDE, SIDE) and size.amin() >= 1


def test_the_network_sees_what_is_a_picture_and_where() -> None:
    seen = detector._placed(torch.full((1, 3, SIDE, SIDE), 0.5), torch.tensor([[256.0, 100]]))
    assert seen.shape == (1, 6, SIDE, SIDE) and not seen[:, :3].any()
    assert seen[0, 3, :100].eq(1).all() and not seen[0, 3, 100:].any()
    torch.testing.assert_close(seen[0, 4:, 0, 0], torch.tensor([-255 / 256, 255 / 256]))


def test_anchors_are_objects_backgrounds_or_neither() -> None:
    """Of one object as large as an anchor of the third level there is a loss of 64 anchors, whatever it is told."""
    network = small()
    true = network.anchors[[len(network.anchors) - 20]][None].clamp(0, SIDE)
    logits = torch.zeros(1, len(network.anchors), requires_grad=True)
    codes = torch.zeros(1, len(network.anchors), 4, requires_grad=True)
    objectness, moved = network._proposal_losses(logits, codes, true)
    torch.testing.assert_close(objectness, torch.tensor(2.0).log())
    objectness.backward()
    assert logits.grad is not None and int((logits.grad != 0).sum()) == detector.ANCHORS_DRAWN
    overlap = regions.iou(network.anchors, true[0])[:, 0]
    assert (overlap[logits.grad[0] < 0] >= 0.7).all() or int((logits.grad < 0).sum()) == 1
    assert (overlap[logits.grad[0] > 0] < 0.3).all()
    codes.data = regions.encode(true[0, 0], network.anchors)[None]
    assert network._proposal_losses(logits, codes, true)[1].item() < 1e-9 < moved.item() + 1e-8


def test_boxes_are_drawn_a_quarter_of_them_objects() -> None:
    torch.manual_seed(0)
    true = torch.tensor([[[20.0, 20, 60, 60], [0, 0, 0, 0]]])
    near, far = true[:, :1].expand(-1, 40, -1), torch.tensor([100.0, 100, 140, 150]).expand(1, 60, 4)
    boxes, target, kind = detector._drawn_boxes(torch.cat((near, far, torch.zeros(1, 10, 4)), dim=1), true)
    assert (kind == 1).sum() == 8 and (kind == 0).sum() == 24
    assert boxes[kind == 1].eq(true[0, 0]).all() and (target[kind == 1] == 0).all()
    boxes, _, kind = detector._drawn_boxes(torch.cat((near[:, :3], far[:, :4], torch.zeros(1, 50, 4)), dim=1), true)
    assert (kind == 1).sum() == 3 and (kind == 0).sum() == 4  # boxes of no size are neither


def test_a_masks_truth_is_what_of_a_box_the_object_owns() -> None:
    owner = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    owner[0, 40:80, 40:60], owner[0, 40:80, 60:80] = 1, 2
    box, picture = torch.tensor([[40.0, 40, 80, 80]]), torch.zeros(1, dtype=torch.long)
    for number, columns in enumerate((slice(0, 14), slice(14, 28))):
        expected = torch.zeros(28, 28)
        expected[:, columns] = 1
        assert detector._masks_in(owner, box, picture, torch.tensor([number]))[0].equal(expected)


def test_large_boxes_are_looked_into_in_coarse_levels() -> None:
    maps = [torch.full((1, 1, SIDE // stride, SIDE // stride), float(stride)) for stride in detector.STRIDES]
    boxes = torch.tensor([[0.0, 0, 30, 30], [0, 0, 127, 127], [0, 0, 130, 130], [0, 0, 256, 256]])
    seen = small()._look(maps, boxes, torch.zeros(4, dtype=torch.long), 7)
    torch.testing.assert_close(seen[:, 0, 3, 3], torch.tensor([8.0, 8, 16, 32]))


def test_pictures_in_which_nothing_is_proposed_give_nothing() -> None:
    network = small().eval()
    with torch.no_grad():
        network.box_head.say.bias[0] = -20
    assert network.detect(torch.rand(3, 50, 70)) == []
    assert isinstance(network.detect(torch.zeros(3, 1, 1), 0.0), list)


def test_detections_are_sorted_apart_and_as_large_as_the_photo() -> None:
    found = small().eval().detect(torch.rand(3, 90, 160), 0.0)
    assert 0 < len(found) <= detector.MOST
    boxes = torch.tensor([one.box for one in found])
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert (boxes >= 0).all() and (boxes <= torch.tensor([160, 90, 160, 90]) + 1e-3).all()
    assert (regions.iou(boxes, boxes).fill_diagonal_(0) <= detector.OVERLAP + 1e-5).all()
    assert all(one.mask.shape == (90, 160) and 0 <= one.mask.min() <= one.mask.max() <= 1 for one in found)


def test_of_two_masks_at_a_pixel_the_greater_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.tensor([[[0.9, 0.6, 0.4, 0.0]], [[0.0, 0.8, 0.3, 0.2]]])
    found = [detector.Detection((0.0, 0.0, 4.0, 1.0), 0.9, mask) for mask in masks]
    monkeypatch.setattr(Network, "detect", lambda self, rgb: found)
    likely = detector.objects_in(small(), np.zeros((1, 4, 4), np.float32))
    np.testing.assert_allclose(likely, [[[0.9, 0, 0.4, 0.01]], [[0, 0.8, 0.3, 0.2]]], rtol=1e-6)
    monkeypatch.setattr(Network, "detect", lambda self, rgb: [])
    assert detector.objects_in(small(), np.zeros((1, 4, 4), np.float32)) == []


def test_the_loss_is_a_function_of_the_seed_and_reaches_all_parameters() -> None:
    losses = []
    for _ in range(2):
        network = small()
        loss, parts = network.loss(squares(2, 0), 0.5)
        losses.append(loss.item())
        assert loss.item() == pytest.approx(sum(parts.values()), rel=1e-5)
    assert losses[0] == losses[1]
    network.loss(squares(2, 1), 0.5)[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_pictures_without_objects_are_learnt_from_too() -> None:
    some = squares(1, 0)
    empty = Annotated(some.images, some.sizes, torch.zeros(1, 2, 4), torch.zeros_like(some.owner))
    network = small()
    loss, parts = network.loss(empty, 0.5)
    loss.backward()
    assert loss.isfinite() and parts["masks"] == parts["boxes"] == parts["anchors"] == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_half_precision_will_do() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = small().loss(squares(2, 0), 0.5)
    assert loss.dtype == torch.float32 and loss.isfinite()


@pytest.mark.slow
def test_simple_shapes_are_learnt_and_found() -> None:
    network = small()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for step in range(100):
        loss, _ = network.loss(squares(4, step), 0.5)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.eval()
    figures = detections.figures(network, [squares(8, 10_000)])
    assert figures["box_ap50"] > 0.9 and figures["mask_iou"] > 0.75


def test_a_detection_finds_what_it_overlaps_most_unless_a_better_one_has() -> None:
    overlap = np.array([[0.6, 0.7], [0.1, 0.8], [0.55, 0.2], [0.4, 0.0]])
    assert detections.hits(overlap).tolist() == [1, -1, 0, -1]
    assert detections.hits(np.zeros((2, 0))).tolist() == [-1, -1]


@pytest.mark.parametrize("right, expected", [
    ([1, 1, 1, 1], 1.0), ([0, 0, 0, 0], 0.0), ([1, 0, 1, 0], (1 + 2 / 3) / 4), ([0, 1, 1, 0], (2 / 3 + 2 / 3) / 4)])
def test_average_precision_is_what_is_worked_out(right: Sequence[int], expected: float) -> None:
    """Four objects in two pictures, of which some are found."""
    scores = [np.array([0.9, 0.6]), np.array([0.8, 0.3])]
    overlaps = [np.zeros((2, 2)), np.zeros((2, 2))]
    for hit, (picture, one) in zip(right, ((0, 0), (1, 0), (0, 1), (1, 1)), strict=True):
        overlaps[picture][one, one] = hit
    assert detections.average_precision(scores, overlaps) == pytest.approx(expected)


def test_nothing_found_or_nothing_to_find_has_no_precision() -> None:
    assert detections.average_precision([np.zeros(0)], [np.zeros((0, 3))]) == 0
    assert detections.average_precision([np.ones(1)], [np.zeros((1, 0))]) == 0
