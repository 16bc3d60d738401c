"""Each camera's background image as its photo."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import bpy

from ..formats.cameras import check_views
from ..formats.capture import Camera, Capture, View
from ..formats.pictures import picture_size
from ..recipes import InputError
from . import cameras, points, views

# File formats of images inside the .blend that a backend reads, by their ending.
PACKED = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "OPEN_EXR": ".exr"}


def background_image(camera: bpy.types.Object) -> bpy.types.Image | None:
    """The first image behind a camera. InputError where there is a movie in its place."""
    data: Any = camera.data
    for background in data.background_images:
        if background.source == "MOVIE_CLIP" and background.clip:
            raise InputError(f'views: the background of camera "{camera.name}" is the movie clip '
                             f'"{background.clip.name}"; give it a still image')
        if background.source == "IMAGE" and background.image:
            if background.image.source not in {"FILE", "GENERATED"}:
                kind = background.image.source.lower()
                raise InputError(f'views: the background of camera "{camera.name}" is a {kind}; give it a still image')
            return background.image
    return None


def photographed(scene: bpy.types.Scene) -> list[tuple[bpy.types.Object, bpy.types.Image]]:
    """The cameras that have a photo with it, by name; InputError where none has."""
    asked = views.some_cameras(scene)
    found = [(camera, image) for camera in asked if (image := background_image(camera)) is not None]
    if not found:
        raise InputError(f'views: none of {len(asked)} cameras has a picture (first: "{asked[0].name}"); give them '
                         "background images, or choose rendered views")
    return found


def _without_photo(scene: bpy.types.Scene) -> tuple[str, ...]:
    """A warning that counts the cameras without a photo, if there are any."""
    asked = views.some_cameras(scene)
    bare = [camera.name for camera in asked if background_image(camera) is None]
    if not bare:
        return ()
    return (f'views: {len(bare)} of {len(asked)} cameras have no picture (first: "{bare[0]}"); they are skipped',)


def gather(scene: bpy.types.Scene, folder: Path) -> Capture:
    """Copy each camera's photo into `folder`; the capture with the cameras that took them."""
    photos = photographed(scene)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    taken = []
    for number, (camera, image) in enumerate(photos):
        data: Any = camera.data
        stored = cameras.stored_lens(data)
        picture = _copied(image, pictures / f"{number:04d}", camera.name)
        width, height = picture_size(picture)
        evaluated = camera.evaluated_get(depsgraph)
        lens = _with_distortion(cameras.from_blender(evaluated, width, height, stored.get("pixel_aspect", 1.0)), stored)
        mask = stored.get("mask")
        taken.append(View(camera.name, lens, cameras.world_from_camera(evaluated), f"pictures/{picture.name}",
                          mask=mask and f"pictures/{_mask(Path(mask), picture, camera.name).name}",
                          split=stored.get("split", "train")))
    check_views(taken)
    return Capture(folder, tuple(taken), points=points.read(scene), warnings=_without_photo(scene))


def _with_distortion(lens: Camera, stored: dict[str, Any]) -> Camera:
    return Camera(lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy, stored.get("model", "pinhole"),
                  dict(stored.get("distortion", {})))


def _copied(image: bpy.types.Image, stem: Path, camera: str) -> Path:
    """The image's file under `stem` with its own ending."""
    if image.is_dirty or image.source == "GENERATED":
        raise InputError(f'views: the image "{image.name}" of camera "{camera}" is not saved; save it to a file')
    if image.packed_file:
        if image.file_format not in PACKED:
            raise InputError(f'views: the packed image "{image.name}" of camera "{camera}" is {image.file_format}; '
                             f"save it as one of {', '.join(PACKED)}")
        target = stem.with_suffix(PACKED[image.file_format])
        packed: Any = image.packed_file
        target.write_bytes(packed.data)
        return target
    source = Path(bpy.path.abspath(image.filepath, library=image.library))
    return _copy(source, stem.with_suffix(source.suffix.lower()), f'views: the picture of camera "{camera}"')


def _mask(source: Path, picture: Path, camera: str) -> Path:
    target = picture.with_name(f"{picture.stem}.mask{source.suffix.lower()}")
    return _copy(source, target, f'views: the mask of camera "{camera}"')


def _copy(source: Path, target: Path, what: str) -> Path:
    try:
        shutil.copyfile(source, target)
    except OSError as problem:
        raise InputError(f"{what}, {source}, cannot be read ({problem.strerror}); restore the file or disable the "
                         "camera in renders") from None
    return target
