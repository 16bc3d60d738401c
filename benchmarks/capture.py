"""How well and how fast fields learn from posed pictures: PSNR, SSIM and rays a second.

    python3 run.py bench capture
    python benchmarks/capture.py [--input transforms.json] [--method grid] [--seconds 150] [--resolution 160] [--json OUT]

Seconds are wall time from finding the subject to the last step, with previews and checkpoints; compiling is left
out. Pictures are measured over white on the input's test views, after training, and steer nothing. The last rows
time one step's kernel in its fused and its reference body on the same rays of the trained field.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from maquette.formats.capture import with_hold_out
from maquette.formats.folder import read_capture
from maquette.neural.evaluation.pictures import psnr, ssim
from maquette.neural.fields.common import Field
from maquette.neural.fields.grid import GridField
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.geometry.views import load_views
from maquette.neural.kernels import density, density_reference, dispatch
from maquette.neural.rendering.rays import Pixels
from maquette.neural.training.fit import fit
from maquette.recipes.capture import Capture

LEGO = Path(__file__).resolve().parents[2] / "shared/data/captures/lego/transforms_train.json"
RAYS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, default=LEGO)
    parser.add_argument("--method", default="grid")
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--resolution", type=int, default=Capture().resolution)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pictures = load_views(with_hold_out(read_capture(options.input), 8), print)
    recipe = Capture(method=options.method, seconds=options.seconds, resolution=options.resolution)
    with tempfile.TemporaryDirectory() as folder:
        field = fit(pictures, recipe, seed=0, device=device, checkpoint=Path(folder),
                    on_progress=lambda fraction, message: None, on_preview=lambda rgb: None)
    result = {"dataset": options.input.parent.name, "method": recipe.method, "seconds": recipe.seconds,
              "resolution": recipe.resolution, "device": f"{device.type}, {platform.machine()}",
              "threads": dispatch.threads(), "background": "white", **measure(field, pictures)}
    if isinstance(field, GridField):
        result |= bodies(field, [p for p in pictures if p.split == "train"], device)
    for name, value in result.items():
        print(f"{name:>24}  {value:.4g}" if isinstance(value, float) else f"{name:>24}  {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


def measure(field: Field, pictures: list[PosedPicture]) -> dict[str, object]:
    """Mean PSNR and SSIM over the test views, and how fast they render."""
    test = [p for p in pictures if p.split == "test"]
    scores, rays = [], 0
    seconds = 0.0
    for p in test:
        height, width = p.rgba_srgb.shape[:2]
        start = time.perf_counter()
        seen = field.render(p.fx, p.fy, p.cx, p.cy, width, height, p.world_from_camera)
        seconds += time.perf_counter() - start
        rays += width * height
        rgb, truth = seen.over(1.0).clip(0, 1), p.rgba_srgb[..., :3] + 1 - p.rgba_srgb[..., 3:]
        scores.append((psnr(rgb, truth), ssim(rgb, truth)))
    means = np.mean(scores, axis=0)
    return {"test views": len(test), "psnr_db": float(means[0]), "ssim": float(means[1]),
            "rendered rays/s": rays / seconds}


def bodies(field: GridField, pictures: list[PosedPicture], device: torch.device) -> dict[str, object]:
    """Rays a second through forward and backward, fused and reference."""
    pixels = Pixels(pictures, device)
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(len(pixels), (8 * RAYS,), generator=generator).to(device)
    rays = pixels.rays(index, field.lattice)
    near, far = density.extent(field.rows.cell, field.rows.blocks, rays)
    met = torch.nonzero(far > near)[:RAYS, 0]
    rays = density.Rays(rays.origins[met], rays.directions[met], near[met], far[met])
    rgba = pixels.rgba[index[met]]
    table, buffers = field.rows.table, dispatch.threads()
    arguments = (field.rows, rays, torch.rand(len(met), generator=generator).to(device), rgba[:, :3].contiguous(),
                 1 - rgba[:, 3], table.new_zeros(3), table.new_ones(len(met)), table.new_zeros(buffers, *table.shape),
                 table.new_zeros(buffers, len(table), dtype=torch.uint8),
                 table.new_zeros(buffers, len(field.rows.corners)))
    speed = {}
    for name, body in (("chosen", dispatch.body("density", device)), ("reference", density_reference)):
        body.add_gradient(*arguments)
        start = time.perf_counter()
        repeats = 5
        for _ in range(repeats):
            body.add_gradient(*arguments)
        speed[name] = repeats * len(met) / (time.perf_counter() - start)
    return {"chosen body rays/s": speed["chosen"], "reference rays/s": speed["reference"],
            "chosen/reference": speed["chosen"] / speed["reference"]}


if __name__ == "__main__":
    main()
