"""DeepSDF (Park et al. 2019, sections 3 and 4): one network that is the signed distance of every shape of a family.

The decoder takes a shape's code and a point of the unit sphere's frame and gives the distance there. The paper's own
code is followed where it differs from the text: the input comes back at the fifth layer, weights are normalised, the
last layer ends in tanh. Unlike there a code and a point are multiplied apart from each other, which is the same sum
and costs a code once for all its points, and distances are negative inside.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLAMP = 0.1  # distances are trained up to here, in the unit sphere's frame
LONGEST_CODE = 1.0
CHUNK = 2**16  # points that are decoded at once

Layers = list[tuple[Tensor, Tensor]]  # weight (outputs, inputs) and bias (outputs,) of each


@dataclass(frozen=True)
class Architecture:
    """`layers` hidden layers of `width`; the input comes back before layer `layers` // 2."""

    width: int
    code: int
    layers: int = 8

    @property
    def skip(self) -> int:
        return self.layers // 2

    def sizes(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer; what the input comes back to is as wide as the others with it."""
        entry = self.code + 3
        sizes = [(self.width, self.width) for _ in range(self.layers)]
        sizes[0] = (entry, self.width)
        sizes[self.skip - 1] = (sizes[self.skip - 1][0], self.width - entry)
        return [*sizes, (self.width, 1)]

    def to_json(self) -> dict[str, int]:
        return asdict(self)


class Decoder(nn.Module):
    """Codes and points to distances, as it is trained: the weight of a neuron is a length times a direction."""

    def __init__(self, architecture: Architecture, generator: torch.Generator):
        super().__init__()
        self.architecture = architecture
        self.directions, self.lengths, self.biases = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in architecture.sizes():
            reach = 1 / math.sqrt(inputs)  # as torch.nn.Linear begins
            direction = (torch.rand(outputs, inputs, generator=generator) * 2 - 1) * reach
            self.directions.append(nn.Parameter(direction))
            self.lengths.append(nn.Parameter(direction.norm(dim=1, keepdim=True)))
            self.biases.append(nn.Parameter((torch.rand(outputs, generator=generator) * 2 - 1) * reach))
        self.biases[-1].data.zero_()  # beyond the clamp nothing would be learnt

    def layers(self) -> Layers:
        return [(length * direction / direction.norm(dim=1, keepdim=True), bias) for direction, length, bias
                in zip(self.directions, self.lengths, self.biases, strict=True)]


def decode(layers: Layers, codes: Tensor, points: Tensor) -> Tensor:
    """Distances (S, P) of the shapes with `codes` (S, C) at `points` (S, P, 3), within ±1.

    The points stay float32 where the products between hidden layers run in half precision: 8 bits are too few to
    say where a point is.
    """
    code, skip, last = codes.shape[1], (len(layers) - 1) // 2, len(layers) - 1
    hidden = points.new_zeros(0)
    for number, (weight, bias) in enumerate(layers):
        if number in (0, skip):
            before, of_code, of_point = weight.split([weight.shape[1] - code - 3, code, 3], dim=1)
            with torch.autocast(points.device.type, enabled=False):
                given = points @ of_point.T + (codes @ of_code.T + bias)[:, None]
            hidden = given if number == 0 else F.linear(hidden, before) + given.to(hidden.dtype)
        else:
            hidden = F.linear(hidden, weight, bias)
        hidden = torch.tanh(hidden.float()) if number == last else F.relu(hidden)
    return hidden[..., 0]


def shape_loss(distances: Tensor, truth: Tensor, codes: Tensor, weight: float) -> Tensor:
    """Mean |clamp(distance) − clamp(truth)| plus `weight` times the mean length of the codes (S, C).

    The lengths are not squared, as in the authors' code.
    """
    data = (distances.clamp(-CLAMP, CLAMP) - truth.clamp(-CLAMP, CLAMP)).abs().mean()
    return data + weight * codes.norm(dim=1).mean()


def with_code(layers: Layers, code: Tensor) -> Layers:
    """The decoder of one shape alone: what its code (C,) adds goes into the biases, and codes have no numbers more."""
    skip, count = (len(layers) - 1) // 2, len(code)
    merged = list(layers)
    for number in (0, skip):
        weight, bias = layers[number]
        before, of_code, of_point = weight.split([weight.shape[1] - count - 3, count, 3], dim=1)
        merged[number] = torch.cat((before, of_point), dim=1), bias + of_code @ code
    return merged


class AutoDecoder(nn.Module):
    """A decoder and a code for each of the shapes that it is trained on."""

    def __init__(self, architecture: Architecture, shapes: int, generator: torch.Generator):
        super().__init__()
        self.decoder = Decoder(architecture, generator)
        self.codes = nn.Parameter(torch.randn(shapes, architecture.code, generator=generator)
                                  / math.sqrt(architecture.code))
        self.shorten_codes()

    @torch.no_grad()
    def shorten_codes(self) -> None:
        """Bring codes that are too long back to the sphere that all lie in."""
        self.codes.mul_((LONGEST_CODE / self.codes.norm(dim=1, keepdim=True)).clamp(max=1.0))
