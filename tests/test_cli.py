"""The command line as a user meets it: words in, files and exit codes out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Run = subprocess.CompletedProcess


class Maquette:
    """The command line of the package with the tests' task."""

    def __init__(self, house: ModuleType, folder: Path) -> None:
        self.root, self.folder = house.jobs.process.ROOT, folder

    def start(self, *words: Any, python: Any = sys.executable, env: dict[str, str] | None = None) -> subprocess.Popen:
        return subprocess.Popen([python, self.root, *map(str, words)], cwd=self.folder, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})

    def __call__(self, *words: Any, **more: Any) -> Run:
        child = self.start(*words, **more)
        out, err = child.communicate(timeout=120)
        return Run(words, child.returncode, out, err)


@pytest.fixture
def maquette(house: ModuleType, tmp_path: Path, transforms: Path) -> Maquette:
    return Maquette(house, tmp_path)


@pytest.fixture
def jobs(jobs_of_their_own: Path) -> Path:
    return jobs_of_their_own


def jobs_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/job.json"))


def wait_for_stage(folder: Path, stage: str) -> Path:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for job in jobs_in(folder):
            status = job / "status.json"
            if status.exists() and json.loads(status.read_text())["stage"] == stage:
                return job
        time.sleep(0.02)
    raise AssertionError(f"no job came to {stage}")


def assert_refused(run: Run, code: int, says: str) -> None:
    assert run.returncode == code and run.stdout in ("", "  0%  Gathering\n")
    assert run.stderr.startswith("maquette: ") and run.stderr.count("\n") == 1, run.stderr
    assert re.search(says, run.stderr), run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("ending", ["glb", "obj", "ply", "stl", "npz"])
def test_a_task_writes_out_in_the_form_of_its_ending_and_the_report_beside_it(maquette: Maquette, tmp_path: Path,
                                                                              ending: str) -> None:
    run = maquette("rehearsal", "transforms.json", "-o", f"new/four.{ending}", "--seed", "5", "--trouble", "warn")
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "new/four.report.json").read_text())
    assert (tmp_path / f"new/four.{ending}").stat().st_size > 50
    assert report["seed"] == 5 and report["recipe"]["trouble"] == "warn"
    assert run.stderr == "warning: views: 3 of 50 pictures are missing (first: train/r_12.png); they are skipped\n"
    assert str(tmp_path / f"new/four.{ending}") in run.stdout and "four.report.json" in run.stdout
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted([f"four.{ending}", "four.report.json"])


def test_plain_lines_tell_the_stages(maquette: Maquette) -> None:
    run = maquette("rehearsal", "transforms.json", "-o", "x.ply", "--steps", "20")  # longer than a look at the status
    stages = [line.split("%")[1].split(",")[0].strip() for line in run.stdout.splitlines() if "%" in line]
    # The last stage may be over before the next look.
    assert [stage for stage in dict.fromkeys(stages) if stage in ("Gathering", "Counting")] == ["Gathering", "Counting"]


def test_json_is_a_line_a_status_and_ends_with_the_report(maquette: Maquette, tmp_path: Path) -> None:
    run = maquette("rehearsal", "transforms.json", "-o", "x.ply", "--json", "--report", "r/numbers.json")
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert lines[-1]["state"] == "done" and lines[-1]["out"] == str(tmp_path / "x.ply")
    assert lines[-1]["report"] == json.loads((tmp_path / "r/numbers.json").read_text())
    assert {line["state"] for line in lines[:-1]} <= {"running", "queued", "done"}


def test_quiet_says_nothing(maquette: Maquette) -> None:
    run = maquette("rehearsal", "transforms.json", "-o", "x.ply", "--quiet")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_a_terminal_gets_a_bar_that_leaves_the_summary(maquette: Maquette, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
    ours, theirs = pty.openpty()
    words = [sys.executable, maquette.root, "rehearsal", "transforms.json", "-o", "x.ply", "--steps", "20"]
    child = subprocess.Popen(words, cwd=tmp_path, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    assert child.wait() == 0 and "Counting" in said.decode() and "━" in said.decode() and b"x.ply" in said


@pytest.mark.parametrize(("words", "says"), [
    (["rehearsal", "transforms.json"], "required: -o/--out"),
    (["rehearsal", "transforms.json", "-o", "x.fbx"], r"out: 'x.fbx' does not end in one of .blend .glb .obj"),
    (["rehearsal", "transforms.json", "-o", "."], "out: "),
    (["rehearsal", "transforms.json", "-o", "transforms.json/x.glb"], r"out|file: .*x.glb cannot be written"),
    (["rehearsal", "transforms.json", "-o", "/proc/nobody/x.glb"], "cannot be written"),
    (["rehearsal", "none.json", "-o", "x.glb"], "input: none.json does not exist"),
    (["rehearsal", "-o", "x.glb"], "input: none was given; maquette rehearsal transforms.json"),
    (["rehearsal", "transforms.json", "-o", "x.glb", "--steps", "0"], "steps: 0 is too small; give 1 or more"),
    (["rehearsal", "transforms.json", "-o", "x.glb", "--steps", "many"], "steps: 'many' is not a whole number"),
    (["rehearsal", "transforms.json", "-o", "x.glb", "--trouble", "big"], "trouble: 'big' is not one of none, input"),
    (["rehearsal", "transforms.json", "-o", "x.glb", "--step", "1"], "unrecognized arguments: --step 1"),
    (["rehearsal", "transforms.json", "-o", "x.glb", "--recipe", "none.json"], "recipe: none.json cannot be read"),
    (["rehearsal", "transforms.json", "-o", "x.glb", "--recipe", "transforms.json"], "has no parameter 'camera_ang"),
    (["rehearsal", "transforms.json", "-o", "x.glb", "--preset", "bad"], "preset"),
    (["rehearsal", "v0.png", "-o", "x.glb"], "v0.png"),
    (["reherse", "transforms.json", "-o", "x.glb"], "reherse"),
    (["resume", "none"], "job: there is none at .*none; `maquette jobs` lists"),
    (["cancel", "../../etc"], "job: there is none at"),
    (["evaluate", "none.glb", "--truth", "transforms.json"], "none.glb does not exist"),
    (["evaluate", "transforms.json", "--truth", "transforms.json", "--report", "/proc/none/x.json"], "cannot be written"),
    (["work", "none"], "job: "),
    ([], "required: WORD"),
])
def test_wrong_words_are_one_line_exit_code_2_and_leave_nothing(maquette: Maquette, jobs: Path, tmp_path: Path,
                                                                words: list[str], says: str) -> None:
    before = sorted(tmp_path.iterdir())
    assert_refused(maquette(*words), 2, says)
    assert [p for p in jobs.iterdir() if p.name != "queue.lock"] == [] and sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("existing", ["x.obj", "x.mtl", "x.report.json"])
def test_what_exists_is_replaced_only_with_overwrite(maquette: Maquette, tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    words = ["rehearsal", "transforms.json", "-o", "x.obj"]
    assert_refused(maquette(*words), 2, f"out: .*{existing} exists; give --overwrite or another name")
    assert (tmp_path / existing).read_text() == "mine"
    assert maquette(*words, "--overwrite").returncode == 0
    assert (tmp_path / "x.obj").read_text() != "mine"


def test_a_python_without_torch_is_refused(maquette: Maquette, tmp_path: Path) -> None:
    bare = bare_python(tmp_path)
    run = maquette("rehearsal", "transforms.json", "-o", "x.glb", env={"MAQUETTE_PYTHON": str(bare)})
    assert_refused(run, 2, f"no torch in the chosen Python {bare}; ")


def bare_python(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "bare"], check=True)
    return folder / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def test_a_python_without_torch_hands_over_to_the_backend(maquette: Maquette, tmp_path: Path) -> None:
    run = maquette("rehearsal", "transforms.json", "-o", "x.glb", python=bare_python(tmp_path),
                   env={"MAQUETTE_PYTHON": sys.executable})
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "x.glb").exists()


@pytest.mark.parametrize(("trouble", "code", "says"), [
    ("input", 2, "grid: all 8 values are 0"), ("ram", 4, "memory: the machine has run out"),
    ("defect", 1, "a defect of Maquette .*; the log is (.*log.txt)"),
    ("crash", 4, "was killed or crashed; `maquette resume rehearsal-.*` continues it, its log is"),
])
def test_a_failing_task_is_one_line_and_its_kinds_exit_code(maquette: Maquette, tmp_path: Path, trouble: str,
                                                            code: int, says: str) -> None:
    run = maquette("rehearsal", "transforms.json", "-o", "x.glb", "--quiet", "--trouble", trouble)
    assert_refused(run, code, says)
    assert not (tmp_path / "x.glb").exists()
    if trouble == "defect":
        log = re.search(says, run.stderr)
        assert log and "KeyError" in Path(log[1]).read_text()


def test_a_failure_in_json_is_a_line_of_json(maquette: Maquette) -> None:
    run = maquette("rehearsal", "transforms.json", "-o", "x.glb", "--json", "--trouble", "input")
    last = json.loads(run.stdout.splitlines()[-1])
    assert run.returncode == 2 and run.stderr == ""
    assert last == {"state": "failed", "kind": "input", "message": "grid: all 8 values are 0; give one with something "
                                                                   "in it"}


@pytest.mark.parametrize("word", ["SIGINT", "SIGTERM"])
def test_ctrl_c_and_kill_cancel_within_two_seconds_and_say_how_to_resume(
        maquette: Maquette, jobs: Path, tmp_path: Path, house: ModuleType, word: str) -> None:
    # A shell that runs tests in the background makes them ignore Ctrl-C, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    child = maquette.start("rehearsal", "transforms.json", "-o", "x.glb", "--steps", "150")
    job = wait_for_stage(jobs, "Counting")
    pid = json.loads((job / "worker.json").read_text())["pid"]
    began = time.monotonic()
    child.send_signal(getattr(signal, word))
    _, said = child.communicate(timeout=10)
    assert time.monotonic() - began < 2.0 and house.jobs.machine.start_of(pid) is None
    assert child.returncode == 3
    assert said == f"maquette: cancelled: job {job.name}; `maquette resume {job.name}` continues it\n"
    assert maquette("resume", job.name).returncode == 0
    assert (tmp_path / "x.glb").exists()
    assert json.loads((tmp_path / "x.report.json").read_text())["resumed_at"] > 0


def test_a_killed_worker_ends_the_command_and_resume_writes_out(maquette: Maquette, jobs: Path, tmp_path: Path) -> None:
    child = maquette.start("rehearsal", "transforms.json", "-o", "x.glb", "--quiet", "--steps", "100")
    job = wait_for_stage(jobs, "Counting")
    os.kill(json.loads((job / "worker.json").read_text())["pid"], signal.SIGKILL)
    out, err = child.communicate(timeout=10)
    assert_refused(Run([], child.returncode, out, err), 4, f"`maquette resume {job.name}` continues it")
    assert maquette("resume", job.name, "--quiet").returncode == 0
    assert (tmp_path / "x.glb").exists()


def test_a_killed_command_leaves_a_worker_whose_result_resume_writes(maquette: Maquette, jobs: Path, tmp_path: Path
                                                                     ) -> None:
    child = maquette.start("rehearsal", "transforms.json", "-o", "x.glb", "--steps", "50")
    job = wait_for_stage(jobs, "Counting")
    child.kill()
    child.communicate()
    assert maquette("resume", job.name).returncode == 0
    assert (tmp_path / "x.glb").exists()
    assert json.loads((job / "report.json").read_text())["resumed_at"] == 0, "it was the first worker that went on"


def test_a_job_whose_views_blender_has_not_rendered_is_left_to_blender(maquette: Maquette, jobs: Path,
                                                                       house: ModuleType) -> None:
    job = house.jobs.folder.Job.create(house.jobs.store.new_job_path("capture"), house.recipes.recipe_of("capture")())
    (job.path / "scene.blend").touch()
    assert_refused(maquette("resume", job.name), 2, f"job {job.name} are not all rendered; resume it in Blender")


def test_two_commands_at_once_queue(maquette: Maquette, jobs: Path, tmp_path: Path) -> None:
    first = maquette.start("rehearsal", "transforms.json", "-o", "a.glb", "--steps", "60")
    wait_for_stage(jobs, "Counting")
    second = maquette.start("rehearsal", "transforms.json", "-o", "b.glb", "--steps", "2")
    most = 0
    while first.poll() is None or second.poll() is None:
        states = maquette("jobs", "--json").stdout
        most = max(most, sum(job["state"] == "running" for job in json.loads(states)))
    out, _ = second.communicate()
    first.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert most == 1 and "waiting for the job before" in out
    assert (tmp_path / "a.glb").exists() and (tmp_path / "b.glb").exists()


def test_jobs_are_listed_cancelled_and_cleaned(maquette: Maquette, jobs: Path) -> None:
    assert maquette("rehearsal", "transforms.json", "-o", "a.glb").returncode == 0
    done = jobs_in(jobs)[0].name
    child = maquette.start("rehearsal", "transforms.json", "-o", "b.glb", "--steps", "9999")
    running = wait_for_stage(jobs, "Counting").name
    listed = maquette("jobs").stdout
    assert re.search(rf"{done} +done +100%", listed) and re.search(rf"{running} +running", listed)
    assert re.search(rf"2 jobs, [\d.]+ MB in {jobs}", listed)
    assert maquette("cancel", running).stdout.startswith(f"{running} is cancelled; `maquette resume {running}`")
    child.communicate()
    assert child.returncode == 3
    assert re.search(r"[\d.]+ MB freed", maquette("clean").stdout)
    assert maquette("jobs", "--json").stdout == "[]\n"


def test_help_of_the_whole_names_every_word(maquette: Maquette) -> None:
    said = maquette("--help")
    assert said.returncode == 0
    for word in ("capture", "voxels", "rehearsal", "jobs", "resume", "cancel", "clean", "evaluate", "doctor"):
        assert re.search(rf"^ +{word}\b", said.stdout, re.MULTILINE), word


def test_a_closed_pipe_is_no_defect(maquette: Maquette, tmp_path: Path) -> None:
    run = subprocess.run(f"{sys.executable} {maquette.root} doctor --json | true; exit ${{PIPESTATUS[0]}}", shell=True,
                         executable="/bin/bash", capture_output=True, text=True)
    assert "Traceback" not in run.stderr


def test_a_python_function_returns_mesh_report_and_job(house: ModuleType, transforms: Path, tmp_path: Path) -> None:
    heard: list[Any] = []
    result = house.rehearsal(transforms, steps=2, out=tmp_path / "x.ply", on_status=heard.append)
    assert result.mesh.faces.shape == (4, 3) and result.report["counted"] == 2 and heard
    assert (tmp_path / "x.ply").exists() and result.job.status().state == "done"
    with pytest.raises(house.recipes.InputError, match="grid: all 8 values are 0"):
        house.rehearsal(str(transforms), trouble="input")
    with pytest.raises(house.recipes.InputError, match="has no parameter 'stepz'"):
        house.rehearsal(transforms, stepz=2)


FAKE_BLENDER = """#!{python}
import json, os, sys, time
verb, *rest = sys.argv[sys.argv.index("--") + 1:]
print("Blender says much that is not progress")
print("maquette 0.5000 view 1 of 2", flush=True)
if "{code}" != "0":
    print("Warning: a library complains", file=sys.stderr)
    print("scene: it has no camera; add one", file=sys.stderr)
    sys.exit({code})
if verb == "gather":
    blend, asked, folder = rest
    recipe = json.load(open(asked))["recipe"]
    json.dump({{"recipe": {{"steps": 5, **recipe}}, "summary": {{}}}}, open(os.path.join(folder, "gathered.json"), "w"))
else:
    job, out, *into = rest
    assert os.path.exists(os.path.join(job, "output", "mesh.npz"))
    open(out, "w").write(" ".join(into))
"""


def fake_blender(folder: Path, code: int = 0) -> Path:
    path = folder / "blender"
    path.write_text(FAKE_BLENDER.format(python=sys.executable, code=code))
    path.chmod(0o755)
    return path


def test_a_blend_is_gathered_and_written_by_the_blender_that_is_named(maquette: Maquette, tmp_path: Path) -> None:
    (tmp_path / "scene.blend").write_text("BLENDER")
    run = maquette("rehearsal", "scene.blend", "-o", "out.blend", "--blender", fake_blender(tmp_path), "--trouble",
                   "warn")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out.blend").read_text() == f"--into {tmp_path}/scene.blend"
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert (report["recipe"]["steps"], report["recipe"]["trouble"]) == (5, "warn"), "the scene's, and over it what is given"
    assert "50%  Gathering" in run.stdout


@pytest.mark.parametrize(("code", "says"), [(2, "^maquette: scene: it has no camera; add one$"),
                                            (1, "blender: a defect of Maquette or a crash of Blender .*log.txt"),
                                            (139, "crash of Blender")])
def test_what_blender_finds_wrong_is_said_in_its_words(maquette: Maquette, jobs: Path, tmp_path: Path, code: int,
                                                       says: str) -> None:
    (tmp_path / "scene.blend").write_text("BLENDER")
    run = maquette("rehearsal", "scene.blend", "-o", "x.glb", "--quiet", "--blender", fake_blender(tmp_path, code))
    assert_refused(run, 2 if code == 2 else 1, says)
    assert jobs_in(jobs) == []


def test_a_blender_that_is_none_is_refused_before_the_work(maquette: Maquette, jobs: Path, tmp_path: Path) -> None:
    run = maquette("rehearsal", "transforms.json", "-o", "x.blend", "--blender", tmp_path / "nothing")
    assert_refused(run, 2, "blender: .*nothing is not a program")
    assert list(jobs.iterdir()) == []
