"""Pictures as networks: places of pixels, initial weights, what is learnt, and the task on pictures of all kinds."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from maquette import api, cli
from maquette.formats.inputs import gather
from maquette.formats.pictures import picture_size, png, read_picture, straight
from maquette.neural.evaluation.pictures import psnr
from maquette.neural.fields.picture import (FourierFeatures, Sine, extent_of, make_network, pixel_centres, sample)
from maquette.neural.training.loop import FILE, Checkpoint
from maquette.neural.training.picture import PictureTrainer, fit_picture, over_white
from maquette.recipes import Cancelled, InputError
from maquette.recipes.picture import Picture
from PIL import Image

CPU = torch.device("cpu")
QUICK: dict[str, Any] = {"seconds": 1.0, "width": 32, "layers": 2}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads would wait for each other longer than networks as small as these take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def waves(width: int = 24, height: int = 16, channels: int = 3) -> np.ndarray:
    """A smooth picture (H, W, channels) float32 with some detail, the last of four channels within the others."""
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    parts = [0.5 + 0.4 * np.sin(9 * x + k) * np.cos(7 * y - k) for k in range(3)]
    alpha = np.clip(1.5 - 2 * x, 0, 1)
    parts = [part * alpha for part in parts] + [alpha] if channels == 4 else parts
    return np.stack(parts, -1).astype(np.float32)


# ---- places ------------------------------------------------------------------------------------------------------

def test_pixel_centres_lie_half_a_pixel_from_the_border_and_y_goes_down() -> None:
    places = pixel_centres(4, 2, (1.0, 0.5))
    np.testing.assert_allclose(places, [[0.125, 0.125], [0.375, 0.125], [0.625, 0.125], [0.875, 0.125],
                                        [0.125, 0.375], [0.375, 0.375], [0.625, 0.375], [0.875, 0.375]])


def test_the_unit_is_the_longest_side_but_no_less_than_512_pixels() -> None:
    assert extent_of(1024, 768) == (1.0, 0.75) and extent_of(64, 128) == (0.125, 0.25)


def test_a_ramp_sampled_at_twice_the_size_is_still_the_ramp() -> None:
    twice = sample(lambda places: places, 8, 4, (1.0, 0.5), device=CPU)
    np.testing.assert_allclose(twice[0, :, 0], (np.arange(8) + 0.5) / 8)
    np.testing.assert_allclose(twice[:, 0, 1], [0.0625, 0.1875, 0.3125, 0.4375])


def test_a_size_of_another_shape_stretches_the_picture() -> None:
    stretched = sample(lambda places: places, 2, 4, (1.0, 0.5), device=CPU)
    np.testing.assert_allclose(stretched[:, :, 0], [[0.25, 0.75]] * 4)
    np.testing.assert_allclose(stretched[:, 0, 1], [0.0625, 0.1875, 0.3125, 0.4375])


def test_a_smaller_picture_is_the_mean_of_the_larger_one() -> None:
    def stripes(places: torch.Tensor) -> torch.Tensor:
        return (places[:, :1] * 8).floor() % 2
    assert set(sample(stripes, 2, 1, (1.0, 0.5), device=CPU).ravel()) <= {0.0, 1.0}
    np.testing.assert_allclose(sample(stripes, 2, 1, (1.0, 0.5), samples=4, device=CPU), 0.5)


def test_what_is_sampled_in_parts_is_what_is_sampled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network("siren", 3, (1.0, 0.7), width=16, layers=2, sigma=10.0, seed=0)
    said: list[float] = []
    whole = sample(network, 13, 9, (1.0, 0.7), samples=2, device=CPU)
    monkeypatch.setattr("maquette.neural.fields.picture.CHUNK", 110)
    parts = sample(network, 13, 9, (1.0, 0.7), samples=2, device=CPU, on_progress=said.append)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    assert len(said) == 5 and said[-1] == 1.0


# ---- networks ----------------------------------------------------------------------------------------------------

def test_sines_begin_with_the_papers_bounds() -> None:
    """n = 2 inputs: 1/2. n = 256: √(6/256)/30 = 0.153093/30 = 0.00510310."""
    network = make_network("siren", 3, (1.0, 1.0), width=256, layers=3, sigma=10.0, seed=0)
    weights = [m.weight.detach() for m in network.modules() if isinstance(m, torch.nn.Linear)]
    bounds = [0.5, 0.0051031, 0.0051031, 0.0051031]
    assert [tuple(w.shape) for w in weights] == [(256, 2), (256, 256), (256, 256), (3, 256)]
    for weight, bound in zip(weights, bounds, strict=True):
        assert 0.97 * bound < weight.abs().max() <= bound * 1.00001
        assert abs(weight.std() / (bound / math.sqrt(3)) - 1) < 0.06, "uniform"
    assert Sine()(torch.tensor(0.1)) == pytest.approx(math.sin(3.0))


def test_every_layer_of_sines_keeps_the_distribution_of_its_inputs() -> None:
    network = make_network("siren", 3, (1.0, 1.0), width=256, layers=4, sigma=10.0, seed=1)
    places, spread = torch.rand(2000, 2), []
    for layer in [*network[0], *network[1:]]:
        places = layer(places).detach()
        if isinstance(layer, Sine):
            spread.append(float(places.std()))
    assert all(abs(s - math.sqrt(0.5)) < 0.04 for s in spread), "that of an arcsine distribution, whatever the depth"


def test_fourier_features_are_sines_and_cosines_of_frequencies_of_the_bandwidth() -> None:
    torch.manual_seed(0)
    features = FourierFeatures(10.0, 2000)
    assert abs(float(features.frequencies.std()) - 10) < 0.3
    features.frequencies[:] = torch.tensor([[1.0], [0.25]])
    seen = features(torch.tensor([[0.25, 1.0]]))  # an angle of 2π (0.25 + 0.25) = π
    np.testing.assert_allclose(seen[0, [0, -1]], [0.0, -1.0], atol=1e-6)


def test_a_network_depends_on_its_seed_and_on_nothing_else() -> None:
    def first(seed: int) -> np.ndarray:
        torch.rand(3)
        network = make_network("fourier", 3, (1.0, 1.0), width=8, layers=1, sigma=10.0, seed=seed)
        return network(torch.full((1, 2), 0.3)).detach().numpy()
    np.testing.assert_array_equal(first(3), first(3))
    assert not np.array_equal(first(3), first(4))


# ---- training ----------------------------------------------------------------------------------------------------

def trained(pixels: np.ndarray, steps: int, **values: Any) -> PictureTrainer:
    trainer = PictureTrainer(pixels, Picture(**values), seed=0, device=CPU)
    for step in range(steps):
        trainer.step(step / steps)
    return trainer


def shown(trainer: PictureTrainer, pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    return sample(trainer.network, width, height, trainer.extent, device=CPU)


@pytest.mark.parametrize(("network", "channels"), [("siren", 3), ("siren", 4), ("fourier", 3)])
def test_a_tiny_picture_is_learnt(network: str, channels: int) -> None:
    pixels = waves(channels=channels)
    assert psnr(shown(trained(pixels, 300, network=network, width=64), pixels), pixels) > 30


def test_relu_alone_does_not_learn_what_is_fine() -> None:
    stripes = (np.arange(512) % 32 < 16).astype(np.float32)
    pixels = np.tile(stripes[None, :, None], (2, 1, 3))
    found = {network: psnr(shown(trained(pixels, 100, network=network, width=64), pixels), pixels)
             for network in ("relu", "fourier")}
    assert found["relu"] < 8 and found["fourier"] > 25, found  # a constant grey has 6.02 dB


def test_a_fitted_ramp_is_the_ramp_between_its_pixels() -> None:
    x = (np.arange(16, dtype=np.float32) + 0.5) / 16
    pixels = np.tile(0.2 + 0.6 * x[None, :, None], (16, 1, 3))
    trainer = trained(pixels, 400, network="siren", width=64)
    twice = sample(trainer.network, 32, 32, trainer.extent, device=CPU)
    expected = 0.2 + 0.6 * (np.arange(32) + 0.5) / 32
    assert np.abs(twice[1:-1, 1:-1] - expected[1:-1, None]).max() < 0.03


@pytest.mark.parametrize("network", ["siren", "fourier"])
def test_resumed_training_is_uninterrupted_training(network: str, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maquette.neural.training.picture.BATCH", 100)  # several a round
    recipe = Picture(network=network, width=16)  # type: ignore[arg-type]
    checkpoint = Checkpoint(tmp_path, recipe.to_json(), 0)
    steps = [n / 12 for n in range(12)]
    whole, half, other = (PictureTrainer(waves(), recipe, seed=0, device=CPU) for _ in range(3))
    losses = [whole.step(fraction) for fraction in steps]
    before = [half.step(fraction) for fraction in steps[:5]]
    checkpoint.save(half, 1.5, 0.5)
    assert checkpoint.load(other) == (1.5, 0.5)
    assert before + [other.step(fraction) for fraction in steps[5:]] == losses


def test_cancelling_keeps_what_was_learnt_and_fitting_goes_on_with_it(tmp_path: Path) -> None:
    recipe, steps = Picture(seconds=600.0, width=16), []

    def fit(on_progress: Callable[[float, str], None]) -> None:
        fit_picture(waves(), recipe, seed=0, device=CPU, checkpoint=tmp_path, on_progress=on_progress,
                    on_preview=lambda rgb: None)

    def stop(fraction: float, message: str) -> None:
        steps.append(fraction)
        if len(steps) == 6:
            raise Cancelled("cancelled")
    for _ in range(2):
        steps.clear()
        with pytest.raises(Cancelled):
            fit(stop)
    with safetensors.safe_open(tmp_path / FILE, "pt") as file:
        assert file.get_tensor("number") == 10, "five steps before each stop; the first word comes before any"


def test_every_pixel_comes_once_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maquette.neural.training.picture.BATCH", 128)
    trainer = PictureTrainer(waves(), Picture(width=8), seed=0, device=CPU)
    seen = []
    for _ in range(3):
        seen.append(trainer._batch())
        trainer.step(0.0)
    assert torch.cat(seen).unique().numel() == 384 == 24 * 16


def test_what_is_not_among_the_chosen_is_not_trained_on() -> None:
    pixels, among = waves(), np.indices((16, 24)).sum(axis=0) % 2 == 0
    spoilt = np.where(among[..., None], pixels, np.float32(np.nan))
    trainer = PictureTrainer(spoilt, Picture(width=16), seed=0, device=CPU, among=among)
    assert all(math.isfinite(trainer.step(n / 5)) for n in range(5))


def test_a_look_is_a_small_picture_with_its_psnr() -> None:
    rgb, said = trained(waves(300, 200), 1, width=8).look()
    assert rgb.shape == (67, 100, 3) and rgb.dtype == np.uint8 and said.endswith(" dB")


# ---- colour ------------------------------------------------------------------------------------------------------

def test_alpha_is_straight_in_the_file_and_white_in_a_preview() -> None:
    """Red of half alpha is (0.5, 0, 0, 0.5) premultiplied."""
    pixels = np.array([[[0.5, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]]], np.float32)
    assert straight(pixels).tolist() == [[[255, 0, 0, 128], [0, 0, 0, 0]]]
    assert over_white(pixels).tolist() == [[[255, 128, 128], [255, 255, 255]]]


def test_a_png_made_without_a_library_is_read_as_it_was(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    (tmp_path / "x.png").write_bytes(png(rgba))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")), rgba)


def test_a_photo_is_turned_upright_where_that_is_asked_for(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (4, 2)), Image.Exif()
    image.putpixel((0, 0), (255, 0, 0))
    exif[0x0112] = 6  # turn by 90° clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    assert read_picture(tmp_path / "turned.png").rgba_srgb.shape == (2, 4, 4)
    upright = read_picture(tmp_path / "turned.png", upright=True).rgba_srgb
    assert upright.shape == (4, 2, 4) and upright[0, 1, 0] == 1 and upright[0, 0, 0] == 0


# ---- the recipe --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("size", "expected"), [("", (60, 40)), ("1024x768", (1024, 768)), ("30", (30, 20)),
                                                ("1", (1, 1)), ("99999", (99999, 66666))])
def test_a_size_is_a_width_and_height_or_the_longest_side(size: str, expected: tuple[int, int]) -> None:
    assert Picture(size=size).size_for(60, 40) == expected


@pytest.mark.parametrize("size", ["big", "0", "10x", "x10", "-5", "1e3", "10x10x10", "10 x 10", "999999", "５", "7\n"])
def test_another_size_is_refused_in_one_line(size: str) -> None:
    with pytest.raises(InputError, match="^size: .* is not of its form; give: Size of the result in pixels") as error:
        Picture(size=size)
    assert "\n" not in str(error.value)


def test_the_estimate_grows_with_what_is_fitted_and_sampled() -> None:
    small, large = ({"width": side, "height": side} for side in (256, 1024))
    def needs(summary: dict[str, int], **values: Any) -> tuple[float, int]:
        estimate = Picture(**values).estimate(summary)
        return estimate.seconds, estimate.memory_mb
    assert needs(small) < needs(large) < needs(large, size="4096")
    assert needs(small)[0] > 30 and needs(small, width=512)[0] > needs(small)[0]
    assert 800 < Picture().estimate({}).memory_mb < 1500


# ---- the task, from the command line's files ---------------------------------------------------------------------

def write(path: Path, kind: str) -> Path:
    """A picture of 12 × 8 pixels of a kind that Pillow or Blender write."""
    rgba = (waves(12, 8, 4) * 255).astype(np.uint8)
    image = Image.fromarray(rgba)
    if kind == "grey16":
        Image.fromarray(rgba[..., 0].astype(np.uint16) * 257).save(path)
    elif kind == "palette":
        image.convert("RGB").quantize(8).save(path)
    else:
        image.convert({"rgb": "RGB", "grey": "L", "rgba": "RGBA", "jpeg": "RGB"}[kind]).save(path)
    return path


@pytest.mark.parametrize(("kind", "channels"), [("rgb", 3), ("grey", 3), ("grey16", 3), ("palette", 3), ("rgba", 4),
                                                ("jpeg", 3)])
def test_every_kind_of_picture_is_fitted(kind: str, channels: int, tmp_path: Path) -> None:
    source = write(tmp_path / ("in.jpg" if kind == "jpeg" else "in.png"), kind)
    result = run_here(source, tmp_path, **QUICK)
    with Image.open(tmp_path / "output" / "picture.png") as image:
        assert image.size == (12, 8) and image.mode == {3: "RGB", 4: "RGBA"}[channels]
        made = read_picture(tmp_path / "output" / "picture.png").rgba_srgb
    truth = read_picture(source).rgba_srgb
    assert result["picture"] == {"width": 12, "height": 8, "channels": channels}
    assert psnr(made[..., :channels], truth[..., :channels]) == pytest.approx(result["psnr_db"], abs=0.5)


def run_here(source: Path, folder: Path, **values: Any) -> dict[str, Any]:
    """The task in this process; its report."""
    from maquette.neural.tasks import picture

    class Plain:
        recipe, seed, device = Picture(**values), 0, CPU
        input, output, checkpoint = folder / "input", folder / "output", folder / "checkpoint"

        def __init__(self) -> None:
            self.report: dict[str, Any] = {"warnings": []}

        def stage(self, name: str, upto: float) -> None:
            """Nobody watches."""

        def progress(self, fraction: float, message: str = "") -> None:
            """Nobody watches."""

        def preview(self, rgb: np.ndarray) -> None:
            assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3

        def warn(self, text: str) -> None:
            self.report["warnings"].append(text)

    context = Plain()
    context.output.mkdir()
    gather("picture", [source], context.input, context.recipe)
    picture.run(context)
    return context.report


def test_one_pixel_and_a_thin_strip_are_pictures_too(tmp_path: Path) -> None:
    for width, height in ((1, 1), (1, 300)):
        folder = tmp_path / f"{width}x{height}"
        folder.mkdir()
        Image.new("RGB", (width, height), (200, 100, 50)).save(folder / "in.png")
        report = run_here(folder / "in.png", folder, size="40", **QUICK)
        assert report["psnr_db"] > 5
        assert picture_size(folder / "output" / "picture.png") == ((40, 40) if width == height else (1, 40))


def test_a_picture_that_is_too_large_to_hold_is_fitted_smaller_and_sampled_at_its_size(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maquette.neural.tasks.picture.LONGEST_SIDE", 16)
    Image.fromarray((waves(48, 32) * 255).astype(np.uint8)).save(tmp_path / "in.png")
    report = run_here(tmp_path / "in.png", tmp_path, **QUICK)
    assert report["picture"]["width"] == 48
    assert report["warnings"] == ["picture: 48×32 px are more than a network of this kind holds; 16×11 are fitted"]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(content)
    with pytest.raises(InputError, match=r"^picture: .*in.png cannot be read \(.*; replace the file") as error:
        gather("picture", [tmp_path / "in.png"], tmp_path / "input", Picture())
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="2 inputs are given; a picture's task takes one"):
        gather("picture", [tmp_path / "in.png"] * 2, tmp_path / "input", Picture())


def test_a_huge_picture_is_refused_for_its_memory_before_it_is_decoded(tmp_path: Path) -> None:
    header = png(np.zeros((1, 1, 4), np.uint8)).replace(b"\0\0\0\1\0\0\0\1", b"\0\1\0\0\0\1\0\0")  # 65536 × 65536
    (tmp_path / "in.png").write_bytes(header)
    summary = gather("picture", [tmp_path / "in.png"], tmp_path / "input", Picture())
    assert summary == {"width": 65536, "height": 65536}
    assert Picture().estimate(summary).memory_mb > 30_000


@pytest.mark.parametrize(("words", "says"), [
    (["in.png", "-o", "out.glb"], "out: 'out.glb' does not end in one of .png"),
    (["in.png", "-o", "out.png", "--size", "large"], "size: 'large' is not of its form; give: Size of the result"),
    (["in.png", "-o", "out.png", "--network", "nerf"], "network: 'nerf' is not one of siren, fourier, relu"),
    (["text.png", "-o", "out.png"], "text.png cannot be read"),
    (["in.png", "text.png", "-o", "out.png"], "2 inputs are given; a picture's task takes one"),
])
def test_wrong_words_are_one_line_and_leave_nothing(words: list[str], says: str, tmp_path: Path,
                                                    capfd: pytest.CaptureFixture[str],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in.png", "rgb")
    (tmp_path / "text.png").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAQUETTE_PYTHON", sys.executable)
    assert cli.main(["picture", *words, "--quiet"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("maquette: ") and says in said and said.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png", "text.png"]


def test_the_python_function_writes_out_and_returns_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAQUETTE_PYTHON", sys.executable)
    source, out = write(tmp_path / "in.png", "rgba"), tmp_path / "out.png"
    result = api.picture(source, out=out, size="24x24", **QUICK)  # type: ignore[attr-defined]
    assert result.mesh is None and result.path.name == "picture.png"
    assert out.read_bytes() == result.path.read_bytes() and picture_size(out) == (24, 24)
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["psnr_db"] == result.report["psnr_db"] > 5
    assert {"fit", "sample", "total"} <= set(report["seconds"])
    assert (result.job.path / "preview.png").exists()
    with pytest.raises(InputError, match=r"out: 'out.glb' does not end in one of .png"):
        api.picture(source, out=tmp_path / "out.glb")  # type: ignore[attr-defined]
