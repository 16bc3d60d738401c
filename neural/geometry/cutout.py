"""What of a photo shows the object: its own transparency, a mask, or what is not background.

A background of one colour, or one that changes smoothly, is known from the picture's border and flooded from there.
Before any other GrabCut (Rother, Kolmogorov and Blake 2004) takes the border for background and the rest for likely
foreground, or begins with what a detector takes for the object. Both look at a reduced picture. A guided filter (He,
Sun and Tang 2013; its coefficients from the reduced picture: He and Sun 2015, Fast guided filter) brings the mask to
the photo's own pixels, with a soft edge.
"""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
from scipy import ndimage

from ...recipes.errors import InputError

SMALLEST = 16  # pixels of a photo's shorter side
LONGEST = 300  # pixels of the reduced picture's longer side
RING = 0.02  # of the longer side: the border that is background
# Colours are compared in CIE Lab, where a just noticeable difference is about 2.
PLAIN, PLAIN_SHARE, OUTLIER = 1.2, 0.93, 8.0  # median of the border's misfit; share of it without outliers
ALIKE = 5.0  # as near to the background's colour is background, where it hangs together with the border
SAME = 2.0  # where it does not, enough pixels must be as near as that to make it a hole
# A shadow is darker than the background, of its hue, and has no edge.
SHADOW_HUE, SHADOW_DEPTH, SHADOW_SLOPE = 9.0, 40.0, 1.0
# Beside an object whose colour is far from the background's, that much of the way there is still background: blur and
# a JPEG's ripples. Both are that many reduced pixels wide.
FRINGE, FRINGE_WIDTH = 0.35, 4
ROUNDS = 4  # of GrabCut
# In widths of a likely object, the root of its area: so far outside of it is background, so far inside is object. Where
# GrabCut agrees with it less than that, by intersection over union, the likely object stays.
OUTSIDE, INSIDE, AGREED = 0.12, 0.12, 0.6
HOLE, PART = 0.0002, 0.02  # of the picture's area; of the largest part's: what is smaller is not seen
EDGE, EPSILON = 4, 1e-4  # the guided filter's radius, reduced pixels, and its regularisation
LARGE_PART = 0.1  # of the largest part's area: a part of that size is an object of its own
TRACE = 0.0005  # of the picture's area
CLEAR = 0.02  # of the picture's area: if less is transparent, that is a rounded corner or a speck, and no cut-out
SPREADS = 8, 2  # reduced pixels: the blurs by which colours at the edge are estimated


def is_cut_out(rgba: np.ndarray) -> bool:
    """Whether a photo's own transparency (H, W, 4) takes its background away."""
    return bool((rgba[..., 3] < 0.5).mean() >= CLEAR)


def cut_out(rgba: np.ndarray, mask: np.ndarray | None = None, likely: np.ndarray | None = None, *,
            name: str = "photo") -> np.ndarray:
    """The object in a photo (H, W, 4) float32 sRGB, premultiplied; the same without the background.

    mask: (H, W), 0 to 1, 1 on the object. A mask or, without one, the picture's own transparency counts, if it has any.
    likely: (H, W), how likely each pixel shows the object that is meant, where neither counts; 0 is surely not.
    name: what complaints call the photo.
    Raises InputError where there is no object, or nothing but one.
    """
    height, width = rgba.shape[:2]
    if min(height, width) < SMALLEST:
        raise InputError(f"{name}: {width}×{height} pixels of it count; give one of at least {SMALLEST} a side")
    own = rgba[..., 3]
    if own.max() < 0.5:
        raise InputError(f"{name}: every pixel of it is transparent; give one that shows an object")
    if mask is None and is_cut_out(rgba):
        _checked(own, f"{name}: hardly a pixel of it is opaque; give one that shows an object", "")
        return rgba
    rgb = np.rint(rgba[..., :3] / np.maximum(own, 1e-3)[..., None] * 255).clip(0, 255).astype(np.uint8)
    alpha = own * _opacity(rgb, likely, name) if mask is None else _checked(
        mask * own, "mask: no pixel of it is white; make the object white",
        "mask: all of it is white; make the background black")
    alpha = alpha.astype(np.float32)[..., None]
    return np.concatenate((_foreground_colors(rgb, alpha) * (alpha / 255), alpha), axis=2)


def parts(alpha: np.ndarray) -> list[np.ndarray]:
    """The separate objects in alpha (H, W), the largest first: masks (H, W) float32, 0 or 1, that share out the pixels.

    What is too small to be an object belongs to the nearest one.
    """
    number, count = ndimage.label(alpha >= 0.5, np.ones((3, 3)))
    area = np.bincount(number.reshape(-1), minlength=count + 1)[1:]
    large = np.flatnonzero(area >= LARGE_PART * area.max(initial=0)) + 1
    large = large[np.argsort(-area[large - 1], kind="stable")]
    if len(large) < 2:
        return [np.ones(alpha.shape, np.float32)] * len(large)
    where = ndimage.distance_transform_edt(~np.isin(number, large), return_distances=False, return_indices=True)
    nearest = number[tuple(where)]
    return [(nearest == one).astype(np.float32) for one in large]


def _opacity(rgb: np.ndarray, likely: np.ndarray | None, name: str) -> np.ndarray:
    """Alpha (H, W) of what is not background in a photo (H, W, 3) uint8, or of the likely object."""
    height, width = rgb.shape[:2]
    step = min(1.0, LONGEST / max(height, width))
    size = max(round(width * step), 1), max(round(height * step), 1)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    known = None if likely is None else _marks(cv2.resize(likely, size, interpolation=cv2.INTER_AREA))
    found = _checked(_cleaned(_foreground(small, known)),
                     f"{name}: nothing in it differs from the background; give a mask",
                     f"{name}: it has no background that could be removed; give a mask, or one with space around the "
                     "object")
    return _refined(found, small, rgb)


def _checked(alpha: np.ndarray, nothing: str, everything: str) -> np.ndarray:
    """The same, or an InputError where less than a trace of it is half opaque, or more than all but a trace."""
    share = (alpha >= 0.5).mean()
    if share < TRACE or share > 1 - TRACE:
        raise InputError(nothing if share < TRACE else everything)
    return alpha


def _foreground_colors(rgb: np.ndarray, share: np.ndarray) -> np.ndarray:
    """A photo (H, W, 3) uint8 with alpha (H, W, 1), float32, without the background's colour in the soft edge.

    Foreground and background are blurred apart and what is left of the pixel is shared between them (Forte 2021,
    Approximate fast foreground colour estimation), with a wide and a narrow blur.
    """
    pixel = max(max(share.shape) / LONGEST, 1.0)
    image = rgb.astype(np.float32)
    front, behind = image, image
    for spread in SPREADS:
        size = (2 * round(spread * pixel) + 1,) * 2
        front, behind = _mean(front, share, size), _mean(behind, 1 - share, size)
        front = np.clip(front + share * (image - share * front - (1 - share) * behind), 0, 255)
    return np.where(share > 0.995, image, front)


def _mean(colors: np.ndarray, weight: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Of the colours (H, W, 3) around each pixel, weighted (H, W, 1)."""
    return cv2.blur(colors * weight, size) / np.maximum(cv2.blur(weight, size)[..., None], 1e-4)


def _foreground(small: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """What is not background, (H, W) bool, in a photo (H, W, 3) of which GrabCut's marks (H, W) may be known."""
    height, width = small.shape[:2]
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    ring = np.ones((height, width), bool)
    border = max(2, round(RING * max(height, width)))
    ring[border:-border, border:-border] = False
    background = _smooth_background(lab, ring)
    misfit = np.linalg.norm((lab - background)[ring], axis=1)
    if np.median(misfit) < PLAIN and (misfit < OUTLIER).mean() > PLAIN_SHARE:
        flooded = _flooded(lab, background, ring)
        return flooded if known is None else flooded & (known != cv2.GC_BGD)
    marks = np.where(ring, cv2.GC_BGD, cv2.GC_PR_FGD).astype(np.uint8) if known is None else known.copy()
    likely = _is_object(marks)
    if likely.all() or not likely.any():
        return likely
    cv2.setRNGSeed(0)
    cv2.grabCut(small, marks, (0, 0, width, height), np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS,
                cv2.GC_INIT_WITH_MASK)
    found = _is_object(marks)
    agreed = known is None or (found & likely).sum() >= AGREED * (found | likely).sum()
    return found if agreed else likely


def _is_object(marks: np.ndarray) -> np.ndarray:
    return (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)


def _marks(likely: np.ndarray) -> np.ndarray:
    """What GrabCut is told of an object (H, W), 0 to 1: its core is sure, and what is far from it."""
    found = likely >= 0.5
    width = np.sqrt(found.sum())
    marks = np.where(found, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    # Beyond the picture's border the object goes on.
    inside = ndimage.distance_transform_edt(np.pad(found, 1, mode="edge"))[1:-1, 1:-1]
    marks[inside > INSIDE * width] = cv2.GC_FGD
    marks[(ndimage.distance_transform_edt(~found) > OUTSIDE * width) | (likely == 0)] = cv2.GC_BGD
    return marks


def _smooth_background(lab: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """The colours (H, W, 3) quadratic in x and y that most of the ring has; the rest is taken for the object."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in ring.shape), indexing="ij")
    terms = np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=-1)
    seen, colors, weight = terms[ring], lab[ring], np.ones((int(ring.sum()), 1))
    for _ in range(15):  # reweighted by Cauchy's function
        fit = np.linalg.lstsq(seen * weight, colors * weight, rcond=None)[0]
        weight = 1 / np.sqrt(1 + (np.linalg.norm(colors - seen @ fit, axis=1, keepdims=True) / 4) ** 2)
    return (terms @ fit).astype(np.float32)


def _flooded(lab: np.ndarray, background: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """What the background, flooding from the border through its colour and through shadows, does not reach; and
    without holes of just that colour."""
    difference = lab - background
    away = np.linalg.norm(difference, axis=2)
    soft = cv2.GaussianBlur(lab, (0, 0), 1)
    slope = np.sqrt(sum((cv2.Sobel(soft, cv2.CV_32F, *way, scale=1 / 8) ** 2).sum(axis=2) for way in ((1, 0), (0, 1))))
    darker = -difference[..., 0]
    hue = np.linalg.norm(difference[..., 1:], axis=2)
    shadow = (hue < SHADOW_HUE) & (darker > -2) & (darker < SHADOW_DEPTH) & (slope < SHADOW_SLOPE)
    number, _ = ndimage.label((away < ALIKE) | shadow)
    reached = np.isin(number, np.unique(number[ring & (away < ALIKE)])) & (number > 0)
    number, count = ndimage.label((away < ALIKE) & ~reached)
    same = np.bincount(number[away < SAME], minlength=count + 1)[1:]
    hole = np.append(False, same >= 2 * HOLE * away.size)
    reached |= hole[number]
    contrast = cv2.blur(cv2.dilate(away, np.ones((2 * FRINGE_WIDTH + 1,) * 2)), (FRINGE_WIDTH,) * 2)
    return ~ndimage.binary_dilation(reached, iterations=FRINGE_WIDTH, mask=reached | (away < FRINGE * contrast))


def _cleaned(found: np.ndarray) -> np.ndarray:
    """Without specks, small holes and hairs."""
    open_ = ndimage.binary_opening(found, np.ones((2, 2)))
    for sign in (True, False):
        number, count = ndimage.label(open_ == sign, np.ones((3, 3)) if sign else None)
        area = np.bincount(number.reshape(-1), minlength=count + 1)[1:]
        least = PART * area.max(initial=0) if sign else HOLE * found.size
        open_[np.append(False, area < least)[number]] = not sign
    return open_


def _refined(found: np.ndarray, small: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Alpha (H, W) of the photo (H, W, 3) from the reduced one's mask: near its edge linear in the colours."""
    guide, target = small.astype(np.float32) / 255, found.astype(np.float32)
    size = (2 * EDGE + 1,) * 2
    mean, middle = cv2.blur(guide, size), cv2.blur(target, size)
    covariance = np.empty((*found.shape, 3, 3), np.float32)
    for i, j in product(range(3), range(3)):
        covariance[..., i, j] = cv2.blur(guide[..., i] * guide[..., j], size) - mean[..., i] * mean[..., j]
    covariance += EPSILON * np.eye(3, dtype=np.float32)
    both = cv2.blur(guide * target[..., None], size) - mean * middle[..., None]
    slope = np.linalg.solve(covariance, both[..., None])[..., 0]
    offset = middle - (slope * mean).sum(axis=2)
    # Near the edge, and there alone: elsewhere the mask is right.
    near = ndimage.distance_transform_edt(found) - ndimage.distance_transform_edt(~found)
    full = (rgb.shape[1], rgb.shape[0])
    alpha = cv2.resize(cv2.blur(offset, size), full)
    for channel in range(3):
        alpha += cv2.resize(cv2.blur(slope[..., channel], size), full) * (rgb[..., channel] * np.float32(1 / 255))
    near = cv2.resize(near.astype(np.float32), full)
    return np.clip(np.clip(1.25 * alpha - 0.125, 0, 1), np.clip(near - 2, 0, 1), np.clip(near + 3, 0, 1))
