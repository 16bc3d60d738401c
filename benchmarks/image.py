"""Shapes predicted from one picture: every method that has weights, and what it must beat.

    python3 run.py bench image            benchmarks/image.py [--objects N] [--weights FOLDER] [--json FILE]

Two sets. *corpus* is the held-out part of data/corpus, two pictures of each model that never change. *shapenet* is
data/shapenet_points, which nothing is trained on: Blender's renderings of other objects, with another's cameras.
Predictions are measured in the view frame and nothing is aligned: on shapenet the cameras and the middle of the true
depth, by which the view frame is defined, are the set's own.

Before that it counts the pictures a second that training gets, drawn, lit and with their truth.

Chamfer is the mean of both directions' mean distances in percent of the true diagonal, F the score at 1, 2 and 5 % of
it, by 8,192 samples. Truth is the closed outer surface of the solid; on shapenet it is 4,096 points, so that distances
to it are too large by half their spacing. IoU is the mean over closed predictions.

mean shape      what 2,048 views of training models fill on average in the view frame, at the level that has their
                mean volume: the same for every picture but for the perspective
by features     the training model that looks most alike, as it stands in that view: the least squared difference of
                alpha and of brightness, at 32², to four views of each training model
oracle          the training model of the least Chamfer distance to the truth, which it is told together with the true
                view; turned about the vertical by quarters, each scaled to the true longest side and centred; of the 48
                that are nearest by a coarse signed distance. No network can choose a better one
+ fit           the best method's shape, moved until its outline is the picture's, as the task does it
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial import cKDTree
from torch.nn import functional

from maquette.formats.mesh import Mesh
from maquette.formats.shapes import gather_shapes
from maquette.neural.evaluation.single_view import Truth, figures, mean_figures
from maquette.neural.geometry import crop
from maquette.neural.kernels.dispatch import threads
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.predictors import view
from maquette.neural.predictors.predictor import Predictor, load, network_of
from maquette.neural.predictors.shipped import BY_QUALITY, WITHOUT_WEIGHTS, shipped
from maquette.neural.tasks.image import FIT_SIDE
from maquette.neural.tasks.train_image import subjects_folder
from maquette.neural.training.corpus import Corpus, prepare
from maquette.neural.training.image import POINTS
from maquette.neural.training.photographer import Photographer, filled_grids, random_view
from maquette.neural.training.picture_fit import fit
from maquette.neural.training.subject import REACH, outer_surface
from maquette.neural.training.twins import described, lattice_points
from maquette.recipes.train_image import TrainImage

DATA = Path(__file__).parents[2] / "shared" / "data"
NOT_CC0 = "scanned"  # the corpus's one family of another licence: nothing that ships learns from it
HELD_OUT = float(next(p.default for p in TrainImage.parameters() if p.name == "held_out"))
STILLS = 2  # pictures of each held-out model
MEAN_VIEWS, MEAN_SIDE = 2048, 32
LOOKS, LOOK_SIDE = 4, 32  # views of each training model that are compared with a picture
NEAREST, ORACLE_POINTS = 48, 2048
CPU = torch.device("cpu")

Method = Callable[["Case"], Mesh]


@dataclass(frozen=True)
class Case:
    """A picture and what it shows."""

    name: str
    images: torch.Tensor  # (1, 6, S, S)
    distance: torch.Tensor  # ()
    truth: Truth
    view_from_unit: np.ndarray  # (3, 4) from the frame of subjects: upright, centred, the longest side 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=160, help="of each set, spread over it")
    parser.add_argument("--weights", type=Path, help="a folder with image-METHOD.safetensors, instead of what ships")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    options = parser.parse_args()
    corpus = the_corpus()
    train, held_out = corpus.split(HELD_OUT)
    speed = pictures_a_second(corpus, train)
    print(f"{len(train)} models to train on, {len(held_out)} held out; {speed:.0f} pictures a second with {POINTS} "
          f"points, on {threads()} threads", flush=True)
    methods = {"mean shape": mean_shape(corpus, train), "by features": by_features(corpus, train),
               "oracle": oracle(corpus, train), **networks(options.weights)}
    sets = {"corpus": corpus_cases(corpus, spread(held_out, options.objects)),
            "shapenet": shapenet_cases(options.objects)}
    rows = [row for name, cases in sets.items() for row in measured(name, cases, methods)]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def the_corpus() -> Corpus:
    """All CC0 models, prepared once for this and for trainings."""
    with tempfile.TemporaryDirectory() as folder:
        families = sorted(path for path in (DATA / "corpus").iterdir() if path.is_dir() and path.name != NOT_CC0)
        gather_shapes(families, Path(folder) / "input", TrainImage())
        return prepare(Path(folder) / "input", subjects_folder(), Path(folder) / "index.json")


def pictures_a_second(corpus: Corpus, train: list[int]) -> float:
    photographer = Photographer(corpus, train)
    photographer.batch(0, 16)
    began = time.perf_counter()
    for step in range(16):
        photographer.batch(step, 16, points=POINTS)
    return 16 * 16 / (time.perf_counter() - began)


def measured(name: str, cases: Iterator[Case], methods: dict[str, Method]) -> Iterator[dict]:
    """Rows of one set, printed as a table."""
    found: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    for case in cases:
        for method, make in methods.items():
            began = time.perf_counter()
            mesh = make(case)
            seconds = time.perf_counter() - began
            found[method].append({**figures(mesh, case.truth), "seconds": seconds})
    count = len(next(iter(found.values())))
    print(f"\n{name}, {count} pictures\n{'':14}{'Chamfer':>9}{'F 1 %':>8}{'F 2 %':>8}{'F 5 %':>8}{'IoU':>8}"
          f"{'seconds':>9}")
    for method, all_figures in found.items():
        mean = mean_figures(all_figures)
        iou = f"{mean['iou']:8.3f}" if "iou" in mean else f"{'':8}"
        print(f"{method:<14}{100 * mean['chamfer']:9.2f}{mean['f_1']:8.3f}{mean['f_2']:8.3f}{mean['f_5']:8.3f}{iou}"
              f"{mean['seconds']:9.2f}", flush=True)
        yield {"set": name, "method": method, "pictures": count, **mean}


def networks(folder: Path | None) -> dict[str, Method]:
    """Every method that needs no weights or has some."""
    made: dict[str, Method] = {}
    for method in BY_QUALITY:
        path = folder / f"image-{method}.safetensors" if folder else shipped(method)
        if method in WITHOUT_WEIGHTS or path.exists():
            made[method] = predicted(network_of(method)().eval() if method in WITHOUT_WEIGHTS
                                     else load(path, method, CPU))
    best = next(iter(made))
    return {**made, f"{best} + fit": fitted(made[best])}


def predicted(network: Predictor) -> Method:
    return lambda case: network.predict(case.images, case.distance)


def fitted(make: Method) -> Method:
    """What another method makes, fitted to the picture's outline."""
    def fit_it(case: Case) -> Mesh:
        rgba = functional.interpolate(case.images[:1, :4], scale_factor=FIT_SIDE / view.SIDE, mode="bilinear")
        return fit(make(case), rgba[0].movedim(0, -1).numpy(), float(case.distance))
    return fit_it


def corpus_cases(corpus: Corpus, chosen: list[int]) -> Iterator[Case]:
    photographer = Photographer(corpus, chosen)
    for index in chosen:
        for number in range(STILLS):
            batch = photographer.still(index, number)
            yield Case(corpus.entries[index].name, batch.images[0], batch.distance[0],
                       photographer.truth(index, number), photographer.still_view(index, number).view_from_subject)


def shapenet_cases(count: int) -> Iterator[Case]:
    folder = DATA / "shapenet_points"
    with np.load(folder / "points.npz", allow_pickle=False) as arrays:
        data = dict(arrays)
    for number in spread(range(len(data["files"])), count):
        with Image.open(folder / "images" / str(data["files"][number])) as image:
            rgba = np.asarray(image, np.float32) / 255
        # A crop's photo has its principal point in the middle: rows are added below.
        below = max(round(2 * float(data["principal_px"][1])) - len(rgba), 0)
        rgba = np.pad(rgba * np.append(rgba[..., 3:].repeat(3, axis=2), np.ones_like(rgba[..., 3:]), axis=2),
                      ((0, below), (0, 0), (0, 0)))
        at = crop.around(rgba[..., 3], float(data["focal_px"]))
        world = data["points_u8"][number] * float(data["points_scale"]) + data["points_offset"]
        camera = world @ data["R_world_to_camera"][number].T + data["t_world_to_camera"]
        turned = camera @ at.photo_from_crop
        middle = (turned[:, 2].min() + turned[:, 2].max()) / 2
        scale = at.distance / -middle
        view_from_world = np.eye(4)
        view_from_world[:3, :3] = scale * at.photo_from_crop.T @ data["R_world_to_camera"][number]
        view_from_world[:3, 3] = scale * data["t_world_to_camera"] @ at.photo_from_crop + [0, 0, at.distance]
        places = world @ view_from_world[:3, :3].T + view_from_world[:3, 3]
        distance = torch.tensor(at.distance, dtype=torch.float32)
        images = view.with_rays(at.picture(rgba, view.SIDE)[None], distance[None])
        yield Case(str(data["files"][number]), images, distance, Truth(places),
                   (view_from_world @ world_from_unit(world))[:3])


def world_from_unit(world: np.ndarray) -> np.ndarray:
    """From a subject's frame to that of points whose y points up."""
    low, high = world.min(axis=0), world.max(axis=0)
    made = np.eye(4)
    made[:3, :3] = (high - low).max() * np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    made[:3, 3] = (low + high) / 2
    return made


def mean_shape(corpus: Corpus, train: list[int]) -> Method:
    random = np.random.default_rng(0)
    total = np.zeros((MEAN_SIDE,) * 3)
    for index in random.choice(train, MEAN_VIEWS):
        subject = corpus[index]
        total += filled_grids([subject], [random_view(subject, random)], MEAN_SIDE)[0]
    mean = total / MEAN_VIEWS
    level = float(np.quantile(mean, 1 - mean.mean()))
    # Slices, rows and columns to x, y, z of the view frame's places.
    cell = 2 / MEAN_SIDE
    place_from_grid = np.array([[0, 0, cell, cell / 2 - 1], [0, -cell, 0, 1 - cell / 2], [-cell, 0, 0, 1 - cell / 2],
                                [0, 0, 0, 1]])
    surface = marching_cubes(-mean, place_from_grid, -level, closed=True)
    places = torch.from_numpy(surface.vertices[:, :2] * [1.0, -1.0])[None]
    z = torch.from_numpy(surface.vertices[None, :, 2])

    def make(case: Case) -> Mesh:
        return Mesh(view.unproject(places, z, case.distance[None].double())[0].numpy(), surface.faces)
    return make


def by_features(corpus: Corpus, train: list[int]) -> Method:
    photographer = Photographer(corpus, train)
    shown = [(index, number) for index in train for number in range(LOOKS)]
    known = np.stack([look_of(photographer.still(index, number, points=1).images[0]) for index, number in shown])

    def make(case: Case) -> Mesh:
        index, number = shown[int(((known - look_of(case.images))**2).sum(axis=1).argmin())]
        return photographer.still_view(index, number).placed(outer_surface(corpus[index]))
    return make


def look_of(images: torch.Tensor) -> np.ndarray:
    """Alpha, and brightness less its mean, of a picture reduced to LOOK_SIDE²."""
    small = torch.nn.functional.adaptive_avg_pool2d(images[0, :4], LOOK_SIDE)
    alpha, bright = small[3], small[:3].mean(dim=0)
    bright = bright - alpha * bright.sum() / alpha.sum().clamp(min=1e-6)
    return torch.stack((alpha, bright)).flatten().numpy()


def oracle(corpus: Corpus, train: list[int]) -> Method:
    coarse = np.abs(np.stack([described(corpus[index]) for index in train]))
    turned = np.stack([np.rot90(coarse, turn, axes=(1, 2)) for turn in range(4)], axis=1).reshape(4 * len(train), -1)
    lattice = lattice_points()

    def make(case: Case) -> Mesh:
        unit = case.truth.points - case.view_from_unit[:, 3]
        unit = unit @ case.view_from_unit[:, :3] / np.linalg.norm(case.view_from_unit[0, :3])**2
        tree = cKDTree(unit)
        known = np.minimum(tree.query(lattice)[0], REACH)
        chosen, least = 0, np.inf
        for one in np.abs(turned - known).sum(axis=1).argsort()[:NEAREST]:
            points = quarters(int(one) % 4, corpus[train[one // 4]]["points"][:ORACLE_POINTS])
            apart = tree.query(points)[0].mean() + cKDTree(points).query(unit[:ORACLE_POINTS])[0].mean()
            chosen, least = (int(one), apart) if apart < least else (chosen, least)
        surface = outer_surface(corpus[train[chosen // 4]])
        placed = Mesh(quarters(chosen % 4, surface.vertices), surface.faces)
        return placed.transformed(np.vstack((case.view_from_unit, [0, 0, 0, 1])))
    return make


def quarters(turns: int, points: np.ndarray) -> np.ndarray:
    """Points (N, 3) turned about the vertical, counter-clockwise from above."""
    for _ in range(turns):
        points = points[:, [1, 0, 2]] * [-1, 1, 1]
    return points


def spread(numbers: Sequence[int], count: int) -> list[int]:
    """At most `count` of some numbers, evenly."""
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
    return [numbers[place] for place in np.unique(places)]


if __name__ == "__main__":
    main()
