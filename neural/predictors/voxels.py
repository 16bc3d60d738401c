"""3D-R2N2 (Choy et al. 2016): one or several pictures of an object to the voxels that it fills.

Each picture is encoded to a vector, which a recurrent unit takes in, one after the other: a grid of 4³ cells, of which
each has weights of its own for what it reads of the vector, and sees its neighbours by convolution. A decoder makes 32³
voxels of it. The authors' code is followed where it differs from the paper. Deviations: the voxels are those of the
first picture's frustum, not of the object's own frame, so the first picture comes first and the decoder looks at it
again along the rays (see `Larger`); the encoder is the small one that other methods share; and a voxel has one number,
its log odds, in place of the two of a softmax, which is the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...formats.mesh import Mesh
from .encoder import Encoder
from .frustum import SLOPE, AlongRays, Larger, surface
from .predictor import Batch, Predictor

STATE = 4  # cells of the recurrent unit's grid along a side
BIAS = 0.1  # at the beginning, as in the authors' code
THRESHOLD = 0.4  # chance from which on a voxel counts as filled, as in the paper


class Network(Predictor):
    """32³ voxels of one to five pictures."""

    method = "voxels"
    grid = 32
    views = 5

    def __init__(self, width: int = 16, features: int = 128, cells: int = 48) -> None:
        super().__init__(width=width, features=features, cells=cells)
        self.encoder = Encoder(width)
        _, fine, middle, coarse, _ = self.encoder.channels
        self.into_vector = nn.Linear(self.encoder.flat, features)
        self.recurrent = Recurrent(features, cells)
        self.larger = nn.ModuleList([Larger(cells, 2 * width, 8, coarse), Larger(2 * width, width, 16, middle)])
        self.finest = nn.ConvTranspose3d(width, width // 2, 3, stride=2, padding=1, output_padding=1)
        self.along = AlongRays(fine, width // 2, self.grid)
        self.filled = nn.Conv3d(width // 2, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Log odds (B, 32, 32, 32) that voxels are filled, of pictures (B, V, 6, S, S)."""
        count, views = images.shape[:2]
        maps = self.encoder(images.flatten(0, 1))
        vectors = F.leaky_relu(self.into_vector(maps[-1].flatten(1)), SLOPE).reshape(count, views, -1)
        state = self.recurrent.start(count, vectors)
        for view in range(views):
            state = self.recurrent(vectors[:, view], state)
        _, fine, middle, coarse, _ = (seen.unflatten(0, (count, views))[:, 0] for seen in maps)
        x = self.larger[1](self.larger[0](state, coarse), middle)
        x = self.finest(x.contiguous(memory_format=torch.channels_last_3d))
        x = F.leaky_relu(x + self.along(fine), SLOPE)
        return self.filled(x)[:, 0].float()

    def loss(self, batch: Batch, fraction: float) -> tuple[Tensor, dict[str, float]]:
        """Of one picture, as most people have, or else of as many as chance has it."""
        count = 1 if torch.rand(()) < 0.5 else int(torch.randint(batch.images.shape[1], ())) + 1
        loss = F.binary_cross_entropy_with_logits(self(batch.images[:, :count]), batch.filled)
        return loss, {"voxels": loss.item()}

    @torch.no_grad()
    def predict(self, images: Tensor, distance: Tensor) -> Mesh:
        return surface(self(images[None, :self.views])[0], images[0, 3], THRESHOLD, distance)


class Recurrent(nn.Module):
    """The 3D convolutional gated recurrent unit of 3D-R2N2, as its code has it: u is what is kept."""

    def __init__(self, features: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.read = nn.Linear(features, 3 * cells * STATE**3)
        self.gates = nn.Conv3d(cells, 2 * cells, 3, padding=1, bias=False)
        self.made = nn.Conv3d(cells, cells, 3, padding=1, bias=False)
        nn.init.constant_(self.read.bias, BIAS)

    def start(self, count: int, like: Tensor) -> Tensor:
        """The state (count, C, 4, 4, 4) that has seen nothing."""
        return like.new_zeros(count, self.cells, STATE, STATE, STATE)

    def forward(self, vector: Tensor, state: Tensor) -> Tensor:
        """The state after a picture's vector (B, F)."""
        read = self.read(vector).reshape(len(vector), 3 * self.cells, STATE, STATE, STATE)
        for_gates, for_made = read.split([2 * self.cells, self.cells], dim=1)
        kept, reset = torch.sigmoid(for_gates + self.gates(state)).chunk(2, dim=1)
        return kept * state + (1 - kept) * torch.tanh(for_made + self.made(reset * state))
