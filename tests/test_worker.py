"""The worker as a process: what it says in the job's folder when all goes well and when it does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

PYTHON = Path(sys.executable)


def make(house: ModuleType, target: dict[str, Any] | None = None, **values: Any) -> Any:
    recipe = house.recipes.rehearsal.Rehearsal(**values)
    return house.jobs.folder.Job.create(house.jobs.store.new_job_path("rehearsal"), recipe, seed=7, device="cpu",
                                        target=target)


def run(house: ModuleType, **values: Any) -> Any:
    job = make(house, **values)
    house.jobs.run.run(job, PYTHON)
    return job


def wait_for(condition: Any, seconds: float = 30.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def start(house: ModuleType, **values: Any) -> Any:
    """A job whose worker has taken a step."""
    job = make(house, **values)
    house.jobs.queue.submit(job)
    house.jobs.queue.advance(PYTHON)
    return job


def test_a_job_ends_done_with_mesh_preview_and_report(house: ModuleType) -> None:
    job = run(house, steps=4, trouble="warn", target={"files": "four.glb"})
    report = job.report()
    assert job.status().state == "done"
    assert job.preview.exists() and (job.output / "mesh.npz").exists()
    assert (job.output / "files" / "four.glb").read_bytes()[:4] == b"glTF"
    assert report["task"] == "rehearsal" and report["recipe"]["steps"] == 4 and report["seed"] == 7
    assert report["device"] == "cpu" and report["seconds"]["total"] > 0.08
    assert report["memory"]["estimated_mb"] == 1 and report["memory"]["peak_mb"] > 50
    assert report["warnings"] == ["views: 3 of 50 pictures are missing (first: train/r_12.png); they are skipped"]
    assert report["versions"]["numpy"] == np.__version__
    assert "psnr_db" not in report, "a figure that is not a number is absent"
    assert "gpu_peak_mb" not in report["memory"]


def test_the_reports_recipe_is_the_jobs(house: ModuleType) -> None:
    job = run(house)
    assert job.report()["recipe"] == job.recipe.to_json() == json.loads((job.path / "job.json").read_text())["recipe"]


def test_status_tells_stage_fraction_and_time_left(house: ModuleType) -> None:
    job = make(house, steps=50, step_seconds=0.02)
    heard: list[Any] = []
    house.jobs.run.run(job, PYTHON, heard.append)
    counting = [status for status in heard if status.stage == "Counting"]
    assert len(counting) > 2
    assert [s.fraction for s in counting] == sorted(s.fraction for s in counting)
    assert all(0.1 <= s.fraction <= 0.9 for s in counting)
    assert all(0 < s.seconds_left < 5 for s in counting)
    assert counting[-1].message.startswith("step ")


def test_status_is_written_at_most_five_times_a_second(house: ModuleType) -> None:
    job = make(house, steps=400, step_seconds=0.002)
    house.jobs.queue.submit(job)
    house.jobs.queue.advance(PYTHON)
    wait_for(lambda: job.status().stage == "Counting")
    start, seen = time.monotonic(), set()
    while job.status().stage == "Counting":
        seen.add((job.path / "status.json").stat().st_mtime_ns)
        time.sleep(0.005)
    assert 1 < len(seen) <= 5 * (time.monotonic() - start) + 2


@pytest.mark.parametrize(("trouble", "kind", "says"), [
    ("input", "input", "grid: all 8 values are 0"),
    ("defect", "defect", "a defect of Maquette (KeyError: 'nothing there'); the log is "),
    ("upgraded", "machine", "maquette: it was updated or removed while this job ran; resume the job"),
    ("ram", "machine", "memory: the machine has run out of it"),
    ("gpu-always", "machine", "memory: the GPU has too little"),
])
def test_what_goes_wrong_is_one_line_and_its_traceback_is_in_the_log(house: ModuleType, trouble: str, kind: str,
                                                                     says: str) -> None:
    job = make(house, trouble=trouble)
    with pytest.raises(house.recipes.MaquetteError, match=".") as error:
        house.jobs.run.run(job, PYTHON)
    status = job.status()
    assert (status.state, status.kind) == ("failed", kind)
    assert says in status.message and "\n" not in status.message
    assert str(error.value) == status.message and error.value.kind == kind
    assert "Traceback" in job.log.read_text() and "Traceback" not in status.message


def test_a_full_gpu_lowers_the_resolution_once_and_says_so(house: ModuleType) -> None:
    job = run(house, trouble="gpu")
    report = job.report()
    assert report["resolution"] == 70 and report["recipe"]["resolution"] == 100
    assert report["warnings"] == ["resolution: 100 is too much for the GPU's memory; it was 70"]


def test_a_lowered_job_is_resumed_at_the_lower_resolution(house: ModuleType) -> None:
    job = start(house, trouble="gpu", steps=200, step_seconds=0.02)
    wait_for(lambda: (job.checkpoint / "counted.json").exists())
    os.kill(job.worker()["pid"], signal.SIGKILL)
    wait_for(lambda: job.status().state == "interrupted")
    house.jobs.process.resume(job)
    house.jobs.run.wait(job, PYTHON)
    assert job.report()["resolution"] == 70 and job.report()["resumed_at"] > 0


def test_a_job_that_needs_more_memory_than_there_is_is_refused_before_it_starts(house: ModuleType) -> None:
    job = make(house, memory=10**9)
    with pytest.raises(house.recipes.MachineError, match=r"needs about 1000000000 MB and \d+ MB are free"):
        house.jobs.run.run(job, PYTHON)
    assert not job.checkpoint.exists()


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_named(house: ModuleType, device: str) -> None:
    import torch
    if {"cuda": torch.cuda, "mps": torch.backends.mps}[device].is_available():
        pytest.skip(f"this machine has {device.upper()}")
    job = house.jobs.folder.Job.create(house.jobs.store.new_job_path("rehearsal"),
                                       house.recipes.rehearsal.Rehearsal(), device=device)
    with pytest.raises(house.recipes.MachineError, match=f"finds no {device} device"):
        house.jobs.run.run(job, PYTHON)


def test_a_worker_that_crashes_leaves_an_interrupted_job(house: ModuleType) -> None:
    job = make(house, trouble="crash")
    with pytest.raises(house.recipes.MachineError, match="killed or crashed"):
        house.jobs.run.run(job, PYTHON)
    assert job.status().state == "interrupted" and "Segmentation fault" in job.log.read_text()


@pytest.mark.parametrize("trouble", ["none", "deaf", "child"])
def test_cancel_takes_under_two_seconds_and_leaves_no_process(house: ModuleType, trouble: str) -> None:
    job = start(house, steps=10_000, trouble=trouble)
    expected = {"none": "Counting", "deaf": "Misbehaving", "child": "Misbehaving"}[trouble]
    wait_for(lambda: job.status().stage == expected)
    pids = [job.worker()["pid"]]
    if trouble == "child":
        pids.append(json.loads(wait_for(lambda: (job.checkpoint / "child.json").exists()
                                        and (job.checkpoint / "child.json").read_text()))["pid"])
    began = time.monotonic()
    house.jobs.process.cancel(job)
    assert time.monotonic() - began < 2.0
    assert job.status().state == "cancelled"
    wait_for(lambda: all(house.jobs.machine.start_of(pid) is None for pid in pids), 1.0)


def test_cancel_while_the_worker_still_imports_leaves_no_process(house: ModuleType) -> None:
    job = start(house, steps=10_000)
    pid = job.worker()["pid"]
    began = time.monotonic()
    house.jobs.process.cancel(job)
    assert time.monotonic() - began < 2.0 and house.jobs.machine.start_of(pid) is None
    assert job.status().state == "cancelled"


def test_sigterm_is_a_cancel(house: ModuleType) -> None:
    job = start(house, steps=10_000)
    wait_for(lambda: job.status().stage == "Counting")
    os.kill(job.worker()["pid"], signal.SIGTERM)
    wait_for(lambda: job.status().state == "cancelled", 2.0)


def test_a_cancelled_job_is_resumed_where_it_was(house: ModuleType) -> None:
    job = start(house, steps=100)
    wait_for(lambda: job.status().fraction > 0.3)
    house.jobs.process.cancel(job)
    house.jobs.process.resume(job)
    assert job.status().state == "queued"
    house.jobs.run.wait(job, PYTHON)
    assert job.report()["resumed_at"] > 20 and job.report()["counted"] == 100


def test_killed_at_any_moment_a_job_is_interrupted_and_goes_on(house: ModuleType) -> None:
    """Seven kills at moments spread over start, steps and writing: each time a whole folder is left."""
    random = np.random.default_rng(0)
    job = start(house, steps=150, step_seconds=0.01)
    for delay in [0.0, 0.05, *random.uniform(0.2, 3.0, 5)]:
        time.sleep(delay)
        if job.status().state == "done":
            break
        os.kill(job.worker()["pid"], signal.SIGKILL)
        assert wait_for(lambda: job.status().state) in ("interrupted", "running")
        wait_for(lambda: job.status().state == "interrupted", 2.0)
        house.jobs.process.resume(job)
        house.jobs.queue.advance(PYTHON)
    house.jobs.run.wait(job, PYTHON)
    assert job.report()["counted"] == 150


def test_a_worker_outlives_the_process_that_started_it(house: ModuleType) -> None:
    job = make(house, steps=50)
    house.jobs.queue.submit(job)
    code = ("import importlib.util, sys; from pathlib import Path; root = Path(sys.argv[1])\n"
            "spec = importlib.util.spec_from_file_location('m', root / '__init__.py',"
            " submodule_search_locations=[str(root)])\n"
            "m = importlib.util.module_from_spec(spec); sys.modules['m'] = m; spec.loader.exec_module(m)\n"
            "import os, signal, m.jobs.queue; m.jobs.queue.advance(Path(sys.executable))\n"
            "os.killpg(0, signal.SIGKILL)")
    parent = subprocess.run([PYTHON, "-c", code, house.jobs.process.ROOT], start_new_session=True)
    assert parent.returncode == -signal.SIGKILL
    wait_for(lambda: job.status().state == "done")


def test_a_worker_gives_way_to_the_person(house: ModuleType) -> None:
    job = start(house, steps=10_000)
    wait_for(lambda: job.status().stage == "Counting")
    pid = job.worker()["pid"]
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 10
    assert os.getpgid(pid) == os.getsid(pid) == pid, "it leads a session of its own"
    session = Path(f"/proc/{pid}/autogroup")
    assert not session.exists() or session.read_text().endswith("nice 10\n")
    house.jobs.process.cancel(job)


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "2"), (3, "2"), (16, "15")])
def test_one_core_is_left_free_where_there_are_more_than_two(house: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                                             cores: int, threads: str) -> None:
    monkeypatch.setattr(house.jobs.machine, "cores", lambda: cores)
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    env = house.jobs.process.worker_environment()
    assert env["OMP_WAIT_POLICY"] == "PASSIVE"
    assert env["OMP_NUM_THREADS"] == env["NUMBA_NUM_THREADS"] == threads


def test_a_full_disk_fails_the_job_and_the_folder_stays_whole(house: ModuleType, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        monkeypatch.setenv("MAQUETTE_JOBS", str(small / "jobs"))
        job = make(house, trouble="disk")
        with pytest.raises(house.recipes.MachineError, match="disk: no space is left"):
            house.jobs.run.run(job, PYTHON)
        assert job.status().state == "failed" and job.status().kind == "machine"
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_file_size_limit_counts_as_a_full_disk(house: ModuleType) -> None:
    job = make(house, trouble="disk")
    house.jobs.queue.submit(job)
    limited = ["bash", "-c", 'ulimit -f 4096; exec "$@"', "_", PYTHON, house.jobs.process.ROOT, "work", job.path]
    assert subprocess.run(limited).returncode == 4
    assert job.status().message.startswith("disk: no space is left")


def test_the_working_word_refuses_a_job_that_another_works_on(house: ModuleType) -> None:
    job = start(house, steps=10_000)
    wait_for(lambda: job.status().stage == "Counting")
    second = subprocess.run([PYTHON, house.jobs.process.ROOT, "work", job.path], capture_output=True, text=True)
    assert second.returncode == 2 and "is running" in second.stderr and second.stderr.count("\n") == 1
    house.jobs.process.cancel(job)


def test_a_python_that_cannot_start_is_named(house: ModuleType, tmp_path: Path) -> None:
    job = make(house)
    house.jobs.queue.submit(job)
    with pytest.raises(house.recipes.InputError, match="cannot be started"):
        house.jobs.queue.advance(tmp_path / "python")
    assert job.status().state == "queued"
