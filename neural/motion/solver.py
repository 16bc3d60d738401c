"""Structure from motion by COLMAP, as a program of its own: `python solver.py FOLDER`.

A process of its own, because pycolmap brings its own OpenMP beside torch's, can be stopped only between images, and
keeps its memory. FOLDER holds `photos.json`, {"seed", "threads", "photos": [{"file", "camera", "width", "height",
"focal"}]}, sizes and focal lengths in pixels, null where not known, and each photo FILE has `grey` (H, W) uint8 and
`subject` (H, W) bool.
Features and matches are kept in FOLDER/database.db, from which a second run goes on. Writes `progress.json` while it
works and `solution.npz` at the end (see `solution`).

Features are SIFT (Lowe 2004) with the root of their L1 norm, matches are checked by two-view geometry, and cameras are
registered one after the other (Schönberger and Frahm, Structure-from-Motion Revisited, CVPR 2016). Deviations: a camera
needs 15 inliers, not 30, since small captures are held together by few; and the end is one more bundle adjustment under
Cauchy's loss, which halves the error of the cameras. Global mapping (Pan et al., GLOMAP, ECCV 2024) is as exact where
photos overlap much, but bends scenes that hang together by few matches without a sign of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

FEATURES = 4096  # in each photo, the largest first
DOUBLED_BELOW = 1000  # pixels on the longest side: smaller photos are doubled to find finer features
ALL_PAIRS = 40  # photos; of more, each is matched with those that look most like it
PARTNERS = 20  # of each photo, beside its neighbours in the order of names
GLANCE = 256  # features of a photo, the largest, by which partners are chosen
RATIO = 0.8  # of the distances to the best and second-best match (Lowe 2004)
FEWEST_INLIERS = 15
LOSS = 0.5  # pixels at which Cauchy's loss begins to count an error less
GUESSED_FOCAL = 1.2  # of the longest side, where EXIF data say nothing: COLMAP's own guess

Progress = Callable[[float, str], None]


def solve(folder: Path) -> None:
    """Find the cameras of the photos in `folder`."""
    about = json.loads((folder / "photos.json").read_text(encoding="utf-8"))
    photos, threads, seed = about["photos"], about["threads"], about["seed"]
    database = folder / "database.db"

    def say(fraction: float, message: str) -> None:
        _replace(folder / "progress.json", json.dumps({"fraction": fraction, "message": message}).encode())

    pycolmap.set_random_seed(seed)
    _describe(folder, database, photos, threads, lambda done, text: say(0.5 * done, text))
    _match(database, _pairs(database, len(photos)), threads, seed, lambda done, text: say(0.5 + 0.3 * done, text))
    found = _map(folder, database, len(photos), threads, seed, lambda done, text: say(0.8 + 0.2 * done, text))
    with open(folder / ".solution.npz", "wb") as file:
        np.savez(file, **solution(found))
    os.replace(folder / ".solution.npz", folder / "solution.npz")


# ---- features ----------------------------------------------------------------------------------------------------

def _describe(folder: Path, path: Path, photos: Sequence[dict[str, Any]], threads: int, say: Progress) -> None:
    """Write cameras, images and their features to the database; images that it has are left alone."""
    with pycolmap.Database.open(path) as database, ThreadPoolExecutor(threads) as pool:
        if database.num_images() == 0:
            _write_images(database, photos)
        waiting = [n for n in range(len(photos)) if not database.exists_descriptors(n + 1)]
        for done, (number, (keypoints, descriptors)) in enumerate(
                zip(waiting, pool.map(lambda n: _features(folder / photos[n]["file"]), waiting)), 1):
            database.write_keypoints(number + 1, keypoints)
            database.write_descriptors(number + 1, descriptors)
            say(done / len(waiting), f"features of photo {number + 1} of {len(photos)}")


def _write_images(database: Any, photos: Sequence[dict[str, Any]]) -> None:
    """Cameras and images, numbered from 1; photos of one camera share its intrinsics."""
    for photo in photos:
        number = photo["camera"] + 1
        sensor = pycolmap.sensor_t(pycolmap.SensorType.CAMERA, number)
        if not database.exists_camera(number):
            focal = photo["focal"] or GUESSED_FOCAL * max(photo["width"], photo["height"])
            camera = pycolmap.Camera.create_from_model_name(number, "SIMPLE_RADIAL", focal, photo["width"],
                                                            photo["height"])
            camera.has_prior_focal_length = photo["focal"] is not None
            database.write_camera(camera, use_camera_id=True)
            rig = pycolmap.Rig(rig_id=number)
            rig.add_ref_sensor(sensor)
            database.write_rig(rig, use_rig_id=True)
        image = database.write_image(pycolmap.Image(name=photo["file"], camera_id=number))
        frame = pycolmap.Frame(rig_id=number)
        frame.add_data_id(pycolmap.data_t(sensor, image))
        database.write_frame(frame)


def _features(path: Path) -> tuple[np.ndarray, Any]:
    """Keypoints on the subject, (N, 4) float32: x, y, size, direction; and descriptors."""
    with np.load(path, allow_pickle=False) as file:
        grey, subject = np.ascontiguousarray(file["grey"]), file["subject"]
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads, options.use_gpu = 1, False
    options.sift.max_num_features, options.sift.max_num_orientations = FEATURES, 1
    options.sift.first_octave = -1 if max(grey.shape) <= DOUBLED_BELOW else 0
    found, descriptors = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu).extract_from_uint8_array(grey)
    keypoints = np.asarray(pycolmap.keypoints_to_matrix(found)).reshape(-1, 4)
    rows, columns = (keypoints[:, axis].astype(int).clip(0, grey.shape[1 - axis] - 1) for axis in (1, 0))
    kept = subject[rows, columns]
    descriptors.data = descriptors.data[kept]
    return keypoints[kept].astype(np.float32), descriptors


# ---- matches -----------------------------------------------------------------------------------------------------

def _pairs(path: Path, count: int) -> list[tuple[int, int]]:
    """Which photos to match, by their numbers from 0: all with all, or each with those that look most like it."""
    if count <= ALL_PAIRS:
        return [(a, b) for a in range(count) for b in range(a + 1, count)]
    chosen = {(n, n + step) for n in range(count) for step in (1, 2) if n + step < count}
    glances = _glances(path, count)
    for n in range(count):
        alike = _alike(glances[n], glances)
        alike[n] = 0
        best = np.argsort(-alike, kind="stable")[:PARTNERS]
        chosen |= {(min(n, int(m)), max(n, int(m))) for m in best if alike[m] > 0}
    return sorted(chosen)


def _glances(path: Path, count: int) -> np.ndarray:
    """Unit descriptors of each photo's largest features, (count, GLANCE, 128) float32, zero where there are fewer.

    By Wu, Towards Linear-time Incremental Structure from Motion, 3DV 2013, section 3.
    """
    found = np.zeros((count, GLANCE, 128), np.float32)
    with pycolmap.Database.open(path) as database:
        for number in range(count):
            largest = np.argsort(-database.read_keypoints(number + 1)[:, 2], kind="stable")[:GLANCE]
            descriptors = database.read_descriptors(number + 1).data[largest].astype(np.float32)
            found[number, :len(largest)] = descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1)
    return found


def _alike(one: np.ndarray, others: np.ndarray, at_once: int = 100) -> np.ndarray:
    """How many of a photo's features have a clear match in each of the others, (N,)."""
    counts = []
    for start in range(0, len(others), at_once):
        some = others[start:start + at_once]
        # Products with the nearest and the second nearest; of unit vectors, 2 − 2 times it is the squared distance.
        near = np.partition((one @ some.reshape(-1, 128).T).reshape(len(one), len(some), -1), -2, axis=2)[..., -2:]
        counts.append(((1 - near[..., 1]) < RATIO**2 * (1 - near[..., 0])).sum(axis=0))
    return np.concatenate(counts)


def _match(path: Path, pairs: Sequence[tuple[int, int]], threads: int, seed: int, say: Progress) -> None:
    """Match the pairs that the database does not have, and keep what two-view geometry explains."""
    with pycolmap.Database.open(path) as database:
        names = [image.name for image in sorted(database.read_all_images(), key=lambda image: image.image_id)]
        waiting = [(a, b) for a, b in pairs if not database.exists_two_view_geometry(a + 1, b + 1)]
    matching, checking = pycolmap.FeatureMatchingOptions(), pycolmap.TwoViewGeometryOptions()
    matching.num_threads, matching.use_gpu, matching.sift.max_ratio = threads, False, RATIO
    checking.ransac.random_seed, checking.min_num_inliers = seed, FEWEST_INLIERS
    listed = pycolmap.ImportedPairingOptions(match_list_path=path.with_name("pairs.txt"))
    for done, some in _parts(waiting, 16 * threads):
        listed.match_list_path.write_text("".join(f"{names[a]} {names[b]}\n" for a, b in some), encoding="utf-8")
        pycolmap.match_image_pairs(path, matching, listed, checking, pycolmap.Device.cpu)
        say(done / len(waiting), f"{done} of {len(waiting)} pairs of photos matched")


def _parts(items: Sequence[Any], size: int) -> Iterable[tuple[int, Sequence[Any]]]:
    """The items in parts of `size`, each with the number of items up to its end."""
    for start in range(0, len(items), size):
        yield min(start + size, len(items)), items[start:start + size]


# ---- cameras -----------------------------------------------------------------------------------------------------

def _map(folder: Path, path: Path, count: int, threads: int, seed: int, say: Progress) -> Any:
    """The model with most photos, its bundle adjusted to the end; None where no two photos go together."""
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = options.mapper.num_threads = threads
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = seed
    options.extract_colors, options.min_model_size = False, 3
    options.mapper.abs_pose_min_num_inliers = FEWEST_INLIERS
    registered = 0

    def next_photo() -> None:
        nonlocal registered
        registered += 1
        say(min(registered / count, 1.0), f"camera {min(registered + 2, count)} of {count}")

    models = pycolmap.incremental_mapping(path, folder, folder, options, next_image_callback=next_photo)
    if not models:
        return None
    best = max(models.values(), key=lambda model: (model.num_reg_images(), model.num_points3D()))
    adjusting = pycolmap.BundleAdjustmentOptions(print_summary=False)
    adjusting.ceres.loss_function_type, adjusting.ceres.loss_function_scale = pycolmap.LossFunctionType.CAUCHY, LOSS
    adjusting.ceres.solver_options.function_tolerance = 1e-7
    adjusting.ceres.solver_options.max_num_iterations = 100
    adjusting.ceres.solver_options.num_threads = threads
    pycolmap.bundle_adjustment(best, adjusting)
    best.update_point_3d_errors()
    return best


def solution(model: Any) -> dict[str, Any]:
    """What is kept of a model: by registered photo `numbers` (N,), `camera_from_world` (N, 4, 4) in OpenCV's axes,
    `parameters` (N, 4) f, cx, cy, k1 and `observations` (N,); `points` (P, 3); the mean reprojection `error` in pixels.
    """
    if model is None:
        return {"numbers": np.zeros(0, int), "camera_from_world": np.zeros((0, 4, 4)), "parameters": np.zeros((0, 4)),
                "observations": np.zeros(0, int), "points": np.zeros((0, 3)), "error": np.array(0.0)}
    images = sorted((model.image(number) for number in model.reg_image_ids()), key=lambda image: image.image_id)
    poses = np.tile(np.eye(4), (len(images), 1, 1))
    poses[:, :3] = [image.cam_from_world().matrix() for image in images]
    return {"numbers": np.array([image.image_id - 1 for image in images]), "camera_from_world": poses,
            "parameters": np.array([model.camera(image.camera_id).params for image in images]),
            "observations": np.array([image.num_points3D for image in images]),
            "points": np.array([point.xyz for point in model.points3D.values()]).reshape(-1, 3),
            "error": np.array(model.compute_mean_reprojection_error())}


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(content)
    os.replace(beside, path)


if __name__ == "__main__":
    solve(Path(sys.argv[1]))
