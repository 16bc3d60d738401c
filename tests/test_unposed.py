"""Folders of photos without cameras: what is taken from them, and what is said of the rest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.formats import unposed
from maquette.formats.folder import has_cameras, read_capture
from maquette.formats.inputs import gather
from maquette.recipes.capture import Capture
from maquette.recipes.errors import InputError


def picture(path: Path, width: int = 8, height: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
    return path


def gathered(paths: list[Path], folder: Path) -> unposed.Unposed:
    gather("capture", paths, folder, Capture())
    return unposed.read(folder / unposed.FILE)


def test_a_folder_of_photos_is_gathered_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("r_10.png", "r_2.jpg", "ünï çø.png", "more/r_1.png"):
        picture(tmp_path / "photos" / name)
    (tmp_path / "photos/notes.txt").write_text("not a picture")
    picture(tmp_path / "photos/.thumbnails/r_2.png")
    found = gathered([tmp_path / "photos"], tmp_path / "input")
    assert [photo.name for photo in found.photos] == ["more/r_1", "r_2", "r_10", "ünï çø"]
    assert not found.warnings and found.summary() == {"views": 4, "pixels": 4 * 48, "unposed": 4}
    for photo in found.photos:
        assert (found.folder / photo.picture).read_bytes() == Path(photo.source).read_bytes()
        assert photo.picture.isascii()


def test_photos_may_be_given_one_by_one(tmp_path: Path) -> None:
    files = [picture(tmp_path / name) for name in ("b.png", "a.png", "c.png")]
    assert [photo.name for photo in gathered(files, tmp_path / "input").photos] == ["b", "a", "c"]


def test_masks_lie_beside_the_photos_or_beside_their_folder(tmp_path: Path) -> None:
    for name in ("images/a.jpg", "images/b.jpg", "images/c.jpg", "masks/a.jpg.png", "images/masks/b.png"):
        picture(tmp_path / "photos" / name)
    found = gathered([tmp_path / "photos"], tmp_path / "input")
    assert [photo.mask and Path(photo.mask_source or "").name for photo in found.photos] == ["a.jpg.png", "b.png", None]


def test_what_is_no_picture_is_left_out_and_counted(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos/d.jpg").write_bytes(b"no picture at all")
    (tmp_path / "photos/e.heic").write_bytes(b"ftypheic")
    found = gathered([tmp_path / "photos"], tmp_path / "input")
    assert len(found.photos) == 3
    assert [text.split(";")[0] for text in found.warnings] == [
        "photos: 1 files are in forms that are not read (first: e.heic)",
        "photos: 1 of 4 cannot be read (first: d.jpg)"]


@pytest.mark.parametrize(("names", "said"), [
    (["a.png"], "holds 1 that can be read; give 3 or more"), (["a.heic", "b.heic"], "is HEIC, which is not read"),
    (["walk.mp4"], "is MP4, which is not read; take two or three frames a second"), ([], "holds no capture")])
def test_what_cannot_be_a_capture_is_refused_in_one_line(tmp_path: Path, names: list[str], said: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in names:
        picture(folder / name) if name.endswith("png") else (folder / name).write_bytes(b"x")
    with pytest.raises(InputError, match=said) as error:
        gathered([folder], tmp_path / "input")
    assert "\n" not in str(error.value)


def test_a_folder_that_states_cameras_is_read_as_before(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    assert not has_cameras(tmp_path)
    with pytest.raises(InputError, match="`maquette capture` and Photos to Mesh find the cameras"):
        read_capture(tmp_path)
    (tmp_path / "transforms.json").write_text('{"frames": []}')
    assert has_cameras(tmp_path)
    with pytest.raises(InputError, match="its list of frames is empty"):
        gather("capture", [tmp_path], tmp_path / "input", Capture())


def test_the_capture_of_found_cameras_names_the_users_own_files(tmp_path: Path) -> None:
    from maquette.formats.capture import Camera, View
    from maquette.formats.capture import Capture as Posed

    for name in "abc":
        picture(tmp_path / "photos" / f"{name}.png")
    found = gathered([tmp_path / "photos"], tmp_path / "input")
    views = tuple(View(photo.name, Camera(8, 6, 9.0, 9.0, 4.0, 3.0), np.eye(4), photo.picture)
                  for photo in found.photos[:2])
    there = found.at_their_sources(Posed(found.folder, views))
    assert [Path(view.picture) for view in there.views] == [tmp_path / "photos/a.png", tmp_path / "photos/b.png"]
