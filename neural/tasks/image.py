"""A photo of an object to a textured mesh."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...formats import objects, photos
from ...formats.capture import Camera
from ...formats.mesh import Mesh
from ...formats.pictures import focal_length, picture_size, read_grey, read_picture, write_png
from ...recipes.errors import InputError
from ...recipes.image import Image
from ..context import Context
from ..evaluation.audit import audit
from ..finish import warn_of_defects
from ..geometry import crop, standing
from ..geometry.cutout import cut_out, is_cut_out, parts
from ..geometry.mirror import plane_of
from ..meshing.clean import remove_floaters, remove_inner_shells
from ..meshing.normals import smooth_normals
from ..meshing.photo_texture import paint
from ..meshing.raster import portrait
from ..predictors import shipped, view
from ..predictors.detector import objects_in
from ..predictors.pose import Network as PoseNetwork
from ..predictors.predictor import Predictor
from ..training.picture_fit import MET, fit, silhouette_iou

LONGEST = 2048  # pixels of a photo's longer side that are used
FIT_SIDE = 256  # pixels of the crop that a shape is fitted to
SENSOR, LENS = 36.0, 50.0  # mm: the width of the sensor, and the focal length of a photo that does not say its own
ELEVATION = math.radians(15.0)  # of the camera where nothing tells it
PHOTO = "photo.png"
CRUMB = 0.2  # percent of the largest part's area; a separate part with less is dropped
MOST_OBJECTS = 8  # of one photo
ALIKE = 0.03  # by which a mask's proportions may differ from the photo's


@dataclass(frozen=True)
class Photo:
    """A photo, or what of it shows one object."""

    rgba: np.ndarray  # (H, W, 4) float32 sRGB premultiplied
    opaque: np.ndarray  # (H, W, 4) uint8 with all that was around the object
    focal: float  # pixels

    def of(self, mask: np.ndarray) -> Photo:
        """What of it a mask (H, W) from 0 to 1 shows."""
        return replace(self, rgba=self.rgba * mask[..., None])


@dataclass(frozen=True)
class Shaped:
    """An object's mesh in the view frame of its crop, and from where it was seen."""

    mesh: Mesh
    crop: crop.Crop
    elevation: float
    figures: dict[str, Any]


def run(context: Context) -> None:
    """Read input/photos.json and what it names, write output/objects.json, fill the report."""
    recipe = context.recipe
    assert isinstance(recipe, Image)
    given = photos.read_list(context.input)
    context.stage("Cutting out the object", 0.15)
    predictor = shipped.chosen(recipe.method, context.input, context.device)
    _refuse_more(given.photos, predictor)
    pose_network = shipped.pose_network(context.device)
    _warn_of_absent(context, predictor, pose_network)
    photo = _read(context, given, given.photos[0])
    shown = _objects(context, photo, given)
    others = [_cut(_read(context, given, path)) for path in given.photos[1:]]
    behind = _cut(_read(context, given, given.behind), name="behind") if given.behind else None
    maker = _Maker(context, predictor, pose_network, others, behind)
    shaped = [maker.shape(part, number, len(shown)) for number, part in enumerate(shown)]
    context.stage("Standing it up", 1.0)
    up = standing.upward(shaped[0].crop, shaped[0].elevation)
    meshes, pose = standing.stand([one.mesh for one in shaped], [one.crop for one in shaped], up, recipe.size)
    _deliver(context, meshes, pose, photo)
    context.report |= {"name": given.name, "method": predictor.method,
                       "objects": [one.figures for one in shaped]}
    context.progress(1.0)


class _Maker:
    """Makes one object's shape after the other."""

    def __init__(self, context: Context, predictor: Predictor, pose: PoseNetwork | None, others: list[Photo],
                 behind: Photo | None) -> None:
        self._context, self._predictor, self._pose = context, predictor, pose
        self._others, self._behind = others, behind

    def shape(self, photo: Photo, number: int, count: int) -> Shaped:
        """The mesh of what one photo shows, the `number`-th of `count` objects."""
        context, recipe = self._context, self._context.recipe
        assert isinstance(recipe, Image)
        named = "" if count == 1 else f" {number + 1} of {count}"

        def stage(name: str, share: float) -> None:
            context.stage(name + named, 0.15 + 0.8 * (number + share) / count)

        stage("Predicting the shape", 0.2)
        began = time.monotonic()
        at = crop.around(photo.rgba[..., 3], photo.focal)
        distance = torch.tensor(at.distance, dtype=torch.float32, device=context.device)
        images = self._seen([(photo, at), *((other, crop.around(other.rgba[..., 3], other.focal))
                                            for other in self._others)])
        mesh = self._predictor.predict(images, distance)
        if not np.isfinite(mesh.vertices).all():
            raise InputError("model: what it makes of the photo is not finite; its file is damaged, give another")
        seconds = {"predict": round(time.monotonic() - began, 2)}
        pose = self._pose.estimate(images) if self._pose else None
        mirror = self._predictor.mirror if recipe.symmetric else None
        if pose and recipe.symmetric and mirror is None:
            mirror = plane_of(pose.numbers(), mesh)
        rgba = at.picture(photo.rgba, FIT_SIDE).movedim(0, -1).numpy()
        figures = {"silhouette_iou_before": silhouette_iou(mesh, rgba, at.distance)}
        if recipe.fit:
            stage("Fitting it to the photo", 0.7)
            began = time.monotonic()
            mesh = fit(mesh, rgba, at.distance, mirror=mirror, on_progress=context.progress)
            seconds["fit"] = round(time.monotonic() - began, 2)
        mesh = remove_inner_shells(remove_floaters(mesh, CRUMB))
        met = figures["silhouette_iou"] = silhouette_iou(mesh, rgba, at.distance)
        if recipe.fit and met < MET:
            context.warn(f"fit: the mesh{named} meets {100 * met:.1f} % of the photo's outline, {100 * MET:.0f} % is "
                         "usual; look at it from the photo's side, and give a mask where it took the background along")
        stage("Painting it", 1.0)
        began = time.monotonic()
        mesh = self._painted(mesh, photo, at, mirror)
        seconds["texture"] = round(time.monotonic() - began, 2)
        elevation = pose.elevation if pose else ELEVATION
        return Shaped(mesh, at, elevation, {**figures, "elevation_degrees": math.degrees(elevation),
                                            "mirrored": mirror is not None, "seconds": seconds})

    def _seen(self, taken: list[tuple[Photo, crop.Crop]]) -> torch.Tensor:
        """What the network sees of photos with their crops, (V, 6, S, S)."""
        pictures = torch.stack([at.picture(photo.rgba, view.SIDE) for photo, at in taken]).to(self._context.device)
        distances = torch.tensor([at.distance for _, at in taken], dtype=torch.float32, device=self._context.device)
        return view.with_rays(pictures, distances)

    def _painted(self, mesh: Mesh, photo: Photo, at: crop.Crop,
                 mirror: tuple[np.ndarray, float] | None) -> Mesh:
        recipe = self._context.recipe
        assert isinstance(recipe, Image)
        rgba = at.picture(photo.rgba, min(recipe.texture, LONGEST)).movedim(0, -1).numpy()
        back = None
        if self._behind:
            around = crop.around(self._behind.rgba[..., 3], self._behind.focal)
            back = around.picture(self._behind.rgba, min(recipe.texture, LONGEST)).movedim(0, -1).numpy()
        return smooth_normals(paint(mesh, rgba, at.distance, mirror=mirror, back=back, side=recipe.texture))


def _refuse_more(given: tuple[Path, ...], predictor: Predictor) -> None:
    if len(given) > predictor.views:
        raise InputError(f"input: {len(given)} photos are given and {predictor.method} takes {predictor.views}; "
                         "choose the method voxels for several views of one object, or give one photo")


def _warn_of_absent(context: Context, predictor: Predictor, pose: PoseNetwork | None) -> None:
    recipe = context.recipe
    assert isinstance(recipe, Image)
    if recipe.method == "auto" and predictor.method in shipped.WITHOUT_WEIGHTS:
        context.warn(f"method: no network is installed, so that {predictor.method} is taken; install Maquette again")
    if pose is None:
        context.warn("pose: the network that tells how high the camera stood is not installed, so that "
                     f"{math.degrees(ELEVATION):.0f}° are taken; install Maquette again")


def _read(context: Context, given: photos.Photos, path: Path) -> Photo:
    recipe = context.recipe
    assert isinstance(recipe, Image)
    name = given.called[path.name]
    try:
        picture = read_picture(path, LONGEST, upright=True)
    except InputError as problem:  # what the user knows is not the job's copy
        raise InputError(str(problem).replace(str(path), name)) from problem
    if picture.frames > 1:
        context.warn(f"photo: {name} has {picture.frames} pictures; the first is taken")
    lens = recipe.lens or focal_length(path) or LENS
    return Photo(picture.rgba_srgb, picture.straight(), lens * max(picture.rgba_srgb.shape[:2]) / SENSOR)


def _cut(photo: Photo, **known: Any) -> Photo:
    """A photo without its background; `known` is what `cut_out` takes."""
    return replace(photo, rgba=cut_out(photo.rgba, **known))


def _objects(context: Context, photo: Photo, given: photos.Photos) -> list[Photo]:
    """What a photo shows of each of its objects, the largest first.

    A mask or the photo's own alpha is divided into its parts; before a background the detector looks for objects.
    """
    found = [] if given.mask or is_cut_out(photo.rgba) else _detected(context, photo)
    if not found:
        whole = _cut(photo, mask=_mask(photo, given))
        found = [whole.of(part) for part in parts(whole.rgba[..., 3])]
    found.sort(key=lambda one: -float(one.rgba[..., 3].sum()))
    if len(found) > MOST_OBJECTS:
        context.warn(f"photo: it shows {len(found)} objects; the {MOST_OBJECTS} largest are made")
    return found[:MOST_OBJECTS]


def _mask(photo: Photo, given: photos.Photos) -> np.ndarray | None:
    if given.mask is None:
        return None
    height, width = photo.rgba.shape[:2]
    try:
        wide, high = picture_size(given.mask)
        mask = read_grey(given.mask, width, height)
    except InputError as problem:
        raise InputError(f"mask: {given.called[given.mask.name]} is not a picture that can be read; give another"
                         ) from problem
    if abs(wide * height / (high * width) - 1) > ALIKE:
        raise InputError(f"mask: it has {wide}×{high} pixels, not the photo's proportions of {width}×{height}; give "
                         "one of the whole photo")
    return mask


def _detected(context: Context, photo: Photo) -> list[Photo]:
    detector = shipped.detector(context.device)
    found = []
    for likely in objects_in(detector, photo.rgba) if detector else []:
        with suppress(InputError):  # nothing is left of what was taken for an object
            found.append(_cut(photo, likely=likely))
    return found


def _deliver(context: Context, meshes: list[Mesh], pose: np.ndarray, photo: Photo) -> None:
    """Write output/, and the meshes' audit into the report."""
    height, width = photo.rgba.shape[:2]
    write_png(context.output / PHOTO, photo.opaque)
    camera = Camera(width, height, photo.focal, photo.focal, width / 2, height / 2)
    objects.write(objects.Objects(tuple(meshes), camera, pose, context.output / PHOTO), context.output)
    found = [audit(mesh) for mesh in meshes]
    context.report["mesh"] = {name: sum(figures[name] for figures in found) for name in found[0]}
    warn_of_defects(context, context.report["mesh"], "choose another method or photo")
    context.preview(portrait(meshes[0]))
