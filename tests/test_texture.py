"""A mesh gets the colours of the pictures that see it, and is drawn with them; so does one that is there already."""

import json
from pathlib import Path

import numpy as np
import pytest

from maquette.formats import pictured
from maquette.formats.inputs import gather
from maquette.formats.mesh import Mesh, read_npz
from maquette.formats.meshes import write_mesh
from maquette.formats.pictures import write_png
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.kernels import blend_fused, blend_reference, raster_reference
from maquette.neural.kernels.raster import blank, rasterise
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.meshing.raster import portrait, project, render, sample_texture
from maquette.neural.meshing.texel_density import fitting_side
from maquette.neural.meshing.texture import _views, bake, colored, texels_of
from maquette.neural.meshing.unwrap import unwrap
from maquette.neural.tasks import texture as task
from maquette.recipes.errors import InputError
from maquette.recipes.texture import Texture


def looking_at_origin(eye) -> np.ndarray:
    z = np.array(eye, float) / np.linalg.norm(eye)
    x = np.cross([0.02, 0.01, 1.0], z)
    x /= np.linalg.norm(x)
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = np.stack((x, np.cross(z, x), z), axis=1)
    world_from_camera[:3, 3] = eye
    return world_from_camera


def ball(n: int = 40) -> Mesh:
    axis = np.linspace(-1, 1, n)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    world_from_grid = np.diag([2 / (n - 1)] * 3 + [1])
    world_from_grid[:3, 3] = -1
    return marching_cubes(np.sqrt(x * x + y * y + z * z) - 0.7, world_from_grid)


def colour_of(points: np.ndarray) -> np.ndarray:
    """A smooth colour everywhere in space."""
    return 0.5 + 0.35 * np.sin(4 * points + [0, 1, 2])


def pictures_of(mesh: Mesh, eyes: np.ndarray, side: int = 128) -> list[PosedPicture]:
    """Renderings of the mesh with the colours of space, over nothing."""
    painted = Mesh(mesh.vertices, mesh.faces, colors=colour_of(mesh.vertices))
    camera = 1.6 * side, 1.6 * side, side / 2, side / 2
    found = []
    for number, eye in enumerate(eyes):
        drawn = render(painted, *camera, side, side, looking_at_origin(eye), supersampling=4)
        rgba = np.dstack((drawn.rgb_srgb, drawn.alpha)).astype(np.float32)
        found.append(PosedPicture(str(number), rgba, *camera, looking_at_origin(eye)))
    return found


def around(count: int, distance: float = 2.6) -> np.ndarray:
    i = np.arange(count) + 0.5
    z, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    return distance * np.stack((np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z), axis=1)


# ---- the rasteriser ----------------------------------------------------------------------------------------------

def test_a_triangle_covers_the_pixels_whose_centres_it_holds():
    corners = np.array([[[0, 0, 2], [4, 0, 2], [0, 4, 2]]])  # the diagonal runs through centres
    drawn = rasterise(corners, 4, 5)
    assert (drawn.face >= 0).tolist() == [[True, True, True, True, False], [True, True, True, False, False],
                                          [True, True, False, False, False], [True, False, False, False, False]]
    assert np.allclose(drawn.weights[0, 0], [0.75, 0.125, 0.125]) and drawn.depth[0, 0] == 2
    assert drawn.depth[3, 4] == np.inf


def test_weights_are_right_in_perspective():
    # A strip from depth 1 to depth 3: half way across the picture, 1/z is the mean of 1 and 1/3, so z = 1.5.
    corners = np.array([[[0, -9, 1], [10, -9, 3], [0, 3000, 1]]])
    drawn = rasterise(corners, 1, 9)
    x = (np.arange(9) + 0.5) / 10
    assert np.allclose(drawn.depth[0], 1 / ((1 - x) + x / 3), rtol=1e-6)
    assert np.allclose(drawn.weights[0, :, 1] * 2 + 1, drawn.depth[0], rtol=1e-5)


def test_fused_and_reference_draw_the_same():
    rng = np.random.default_rng(0)
    corners = np.concatenate((rng.uniform(-10, 50, (80, 3, 2)), rng.uniform(-0.2, 3, (80, 3, 1))), axis=2)
    corners[::9, :, 2] = 1  # equal depths: the first wins
    fast, slow = rasterise(corners, 37, 41), blank(37, 41)
    raster_reference.draw(corners, 0, *slow)
    assert np.array_equal(fast.face, slow.face)
    assert np.allclose(fast.weights, slow.weights, atol=1e-5) and np.allclose(fast.depth, slow.depth, rtol=1e-6)
    parts = rasterise(corners[30:], 37, 41, rasterise(corners[:30], 37, 41), 30)
    assert all(np.array_equal(one, other) for one, other in zip(fast, parts, strict=True))


def test_a_camera_looks_along_minus_z_with_y_up_and_row_0_on_top():
    # One metre to the right and two up, ten in front: 50 · 1/10 right of the centre, 50 · 2/10 above it.
    assert np.allclose(project(np.array([[1.0, 2, -10]]), 50, 50, 32, 24, np.eye(4)), [[37, 14, 10]])
    tip = Mesh(np.array([[0.9, 1.9, -10], [1.1, 1.9, -10], [1, 2.1, -10]]), np.array([[0, 1, 2]]))
    drawn = render(tip, 50, 50, 32, 24, 64, 48, np.eye(4), supersampling=8)
    row, column = np.average(np.argwhere(drawn.alpha > 0), axis=0, weights=drawn.alpha[drawn.alpha > 0]) + 0.5
    assert (column, row) == (pytest.approx(37, abs=0.3), pytest.approx(14, abs=0.3))
    assert np.nanmax(drawn.depth) == pytest.approx(10) and np.allclose(drawn.normal[drawn.alpha > 0], [0, 0, 1])


def test_texture_origin_is_the_lower_left_corner():
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[1, 0] = 255  # the lower left texel
    assert np.allclose(sample_texture(texture, np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]]))[:, 0], [1, 0, 0])
    assert np.allclose(sample_texture(texture, np.array([[0.5, 0.5], [1.25, -0.75]]))[:, 0], [0.25, 1])


def test_portrait_shows_the_whole_mesh():
    picture = portrait(ball(16), 64)
    assert picture.shape == (64, 64, 3) and (picture[[0, -1]] == 255).all() and (picture[32, 32] < 255).all()


# ---- the texture -------------------------------------------------------------------------------------------------

def test_fused_and_reference_blend_the_same():
    mesh = ball(20)
    views = _views(mesh, pictures_of(mesh, around(6), 48))
    normals = mesh.vertices.astype(float)
    points = mesh.vertices.astype(float)
    fast, slow = blend_fused.blend(points, normals, *views), blend_reference.blend(points, normals, *views)
    assert (slow[1] > 0).mean() > 0.5
    assert np.allclose(fast[1], slow[1], rtol=1e-5, atol=1e-7) and np.allclose(fast[0], slow[0], atol=1e-5)


def test_a_baked_mesh_looks_like_its_pictures_from_a_new_camera():
    mesh = ball()
    baked = bake(unwrap(mesh, 512), pictures_of(mesh, around(24)), 512)
    assert baked.texture.shape == (512, 512, 3)
    truth = pictures_of(mesh, np.array([[1.7, -1.6, 1.1]]))[0]
    drawn = render(baked, truth.fx, truth.fy, truth.cx, truth.cy, 128, 128, truth.world_from_camera)
    inside = (truth.rgba_srgb[..., 3] > 0.99) & (drawn.alpha > 0.99)
    error = np.abs(drawn.rgb_srgb - truth.rgba_srgb[..., :3])[inside]
    assert error.mean() < 0.01 and np.quantile(error, 0.999) < 0.04  # no seam, no dark border


def test_what_no_camera_sees_takes_the_colours_around_it():
    mesh = ball()
    eyes = around(40)
    baked = bake(unwrap(mesh, 256), pictures_of(mesh, eyes[eyes[:, 2] > -0.5]), 256)
    below = render(baked, 200, 200, 64, 64, 128, 128, looking_at_origin([0.1, 0, -2.6]))
    colours = below.rgb_srgb[below.alpha > 0.99]
    assert colours.min() > 0.1 and colours.max() < 0.9  # neither black nor white: the seen ones lie between
    assert np.abs(np.diff(below.rgb_srgb[64, 40:88], axis=0)).max() < 0.15


def test_an_occluder_does_not_paint_what_lies_behind_it():
    def square(z: float, half: float) -> Mesh:
        corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * half + [0, 0, z]
        return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))

    front, back = square(0.5, 0.3), square(0, 1)
    mesh = Mesh(np.concatenate((front.vertices, back.vertices)), np.concatenate((front.faces, back.faces + 4)))
    red_and_blue = Mesh(mesh.vertices, mesh.faces, colors=np.repeat([[1.0, 0, 0], [0, 0, 1.0]], 4, axis=0))
    pictures = []
    for eye in ([0.05, 0, 3], [1.5, 0, 3], [-1.5, 0.1, 3], [0, 1.5, 3], [0, -1.5, 3]):
        pose = looking_at_origin(eye)
        drawn = render(red_and_blue, 150, 150, 64, 64, 128, 128, pose, supersampling=4)
        rgba = np.dstack((drawn.rgb_srgb, drawn.alpha)).astype(np.float32)
        pictures.append(PosedPicture(str(eye), rgba, 150, 150, 64, 64, pose))
    baked = bake(unwrap(mesh, 256), pictures, 256)
    uv = baked.corner_uvs
    for faces, colour in ((slice(0, 2), [1, 0, 0]), (slice(2, 4), [0, 0, 1])):
        inner = 0.9 * uv[faces] + 0.1 * uv[faces].mean(axis=1, keepdims=True)
        shares = np.random.default_rng(0).dirichlet([1, 1, 1], 500)
        samples = sample_texture(baked.texture, np.einsum("nc,fck->fnk", shares, inner).reshape(-1, 2))
        assert np.abs(samples - colour).max() < 0.1


def test_one_picture_with_a_highlight_is_outvoted():
    mesh = ball(24)
    pictures = pictures_of(mesh, around(30), 96)
    pictures[4].rgba_srgb[..., :3] = pictures[4].rgba_srgb[..., 3:]  # white all over
    baked = bake(unwrap(mesh, 256), pictures, 256)
    eye = around(30)[4]
    drawn = render(baked, 150, 150, 48, 48, 96, 96, looking_at_origin(eye))
    truth = render(Mesh(mesh.vertices, mesh.faces, colors=colour_of(mesh.vertices)), 150, 150, 48, 48, 96, 96,
                   looking_at_origin(eye))
    assert np.abs(drawn.rgb_srgb - truth.rgb_srgb)[drawn.alpha > 0.99].mean() < 0.03


def test_highlights_in_a_third_of_the_pictures_are_outvoted():
    mesh = ball(24)
    pictures = pictures_of(mesh, around(30), 96)
    for number in range(0, 30, 3):
        rgba = pictures[number].rgba_srgb
        rgba[..., :3] += 0.3 * (rgba[..., 3:] - rgba[..., :3])  # a veil of white
    baked = bake(unwrap(mesh, 256), pictures, 256)
    plain = bake(unwrap(mesh, 256), pictures_of(mesh, around(30), 96), 256)
    assert np.abs(baked.texture.astype(float) - plain.texture).mean() / 255 < 0.025


def test_the_texture_is_as_large_as_what_the_pictures_show():
    square = Mesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])

    def from_above(focal: float, side: int, height: float = 2.0) -> PosedPicture:
        pose = np.eye(4)
        pose[:3, 3] = 0.5, 0.5, height
        return PosedPicture("", np.ones((side, side, 4), np.float32), focal, focal, side / 2, side / 2, pose)

    # 400 / 2 m are 200 pixels a metre, 40,000 on the square; with what lies between charts 316² texels.
    assert fitting_side(square, [from_above(400, 256)]) == 512
    assert fitting_side(square, [from_above(400, 256), from_above(1600, 1024)]) == 2048  # the better view counts
    assert fitting_side(square, [from_above(1e5, 60)]) == 256  # its picture ends before the faces' centres
    assert fitting_side(square, [from_above(400, 256, -2.0)]) == 256  # behind the surface and the camera
    close = from_above(6000, 2400)
    assert fitting_side(square, [close]) == 4096  # 3000 pixels a metre


@pytest.mark.parametrize("side", [64, 256])
def test_no_colour_bleeds_over_a_seam_nor_much_in_a_mip_map(side):
    # A box whose sides have colours of their own, with every edge a seam.
    box = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    corners = np.concatenate([box[list(quad)] for quad in quads])
    faces = np.concatenate([[[0, 1, 2], [0, 2, 3]] + np.array(4 * i) for i in range(6)])
    mesh = unwrap(Mesh(corners, faces), side)
    texels = texels_of(mesh, side)
    palette = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], float)[1:7]
    painted = colored(mesh, texels, palette[texels.face // 2], np.ones(len(texels.face), np.float32))
    rng = np.random.default_rng(0)
    weights = np.concatenate((np.eye(3), rng.dirichlet([0.3, 0.3, 0.3], 300)))  # many at the rim
    level = painted.texture
    for number, most in enumerate((0.01, 0.01, 0.12)):
        for face in range(len(faces)):
            found = sample_texture(level, weights @ mesh.corner_uvs[face])
            assert np.abs(found - palette[face // 2]).max() < most, f"level {number}"
        level = np.round(level.reshape(len(level) // 2, 2, -1, 2, 3).mean(axis=(1, 3))).astype(np.uint8)


def test_unknown_pixels_and_pictures_without_alpha_are_handled():
    mesh = unwrap(ball(20), 128)
    pictures = pictures_of(mesh, around(12), 64)
    weight = np.zeros((64, 64), np.float32)
    opaque = [PosedPicture(p.name, np.dstack((p.rgba_srgb[..., :3], np.ones((64, 64), np.float32))), p.fx, p.fy, p.cx,
                           p.cy, p.world_from_camera, has_alpha=False) for p in pictures]
    blind = [PosedPicture(p.name, p.rgba_srgb, p.fx, p.fy, p.cx, p.cy, p.world_from_camera, weight=weight)
             for p in pictures]
    assert np.abs(bake(mesh, opaque, 128).texture.astype(int) - bake(mesh, pictures, 128).texture).mean() < 3
    assert np.ptp(bake(mesh, blind, 128).texture) <= 1  # nothing is known: one even grey


def test_a_mesh_without_uvs_is_refused():
    with pytest.raises(ValueError, match="unwrap"):
        bake(ball(8), [], 64)


# ---- a mesh that is there already, through the job's folder ------------------------------------------------------

class Plain:
    """A context that keeps what it is told."""

    def __init__(self, recipe: Texture, folder: Path):
        self.recipe, self.input, self.output, self.report, self.warnings = recipe, folder / "input", folder, {}, []

    def stage(self, name: str, upto: float) -> None: ...

    def progress(self, fraction: float, message: str = "") -> None: ...

    def preview(self, rgb: np.ndarray) -> None: ...

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    """A transforms.json with twelve pictures of the coloured ball."""
    folder, frames = tmp_path_factory.mktemp("capture"), []
    for picture in pictures_of(ball(24), around(12), 96):
        rgba = picture.rgba_srgb / np.maximum(np.dstack([picture.rgba_srgb[..., 3:]] * 3 + [np.ones((96, 96, 1))]), 1e-6)
        write_png(folder / f"{picture.name}.png", (rgba.clip(0, 1) * 255 + 0.5).astype(np.uint8))
        frames.append({"file_path": f"{picture.name}.png", "transform_matrix": picture.world_from_camera.tolist()})
    about = {"fl_x": 153.6, "fl_y": 153.6, "cx": 48, "cy": 48, "w": 96, "h": 96, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(about))
    return folder / "transforms.json"


def colours_on(mesh: Mesh) -> np.ndarray:
    """How far the texture is from the colours of space, at the middles of the faces (F,)."""
    found = sample_texture(mesh.texture, mesh.corner_uvs.mean(axis=1))
    return np.abs(found - colour_of(mesh.triangles().mean(axis=1))).max(axis=1)


def test_a_retopology_gets_the_captures_colours_and_keeps_its_faces(capture: Path, tmp_path: Path):
    mesh = ball(16)
    write_mesh(mesh, tmp_path / "retopology.ply")
    recipe = Texture(capture=str(capture))
    summary = gather("pictured", [tmp_path / "retopology.ply"], tmp_path / "input", recipe)
    assert summary["views"] == 12 and recipe.estimate(summary).memory_mb > 500
    context = Plain(recipe, tmp_path)
    task.run(context)
    made = read_npz(tmp_path / "mesh.npz")
    assert np.array_equal(made.faces, mesh.faces) and np.allclose(made.vertices, mesh.vertices)
    assert np.median(colours_on(made)) < 0.03 and context.report["seen"] > 0.95
    assert context.report["texture"] == 512 == len(made.texture) and not context.warnings


def test_uvs_that_come_with_the_mesh_are_textured(capture: Path, tmp_path: Path):
    recipe = Texture(capture=str(capture), texture=128)
    write_mesh(ball(16), tmp_path / "a.ply")
    gather("pictured", [tmp_path / "a.ply"], tmp_path / "input", recipe)
    corners = np.array([[[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]]])
    face = ball(16).triangles()[:1].reshape(3, 3)
    pictured.write(Mesh(face, [[0, 1, 2]], corner_uvs=corners), tmp_path / "input")
    task.run(Plain(recipe, tmp_path))
    assert np.allclose(read_npz(tmp_path / "mesh.npz").corner_uvs, corners)


def test_a_mesh_that_no_picture_shows_is_said(capture: Path, tmp_path: Path):
    recipe = Texture(capture=str(capture), texture=64)
    far = ball(8)
    write_mesh(Mesh(far.vertices + 100, far.faces), tmp_path / "far.ply")
    gather("pictured", [tmp_path / "far.ply"], tmp_path / "input", recipe)
    context = Plain(recipe, tmp_path)
    task.run(context)
    assert context.report["seen"] == 0 and "one world" in context.warnings[0]


@pytest.mark.parametrize(("named", "complaint"), [("", "none is given"), ("absent.json", "does not exist")])
def test_a_capture_that_is_missing_is_refused_in_one_line(named: str, complaint: str, tmp_path: Path):
    write_mesh(ball(8), tmp_path / "a.ply")
    with pytest.raises(InputError, match=complaint):
        gather("pictured", [tmp_path / "a.ply"], tmp_path / "input", Texture(capture=named))
