"""How well objects are found in pictures: average precision of boxes, and how well masks fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..predictors.detector import Annotated, Network
from ..predictors.regions import iou

OVERLAP = 0.5  # the IoU of boxes from which on an object is found
LEAST = 0.05  # score of a detection that counts: precision is looked at from few detections to many


def figures(network: Network, batches: Iterable[Annotated]) -> dict[str, float]:
    """Average precision of boxes at an IoU of 0.5, the share of objects found at all, and their masks' mean IoU."""
    scores, overlaps, fits = [], [], list[float]()
    pictures = 0
    for batch in batches:
        for image, size, true, owner in zip(batch.images, batch.sizes.long().tolist(), batch.boxes, batch.owner,
                                            strict=True):
            width, height = size
            true = true[true[:, 2] > 0]
            found = network.detect(image[:, :height, :width], LEAST)
            overlap = iou(torch.tensor([one.box for one in found]).reshape(-1, 4), true.cpu()).numpy()
            scores.append(np.array([one.score for one in found]))
            overlaps.append(overlap)
            masks = [one.mask.cpu() >= 0.5 for one in found]
            fits += [_fit(masks[one], owner[:height, :width].cpu() == hit + 1)
                     for one, hit in enumerate(hits(overlap)) if hit >= 0]
            pictures += 1
    objects = sum(one.shape[1] for one in overlaps)
    return {"pictures": pictures, "objects": objects, "box_ap50": average_precision(scores, overlaps),
            "recall": len(fits) / max(objects, 1), "mask_iou": float(np.mean(fits)) if fits else 0.0}


def average_precision(scores: Sequence[np.ndarray], overlaps: Sequence[np.ndarray]) -> float:
    """The area under precision over recall of detections in several pictures, 0 to 1.

    scores: (N,) of each picture's detections, the highest first; overlaps: (N, M) their IoU with its M objects. As in
    PASCAL VOC from 2010 on (Everingham et al.), over all pictures together: detections are taken from the highest
    score down, `hits` says which are right, and precision counts as what it is at this recall or any greater one.
    """
    right = np.concatenate([np.zeros(0, bool), *(hits(overlap) >= 0 for overlap in overlaps)])
    order = np.argsort(-np.concatenate([np.zeros(0), *scores]), kind="stable")
    objects = sum(overlap.shape[1] for overlap in overlaps)
    if not len(right) or not objects:
        return 0.0
    right = right[order]
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * right).sum() / objects)


def hits(overlap: np.ndarray) -> np.ndarray:
    """Which object each detection of a picture finds, (N,), −1 for none, of their IoUs (N, M), the best score first.

    It is the one that it overlaps most, by `OVERLAP` or more, if no better detection has found that.
    """
    found = np.full(len(overlap), -1)
    for one in range(len(overlap) if overlap.shape[1] else 0):
        best = int(overlap[one].argmax())
        if overlap[one, best] >= OVERLAP and best not in found:
            found[one] = best
    return found


def _fit(mask: Tensor, true: Tensor) -> float:
    return ((mask & true).sum() / (mask | true).sum().clamp(min=1)).item()
