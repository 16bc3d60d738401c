"""Fused bodies of `density`: one pass over each ray, forward and backward, its samples kept on the way.

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

from .density import BETA1, BETA2, SH0, SH1, SHIFT, SLOW, STOP, THIN, USED, WIDTH, Ends, Rays, Rows, Seen, Steps
from .dispatch import compiled, inlined

_f = np.float32
_SHIFT, _STOP, _THIN, _SLOW = _f(SHIFT), _f(STOP), _f(THIN), _f(SLOW)
_SH0, _SH1 = _f(SH0), _f(SH1)


def render(rows: Rows, rays: Rays, offset: Tensor, step: float) -> Seen:
    number = len(rays.origins)
    out = np.empty((number, 8), np.float32)
    _render(*_arrays(rows), *_ray_arrays(rays), offset.numpy(), _f(step), numba.get_num_threads(), out)
    seen = torch.from_numpy(out)
    return Seen(seen[:, 0:3], seen[:, 3], seen[:, 4], seen[:, 5:8])


def distance_at(rows: Rows, rays: Rays, offset: Tensor, opacity: float, step: float) -> Tensor:
    out = np.empty(len(rays.origins), np.float32)
    _distance_at(*_arrays(rows), *_ray_arrays(rays), offset.numpy(), _f(step), _f(1 - opacity), out)
    return torch.from_numpy(out)


def add_gradient(rows: Rows, rays: Rays, offset: Tensor, target: Tensor, transmittance: Tensor, background: Tensor,
                 alpha_weight: Tensor, gradient: Tensor, touched: Tensor, peak: Tensor,
                 distortion: float, ends: Ends | None) -> tuple[float, Tensor]:
    buffers = len(gradient)
    # Steps in the shell grow so fast that no ray takes more of them than all axes of the lattice have cells, twice.
    longest = 2 * sum(rows.cell.shape) if rows.shell else int(max((rays.far - rays.near).max().item(), 0)) + 2
    samples, cells = np.empty((buffers, longest, 11), np.float32), np.empty((buffers, longest), np.int32)
    sums = np.zeros((buffers, 8))
    if ends is None:
        ends = Ends(*torch.zeros(3, len(rays.near)))
    _add_gradient(*_arrays(rows), *_ray_arrays(rays), offset.numpy(), target.numpy(), transmittance.numpy(),
                  background.numpy(), alpha_weight.numpy(), _f(distortion), ends.distance.numpy(),
                  ends.deviation.numpy(), ends.weight.numpy(), samples, cells, gradient.numpy(), touched.numpy(),
                  peak.numpy(), sums)
    total = sums.sum(0)
    return float(total[0]), torch.from_numpy(total[1:4].astype(np.float32))


def extent(cell: Tensor, blocks: Tensor, rays: Rays) -> tuple[Tensor, Tensor]:
    near, far = np.empty(len(rays.origins), np.float32), np.empty(len(rays.origins), np.float32)
    _extent(cell.numpy(), blocks.numpy(), *_ray_arrays(rays), near, far)
    return torch.from_numpy(near), torch.from_numpy(far)


def adam(table: Tensor, first: Tensor, second: Tensor, gradient: Tensor, touched: Tensor, steps: Steps) -> None:
    _adam(table.numpy(), first.numpy(), second.numpy(), gradient.numpy(), touched.numpy(), steps.rate.numpy(),
          steps.eps.numpy(), _f(1 - BETA1**steps.number), _f(1 - BETA2**steps.number))


def _arrays(rows: Rows) -> tuple:
    return (rows.table.detach().numpy(), rows.cell.numpy(), rows.corners.numpy(), rows.blocks.numpy(),
            _f(rows.thickness), _f(rows.shell))


def _ray_arrays(rays: Rays) -> tuple:
    return rays.origins.numpy(), rays.directions.numpy(), rays.near.numpy(), rays.far.numpy()


@inlined
def _skip(p, d, block):
    """How much further a ray at `p` along `d` leaves the block of 4³ cells on this axis."""
    if d > _f(1e-9):
        return (_f(4 * (block + 1)) - p) / d
    if d < _f(-1e-9):
        return (_f(4 * block) - p) / d
    return _f(1e9)


@inlined
def _outward(x, y, z, sx, sy, sz, shell):
    """How far a point is from the middle of (sx, sy, sz) cells, in half sides of the box within the shell."""
    n = max(abs(x - _f(0.5) * sx) / sx, abs(y - _f(0.5) * sy) / sy, abs(z - _f(0.5) * sz) / sz)
    return n * _f(2) * (_f(1) + shell)


@inlined
def _stretch(n):
    return max(_f(1), n, n * n / _SLOW)


@inlined
def _first(shape, shell, ox, oy, oz, dx, dy, dz, near, offset):
    """The parameter of a ray's first sample; `offset` in steps."""
    if shell == 0:
        return near + offset
    x, y, z = ox + near * dx, oy + near * dy, oz + near * dz
    return near + offset * _stretch(_outward(x, y, z, _f(shape[0]), _f(shape[1]), _f(shape[2]), shell))


@inlined
def _middle_distance(shape, x, y, z):
    x, y, z = x - _f(0.5) * shape[0], y - _f(0.5) * shape[1], z - _f(0.5) * shape[2]
    return _f(math.sqrt(x * x + y * y + z * z))


@inlined
def _find(cell, blocks, shell, ox, oy, oz, dx, dy, dz, t, far, step):
    """The first sample from `t` on that lies in an occupied cell: its parameter and that of the next sample, its cell
    or −1, and where it lies in the lattice."""
    sx, sy, sz = _f(cell.shape[0]), _f(cell.shape[1]), _f(cell.shape[2])
    n = _f(0)
    while t < far:
        x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
        after = t + step
        if shell > 0:
            n = _outward(x, y, z, sx, sy, sz, shell)
            if n > 1:
                factor = (_f(1) + shell - shell / n) / n
                x = _f(0.5) * sx + factor * (x - _f(0.5) * sx)
                y = _f(0.5) * sy + factor * (y - _f(0.5) * sy)
                z = _f(0.5) * sz + factor * (z - _f(0.5) * sz)
                after = t + step * _stretch(n)
        cx, cy, cz = int(math.floor(x)), int(math.floor(y)), int(math.floor(z))
        if cx >= 0 and cy >= 0 and cz >= 0 and cx < cell.shape[0] and cy < cell.shape[1] and cz < cell.shape[2]:
            c = cell[cx, cy, cz]
            if c >= 0:
                return t, after, c, x, y, z
            bx, by, bz = cx >> 2, cy >> 2, cz >> 2
            if n <= 1 and not blocks[bx, by, bz]:
                on = min(_skip(x, dx, bx), _skip(y, dy, by), _skip(z, dz, bz))
                on = step * max(_f(math.ceil(on / step - _f(1e-3))), _f(1))
                # Space is straight as far as the box within the shell goes.
                if shell == 0 or _outward(x + on * dx, y + on * dy, z + on * dz, sx, sy, sz, shell) <= 1:
                    after = t + on
        t = after
    return t, t, -1, _f(0), _f(0), _f(0)


@inlined
def _optical_thickness(raw, scale):
    """Softplus without overflow."""
    x = raw + _SHIFT
    if x > _f(15):
        return x * scale
    return _f(math.log1p(math.exp(x))) * scale


@inlined
def _weigh(fx, fy, fz, w):
    gx, gy, gz = _f(1) - fx, _f(1) - fy, _f(1) - fz
    w[0], w[1], w[2], w[3] = gx * gy * gz, gx * gy * fz, gx * fy * gz, gx * fy * fz
    w[4], w[5], w[6], w[7] = fx * gy * gz, fx * gy * fz, fx * fy * gz, fx * fy * fz


@inlined
def _sigmoid(x):
    return _f(1) / (_f(1) + _f(math.exp(-x)))


@inlined
def _fractions(x, y, z):
    return _f(x - math.floor(x)), _f(y - math.floor(y)), _f(z - math.floor(z))


@inlined
def _interpolate_density(table, eight, w):
    raw = _f(0)
    for k in range(8):
        raw += w[k] * table[eight[k], 0]
    return raw


@inlined
def _interpolate_colour(table, eight, w, basis, mix, colour):
    mix[:] = 0
    for k in range(8):
        row = table[eight[k]]
        for j in range(WIDTH):
            mix[j] += w[k] * row[j]
    for a in range(3):
        value = _f(0)
        for j in range(4):
            value += mix[1 + 4 * a + j] * basis[j]
        colour[a] = _sigmoid(value)


@inlined
def _harmonics(dx, dy, dz, basis):
    basis[0], basis[1], basis[2], basis[3] = _SH0, -_SH1 * dy, _SH1 * dz, -_SH1 * dx


@inlined
def _add_normal(table, eight, fx, fy, fz, weight, out):
    """Add the unit vector against the density's slope within the cell."""
    nx, ny, nz = _f(0), _f(0), _f(0)
    for k in range(4):
        # The edges along each axis, weighed by where the sample is on the other two.
        hi, lo = k >> 1, k & 1
        x, y, z = fx if hi else _f(1) - fx, fy if hi else _f(1) - fy, fz if lo else _f(1) - fz
        y_lo = fy if lo else _f(1) - fy
        nx += y * z * (table[eight[2 * hi + lo], 0] - table[eight[4 + 2 * hi + lo], 0])
        ny += x * z * (table[eight[4 * hi + lo], 0] - table[eight[4 * hi + 2 + lo], 0])
        nz += x * y_lo * (table[eight[4 * hi + 2 * lo], 0] - table[eight[4 * hi + 2 * lo + 1], 0])
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    if length > 0:
        out[5] += weight * _f(nx / length)
        out[6] += weight * _f(ny / length)
        out[7] += weight * _f(nz / length)


@compiled
def _render(table, cell, corners, blocks, thickness, shell, origins, directions, near, far, offset, step, parts, out):
    number = len(origins)
    for part in prange(parts):
        w, basis, mix = np.empty(8, np.float32), np.empty(4, np.float32), np.empty(WIDTH, np.float32)
        colour = np.empty(3, np.float32)
        for r in range(part * number // parts, (part + 1) * number // parts):
            ox, oy, oz = origins[r]
            dx, dy, dz = directions[r]
            _harmonics(dx, dy, dz, basis)
            next_t = _first(cell.shape, shell, ox, oy, oz, dx, dy, dz, near[r], offset[r] * step)
            through = _f(1)
            out[r] = 0
            while through > _STOP:
                t, next_t, c, x, y, z = _find(cell, blocks, shell, ox, oy, oz, dx, dy, dz, next_t, far[r], step)
                if c < 0:
                    break
                fx, fy, fz = _fractions(x, y, z)
                _weigh(fx, fy, fz, w)
                tau = _optical_thickness(_interpolate_density(table, corners[c], w), thickness * step)
                if tau < _THIN:
                    continue
                _interpolate_colour(table, corners[c], w, basis, mix, colour)
                after = through * _f(math.exp(-tau))
                weight = through - after
                for a in range(3):
                    out[r, a] += weight * colour[a]
                out[r, 4] += weight * t
                _add_normal(table, corners[c], fx, fy, fz, weight, out[r])
                through = after
            out[r, 3] = through


@compiled
def _distance_at(table, cell, corners, blocks, thickness, shell, origins, directions, near, far, offset, step, left, out):
    for r in prange(len(origins)):
        w = np.empty(8, np.float32)
        ox, oy, oz = origins[r]
        dx, dy, dz = directions[r]
        next_t = _first(cell.shape, shell, ox, oy, oz, dx, dy, dz, near[r], offset[r] * step)
        through = _f(1)
        out[r] = np.inf
        while through > left:
            t, next_t, c, x, y, z = _find(cell, blocks, shell, ox, oy, oz, dx, dy, dz, next_t, far[r], step)
            if c < 0:
                break
            fx, fy, fz = _fractions(x, y, z)
            _weigh(fx, fy, fz, w)
            tau = _optical_thickness(_interpolate_density(table, corners[c], w), thickness * step)
            if tau >= _THIN:
                through *= _f(math.exp(-tau))
                if through <= left:
                    out[r] = t


@compiled
def _add_gradient(table, cell, corners, blocks, thickness, shell, origins, directions, near, far, offset, target,
                  transmittance, background, alpha_weight, distortion, ends_at, deviation, end_weight, samples, cells,
                  gradient, touched, peak, sums):
    number = len(origins)
    parts = len(gradient)
    twice = _f(2) / _f(number)
    for part in prange(parts):
        w, basis, mix = np.empty(8, np.float32), np.empty(4, np.float32), np.empty(WIDTH, np.float32)
        by_colour = np.empty(3, np.float32)
        total = 0.0
        for r in range(part * number // parts, (part + 1) * number // parts):
            ox, oy, oz = origins[r]
            dx, dy, dz = directions[r]
            _harmonics(dx, dy, dz, basis)
            next_t = _first(cell.shape, shell, ox, oy, oz, dx, dy, dz, near[r], offset[r])
            through = _f(1)
            error = -target[r]
            middle = _middle_distance(cell.shape, ox, oy, oz)
            weights, moment, spread, astray = _f(0), _f(0), _f(0), _f(1)
            count = 0
            while through > _STOP and count < len(samples[part]):
                t, next_t, c, x, y, z = _find(cell, blocks, shell, ox, oy, oz, dx, dy, dz, next_t, far[r], _f(1))
                if c < 0:
                    break
                fx, fy, fz = _fractions(x, y, z)
                _weigh(fx, fy, fz, w)
                raw = _interpolate_density(table, corners[c], w)
                tau = _optical_thickness(raw, thickness)
                if tau < _THIN:
                    continue
                s = samples[part, count]
                _interpolate_colour(table, corners[c], w, basis, mix, s)
                after = through * _f(math.exp(-tau))
                weight = through - after
                s[3], s[4], s[5], s[6], s[7], s[8] = fx, fy, fz, weight, after, raw
                for a in range(3):
                    error[a] += weight * s[a]
                s[9] = t / (t + middle)
                spread += weight * (s[9] * weights - moment)
                weights += weight
                moment += weight * s[9]
                if end_weight[r] > 0:
                    off = (t - ends_at[r]) / deviation[r]
                    s[10] = _f(math.exp(_f(-0.5) * off * off))
                    astray -= weight * s[10]
                cells[part, count] = c
                peak[part, c] = max(peak[part, c], weight)
                count += 1
                through = after
            alpha_error = through - transmittance[r]
            total += alpha_weight[r] * alpha_error * alpha_error
            behind = twice * alpha_weight[r] * alpha_error
            for a in range(3):
                error[a] += through * background[a]
                total += error[a] * error[a]
                by_colour[a] = twice * error[a]
                sums[part, 1 + a] += through * by_colour[a]
                behind += by_colour[a] * background[a]
            total += _f(2) * distortion * spread + end_weight[r] * astray
            _add_samples(corners, thickness, samples[part], cells[part], count, by_colour, through * behind,
                         twice * distortion, weights, moment, _f(0.5) * twice * end_weight[r], basis, w, mix,
                         gradient[part], touched[part])
        sums[part, 0] = total / number


@inlined
def _add_samples(corners, thickness, samples, cells, count, by_colour, behind, distortion, weights, moment, ending,
                 basis, w, mix, gradient, touched):
    """The backward pass of a ray. `behind` is the loss's slope along the light from behind all samples, `weights` and
    `moment` the sums of their weights and of weight times disparity, `ending` what light that ends where it should
    takes from the loss."""
    weights_behind, moment_behind = _f(0), _f(0)
    for n in range(count - 1, -1, -1):
        s = samples[n]
        weight, after = s[6], s[7]
        own = by_colour[0] * s[0] + by_colour[1] * s[1] + by_colour[2] * s[2]
        weights -= weight
        moment -= weight * s[9]
        own += distortion * (s[9] * (weights - weights_behind) - moment + moment_behind)
        weights_behind += weight
        moment_behind += weight * s[9]
        if ending > 0:
            own -= ending * s[10]
        # More optical thickness shows more of the sample itself and less of what lies behind it.
        mix[0] = (after * own - behind) * thickness * _sigmoid(s[8] + _SHIFT)
        behind += weight * own
        for a in range(3):
            slope = weight * by_colour[a] * s[a] * (_f(1) - s[a])
            for j in range(4):
                mix[1 + 4 * a + j] = slope * basis[j]
        for j in range(USED, WIDTH):
            mix[j] = 0
        _weigh(s[3], s[4], s[5], w)
        eight = corners[cells[n]]
        for k in range(8):
            touched[eight[k]] = 1
            row = gradient[eight[k]]
            for j in range(WIDTH):
                row[j] += w[k] * mix[j]


@compiled
def _extent(cell, blocks, origins, directions, near, far, first, last):
    for r in prange(len(origins)):
        ox, oy, oz = origins[r]
        dx, dy, dz = directions[r]
        first[r], last[r] = _f(1), _f(0)
        begin, _, c, _, _, _ = _find(cell, blocks, _f(0), ox, oy, oz, dx, dy, dz, near[r], far[r], _f(0.5))
        if c < 0:
            continue
        first[r] = max(begin - _f(0.5), near[r])
        n = int(math.ceil((far[r] - near[r]) * _f(2)))
        while near[r] + _f(0.5) * _f(n) > begin:
            t = near[r] + _f(0.5) * _f(n)
            x, y, z = int(math.floor(ox + t * dx)), int(math.floor(oy + t * dy)), int(math.floor(oz + t * dz))
            if (t < far[r] and 0 <= x < cell.shape[0] and 0 <= y < cell.shape[1] and 0 <= z < cell.shape[2]
                    and cell[x, y, z] >= 0):
                break
            n -= 1
        last[r] = min(near[r] + _f(0.5) * _f(n + 1), far[r])


@compiled
def _adam(table, first, second, gradient, touched, rate, eps, bias1, bias2):
    for n in prange(len(table)):
        if not touched[:, n].any():
            continue
        for part in range(len(gradient)):
            touched[part, n] = 0
        for j in range(USED):
            g = _f(0)
            for part in range(len(gradient)):
                g += gradient[part, n, j]
                gradient[part, n, j] = 0
            m = _f(BETA1) * first[n, j] + _f(1 - BETA1) * g
            v = _f(BETA2) * second[n, j] + _f(1 - BETA2) * g * g
            first[n, j], second[n, j] = m, v
            table[n, j] -= rate[j] * (m / bias1) / (math.sqrt(v / bias2) + eps[j])
