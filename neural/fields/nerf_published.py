"""Weights of NeRF that others have published, found by the shapes of their arrays.

Programs name the layers differently, and each layer but the square ones has a shape of its own. Known to fit are
yenchenlin/nerf-pytorch (`network_fn_state_dict`, `network_fine_state_dict`), kwea123/nerf_pl and krrish94/nerf-pytorch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ...formats.model import read_arrays
from ...recipes.errors import InputError
from .implicit import Frame
from .nerf_network import Architecture, Networks, RadianceNetwork

FRAME = Frame((0.0, 0.0, 0.0), 1.0)  # that such networks are in: the world of their pictures' transforms.json
MOVED_RELU = "layers_xyz."  # in the names of krrish94/nerf-pytorch, see `Architecture.moved_relu`

Arrays = dict[str, np.ndarray]


def read_networks(path: Path) -> Networks:
    """The coarse and the fine network of a safetensors file, on the CPU.

    A file with one network alone has it as both. Raises InputError where the arrays are not those of the paper's
    network, of any width, depth, skips and numbers of frequencies.
    """
    arrays = read_arrays(path)
    networks = Networks()
    try:
        networks.coarse, networks.fine = (_network(arrays, prefix) for prefix in _prefixes(arrays))
    except _OtherError as error:
        raise InputError(f"model: {path} is not a NeRF of the paper's form: {error}; give another") from error
    return networks


class _OtherError(Exception):
    """What a network has or lacks that one of the paper's does not."""


def _prefixes(arrays: Arrays) -> list[str]:
    """What the names of the coarse and of the fine network's arrays begin with."""
    heads = [name for name, array in arrays.items() if array.ndim == 2 and len(array) == 1]
    if len(heads) == 1:
        return ["", ""]
    if len(heads) != 2:
        raise _OtherError(f"{len(heads)} of its layers have one output, as density has, and 1 or 2 are expected")
    first, second = (name.split(".") for name in heads)
    while first and second and first[-1] == second[-1]:
        first, second = first[:-1], second[:-1]
    prefixes = ["".join(f"{part}." for part in name) for name in (first, second)]
    if sum("fine" in prefix for prefix in prefixes) != 1:
        raise _OtherError(f"which of {prefixes[0]!r} and {prefixes[1]!r} is the fine network, their names do not say")
    return sorted(prefixes, key=lambda prefix: "fine" in prefix)


def _network(arrays: Arrays, prefix: str) -> RadianceNetwork:
    layers = {name.removesuffix("weight"): array for name, array in arrays.items()
              if name.startswith(prefix) and array.ndim == 2}
    sigma = _only(layers, "density, with one output", lambda outputs, _: outputs == 1)
    width = layers[sigma].shape[1]
    rgb = _only(layers, "colour, with three outputs", lambda outputs, _: outputs == 3)
    directed = _only(layers, f"directions, with {width // 2} outputs and more than {width} inputs",
                     lambda outputs, inputs: outputs == width // 2 == layers[rgb].shape[1] and inputs > width)
    place = min((array.shape[1] for array in layers.values() if len(array) == width != array.shape[1]), default=0)
    first = _only(layers, f"places alone, with {width} outputs", lambda *shape: shape == (width, place))
    inner = sorted((name for name, array in layers.items() if array.shape in ((width, width), (width, width + place))),
                   key=_in_order)
    # All but one of the square layers are the trunk's, and are called alike.
    alike = [re.sub(r"\d+", "", name) for name in inner]
    apart = [name for name, kind in zip(inner, alike, strict=True) if alike.count(kind) == 1]
    if len(apart) != 1 or layers[apart[0]].shape[1] != width:
        raise _OtherError(f"the bottleneck among its layers of {width} outputs cannot be told by its name")
    trunk = [first, *(name for name in inner if name != apart[0])]
    if len(layers) != len(trunk) + 4:
        raise _OtherError(f"it has {len(layers)} layers, of which {len(trunk) + 4} are known")
    skips = tuple(n for n, name in enumerate(trunk) if n and layers[name].shape[1] > width)
    network = RadianceNetwork(Architecture(
        width, len(trunk), skips, _frequencies(place), _frequencies(layers[directed].shape[1] - width),
        moved_relu=any(MOVED_RELU in name for name in trunk)))
    ours = {"sigma.": sigma, "bottleneck.": apart[0], "directed.": directed, "rgb.": rgb,
            **{f"trunk.{n}.": name for n, name in enumerate(trunk)}}
    state: dict[str, torch.Tensor] = {}
    for name, theirs in ours.items():
        bias = arrays.get(f"{theirs}bias")
        if bias is None or bias.shape != layers[theirs].shape[:1]:
            raise _OtherError(f"{theirs}bias does not fit {theirs}weight")
        state |= {f"{name}weight": torch.from_numpy(layers[theirs]), f"{name}bias": torch.from_numpy(bias)}
    network.load_state_dict(state)
    return network


def _only(layers: Arrays, what: str, fits: Callable[[int, int], bool]) -> str:
    """The one layer whose outputs and inputs fit."""
    found = [name for name, array in layers.items() if fits(*array.shape)]
    if len(found) != 1:
        raise _OtherError(f"{len(found)} of its layers are for {what}, where 1 is expected")
    return found[0]


def _in_order(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _frequencies(inputs: int) -> int:
    """Of an encoding with so many numbers."""
    if inputs < 3 or (inputs - 3) % 6:
        raise _OtherError(f"{inputs} numbers are no encoding of three with themselves and their sines and cosines")
    return (inputs - 3) // 6
