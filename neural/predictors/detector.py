"""Mask R-CNN (He et al. 2017) in small: where in a photo objects are, as boxes with masks.

It is the detecting half of Mesh R-CNN (Gkioxari et al. 2019, section 3.1): a feature pyramid (Lin et al. 2017), a
network that proposes boxes (Ren et al. 2015), and heads that look into them by RoIAlign. Deviations, all for the sake
of one processor: objects are told from the background and not from each other, where Mesh R-CNN has nine classes, so
that anything may be found; pictures of 256 pixels instead of 800; a residual network of 15 layers that is trained from
nothing, with groups that are normalised (Wu and He 2018), instead of ResNet-50 from ImageNet; pyramid levels of
strides 8 to 64, with anchors four strides wide; 64 anchors and 32 boxes a picture in the losses instead of 256 and
512, and two convolutions in the mask's head instead of four. As in those papers, a quarter of the boxes are objects
at most, IoUs of 0.7 and 0.3 make an anchor an object or background, 0.5 makes a box one, and masks are 28 × 28.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import regions
from .encoder import Residual
from .predictor import Predictor, Tensors
from .view import with_rays

SIDE = 256  # pixels of the pictures that the network sees
BLANK = 0.5  # what they have beside a photo that is not square
STRIDES = 8, 16, 32, 64  # of the pyramid's levels; boxes are looked into in all but the last
ANCHOR = 4  # strides that an anchor is wide
CANONICAL = 128.0  # boxes of so many pixels, or more, are looked into in the second level
GROUPS = 8  # of channels that are normalised together
BOX_SIDE, MASK_SIDE = 7, 14  # bins of RoIAlign
ANCHORS_DRAWN, BOXES_DRAWN = 64, 32  # of a picture, for the losses
EACH_LEVEL, PROPOSED = 64, 64  # boxes that are proposed: before suppression in each level, and after it in all
PROPOSALS_OVERLAP, OVERLAP = 0.7, 0.5  # IoU from which on a box is suppressed: proposals, and objects that are found
LEAST = 0.5  # score of an object that is found
MOST = 8  # objects in a photo
BESIDE = 0.01  # how likely an object is where its mask ends, if no other one is there
_SCALE = (10.0, 10.0, 5.0, 5.0)  # of box codes in the head, as in Fast R-CNN's code
_SMALLEST = 2.0  # pixels of a proposal


@dataclass(frozen=True)
class Annotated(Tensors):
    """Pictures with the objects that are to be found in them."""

    images: Tensor  # (B, 3, SIDE, SIDE) sRGB, 0 to 1
    sizes: Tensor  # (B, 2) width and height of what is a picture there; what lies right of it and below is BLANK
    boxes: Tensor  # (B, M, 4) around what is visible of each object; rows that are not needed are 0
    owner: Tensor  # (B, SIDE, SIDE) uint8: the number, from 1, of the object that is seen at a pixel; 0 is background


@dataclass(frozen=True)
class Detection:
    """One object of a photo."""

    box: tuple[float, float, float, float]  # left, top, right, bottom in the photo's pixels
    score: float  # 0 to 1
    mask: Tensor  # (H, W) of the whole photo, 0 to 1


class Network(Predictor):
    """Learns from `Annotated` pictures. It makes no shape: `detect` says where the objects are."""

    method = "detector"
    large = {"width": 64, "channels": 256, "features": 1024}
    anchors: Tensor  # (A, 4) of all levels
    scale: Tensor  # (4,) of box codes in the head

    def __init__(self, width: int = 16, channels: int = 64, features: int = 256) -> None:
        super().__init__(width=width, channels=channels, features=features)
        self.pyramid = Pyramid(width, channels)
        self.proposer = Proposer(channels)
        self.box_head = BoxHead(channels, features)
        self.mask_head = MaskHead(channels)
        anchors = [regions.anchors(SIDE // stride, SIDE // stride, stride, ANCHOR * stride) for stride in STRIDES]
        self._in_level = [len(some) for some in anchors]
        self.register_buffer("anchors", torch.cat(anchors), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE), persistent=False)

    def loss(self, batch: Annotated, fraction: float) -> tuple[Tensor, dict[str, float]]:
        maps = self.pyramid(batch.images, batch.sizes)
        logits, codes = self.proposer(maps)
        objectness, moved = self._proposal_losses(logits, codes, batch.boxes)
        proposals, _ = self._proposals(logits.detach(), codes.detach(), batch.sizes)
        # The true boxes are looked into as well: at first nothing is proposed that is near to them.
        boxes, target, kind = _drawn_boxes(torch.cat((proposals, batch.boxes), dim=1), batch.boxes)
        picture = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(kind)
        used = kind >= 0
        boxes, target, positive, picture = boxes[used], target[used], kind[used] > 0, picture[used]
        scores, shifts = self.box_head(self._look(maps, boxes, picture, BOX_SIDE))
        scored = _cross_entropy(scores, positive.float())
        boxes, picture, target = boxes[positive], picture[positive], target[positive]
        wanted = regions.encode(batch.boxes[picture, target], boxes) * self.scale
        shifted = F.smooth_l1_loss(shifts[positive], wanted, reduction="sum") / used.sum().clamp(min=1)
        masks = self.mask_head(self._look(maps, boxes, picture, MASK_SIDE))
        masked = _cross_entropy(masks, _masks_in(batch.owner, boxes, picture, target))
        parts = {"objectness": objectness, "anchors": moved, "scores": scored, "boxes": shifted, "masks": masked}
        return torch.stack(list(parts.values())).sum(), {name: part.item() for name, part in parts.items()}

    @torch.no_grad()
    def detect(self, rgb: Tensor, least: float = LEAST) -> list[Detection]:
        """The objects of a photo (3, H, W), sRGB from 0 to 1, of any size, those with the highest score first.

        Objects that score less than `least` are left out, and those whose box overlaps a better one's by an IoU above
        `OVERLAP`; `MOST` are found at most.
        """
        height, width = rgb.shape[1:]
        image, size, scale = _framed(rgb)
        maps = self.pyramid(image, size)
        logits, codes = self.proposer(maps)
        proposals, proposed = self._proposals(logits, codes, size)
        boxes = proposals[0][proposed[0]]
        if not len(boxes):
            return []
        logits, codes = self.box_head(self._look(maps, boxes, boxes.new_zeros(len(boxes), dtype=torch.long), BOX_SIDE))
        boxes, scores = regions.clip(regions.decode(codes / self.scale, boxes), size[0]), torch.sigmoid(logits)
        scores = scores.masked_fill((scores < least) | (_shortest(boxes) < _SMALLEST), -math.inf)
        kept = regions.nms(boxes[None], scores[None], OVERLAP)[0].nonzero()[:, 0]
        kept = kept[scores[kept].argsort(descending=True, stable=True)][:MOST]
        if not len(kept):
            return []
        boxes, scores = boxes[kept], scores[kept]
        masks = self.mask_head(self._look(maps, boxes, boxes.new_zeros(len(boxes), dtype=torch.long), MASK_SIDE))
        boxes = boxes / scale
        return [Detection(tuple(box.tolist()), float(score), regions.paste(mask[None], box[None], height, width)[0])
                for box, score, mask in zip(boxes, scores, torch.sigmoid(masks), strict=True)]

    def _proposal_losses(self, logits: Tensor, codes: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """How well anchors (A) tell whether they are objects, and which way it is to them."""
        overlap = regions.iou(self.anchors, true)  # (B, A, M)
        best, target = overlap.max(dim=2)
        positive = best >= 0.7
        # Each object has an anchor, be it one that overlaps it little.
        positive |= ((overlap == overlap.amax(dim=1, keepdim=True)) & (overlap > 0)).any(dim=2)
        drawn, _ = _drawn(positive, (best < 0.3) & ~positive, ANCHORS_DRAWN, 0.5)
        objectness = _cross_entropy(logits[drawn], positive[drawn].float())
        picture, anchor = (drawn & positive).nonzero().unbind(dim=1)
        wanted = regions.encode(true[picture, target[picture, anchor]], self.anchors[anchor])
        moved = F.smooth_l1_loss(codes[picture, anchor], wanted, reduction="sum", beta=1 / 9)
        return objectness, moved / drawn.sum()

    def _proposals(self, logits: Tensor, codes: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (B, PROPOSED, 4), the best first, and which (B, PROPOSED) are any; the others are 0."""
        best, first = [], 0
        for count in self._in_level:
            here = logits[:, first:first + count].topk(min(EACH_LEVEL, count), dim=1).indices
            best.append(here + first)
            first += count
        index = torch.cat(best, dim=1)
        boxes = regions.decode(codes.gather(1, index[..., None].expand(-1, -1, 4)), self.anchors[index])
        boxes = regions.clip(boxes, sizes[:, None])
        scores = logits.gather(1, index).masked_fill(_shortest(boxes) < _SMALLEST, -math.inf)
        kept = regions.nms(boxes, scores, PROPOSALS_OVERLAP)
        scores, index = scores.masked_fill(~kept, -math.inf).topk(PROPOSED, dim=1)
        kept = scores > -math.inf
        return boxes.gather(1, index[..., None].expand(-1, -1, 4)) * kept[..., None], kept

    def _look(self, maps: list[Tensor], boxes: Tensor, picture: Tensor, side: int) -> Tensor:
        """What the level of the pyramid that suits a box's size shows in it."""
        seen = len(maps) - 1
        level = (regions.area(boxes).sqrt() / CANONICAL).clamp(min=1e-6).log2().floor() + 1
        return regions.roi_align(maps[:seen], list(STRIDES[:seen]), boxes, picture, level.long().clamp(0, seen - 1),
                                 side)


def objects_in(network: Network, rgba: np.ndarray) -> list[np.ndarray]:
    """How likely each pixel of a photo (H, W, 4), sRGB, shows each of the objects that are found, the surest first.

    These (H, W) float32 are what `cutout.cut_out` begins with: 0 where another object is seen, and nowhere else.
    """
    found = network.detect(torch.from_numpy(rgba[..., :3]).movedim(-1, 0).to(network.anchors.device))
    masks = np.array([one.mask.cpu().numpy() for one in found])
    greatest = np.max(masks, axis=0, initial=0)
    return [np.where((greatest >= 0.5) & (mask < greatest), np.float32(0), np.maximum(mask, np.float32(BESIDE)))
            for mask in masks]


class Pyramid(nn.Module):
    """Pictures (B, 3, SIDE, SIDE) to maps of `channels` with STRIDES."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(6, width, 5, 2), _conv(width, 2 * width, 3, 2))
        self.fine = nn.Sequential(_conv(2 * width, 4 * width, 3, 2), Residual(4 * width))
        self.middle = nn.Sequential(_conv(4 * width, 6 * width, 3, 2), Residual(6 * width), Residual(6 * width))
        self.coarse = nn.Sequential(_conv(6 * width, 8 * width, 3, 2), Residual(8 * width), Residual(8 * width))
        self.lateral = nn.ModuleList([nn.Conv2d(steep * width, channels, 1) for steep in (4, 6, 8)])
        self.smooth = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3)])

    def forward(self, images: Tensor, sizes: Tensor) -> list[Tensor]:
        x = self.stem(_placed(images, sizes).contiguous(memory_format=torch.channels_last))
        maps = []
        for stage, lateral in zip((self.fine, self.middle, self.coarse), self.lateral, strict=True):
            x = stage(x)
            maps.append(lateral(F.relu(x)))
        for level in (1, 0):
            maps[level] = maps[level] + F.interpolate(maps[level + 1], scale_factor=2.0)
        maps = [smooth(x) for smooth, x in zip(self.smooth, maps, strict=True)]
        return [*maps, F.max_pool2d(maps[-1], 1, stride=2)]


class Proposer(nn.Module):
    """Of maps, whether there is an object at each anchor (B, A), as logits, and its codes (B, A, 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(channels, channels, 3, padding=1)
        self.say = nn.Conv2d(channels, 5 * len(regions.RATIOS), 1)
        nn.init.normal_(self.say.weight, std=0.01)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        said = [self.say(F.relu(self.look(x))).movedim(1, -1).reshape(len(x), -1, 5) for x in maps]
        together = torch.cat(said, dim=1).float()
        return together[..., 0], together[..., 1:]


class BoxHead(nn.Module):
    """Of what boxes show (R, C, 7, 7), whether they are objects (R,), as logits, and better boxes' codes (R, 4)."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(channels * BOX_SIDE**2, features), nn.ReLU(),
                                    nn.Linear(features, features), nn.ReLU())
        self.say = nn.Linear(features, 5)
        nn.init.normal_(self.say.weight, std=0.001)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        said = self.say(self.hidden(seen)).float()
        return said[:, 0], said[:, 1:]


class MaskHead(nn.Module):
    """Of what boxes show (R, C, 14, 14), which part of them is the object: logits (R, 28, 28)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_conv(channels, channels, 3, 1), _conv(channels, channels, 3, 1),
                                    nn.ConvTranspose2d(channels, channels // 2, 2, stride=2), nn.ReLU(),
                                    nn.Conv2d(channels // 2, 1, 1))

    def forward(self, seen: Tensor) -> Tensor:
        return self.layers(seen)[:, 0].float()


def _conv(before: int, channels: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, channels, kernel, stride=stride, padding=kernel // 2, bias=False),
                         nn.GroupNorm(GROUPS, channels), nn.ReLU())


def _placed(images: Tensor, sizes: Tensor) -> Tensor:
    """What the network sees of pictures: (B, 6, SIDE, SIDE), with what is a picture and where each pixel lies."""
    axis = torch.arange(SIDE, device=images.device) + 0.5
    inside = (axis[None, None, :] < sizes[:, 0, None, None]) & (axis[None, :, None] < sizes[:, 1, None, None])
    centred = torch.cat((2 * images - 1, inside[:, None].to(images.dtype)), dim=1)
    return with_rays(centred, images.new_ones(len(images)))


def _framed(rgb: Tensor) -> tuple[Tensor, Tensor, float]:
    """A photo (3, H, W) as the network's picture (1, 3, SIDE, SIDE), its size there (1, 2), and the scale."""
    height, width = rgb.shape[1:]
    scale = SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = F.interpolate(rgb[None].float(), size, mode="bilinear", antialias=True, align_corners=False)
    image = F.pad(small, (0, SIDE - size[1], 0, SIDE - size[0]), value=BLANK)
    return image, torch.tensor([[size[1], size[0]]], device=rgb.device, dtype=torch.float32), scale


def _drawn_boxes(boxes: Tensor, true: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes to learn from (B, K, 4), the true box that each is (B, K), and 1, 0 or −1: object, background, not one."""
    best, target = regions.iou(boxes, true).max(dim=2)
    positive = best >= 0.5
    drawn, rank = _drawn(positive, ~positive & (_shortest(boxes) > 0), BOXES_DRAWN, 0.25)
    index = rank.topk(BOXES_DRAWN, dim=1).indices
    kind = torch.where(drawn, positive.long(), -1).gather(1, index)
    return boxes.gather(1, index[..., None].expand(-1, -1, 4)), target.gather(1, index), kind


def _drawn(positive: Tensor, negative: Tensor, count: int, share: float) -> tuple[Tensor, Tensor]:
    """At most `count` of each row (B, N), drawn by chance, at most a share of them positive; and how high they rank."""
    chance = torch.rand(positive.shape, device=positive.device)
    some = positive & (_place(chance, positive) < int(count * share))
    room = count - some.sum(dim=1, keepdim=True)
    drawn = some | negative & (_place(chance, negative) < room)
    return drawn, chance + drawn


def _place(chance: Tensor, among: Tensor) -> Tensor:
    """In which place, from 0, each of a row comes that belongs to those among which they are ranked."""
    return (chance + among).argsort(dim=1, descending=True).argsort(dim=1)


def _cross_entropy(logits: Tensor, true: Tensor) -> Tensor:
    """The mean, 0 of none: there are pictures without objects."""
    return F.binary_cross_entropy_with_logits(logits, true, reduction="sum") / max(len(logits.flatten()), 1)


def _masks_in(owner: Tensor, boxes: Tensor, picture: Tensor, target: Tensor) -> Tensor:
    """What of boxes (R, 4) the objects of that number own, (R, 28, 28), 0 or 1."""
    own = (owner[picture] == target.view(-1, 1, 1) + 1).float()[:, None]
    found = regions.roi_align([own], [1], boxes, torch.arange(len(boxes), device=boxes.device),
                              torch.zeros_like(picture), 2 * MASK_SIDE)
    return (found[:, 0] >= 0.5).float()


def _shortest(boxes: Tensor) -> Tensor:
    """The shorter side (…,) of boxes (…, 4)."""
    return (boxes[..., 2:] - boxes[..., :2]).amin(dim=-1)
