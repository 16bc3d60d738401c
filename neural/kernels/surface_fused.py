"""Fused bodies of `surface`: one pass over each ray, forward and backward, its samples kept on the way.

Every thread takes one contiguous share of the rays and adds into its own gradient buffer, so that results
depend on nothing but the number of threads.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from .density import Rays, Seen
from .dispatch import compiled, inlined
from .surface import ALPHA_ERROR, BETA1, BETA2, COLOR_ERROR, COLORS, EPS, STOP, Rows

_f = np.float32
_STOP = _f(STOP)
# Columns of a thread's scratch: what is kept of each sample of a ray.
_T, _PHI, _LOG, _SECTION, _WEIGHT, _RED, _GREEN, _BLUE = range(8)


def render(rows: Rows, rays: Rays, offset: Tensor, width: float, step: float) -> Seen:
    out = np.empty((len(rays.origins), 8), np.float32)
    _render(*_arrays(rows), *_ray_arrays(rays, offset), _f(width), _f(step), *_scratch(rays, step), out)
    seen = torch.from_numpy(out)
    return Seen(seen[:, 0:3], seen[:, 3], seen[:, 4], seen[:, 5:8])


def add_gradient(rows: Rows, rays: Rays, offset: Tensor, width: float, step: float, target: Tensor,
                 background: Tensor, alpha_weight: Tensor, sdf_gradient: Tensor, color_gradient: Tensor, touched: Tensor) -> float:
    errors = np.zeros(len(rays.origins), np.float32)
    _add_gradient(*_arrays(rows), *_ray_arrays(rays, offset), _f(width), _f(step), *_scratch(rays, step),
                  target.numpy(), background.numpy(), alpha_weight.numpy(), sdf_gradient.numpy(),
                  color_gradient.numpy(), touched.numpy(), errors)
    return float(errors.mean(dtype=np.float64)) / 3


def add_smoothness(sdf: Tensor, neighbours: Tensor, laplacian: float, eikonal: float, gradient: Tensor) -> float:
    flux = np.empty((len(sdf), 4), np.float32)
    losses = np.zeros(len(sdf), np.float32)
    _flux(sdf.detach().numpy(), neighbours.numpy(), _f(laplacian), _f(eikonal), flux, losses)
    _divergence(neighbours.numpy(), flux, gradient.numpy())
    return float(losses.sum(dtype=np.float64))


def adam_colors(color: Tensor, first: Tensor, second: Tensor, gradient: Tensor, touched: Tensor, rate: float,
                decay: float) -> None:
    _adam_colors(color.detach().numpy(), first.numpy(), second.numpy(), gradient.numpy(), touched.numpy(), _f(rate),
                 _f(decay))


def _arrays(rows: Rows) -> tuple:
    return rows.sdf.detach().numpy(), rows.color.detach().numpy(), rows.row.numpy(), rows.skip.numpy()


def _ray_arrays(rays: Rays, offset: Tensor) -> tuple:
    return rays.origins.numpy(), rays.directions.numpy(), rays.near.numpy(), rays.far.numpy(), offset.numpy()


def _scratch(rays: Rays, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A thread's samples: what `_T` … name, the eight rows around each and their weights."""
    threads = numba.get_num_threads()
    longest = int(max((rays.far - rays.near).max().item(), 0) / step) + 2 if len(rays.far) else 1
    return (np.empty((threads, longest, 8), np.float32), np.empty((threads, longest, 8), np.int32),
            np.empty((threads, longest, 8), np.float32))


@inlined
def _weigh(fx, fy, fz, w):
    gx, gy, gz = _f(1) - fx, _f(1) - fy, _f(1) - fz
    w[0], w[1], w[2], w[3] = gx * gy * gz, gx * gy * fz, gx * fy * gz, gx * fy * fz
    w[4], w[5], w[6], w[7] = fx * gy * gz, fx * gy * fz, fx * fy * gz, fx * fy * fz


@inlined
def _corner_rows(row, x, y, z, r):
    r[0], r[1], r[2], r[3] = row[x, y, z], row[x, y, z + 1], row[x, y + 1, z], row[x, y + 1, z + 1]
    r[4], r[5], r[6], r[7] = (row[x + 1, y, z], row[x + 1, y, z + 1], row[x + 1, y + 1, z], row[x + 1, y + 1, z + 1])


@inlined
def _log_logistic(x):
    """log Φ without overflow."""
    if x < _f(-15):
        return x
    return -_f(math.log1p(math.exp(-x)))


@numba.njit(fastmath={"contract"}, error_model="numpy", nogil=True, cache=False)
def _march(sdf, row, skip, origin, direction, near, far, offset, width, step, s, r, w):
    """Walk a ray: its samples into scratch `s`, `r`, `w`; their number and what light gets through."""
    ox, oy, oz = origin
    dx, dy, dz = direction
    per_cell = _f(1) / (max(abs(dx), abs(dy), abs(dz)) * step)
    start = near + offset * step
    through, before, count, i, last = _f(1), _f(0), 0, 0, -2
    while through > _STOP:
        t = start + _f(i) * step
        if not t < far:
            break
        x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
        cx, cy, cz = int(math.floor(x)), int(math.floor(y)), int(math.floor(z))
        if cx < 0 or cy < 0 or cz < 0 or cx >= skip.shape[0] or cy >= skip.shape[1] or cz >= skip.shape[2]:
            i += 1
            continue
        on = skip[cx, cy, cz]
        if on > 0:
            i += max(int(_f(on - 1) * per_cell), 1)
            continue
        _corner_rows(row, cx, cy, cz, r[count])
        _weigh(x - _f(cx), y - _f(cy), z - _f(cz), w[count])
        f = _f(0)
        for k in range(8):
            f += w[count, k] * sdf[r[count, k]]
        log = _log_logistic(f / width)
        s[count, _T], s[count, _LOG], s[count, _PHI] = t, log, _f(math.exp(log))
        s[count, _SECTION], s[count, _WEIGHT] = 0, 0
        if last == i - 1 and log < before:
            on_through = through * _f(math.exp(log - before))
            weight = through - on_through
            s[count, _SECTION] = weight
            s[count - 1, _WEIGHT] += _f(0.5) * weight
            s[count, _WEIGHT] += _f(0.5) * weight
            through = on_through
        before, last = log, i
        count += 1
        i += 1
    return count, through


@inlined
def _see_color(color, s, r, w, direction, mix):
    """The colour of a sample into its scratch."""
    for c in range(COLORS):
        mix[c] = 0
    for k in range(8):
        at, weight = r[k], w[k]
        for c in range(COLORS):
            mix[c] += weight * color[at, c]
    for c in range(3):
        s[_RED + c] = mix[c] + direction[1] * mix[3 + c] + direction[2] * mix[6 + c] + direction[0] * mix[9 + c]


@compiled
def _render(sdf, color, row, skip, origins, directions, near, far, offset, width, step, samples, corners, weights,
            out):
    number, parts = len(origins), len(samples)
    for part in prange(parts):
        s, r, w = samples[part], corners[part], weights[part]
        mix = np.empty(COLORS, np.float32)
        for n in range(part * number // parts, (part + 1) * number // parts):
            count, through = _march(sdf, row, skip, origins[n], directions[n], near[n], far[n], offset[n], width,
                                    step, s, r, w)
            out[n] = 0
            out[n, 3] = through
            for j in range(count):
                weight = s[j, _WEIGHT]
                if weight > 0:
                    _see_color(color, s[j], r[j], w[j], directions[n], mix)
                    f0, f1, f2, f3 = sdf[r[j, 0]], sdf[r[j, 1]], sdf[r[j, 2]], sdf[r[j, 3]]
                    f4, f5, f6, f7 = sdf[r[j, 4]], sdf[r[j, 5]], sdf[r[j, 6]], sdf[r[j, 7]]
                    b = w[j]
                    x, y, z = b[4] + b[5] + b[6] + b[7], b[2] + b[3] + b[6] + b[7], b[1] + b[3] + b[5] + b[7]
                    u, v, q = _f(1) - x, _f(1) - y, _f(1) - z
                    gx = (f4 - f0) * v * q + (f5 - f1) * v * z + (f6 - f2) * y * q + (f7 - f3) * y * z
                    gy = (f2 - f0) * u * q + (f3 - f1) * u * z + (f6 - f4) * x * q + (f7 - f5) * x * z
                    gz = (f1 - f0) * u * v + (f3 - f2) * u * y + (f5 - f4) * x * v + (f7 - f6) * x * y
                    length = max(_f(math.sqrt(gx * gx + gy * gy + gz * gz)), _f(1e-9))
                    for c in range(3):
                        out[n, c] += weight * s[j, _RED + c]
                    out[n, 4] += weight * s[j, _T]
                    out[n, 5] += weight * gx / length
                    out[n, 6] += weight * gy / length
                    out[n, 7] += weight * gz / length


@compiled
def _add_gradient(sdf, color, row, skip, origins, directions, near, far, offset, width, step, samples, corners,
                  weights, target, background, alpha_weight, sdf_gradient, color_gradient, touched, errors):
    number, parts = len(origins), len(samples)
    for part in prange(parts):
        s, r, w = samples[part], corners[part], weights[part]
        mix, error = np.empty(COLORS, np.float32), np.empty(4, np.float32)
        for n in range(part * number // parts, (part + 1) * number // parts):
            count, through = _march(sdf, row, skip, origins[n], directions[n], near[n], far[n], offset[n], width,
                                    step, s, r, w)
            for c in range(3):
                error[c] = through * background[n, c] - target[n, c]
            for j in range(count):
                if s[j, _WEIGHT] > 0:
                    _see_color(color, s[j], r[j], w[j], directions[n], mix)
                    for c in range(3):
                        error[c] += s[j, _WEIGHT] * s[j, _RED + c]
            square = error[0] * error[0] + error[1] * error[1] + error[2] * error[2]
            errors[n] = square
            if square > _f(COLOR_ERROR * COLOR_ERROR):
                shorter = _f(COLOR_ERROR) / _f(math.sqrt(square))
                for c in range(3):
                    error[c] *= shorter
            alpha_error = _f(1) - through - target[n, 3]
            error[3] = alpha_weight[n] * min(max(alpha_error, _f(-ALPHA_ERROR)), _f(ALPHA_ERROR))
            if count > 1:
                behind = error[0] * background[n, 0] + error[1] * background[n, 1] + error[2] * background[n, 2]
                _backward(count, through, through * behind, width, directions[n], error, s, r, w, sdf_gradient[part],
                          color_gradient[part], touched[part], mix)


@numba.njit(fastmath={"contract"}, error_model="numpy", nogil=True, cache=False)
def _backward(count, through, behind, width, direction, error, s, r, w, sdf_gradient, color_gradient, touched, mix):
    """The gradient of a ray's loss from `error`, its derivative by (red, green, blue, alpha); `behind` is the share of
    what lies behind all samples in it."""
    # u is the log of what a section lets through; d loss / d u = Σ of what lies behind − its own share.
    rest, from_next = through, _f(0)
    for j in range(count - 1, -1, -1):
        by_log = -from_next
        from_next = _f(0)
        own = _f(0)
        if s[j, _WEIGHT] > 0:
            own = error[0] * s[j, _RED] + error[1] * s[j, _GREEN] + error[2] * s[j, _BLUE]
        if s[j, _SECTION] > 0:
            of_start = error[0] * s[j - 1, _RED] + error[1] * s[j - 1, _GREEN] + error[2] * s[j - 1, _BLUE]
            color = _f(0.5) * (own + of_start)
            from_next = behind - rest * color - error[3] * through
            by_log += from_next
            rest += s[j, _SECTION]
            behind += s[j, _SECTION] * color
        slope = by_log * (_f(1) - s[j, _PHI]) / width
        if slope != 0:
            for k in range(8):
                sdf_gradient[r[j, k]] += w[j, k] * slope
        weight = s[j, _WEIGHT]
        if weight > 0:
            for c in range(3):
                part = weight * error[c]
                mix[c], mix[3 + c], mix[6 + c] = part, part * direction[1], part * direction[2]
                mix[9 + c] = part * direction[0]
            for k in range(8):
                at, share = r[j, k], w[j, k]
                touched[at] = 1
                for c in range(COLORS):
                    color_gradient[at, c] += share * mix[c]


@compiled
def _flux(sdf, neighbours, laplacian, eikonal, flux, losses):
    for i in prange(len(sdf)):
        n = neighbours[i]
        if n[0] < 0:
            flux[i] = 0
            continue
        a, b, c, d, e, f = sdf[n[0]], sdf[n[1]], sdf[n[2]], sdf[n[3]], sdf[n[4]], sdf[n[5]]
        delta = a + b + c + d + e + f - _f(6) * sdf[i]
        root = _f(math.sqrt(_f(1) + delta * delta))
        x, y, z = _f(0.5) * (b - a), _f(0.5) * (d - c), _f(0.5) * (f - e)
        length = max(_f(math.sqrt(x * x + y * y + z * z)), _f(1e-6))
        excess = length - _f(1)
        push = _f(0.5) * eikonal * excess / length
        flux[i, 0], flux[i, 1], flux[i, 2] = push * x, push * y, push * z
        flux[i, 3] = laplacian * delta / root
        losses[i] = laplacian * root + _f(0.5) * eikonal * excess * excess


@compiled
def _divergence(neighbours, flux, gradient):
    for i in prange(len(gradient)):
        n = neighbours[i]
        if n[0] < 0:
            continue
        g = _f(-6) * flux[i, 3]
        for axis in range(3):
            low, high = n[2 * axis], n[2 * axis + 1]
            g += flux[low, 3] + flux[low, axis] + flux[high, 3] - flux[high, axis]
        gradient[i] += g


@compiled
def _adam_colors(color, first, second, gradient, touched, rate, decay):
    parts = len(gradient)
    for i in prange(len(color)):
        hit = 0
        for part in range(parts):
            hit |= touched[part, i]
            touched[part, i] = 0
        if hit:
            for c in range(COLORS):
                g = _f(0)
                for part in range(parts):
                    g += gradient[part, i, c]
                    gradient[part, i, c] = 0
                first[i, c] += _f(1 - BETA1) * (g - first[i, c])
                second[i, c] += _f(1 - BETA2) * (g * g - second[i, c])
                color[i, c] -= rate * first[i, c] / (_f(math.sqrt(second[i, c])) + _f(EPS))
                if c >= 3:
                    color[i, c] -= rate * decay * color[i, c]
