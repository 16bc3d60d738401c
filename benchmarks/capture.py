"""How well and how fast fields learn from posed pictures, beside a peer, and what more pictures and pixels cost.

    python3 run.py bench capture
    python benchmarks/capture.py [--methods grid surface nerf] [--seconds 150 300] [--tensorf FOLDER] [--json OUT]
    python benchmarks/capture.py --cost [--methods grid] [--views 10 25 50 100] [--sizes 100 200 400] [--plot OUT.png]

Each row is a training in a process of its own: PSNR, SSIM and rays a second of the test views over white, which are
looked at after training and steer nothing, and the most memory that the process had. Seconds are wall time from
finding the subject to the last step, with previews and checkpoints; compiling is left out. The peer is TensoRF's own
model classes, from a checkout that --tensorf or the variable TENSORF names, in the same run and measured alike. With
`grid` come the speeds of one step's kernel in its fused and its reference body, on the same rays of the trained field.

--cost asks how much time 30 dB take: trainings of 15, 30, 60, … seconds until one gets there or twice the time brings
no more; the time is interpolated between the last two. Each is a whole training, since every schedule ends with its
time. Sizes beyond the pictures' own are left out; test views are reduced as the others are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from _captures import Figures, Pictures, in_a_process, train_field
from _curves import crossing, write_png
from _tensorf import checkout, train_tensorf
from maquette.neural.fields.common import Field
from maquette.neural.fields.grid import GridField
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.kernels import density, density_reference, dispatch
from maquette.neural.rendering.rays import Pixels
from maquette.recipes.capture import Capture

LEGO = Path(__file__).resolve().parents[2] / "shared/data/captures/lego/transforms_train.json"
RAYS = 4096
LEVEL = 30.0  # dB that --cost asks the time for
SHORTEST, LONGEST, GAIN = 15.0, 480.0, 0.2  # seconds of its trainings, and dB that twice the time must bring
COLUMNS = {"method": "{:>8}", "seconds": "{:>8.0f}", "views": "{:>6}", "pixels": "{:>7}", "psnr_db": "{:>8.2f}",
           "ssim": "{:>7.4f}", "rendered_rays_s": "{:>16,.0f}", "peak_mb": "{:>8}", "gpu_peak_mb": "{:>12}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=LEGO)
    parser.add_argument("--methods", nargs="+", choices=["grid", "surface", "nerf"], default=["grid"])
    parser.add_argument("--seconds", nargs="+", type=float, default=[150.0])
    parser.add_argument("--resolution", type=int, default=Capture().resolution)
    parser.add_argument("--tests", type=int, default=0, help="test views to measure on, spread evenly; 0 for all")
    parser.add_argument("--tensorf", type=Path, help="a checkout of TensoRF")
    parser.add_argument("--cost", action="store_true", help="the time to 30 dB in place of the table")
    parser.add_argument("--views", nargs="+", type=int, default=[10, 25, 50, 100], help="of --cost")
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 200, 400], help="of --cost, pixels")
    parser.add_argument("--plot", type=Path, help="of --cost: a PNG of its curves")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    options = parser.parse_args()
    rows = list(cost(options) if options.cost else table(options))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def table(options: argparse.Namespace) -> Iterator[Figures]:
    """Every method and the peer for every time."""
    taken = Pictures(options.input, tests=options.tests)
    folder = checkout(options.tensorf)
    _say_head()
    for seconds in options.seconds:
        for method in options.methods:
            recipe = Capture(method=method, seconds=seconds, resolution=options.resolution)
            yield _said(in_a_process(train_field, taken, recipe, bodies))
        if folder:
            yield _said(in_a_process(train_tensorf, taken, folder, seconds))


def cost(options: argparse.Namespace) -> Iterator[Figures]:
    """The time to 30 dB by the number of views and by the size of pictures, of every method."""
    panels = {}
    _say_head()
    for method in options.methods:
        by_views = {f"{n} views": Pictures(options.input, views=n, tests=options.tests) for n in options.views}
        by_size = {f"{n} px": Pictures(options.input, size=n, tests=options.tests) for n in options.sizes
                   if n <= _own_size(options.input)}
        for title, cases in ((f"{method}, number of views", by_views), (f"{method}, size of pictures", by_size)):
            curves = {}
            for name, taken in cases.items():
                rows = list(_longer_and_longer(taken, method, options.resolution))
                curves[name] = [(row["seconds"], row["psnr_db"]) for row in rows]
                there = crossing(curves[name], LEVEL)
                print(f"{method}, {name}: {LEVEL:g} dB after {there:.0f} s" if there else
                      f"{method}, {name}: {LEVEL:g} dB are not reached", flush=True)
                for row in rows:
                    yield {**row, "case": name, "seconds_to_level": there}
            panels[title] = curves
    if options.plot:
        write_png(options.plot, panels, "seconds of training", "PSNR of test views, dB", LEVEL)


def _longer_and_longer(taken: Pictures, method: str, resolution: int) -> Iterator[Figures]:
    seconds, best = SHORTEST, -GAIN
    while seconds <= LONGEST:
        row = _said(in_a_process(train_field, taken, Capture(method=method, seconds=seconds, resolution=resolution)))
        yield row
        if row["psnr_db"] >= LEVEL or row["psnr_db"] < best + GAIN:
            break
        seconds, best = 2 * seconds, row["psnr_db"]


def _own_size(path: Path) -> int:
    return max(Pictures(path, views=1, tests=1).load()[0].rgba_srgb.shape[:2])


def bodies(field: Field, pictures: list[PosedPicture]) -> Figures:
    """Rays a second through a grid's forward and backward pass, fused and reference."""
    if not isinstance(field, GridField):
        return {}
    device = field.rows.table.device
    pixels = Pixels([p for p in pictures if p.split == "train"], device)
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
                 table.new_zeros(buffers, len(field.rows.corners)), 0.0, None)
    speed = {}
    for name, body in (("chosen", dispatch.body("density", device)), ("reference", density_reference)):
        body.add_gradient(*arguments)
        start = time.perf_counter()
        repeats = 5
        for _ in range(repeats):
            body.add_gradient(*arguments)
        speed[name] = repeats * len(met) / (time.perf_counter() - start)
    return {"step_rays_s": speed["chosen"], "reference_step_rays_s": speed["reference"]}


def _say_head() -> None:
    print(" ".join(f"{name:>{len(form.format(0))}}" for name, form in COLUMNS.items()), flush=True)


def _said(row: Figures) -> Figures:
    """A row, printed."""
    cells = (form.format(row[name]) if name in row else " " * len(form.format(0)) for name, form in COLUMNS.items())
    print(" ".join(cells), flush=True)
    if "step_rays_s" in row:
        fused, reference = row["step_rays_s"], row["reference_step_rays_s"]
        print(f"{'':9}a step's kernel: {fused:,.0f} rays/s, {reference:,.0f} by the reference, {fused / reference:.1f} "
              "times", flush=True)
    return row


if __name__ == "__main__":
    main()
