"""The networks of `maquette picture` on photos of 512 px: trained on every second pixel and row, tested on the others.

    python3 run.py bench picture

Tancik et al. 2020, section 6.1 and table 1: 256 places in each direction of a picture of 512² are trained on, the
others tested, 2000 steps of all training pixels on a GPU; PSNR is the mean over 16 photos that this project does not
have. Figures here depend on the photos, so that the order of the variants is what can be compared. A step here is one
of `BATCH` pixels, of the 65,536 at most that are trained on.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from maquette.formats.pictures import read_picture
from maquette.neural.evaluation.pictures import psnr
from maquette.neural.fields.picture import sample
from maquette.neural.training.picture import BATCH, PictureTrainer
from maquette.recipes.picture import Picture

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "photos"
NAMES = ("coffee_cup.jpg", "elephant.jpg", "house.jpg")
PUBLISHED = {"relu": 19.32, "fourier": 25.57}  # dB on the test pixels of natural photos, Gaussian features of σ 10


@dataclass(frozen=True)
class Row:
    photo: str
    network: str
    train_db: float
    test_db: float
    steps: int
    seconds: float  # of processor time, all cores together
    device: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, help="of fitting a photo with a network")
    parser.add_argument("--photos", nargs="*", default=NAMES, help="files in the folder of photos")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    options = parser.parse_args()
    rows = [fitted(name, network, options.steps) for name in options.photos for network in ("relu", "fourier", "siren")]
    print(f"\n{'mean':<16} {'trained':>8} {'others':>8} {'published':>10}")
    for network in ("relu", "fourier", "siren"):
        own = [row for row in rows if row.network == network]
        print(f"{network:<16} {np.mean([r.train_db for r in own]):8.2f} {np.mean([r.test_db for r in own]):8.2f} "
              f"{PUBLISHED.get(network, ''):>10}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def fitted(name: str, network: str, steps: int) -> Row:
    rgba = read_picture(PHOTOS / name, 512).rgba_srgb
    pixels = np.ascontiguousarray(rgba[..., :3])
    among = np.zeros(pixels.shape[:2], bool)
    among[::2, ::2] = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = PictureTrainer(pixels, Picture(network=network), seed=0, device=device, among=among)  # type: ignore[arg-type]
    began = time.process_time()
    for step in range(steps):
        trainer.step(step / steps)
    seconds = round(time.process_time() - began, 1)
    height, width = among.shape
    shown = sample(trainer.network, width, height, trainer.extent, device=device)
    train_db, test_db = [round(psnr(shown[chosen][None], pixels[chosen][None]), 2) for chosen in (among, ~among)]
    row = Row(name, network, train_db, test_db, steps, seconds, device.type)
    print(f"{name:<16} {network:<8} {row.train_db:8.2f} dB trained {row.test_db:8.2f} dB others, {steps} steps, "
          f"{seconds:.0f} s of a processor on {row.device}, {steps * BATCH / seconds / 1e3:.0f},000 pixels/s", flush=True)
    return row


if __name__ == "__main__":
    main()
