"""Decoding pictures and loading a capture's views, on pictures made here."""

import time

import numpy as np
import pytest
from PIL import Image

from maquette.formats.capture import Camera, Capture, View
from maquette.formats.pictures import picture_size, read_depth, read_picture, srgb_from_linear
from maquette.neural.geometry.views import load_views
from maquette.recipes import InputError

RAMP = np.stack(np.meshgrid(np.linspace(0, 255, 16), np.linspace(0, 255, 12)), axis=-1)
RGB = np.dstack([RAMP, 255 - RAMP[..., 0]]).round().astype(np.uint8)
RGBA = np.dstack([RGB, np.repeat(np.linspace(0, 255, 12).round(), 16).reshape(12, 16).astype(np.uint8)])


def poses():
    found = np.tile(np.eye(4), (4, 1, 1))
    found[:, 0, 3] = np.arange(4)
    return found


def capture_of(folder, pictures, size=(16, 12), **view):
    """Four views of these pictures in turn, of cameras for that size."""
    camera = Camera(*size, 20.0, 20.0, size[0] / 2, size[1] / 2)
    return Capture(folder, tuple(View(f"view {i}", camera, pose, pictures[i % len(pictures)], **view)
                                 for i, pose in enumerate(poses())))


def no_warning(text):
    raise AssertionError(text)


def error_of(call, *args):
    with pytest.raises(InputError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name, options", [
    ("a.png", {}), ("a.webp", {"lossless": True}), ("a.tif", {}), ("a.tiff", {"compression": "tiff_lzw"})])
def test_lossless_forms_are_read_exactly_and_premultiplied(tmp_path, name, options):
    Image.fromarray(RGBA).save(tmp_path / name, **options)
    picture = read_picture(tmp_path / name)
    alpha = RGBA[..., 3:] / 255
    wanted = np.dstack([RGBA[..., :3] / 255 * alpha, alpha])
    assert np.allclose(picture.rgba_srgb, wanted, atol=1e-6)
    assert picture.has_alpha and picture.rgba_srgb.dtype == np.float32


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "b.webp"])
def test_lossy_forms_are_opaque_and_near(tmp_path, name):
    Image.fromarray(RGB).save(tmp_path / name, quality=95)
    picture = read_picture(tmp_path / name)
    assert np.abs(picture.rgba_srgb[..., :3] - RGB / 255).mean() < 0.03
    assert not picture.has_alpha and (picture.rgba_srgb[..., 3] == 1).all()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1"])
def test_every_mode_becomes_colour(tmp_path, mode):
    name = "a.tif" if mode == "CMYK" else "a.png"
    Image.fromarray(RGB).convert(mode).save(tmp_path / name)
    picture = read_picture(tmp_path / name)
    wanted = np.asarray(Image.fromarray(RGB).convert(mode).convert("RGB")) / 255
    assert np.allclose(picture.rgba_srgb[..., :3], wanted, atol=1 / 255)
    assert picture.has_alpha == (mode == "LA")


def test_a_palette_with_a_transparent_colour_has_alpha(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png", transparency=1)
    picture = read_picture(tmp_path / "a.png")
    assert picture.has_alpha and picture.rgba_srgb.tolist() == [[[1, 0, 0, 1], [0, 0, 0, 0]], [[0, 0, 0, 0], [1, 0, 0, 1]]]


def test_sixteen_bit_grey_is_not_clipped(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert np.allclose(read_picture(tmp_path / "a.png").rgba_srgb[0, :, 0], [0, 0.5, 1], atol=1e-4)


def write_exr(path, channels):
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {n: np.ascontiguousarray(v, np.float32) for n, v in channels.items()}).write(str(path))


def blender_layers(rgba, depth, normal, depth_name="Depth.Z"):
    layers = {f"ViewLayer.Combined.{c}": rgba[..., i] for i, c in enumerate("RGBA")}
    layers |= {f"ViewLayer.Noisy Image.{c}": 0 * rgba[..., i] for i, c in enumerate("RGBA")}
    layers |= {f"ViewLayer.Normal.{c}": normal[..., i] for i, c in enumerate("XYZ")}
    return layers | {f"ViewLayer.{depth_name}": depth}


@pytest.mark.parametrize("depth_name", ["Depth.Z", "Depth.V"])
def test_a_rendered_view_gives_srgb_premultiplied_after_encoding_depth_and_normals(tmp_path, depth_name):
    # Linear grey 0.5 of alpha 0.5 is straight 1.0: white, premultiplied 0.5. Linear 0.2 is sRGB 0.4845.
    rgba = np.array([[[0.5, 0.5, 0.5, 0.5], [0.2, 0.2, 0.2, 1], [0, 0, 0, 0], [7, 7, 7, 1]]])
    depth = np.array([[2.0, 3.0, 1e10, 0.0]])
    normal = np.array([[[0, 0, 0.9], [1, 0, 0], [0, 0, 0], [0.1, 0, 0]]])
    write_exr(tmp_path / "a.exr", blender_layers(rgba, depth, normal, depth_name))
    picture = read_picture(tmp_path / "a.exr")
    assert np.allclose(picture.rgba_srgb[0, :, 0], [0.5, 0.48453, 0, 1], atol=1e-4)
    assert picture.rgba_srgb[0, :, 3].tolist() == [0.5, 1, 0, 1] and picture.has_alpha
    assert np.array_equal(picture.depth, [[2, 3, np.nan, np.nan]], equal_nan=True)
    assert picture.normal[0].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_a_plain_exr_is_read_and_one_without_colour_refused(tmp_path):
    write_exr(tmp_path / "a.exr", {c: np.full((2, 3), 0.2) for c in "RGB"})
    picture = read_picture(tmp_path / "a.exr")
    assert np.allclose(picture.rgba_srgb, [0.48453, 0.48453, 0.48453, 1], atol=1e-4)
    assert not picture.has_alpha and picture.depth is None
    write_exr(tmp_path / "b.exr", {"Z": np.full((2, 3), 2.0)})
    assert "no colour channels R, G, B but Z" in error_of(read_picture, tmp_path / "b.exr")
    assert (read_depth(tmp_path / "b.exr") == 2).all()


def test_srgb_is_encoded_as_the_standard_says():
    assert np.allclose(srgb_from_linear(np.array([-1, 0, 0.001, 0.0031308, 0.5, 1, 2])),
                       [0, 0, 0.01292, 0.04045, 0.735357, 1, 1], atol=1e-5)


@pytest.mark.parametrize("name, options", [
    ("a.png", {}), ("a.jpg", {}), ("a.jpeg", {"progressive": True}), ("a.webp", {}), ("b.webp", {"lossless": True}),
    ("a.tif", {}), ("a.exr", {})])
def test_the_size_is_read_from_the_header(tmp_path, name, options):
    for alpha in (False, True):
        pixels = np.zeros((37, 301, 4 if alpha else 3), np.uint8)
        if name.endswith("exr"):
            write_exr(tmp_path / name, {c: np.zeros((37, 301)) for c in "RGB"})
        elif not (alpha and name.startswith("a.jp")):
            Image.fromarray(pixels).save(tmp_path / name, **options)
        assert picture_size(tmp_path / name) == (301, 37)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n\0\0", b"\xff\xd8\xff\xe0\0\x10JFIF",
                                  b"RIFF\0\0\0\0WEBPVP8 ", b"II*\0\xff\0\0\0", b"\x76\x2f\x31\x01\2\0\0\0chan"])
def test_a_file_without_a_picture_gets_one_line(tmp_path, data):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert error_of(picture_size, path).startswith(f"picture: {path} cannot be read")
    assert error_of(read_picture, path).startswith(f"picture: {path} cannot be read")
    (tmp_path / "a.exr").write_bytes(data)
    assert error_of(read_picture, tmp_path / "a.exr").startswith(f"picture: {tmp_path / 'a.exr'} cannot be read")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.exr"])
def test_a_truncated_picture_is_named(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    if name.endswith("exr"):
        write_exr(tmp_path / name, {c: noise[..., i] / 255 for i, c in enumerate("RGB")})
    else:
        Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:int(len(whole) * 0.6)])
    text = error_of(load_views, capture_of(tmp_path, [name]), no_warning)
    assert text.startswith(f"picture: {tmp_path / name} cannot be read (")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_an_orientation_in_exif_data_turns_nothing(tmp_path, name, orientation):
    # Cameras are calibrated on the stored pixels: COLMAP and OpenDroneMap read them so too.
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / name, exif=exif, **({"quality": 100} if name == "a.jpg" else {}))
    assert picture_size(tmp_path / name) == (16, 12)
    picture = read_picture(tmp_path / name)
    assert picture.stored_size == (16, 12)
    assert np.abs(picture.rgba_srgb[..., :3] - RGB / 255).mean() < 0.02


def test_large_pictures_are_reduced_by_area_average(tmp_path):
    checks = np.kron(np.indices((12, 16)).sum(axis=0) % 2, np.ones((8, 8))).astype(np.uint8) * 255
    checks[:, 1::2] = 255 - checks[:, 1::2]  # every column pair averages to grey
    Image.fromarray(np.dstack([checks] * 3)).save(tmp_path / "a.png")
    warnings = []
    picture = load_views(capture_of(tmp_path, ["a.png"], (128, 96)), warnings.append, longest_side=16)[0]
    assert np.allclose(picture.rgba_srgb[..., :3], 0.5, atol=0.01)
    assert (picture.fx, picture.cx, picture.cy) == (2.5, 8, 6)
    assert warnings == ["views: 4 of 4 pictures are larger than the field can use; they are reduced to 16 px on the "
                        "longest side"]


def test_reducing_averages_premultiplied_colour(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (255, 0, 0, 255)
    pixels[1, 1] = (0, 255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.allclose(read_picture(tmp_path / "a.png", 1).rgba_srgb, [[[0.25, 0, 0, 0.25]]], atol=1 / 255)


def test_pictures_of_another_size_scale_their_camera_with_one_warning(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    warnings = []
    fractions = []
    picture = load_views(capture_of(tmp_path, ["a.png"], (32, 24)), warnings.append, None, fractions.append)[0]
    assert fractions == [0.25, 0.5, 0.75, 1]
    assert (picture.fx, picture.fy, picture.cx, picture.cy) == (10, 10, 8, 6)
    assert warnings == ["views: 4 of 4 pictures have another size than stated (first: view 0 is 16×12, stated 32×24); "
                        "their cameras are scaled"]


@pytest.mark.parametrize("stated", [(12, 16), (16, 16), (32, 20)])
def test_pictures_of_another_shape_are_refused_by_the_views_name(tmp_path, stated):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    text = error_of(load_views, capture_of(tmp_path, ["a.png"], stated), no_warning)
    assert f"the picture of view 0 is 16×12, but its camera is for {stated[0]}×{stated[1]}" in text


def test_masks_become_alpha(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    Image.fromarray(np.repeat([[0, 255]], 2, axis=0).astype(np.uint8)).save(tmp_path / "m.png")
    picture = load_views(capture_of(tmp_path, ["a.png"], mask="m.png"), no_warning)[0]
    assert picture.has_alpha
    assert not picture.rgba_srgb[:, :8].any() and (picture.rgba_srgb[:, 8:, 3] == 1).all()


def test_alpha_counts_only_where_some_picture_is_not_opaque(tmp_path):
    Image.fromarray(RGBA).save(tmp_path / "cut.png")
    Image.fromarray(np.dstack([RGB, np.full((12, 16), 255, np.uint8)])).save(tmp_path / "whole.png")
    Image.fromarray(RGB).save(tmp_path / "photo.png")

    def alphas(*names):
        return [v.has_alpha for v in load_views(capture_of(tmp_path, names), no_warning)]

    assert alphas("whole.png") == [False] * 4
    assert alphas("whole.png", "cut.png") == [True] * 4
    assert alphas("photo.png", "cut.png") == [False, True, False, True]


def test_depth_maps_are_millimetres_and_zero_is_unknown(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    Image.fromarray(np.array([[0, 1500], [65535, 2000]], np.uint16)).save(tmp_path / "d.png")
    picture = load_views(capture_of(tmp_path, ["a.png"], (16, 12), depth="d.png"), no_warning)[0]
    assert picture.depth.shape == (12, 16)
    corners = picture.depth[[0, 0, 11, 11], [0, 15, 0, 15]]
    assert np.array_equal(corners, np.float32([np.nan, 1.5, np.nan, 2]), equal_nan=True)
    Image.fromarray(RGB).save(tmp_path / "d.png")
    assert "one channel" in error_of(load_views, capture_of(tmp_path, ["a.png"], depth="d.png"), no_warning)


def test_distorted_pictures_come_with_a_pinhole_and_weights(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    Image.fromarray(np.full((12, 16), 1500, np.uint16)).save(tmp_path / "d.png")
    camera = Camera(16, 12, 20.0, 20.0, 8.0, 6.0, "opencv", {"k1": -0.3})
    views = tuple(View(f"{i}", camera, pose, "a.png", depth="d.png") for i, pose in enumerate(poses()))
    picture = load_views(Capture(tmp_path, views), no_warning)[0]
    assert picture.weight.shape == picture.rgba_srgb.shape[:2] == picture.depth.shape
    assert picture.rgba_srgb.shape[1] > 16 and 0.5 < picture.weight.mean() < 1
    assert np.array_equal(np.isnan(picture.depth), picture.weight == 0)
    assert not picture.has_alpha


def test_bad_cameras_are_refused_before_any_picture_is_read(tmp_path):
    capture = capture_of(tmp_path, ["absent.png"])
    capture.views[1].world_from_camera[0, 0] = np.nan
    assert "views: view 1: the camera's matrix holds NaN" in error_of(load_views, capture, no_warning)


def test_a_hundred_pictures_of_200_pixels_load_in_two_seconds(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 4), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    camera = Camera(200, 200, 280.0, 280.0, 100.0, 100.0)
    pose = np.tile(np.eye(4), (100, 1, 1))
    pose[:, 0, 3] = np.arange(100)
    views = tuple(View(str(i), camera, pose[i], "a.png") for i in range(100))
    start = time.process_time()
    load_views(Capture(tmp_path, views), no_warning)
    assert time.process_time() - start < 2
