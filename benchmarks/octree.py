"""What an octree saves: a step of the network with cells where the surface is, beside the same with all cells.

    python3 run.py bench octree

The network is untrained and told the truth of which cells are mixed (the paper's `Prop-known`), for views of models of
data/corpus; `all cells` is told that every cell is mixed, which is a dense decoder. Milliseconds are the least of three
steps, forward and backward, of one picture on the threads that the first line says, and their mean over the views.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as a job's worker has it; it is read when torch is loaded

import torch
from torch import Tensor

from maquette.formats.octree import MIXED
from maquette.neural.kernels.dispatch import threads
from maquette.neural.predictors.octree import DENSE, Network, states_of
from maquette.neural.training.photographer import Photographer

from image import HELD_OUT, the_corpus

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "octree.json"
LEVELS = 5, 6, 7  # 32³, 64³ and 128³
MODELS, REPEATS = 6, 3


def step_ms(network: Network, images: Tensor, states: list[Tensor]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        torch.stack([cells.scores[:, :2].square().mean() for cells in network(images, states)]).sum().backward()
        times.append(1e3 * (time.perf_counter() - began))
    return min(times)


def carried(states: list[Tensor]) -> int:
    """Cells that the network makes: the dense ones, and eight of each mixed one from there on."""
    return 8**DENSE + sum(8 * int((state == MIXED).sum()) for state in states[DENSE:-1])


def main(words: list[str]) -> None:
    print(f"cpu, {threads()} threads, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    corpus = the_corpus()
    _, held_out = corpus.split(HELD_OUT)
    chosen = held_out[::len(held_out) // MODELS][:MODELS]
    photographer = Photographer(corpus, chosen)
    rows = []
    for levels in LEVELS:
        torch.manual_seed(0)
        network, found = Network(levels=levels), []
        for index in chosen:
            batch = photographer.still(index, 0, points=1, grid=1 << levels)
            states = states_of(batch.filled)
            dense = [*(torch.full_like(state, MIXED) for state in states[:-1]), states[-1]]
            found.append([carried(states), carried(dense),
                          *(step_ms(network, batch.images[:, 0], which) for which in (states, dense))])
        cells, all_cells, ms, all_ms = torch.tensor(found).mean(dim=0).tolist()
        row = {"side": 1 << levels, "cells": cells, "all_cells": all_cells, "ms": ms, "all_ms": all_ms}
        rows.append(row)
        print(f"{row['side']}³: {cells:,.0f} of {all_cells:,.0f} cells ({100 * cells / all_cells:.1f} %), "
              f"{ms:.0f} ms of {all_ms:.0f} ms ({all_ms / ms:.1f} times)", flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"device": "cpu", "threads": threads(), "models": MODELS, "rows": rows}, indent=1) + "\n")
    print(f"written to {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
