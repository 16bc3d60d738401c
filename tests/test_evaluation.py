"""The measures, against hand-worked numbers and known meshes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.formats.mesh import Mesh
from maquette.formats.meshes import read_mesh, write_mesh
from maquette.neural.evaluation import evaluate, table
from maquette.neural.evaluation.audit import audit
from maquette.neural.evaluation.metrics import compare, sample_surface, volume_iou
from maquette.neural.evaluation.pictures import psnr, ssim
from maquette.recipes.errors import InputError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "meshes"
needs_meshes = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the test meshes are not at {SHARED}")


def box(low=(0, 0, 0), high=(1, 1, 1)) -> Mesh:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * np.subtract(high, low) + low
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(corners, np.array([[(a, b, c), (a, c, d)] for a, b, c, d in quads]).reshape(-1, 3))


def joined(*meshes: Mesh) -> Mesh:
    start = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(np.concatenate([m.vertices for m in meshes]),
                np.concatenate([m.faces + s for m, s in zip(meshes, start, strict=False)]))


# ---- the audit ---------------------------------------------------------------------------------------------------

def test_a_box_has_no_defect():
    assert audit(box()) == {"vertices": 8, "faces": 12, "open_edges": 0, "nonmanifold_edges": 0, "flipped_edges": 0,
                            "nonmanifold_vertices": 0, "components": 1, "inner_shells": 0, "zero_area_faces": 0,
                            "genus": 0, "inward_components": 0}


def test_what_looks_inward_is_counted_but_for_inner_shells():
    turned = Mesh(box((2, 0, 0), (3, 1, 1)).vertices, box().faces[:, ::-1])
    shell = Mesh(box((0.2, 0.2, 0.2), (0.4, 0.4, 0.4)).vertices, box().faces[:, ::-1])
    figures = audit(joined(box(), turned, shell))
    assert figures["inward_components"] == 1 and figures["inner_shells"] == 1


def test_a_missing_face_opens_three_edges_and_takes_the_genus():
    figures = audit(Mesh(box().vertices, box().faces[1:]))
    assert figures["open_edges"] == 3 and "genus" not in figures


def test_a_turned_face_flips_three_edges():
    faces = box().faces.copy()
    faces[0] = faces[0, ::-1]
    figures = audit(Mesh(box().vertices, faces))
    assert figures["flipped_edges"] == 3 and figures["open_edges"] == 0


def test_a_fin_makes_one_edge_nonmanifold():
    mesh = box()
    figures = audit(Mesh(np.concatenate((mesh.vertices, [[9, 9, 9]])), np.concatenate((mesh.faces, [[0, 1, 8]]))))
    assert figures["nonmanifold_edges"] == 1 and figures["open_edges"] == 2


def test_boxes_that_share_a_corner_make_its_vertex_nonmanifold():
    one, other = box(), box((1, 1, 1), (2, 2, 2))
    faces = np.where(other.faces == 0, 7, other.faces + 8)  # vertex 0 of the other is vertex 7 of the one
    figures = audit(Mesh(np.concatenate((one.vertices, other.vertices)), np.concatenate((one.faces, faces))))
    assert figures["nonmanifold_vertices"] == 1 and figures["components"] == 1 and figures["nonmanifold_edges"] == 0


def test_faces_without_area_are_counted():
    mesh = box()
    more = np.array([[0, 1, 1], [2, 2, 2]])
    assert audit(Mesh(mesh.vertices, np.concatenate((mesh.faces, more))))["zero_area_faces"] == 2
    flat = Mesh(np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]]))
    assert audit(flat)["zero_area_faces"] == 1


def test_a_box_in_a_box_is_an_inner_shell_and_one_beside_it_is_not():
    assert audit(joined(box(), box((0.2, 0.2, 0.2), (0.4, 0.4, 0.4))))["inner_shells"] == 1
    assert audit(joined(box(), box((2, 0, 0), (3, 1, 1))))["inner_shells"] == 0
    assert audit(joined(box(), box((0.5, 0.2, 0.2), (1.5, 0.4, 0.4))))["inner_shells"] == 0  # sticks out


def test_an_empty_mesh_has_zeros():
    figures = audit(Mesh(np.zeros((0, 3)), np.zeros((0, 3))))
    assert set(figures.values()) == {0} and "genus" not in figures


@needs_meshes
@pytest.mark.parametrize(("name", "genus"), [("bunny.ply", 0), ("fertility.ply", 4), ("featuretype_genus9.ply", 9),
                                             ("bob.glb", 1), ("elephant.ply", 3)])
def test_known_meshes_have_their_genus(name, genus):
    assert audit(read_mesh(SHARED / name))["genus"] == genus


# ---- mesh against mesh -------------------------------------------------------------------------------------------

def test_a_mesh_against_itself_is_perfect():
    figures = compare(box(), box(), samples=2000)
    assert figures["chamfer"] == pytest.approx(0, abs=1e-9)
    assert figures["f_score"] == {"0.5%": 1, "1%": 1, "2%": 1}
    assert figures["normal_consistency"] == pytest.approx(1) and figures["iou"] == pytest.approx(1)


def test_squares_one_above_the_other_have_the_distance_between_them():
    square = Mesh(np.array([[0, 0, 0], [3, 0, 0], [3, 4, 0], [0, 4, 0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    above = Mesh(square.vertices + [0, 0, 0.04], square.faces)
    figures = compare(above, square, samples=1000)  # the diagonal is 5: 0.04 is 0.8 % of it
    assert figures["chamfer"] == pytest.approx(0.008, abs=1e-6)
    assert figures["chamfer_squared_sum"] == pytest.approx(2 * 0.04**2, rel=1e-4)
    assert figures["f_score"] == {"0.5%": 0, "1%": 1, "2%": 1}
    assert "iou" not in figures
    turned = Mesh(above.vertices, above.faces[:, ::-1])
    assert compare(turned, square, samples=100)["normal_consistency"] == pytest.approx(-1)


def test_the_distance_is_to_the_surface_not_to_samples():
    figures = compare(box(), box(), samples=50)  # so few samples lie far from each other
    assert figures["f_score"]["0.5%"] == 1


def test_half_a_mesh_has_full_precision_and_half_recall():
    left = Mesh(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    far = Mesh(left.vertices + [10, 0, 0], left.faces)
    figures = compare(left, joined(left, far), samples=20_000)
    assert figures["f_score"]["0.5%"] == pytest.approx(2 * 1 * 0.5 / 1.5, abs=0.01)


def test_samples_are_uniform_in_area():
    mesh = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 3, 5]]),
                np.array([[0, 1, 2], [3, 4, 5]]))
    points, face = sample_surface(mesh, 20_000, seed=1)
    assert (face == 1).mean() == pytest.approx(0.9, abs=0.01)  # nine times the area
    assert np.allclose(points[face == 0].mean(axis=0), [1 / 3, 1 / 3, 0], atol=0.02)


def test_iou_of_boxes_that_overlap_by_half():
    assert volume_iou(box(), box((0.5, 0, 0), (1.5, 1, 1))) == pytest.approx(1 / 3, abs=0.01)
    assert volume_iou(box(), box((5, 5, 5), (6, 6, 6))) == 0
    hollow = joined(box(), Mesh(box((0.25,) * 3, (0.75,) * 3).vertices, box().faces[:, ::-1]))
    assert volume_iou(hollow, box()) == pytest.approx(7 / 8, abs=0.01)


def test_an_empty_result_has_the_worst_values_and_an_empty_truth_is_refused():
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3)))
    point = Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    for nothing in (empty, point):
        figures = compare(nothing, box())
        assert figures["chamfer"] == 1 and figures["normal_consistency"] == 0
        assert set(figures["f_score"].values()) == {0.0}
        with pytest.raises(InputError, match="truth"):
            compare(box(), nothing)


# ---- pictures ----------------------------------------------------------------------------------------------------

def test_psnr_of_a_constant_error():
    picture = np.full((8, 8, 3), 0.5)
    assert psnr(picture, picture + 0.1) == pytest.approx(20)
    assert psnr(picture, picture) == 100


def test_pixels_that_do_not_count_change_neither_psnr_nor_ssim():
    truth = np.random.default_rng(0).random((32, 40, 3))
    where = np.zeros((32, 40), bool)
    where[:, :20] = True
    spoilt = np.where(where[..., None], truth, 0)
    assert psnr(spoilt, truth, where) == 100 and ssim(spoilt, truth, where) == pytest.approx(1)
    assert psnr(truth + 0.1 * where[..., None], truth, where) == pytest.approx(20)
    worse = np.where(where[..., None], 1 - truth, truth)
    assert ssim(worse, truth, where) < ssim(worse, truth) < 1


def test_ssim_equals_the_well_kept_librarys():
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    rng = np.random.default_rng(0)
    a = rng.random((40, 50, 3))
    b = np.clip(a + 0.2 * rng.normal(size=a.shape), 0, 1)
    true = metrics.structural_similarity(a, b, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5,
                                         use_sample_covariance=False)
    assert ssim(a, b) == pytest.approx(true, abs=1e-9)
    assert ssim(a, a) == pytest.approx(1)
    assert 0 < ssim(a[:4, :4], b[:4, :4]) < 1  # smaller than the window


# ---- maquette evaluate -------------------------------------------------------------------------------------------

def test_two_meshes_of_different_forms_are_compared(tmp_path):
    write_mesh(box(), tmp_path / "a.glb")
    write_mesh(box(), tmp_path / "b.ply")
    figures = evaluate(tmp_path / "a.glb", tmp_path / "b.ply")
    assert figures["truth"]["iou"] == pytest.approx(1) and figures["mesh"]["genus"] == 0
    text = table(figures)
    assert "F-score at 0.5%" in text and "open edges" in text
    assert evaluate(tmp_path / "a.glb") == {"mesh": figures["mesh"]}, "a mesh is audited alone, too"


def test_pictures_and_folders_of_pictures_are_compared(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("x", "y"):
        for folder, value in (("a", 100), ("b", 151)):  # 51 of 255 is an error of 0.2: 13.98 dB
            Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(tmp_path / folder / f"{name}.png")
    figures = evaluate(tmp_path / "a", tmp_path / "b")
    assert figures["pictures"] == 2 and figures["psnr_db"] == pytest.approx(13.979, abs=1e-2)
    assert evaluate(tmp_path / "a" / "x.png", tmp_path / "b" / "x.png")["psnr_db"] == pytest.approx(13.979, abs=1e-2)
    assert "PSNR" in table(figures)


def test_transparent_pixels_are_white(tmp_path):
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(tmp_path / "white.png")
    assert evaluate(tmp_path / "clear.png", tmp_path / "white.png")["psnr_db"] == 100


def test_what_cannot_be_compared_is_one_line(tmp_path):
    write_mesh(box(), tmp_path / "a.ply")
    for name, size in (("s.png", 8), ("t.png", 9)):
        Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "none").mkdir()
    for one, other in (("a.ply", "s.png"), ("s.png", "t.png"), ("none", "none"), ("a.ply", "none")):
        with pytest.raises(InputError) as error:
            evaluate(tmp_path / one, tmp_path / other)
        assert "\n" not in str(error.value)
