"""The fused loops over a grid's rows, of whose points 64 lie in a word of bits."""

from __future__ import annotations

import numpy as np
from numba import prange

from .dispatch import called, compiled
from .isosurface_cell import cell_key, put_faces, put_vertex, share_between
from .isosurface_reference import APART
from .isosurface_table import CORNERS

_NONE, _ONE, _ALL = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)
_TOP = np.uint64(63)
_GATHER, _LAST = np.uint64(0x0102040810204080), np.uint64(56)


@called
def _ones(word):  # noqa: ANN001, ANN202
    """How many bits are set; the compiler knows these steps as one instruction."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def inside_bits(grid, level):  # noqa: ANN001, ANN201
    """Bits (X, Y, W) of the points below the level, point z of a row in word z // 64; zero behind the last."""
    nx, ny, nz = grid.shape
    bits = np.zeros((nx, ny, (nz + 63) // 64), np.uint64)
    for x in prange(nx):
        below = np.zeros(64 * bits.shape[2], np.uint8)
        eights = below.view(np.uint64)
        for y in range(ny):
            row = grid[x, y]
            for z in range(nz):
                below[z] = row[z] < level
            for w in range(bits.shape[2]):
                word = _NONE
                for k in range(8):  # the product brings the lowest bits of eight bytes together in the highest byte
                    word |= (eights[8 * w + k] * _GATHER >> _LAST) << np.uint64(8 * k)
                bits[x, y, w] = word
    return bits


@called
def _above(bits, x, y, w):  # noqa: ANN001, ANN202
    """The word's points moved down by one: bit z tells of point z + 1."""
    word = bits[x, y, w] >> _ONE
    if w + 1 < bits.shape[2]:
        word |= bits[x, y, w + 1] << _TOP
    return word


@called
def _crossed(bits, x, y, w, nz):  # noqa: ANN001, ANN202
    """Which edges along x, y and z from the word's points are crossed."""
    word = bits[x, y, w]
    along_x = word ^ bits[x + 1, y, w] if x + 1 < bits.shape[0] else _NONE
    along_y = word ^ bits[x, y + 1, w] if y + 1 < bits.shape[1] else _NONE
    return along_x, along_y, (word ^ _above(bits, x, y, w)) & _upright(w, nz)


@called
def _upright(w, nz):  # noqa: ANN001, ANN202
    """The word's points that have an edge along z."""
    count = nz - 1 - 64 * w
    return _ALL if count >= 64 else (_ONE << np.uint64(count)) - _ONE


@called
def _corners(bits, x, y, w, nz):  # noqa: ANN001, ANN202
    """The words of the eight corners of cells that begin at the word's points, and which cells are active."""
    a, b, c, d = bits[x, y, w], bits[x + 1, y, w], bits[x, y + 1, w], bits[x + 1, y + 1, w]
    e, f = _above(bits, x, y, w), _above(bits, x + 1, y, w)
    g, h = _above(bits, x, y + 1, w), _above(bits, x + 1, y + 1, w)
    active = (a | b | c | d | e | f | g | h) & ~(a & b & c & d & e & f & g & h) & _upright(w, nz)
    return (a, b, c, d, e, f, g, h), active


@called
def _key_at(grid, level, x, y, z, words, corner_values, ambiguous):  # noqa: ANN001, ANN202
    shift, mask = np.uint64(z & 63), np.int64(0)
    for c in range(8):
        mask |= np.int64(words[c] >> shift & _ONE) << np.int64(c)
    if ambiguous[mask] == 0:
        return mask
    for c in range(8):
        corner_values[c] = np.float64(grid[x + CORNERS[c, 0], y + CORNERS[c, 1], z + CORNERS[c, 2]]) - level
    return cell_key(corner_values, ambiguous)


@compiled
def count_rows(grid, level, bits, ambiguous, first, triangles, centre, loops):  # noqa: ANN001, ANN201
    """Crossed edges of each word of bits (X, Y, W), faces and centres of each row of cells (X, Y)."""
    nx, ny, nz = grid.shape
    vertices = np.empty(bits.shape, np.uint8)
    faces, centres = np.zeros((nx, ny), np.int32), np.zeros((nx, ny), np.int32)
    for x in prange(nx):
        corner_values = np.empty(8, np.float64)
        for y in range(ny):
            face = ring = 0
            for w in range(bits.shape[2]):
                along_x, along_y, along_z = _crossed(bits, x, y, w, nz)
                vertices[x, y, w] = _ones(along_x) + _ones(along_y) + _ones(along_z)
                if x + 1 < nx and y + 1 < ny:
                    words, cells = _corners(bits, x, y, w, nz)
                    while cells:
                        z = 64 * w + _ones((cells & (~cells + _ONE)) - _ONE)
                        cells &= cells - _ONE
                        key = _key_at(grid, level, x, y, z, words, corner_values, ambiguous)
                        face += first[key + 1] - first[key]
                        ring += centre[key] >= 0
            faces[x, y], centres[x, y] = face, ring
    return vertices, faces, centres


@called
def _numbers(nodes, before, crossed_a, crossed_b, crossed_c, crossed_d, over, shift):  # noqa: ANN001, ANN202
    """Number the crossings on a cell's edges: those on the edges from the four points of its foot, row by row.

    before: how many crossings come before the word's in each row. over: edges along x from the points above row b's.
    Edges that are not crossed get numbers that nobody asks for.
    """
    below = (_ONE << shift) - _ONE
    x, y, z = crossed_a
    v = before[0] + _ones(x & below) + _ones(y & below) + _ones(z & below)
    nodes[0], v = v, v + np.int64(x >> shift & _ONE)
    nodes[4], v = v, v + np.int64(y >> shift & _ONE)
    nodes[8], v = v, v + np.int64(z >> shift & _ONE)
    nodes[2] = v
    nodes[6] = v + np.int64(over[0] >> shift & _ONE)
    x, y, z = crossed_b
    v = before[1] + _ones(x & below) + _ones(y & below) + _ones(z & below) + np.int64(x >> shift & _ONE)
    nodes[5], v = v, v + np.int64(y >> shift & _ONE)
    nodes[9], v = v, v + np.int64(z >> shift & _ONE)
    nodes[7] = v + np.int64(over[1] >> shift & _ONE)
    x, y, z = crossed_c
    v = before[2] + _ones(x & below) + _ones(y & below) + _ones(z & below)
    nodes[1], v = v, v + np.int64(x >> shift & _ONE) + np.int64(y >> shift & _ONE)
    nodes[10], v = v, v + np.int64(z >> shift & _ONE)
    nodes[3] = v
    x, y, z = crossed_d
    nodes[11] = (before[3] + _ones(x & below) + _ones(y & below) + _ones(z & below)
                 + np.int64(x >> shift & _ONE) + np.int64(y >> shift & _ONE))


@called
def _share_on_grid(grid, level, x, y, z, axis):  # noqa: ANN001, ANN202
    """Where the edge from point x, y, z along the axis is crossed, in shares of its length."""
    at_lower = np.float64(grid[x, y, z]) - level
    at_upper = np.float64(grid[x + (axis == 0), y + (axis == 1), z + (axis == 2)]) - level
    share = share_between(at_lower, at_upper)
    if share < APART or share > 1.0 - APART:
        far = np.int64(share > 1.0 - APART)
        if _crossings_near(grid, level, x + far * (axis == 0), y + far * (axis == 1), z + far * (axis == 2)) > 1:
            share = min(max(share, APART), 1.0 - APART)
    return share


@called
def _crossings_near(grid, level, x, y, z):  # noqa: ANN001, ANN202
    """How many crossings lie close to a point."""
    count, here = 0, np.float64(grid[x, y, z]) - level
    for axis in range(3):
        dx, dy, dz = np.int64(axis == 0), np.int64(axis == 1), np.int64(axis == 2)
        if x + dx < grid.shape[0] and y + dy < grid.shape[1] and z + dz < grid.shape[2]:
            there = np.float64(grid[x + dx, y + dy, z + dz]) - level
            count += (here < 0.0) != (there < 0.0) and share_between(here, there) < APART
        if x >= dx and y >= dy and z >= dz:
            there = np.float64(grid[x - dx, y - dy, z - dz]) - level
            count += (here < 0.0) != (there < 0.0) and share_between(there, here) > 1.0 - APART
    return count


@compiled
def fill_rows(grid, level, world, bits, first_vertex, first_face, first_centre,  # noqa: ANN001, ANN201
               ambiguous, first, triangles, centre, loops):
    nx, ny, nz = grid.shape
    across, down = ny * bits.shape[2], bits.shape[2]  # words from one row to the next along x and y
    crossings = first_vertex[-1]
    points = np.empty((crossings + first_centre[-1], 3), np.float32)
    faces = np.empty((first_face[-1], 3), np.int32)
    rings = np.empty((first_centre[-1], 12), np.int32)
    for x in prange(nx):
        corner_values, nodes = np.empty(8, np.float64), np.empty(13, np.int32)
        for y in range(ny):
            row = x * ny + y
            if first_vertex[row * down] != first_vertex[row * down + down]:
                for w in range(down):
                    _write_crossings(points, first_vertex[row * down + w], grid, level, world, bits, x, y, w, nz)
            face, ring = first_face[row], first_centre[row]
            if face == first_face[row + 1]:
                continue
            for w in range(down):
                words, cells = _corners(bits, x, y, w, nz)
                if not cells:
                    continue
                place = row * down + w
                before = (first_vertex[place], first_vertex[place + across], first_vertex[place + down],
                          first_vertex[place + across + down])
                a, b = _crossed(bits, x, y, w, nz), _crossed(bits, x + 1, y, w, nz)
                c, d = _crossed(bits, x, y + 1, w, nz), _crossed(bits, x + 1, y + 1, w, nz)
                over = (_above(bits, x, y, w) ^ _above(bits, x + 1, y, w),
                        _above(bits, x + 1, y, w) ^ _above(bits, x + 2, y, w) if x + 2 < nx else _NONE)
                while cells:
                    k = _ones((cells & (~cells + _ONE)) - _ONE)
                    cells &= cells - _ONE
                    key = _key_at(grid, level, x, y, 64 * w + k, words, corner_values, ambiguous)
                    _numbers(nodes, before, a, b, c, d, over, np.uint64(k))
                    put_faces(faces, rings, nodes, face, ring, crossings, key, first, triangles, centre, loops)
                    face += first[key + 1] - first[key]
                    ring += centre[key] >= 0
    return points, faces, rings


@called
def _write_crossings(points, v, grid, level, world, bits, x, y, w, nz):  # noqa: ANN001, ANN202
    """Place the vertices on the edges from a word's points."""
    along = _crossed(bits, x, y, w, nz)
    left = along[0] | along[1] | along[2]
    while left:
        bit = left & (~left + _ONE)
        left ^= bit
        z = 64 * w + _ones(bit - _ONE)
        if along[0] & bit:
            put_vertex(points, v, world, x + _share_on_grid(grid, level, x, y, z, 0), y, z)
            v += 1
        if along[1] & bit:
            put_vertex(points, v, world, x, y + _share_on_grid(grid, level, x, y, z, 1), z)
            v += 1
        if along[2] & bit:
            put_vertex(points, v, world, x, y, z + _share_on_grid(grid, level, x, y, z, 2))
            v += 1
