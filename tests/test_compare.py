"""Comparing methods: one input for several jobs, their figures side by side, and what happens when one fails."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maquette import api, cli, compare
from maquette.formats import comparison
from maquette.jobs import process, queue, store
from maquette.jobs.folder import INPUT_OF, OF_INPUT, Job
from maquette.recipes import Cancelled, InputError, MachineError
from maquette.recipes.capture import Capture

PYTHON = Path(sys.executable)
REPORT = {"seconds": {"total": 99.0, "train": 60.4}, "psnr_db": 31.256, "ssim": 0.95, "mesh_psnr_db": 25.0,
          "mesh": {"faces": 50_000, "open_edges": 0}, "warnings": [],
          "truth": {"f_score": {"0.5%": 0.91, "1%": 0.985}, "normal_consistency": 0.97}}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Methods by name and what becomes of them, in the place of workers: a report, or what is raised."""
    ends: dict[str, Any] = {}

    def run(job: Job, python: Path, on_status: Any) -> None:
        end = ends[job.recipe.to_json()["method"]]
        assert (job.input / "capture.json").is_file() and len(list((job.input / "pictures").iterdir())) == 4
        if isinstance(end, Exception):
            raise end
        job.result_files().mkdir(parents=True)
        (job.result_files() / job.target["files"]).write_bytes(b"glTF")
        Image.fromarray(np.full((6, 30, 3), 200, np.uint8)).save(job.output / "preview.png")
        job.write_report({**REPORT, **end})
        on_status(job.status())
    monkeypatch.setattr(compare.run, "run", run)
    return ends


def request(transforms: Path, out: Path, **more: Any) -> api.Request:
    return api.Request("capture", (transforms,), {"seconds": 5.0}, out, **more)


def test_a_row_has_the_figures_that_the_report_has() -> None:
    row = comparison.row("grid", REPORT)
    assert row == {"method": "grid", "seconds": 60.4, "psnr_db": 31.256, "ssim": 0.95, "mesh_psnr_db": 25.0,
                   "faces": 50_000, "open_edges": 0, "f_score_0.5%": 0.91, "f_score_1%": 0.985,
                   "normal_consistency": 0.97}
    assert comparison.row("grid", {"truth": 3, "mesh": {}}) == {"method": "grid"}


def test_a_table_leaves_out_what_no_method_has_and_says_failures_below() -> None:
    rows = [comparison.row("grid", REPORT), comparison.row("surface", {"seconds": {"train": 5.0}}),
            comparison.failed("nerf", "memory: too little")]
    assert comparison.text(rows[1:]) == "method   seconds\nsurface        5\nnerf: memory: too little"
    lines = comparison.text(rows).splitlines()
    assert lines[0].split()[:3] == ["method", "seconds", "psnr_db"] and "mesh_ssim" not in lines[0]
    assert lines[1].split() == ["grid", "60", "31.26", "0.950", "25.00", "50,000", "0", "0.910", "0.985", "0.970"]
    assert lines[2].split() == ["surface", "5", *"–" * 8] and lines[3] == "nerf: memory: too little"
    read = list(csv.DictReader(io.StringIO(comparison.as_csv(rows).decode())))
    assert [r["method"] for r in read] == ["grid", "surface", "nerf"]
    assert read[0]["psnr_db"] == "31.256" and read[1]["psnr_db"] == "" and read[2]["failed"] == "memory: too little"
    assert json.loads(comparison.as_json(rows))["methods"][2] == {"method": "nerf", "failed": "memory: too little"}


def test_a_sheet_has_a_strip_a_method(tmp_path: Path) -> None:
    for name, width in (("a", 40), ("b", 60)):
        Image.fromarray(np.full((10, width, 3), 99, np.uint8)).save(tmp_path / f"{name}.png")
    strips = [(name, tmp_path / f"{name}.png") for name in ("a", "gone", "b")]
    with Image.open(io.BytesIO(comparison.sheet(strips))) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2 * (10 + comparison.LABEL), 60, 3)
    assert (pixels[16:26, :40] == 99).all() and (pixels[16:26, 40:] == 255).all() and (pixels[42:] == 99).all()
    assert comparison.sheet([("gone", tmp_path / "gone.png")]) is None


def test_methods_share_one_input_and_leave_their_results_in_one_folder(transforms: Path, tmp_path: Path,
                                                                       ran: dict[str, Any]) -> None:
    ran |= {"grid": {}, "surface": {"psnr_db": 29.0}}
    heard: list[Any] = []
    rows = compare.compare(request(transforms, tmp_path / "cmp", seed=3), ["grid", "surface"], heard.append, PYTHON)
    assert [(row["method"], row["psnr_db"]) for row in rows] == [("grid", 31.256), ("surface", 29.0)]
    assert sorted(p.name for p in (tmp_path / "cmp").iterdir()) == [
        "compare.csv", "compare.json", "compare.png", "grid.glb", "grid.report.json", "surface.glb",
        "surface.report.json"]
    grid, surface = store.list_jobs()
    assert surface.target[INPUT_OF] == grid.name and surface.recipe == Capture(method="surface", seconds=5.0)
    assert surface.description["seed"] == 3 and surface.description["summary"] == grid.description["summary"]
    assert (grid.input / "capture.json").stat().st_ino == (surface.input / "capture.json").stat().st_ino
    stages = [status.stage for status in heard]
    assert stages[0] == "Gathering" and any(stage.startswith("surface: ") for stage in stages)
    with pytest.raises(InputError, match="cmp exists; give --overwrite"):
        compare.compare(request(transforms, tmp_path / "cmp"), ["grid", "surface"], python=PYTHON)
    compare.compare(request(transforms, tmp_path / "cmp", overwrite=True), ["surface", "grid"], python=PYTHON)


def test_a_method_that_fails_stops_no_other(transforms: Path, tmp_path: Path, ran: dict[str, Any]) -> None:
    ran |= {"grid": MachineError("memory: too little"), "surface": {}}
    rows = compare.compare(request(transforms, tmp_path / "cmp"), ["grid", "surface"], python=PYTHON)
    assert rows[0] == {"method": "grid", "failed": "memory: too little"} and rows[1]["psnr_db"] == 31.256
    assert not (tmp_path / "cmp/grid.glb").exists() and (tmp_path / "cmp/surface.glb").exists()
    ran["surface"] = InputError("views: none")
    with pytest.raises(MachineError, match="too little"):
        compare.compare(request(transforms, tmp_path / "all"), ["grid", "surface"], python=PYTHON)


def test_a_cancel_ends_all(transforms: Path, tmp_path: Path, ran: dict[str, Any]) -> None:
    ran |= {"grid": Cancelled("cancelled: job"), "surface": {}}
    with pytest.raises(Cancelled):
        compare.compare(request(transforms, tmp_path / "cmp"), ["grid", "surface"], python=PYTHON)
    assert store.list_jobs()[1].status().state == "cancelled"


@pytest.mark.parametrize(("methods", "out", "says"), [
    (["grid"], "cmp", "methods: grid is nothing to compare; give two or more of"),
    ([], "cmp", "methods: none is nothing"), (["grid", "grid"], "cmp", "methods: grid is nothing"),
    (["grid", "fog"], "cmp", "method: 'fog' is not one of"),
    (["grid", "surface"], "x.glb", "x.glb is no folder's name"), (["grid", "surface"], "v0.png/x", "v0.png"),
])
def test_what_cannot_be_compared_is_refused_and_leaves_no_job(transforms: Path, tmp_path: Path, methods: list[str],
                                                              out: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        compare.compare(request(transforms, tmp_path / out), methods, python=PYTHON)
    assert store.list_jobs() == []


def test_the_command_line_prints_the_table(transforms: Path, tmp_path: Path, ran: dict[str, Any],
                                           capsys: pytest.CaptureFixture[str]) -> None:
    ran |= {"grid": {}, "surface": InputError("views: none")}
    words = ["compare", str(transforms), "--methods", "surface, grid", "-o", str(tmp_path / "cmp"), "--seconds", "7"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "31.26" in said and "surface: views: none" in said and str(tmp_path / "cmp") in said
    assert all(job.recipe.to_json()["seconds"] == 7 for job in store.list_jobs())
    assert cli.main([*words, "--overwrite", "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["state"] == "done" and [row["method"] for row in last["methods"]] == ["surface", "grid"]
    assert cli.main([*words, "--method", "grid"]) == 2


def sharing(state: str = "") -> tuple[Job, Job]:
    """A job, and one that takes its input."""
    first = Job.create(store.new_job_path("capture"), Capture())
    other = Job.create(store.new_job_path("capture"), Capture(), target={INPUT_OF: first.name})
    queue.submit(other)
    return first, other


def test_what_is_found_out_of_an_input_is_found_once() -> None:
    first, other = sharing()
    found = first.checkpoint / OF_INPUT / "motion/solution.npz"
    store.take_found(other)
    assert not other.checkpoint.exists(), "nothing is found yet"
    found.parent.mkdir(parents=True)
    found.write_bytes(b"cameras")
    store.take_found(first)
    store.take_found(other)
    mine = other.checkpoint / OF_INPUT / "motion/solution.npz"
    assert mine.read_bytes() == b"cameras"
    mine.unlink()
    mine.write_bytes(b"mine")
    store.take_found(other)
    assert mine.read_bytes() == b"mine" and found.read_bytes() == b"cameras"


def test_a_job_waits_for_an_input_that_is_gathered_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Job] = []
    monkeypatch.setattr(process, "start_worker", lambda job, python: started.append(job))
    first, other = sharing()
    assert queue.advance(PYTHON) is None and not started
    (first.input / "pictures").mkdir()
    (first.input / "pictures/a.png").write_bytes(b"a")
    store.share_input(first)
    assert (other.input / "pictures/a.png").read_bytes() == b"a"
    assert queue.advance(PYTHON) == other and started == [other]
    process.cancel(other)
    store.share_input(first)
    assert other.status().state == "cancelled", "what a user has ended stays so"


def test_a_cancelled_job_has_the_input_when_it_is_resumed_and_a_lost_one_does_not_wait_for_ever() -> None:
    first, other = sharing()
    process.cancel(other)
    (first.input / "a.png").write_bytes(b"a")
    store.share_input(first)
    assert (other.input / "a.png").exists() and other.status().state == "cancelled"
    process.resume(other)
    assert not other.lacks_input()
    first, other = sharing()
    assert other.lacks_input()
    store.remove(first)
    assert not other.lacks_input(), "it starts, and says that its input is gone"
