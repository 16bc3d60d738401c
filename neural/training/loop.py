"""The loop that every method of training shares: the clock, checkpoints, previews."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch

from ...jobs import files
from ...recipes.errors import Cancelled, MaquetteError
from ..geometry.posed import PosedPicture
from .trainer import Steps, Trainer

PREVIEW_SIDE = 128  # pixels
FILE = "training.safetensors"


@dataclass
class Paced:
    """Something done every so many seconds, or less often where it would take more than `share` of the time."""

    every: float
    share: float = 0.03
    _next: float = 0.0

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def did(self, start: float) -> None:
        """Say that it began at `start` and is over now."""
        now = time.monotonic()
        self._next = start + max(self.every, (now - start) / self.share)


@dataclass
class Checkpoint:
    """A trainer's state with the training seconds that it took, as one file. Another recipe's is not picked up."""

    folder: Path
    recipe: dict
    seed: int

    def load(self, trainer: Steps) -> tuple[float, float] | None:
        """Bring `trainer` to the saved state; the seconds that were used until then, and those before its first step."""
        path = self.folder / FILE
        if not path.exists():
            return None
        try:
            with safetensors.safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["maquette"])
                state = {name: file.get_tensor(name) for name in file.keys()}
            seconds, prepared = float(about["seconds"]), float(about["prepared"])
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError):
            return None
        if about["recipe"] != self.recipe or about["seed"] != self.seed:
            return None
        trainer.load_state(state)
        return seconds, prepared

    def save(self, trainer: Steps, seconds: float, prepared: float) -> None:
        about = {"seconds": seconds, "prepared": prepared, "recipe": self.recipe, "seed": self.seed}
        state = {name: value.cpu().contiguous() for name, value in trainer.state().items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        files.atomic_write(self.folder / FILE, safetensors.torch.save(state, {"maquette": json.dumps(about)}))


@dataclass
class Window:
    """A small picture of one view as training sees it."""

    picture: PosedPicture
    _stride: int = field(init=False)

    def __post_init__(self) -> None:
        self._stride = math.ceil(max(self.picture.rgba_srgb.shape[:2]) / PREVIEW_SIDE)

    def look(self, trainer: Trainer) -> tuple[np.ndarray, str]:
        """The picture over white (H, W, 3) uint8, and its PSNR: every n-th pixel of every n-th row."""
        p, s = self.picture, self._stride
        truth = p.rgba_srgb[::s, ::s]
        height, width = truth.shape[:2]
        rendered = trainer.field().render(p.fx / s, p.fy / s, (p.cx - 0.5) / s + 0.5, (p.cy - 0.5) / s + 0.5, width,
                                          height, p.world_from_camera)
        rgb = rendered.over(1.0).clip(0, 1)
        error = float(np.square(rgb - truth[..., :3] - (1 - truth[..., 3:])).mean())
        return (rgb * 255 + 0.5).astype(np.uint8), f"{-10 * math.log10(max(error, 1e-10)):.1f} dB"


def run(trainer: Steps, look: Callable[[], tuple[np.ndarray, str]], seconds: float, prepared: float,
        checkpoint: Checkpoint, on_progress: Callable[[float, str], None],
        on_preview: Callable[[np.ndarray], None]) -> None:
    """Train until `seconds` of wall time are used, of which `prepared` are gone before.

    Of these at most half of the time count, so that some of it is training, and the trainer's schedule is that of
    the rest, so that no stage of it is left out. `look` draws a preview (H, W, 3) uint8 and says how good it is, from
    time to time. Everything counts but compiling: steps, previews, checkpoints. What was trained is kept when the user
    cancels.
    """
    on_progress(0.0, "compiling, once")
    trainer.warm_up()
    previews, saves = Paced(1.0), Paced(5.0)
    saves.did(time.monotonic())
    prepared = min(prepared, seconds / 2)
    used, prepared = checkpoint.load(trainer) or (prepared, prepared)
    began = time.monotonic() - used
    message = ""
    try:
        while (used := time.monotonic() - began) < seconds:
            loss = trainer.step((used - prepared) / (seconds - prepared))
            if not math.isfinite(loss):
                raise MaquetteError("training: the loss is not a number any more; this is a defect of Maquette")
            if previews.due():
                start = time.monotonic()
                rgb, message = look()
                on_preview(rgb)
                previews.did(start)
            if saves.due():
                start = time.monotonic()
                checkpoint.save(trainer, start - began, prepared)
                saves.did(start)
            on_progress(min(used / seconds, 1.0), message)
    except Cancelled:
        checkpoint.save(trainer, used, prepared)
        raise
    checkpoint.save(trainer, max(used, seconds), prepared)
    on_progress(1.0, message)
