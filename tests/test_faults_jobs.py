"""What can happen to a job while it runs, with real workers: docs/faults.md has a row for each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PYTHON = Path(sys.executable)


def start(house: ModuleType, **values: Any) -> Any:
    recipe = house.recipes.rehearsal.Rehearsal(**values)
    job = house.jobs.folder.Job.create(house.jobs.store.new_job_path("rehearsal"), recipe, device="cpu")
    house.jobs.queue.submit(job)
    house.jobs.queue.advance(PYTHON)
    return job


def wait_for(condition: Any, seconds: float = 40.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no scripts with #!")
def test_a_worker_that_dies_at_its_start_says_its_last_line(house: ModuleType, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ImportError: libcudnn.so.9: cannot open shared object file' >&2\nexit 1\n")
    python.chmod(0o755)
    job = house.jobs.folder.Job.create(house.jobs.store.new_job_path("rehearsal"), house.recipes.rehearsal.Rehearsal())
    with pytest.raises(house.recipes.MachineError, match="killed or crashed"):
        house.jobs.run.run(job, python)
    said = job.status()
    assert said.state == "interrupted"
    assert said.message == ("its process ended at its start (ImportError: libcudnn.so.9: cannot open shared object "
                            "file); `maquette doctor` says what is wrong, then resume it")
    house.jobs.process.resume(job)
    house.jobs.run.wait(job, PYTHON)
    assert job.status().state == "done"


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no folder that is in use")
def test_a_folder_that_is_deleted_while_its_job_runs_ends_the_worker(house: ModuleType) -> None:
    job = start(house, steps=100_000)
    wait_for(lambda: job.status().stage == "Counting")
    worker = job.worker()
    trash = job.path.with_name(".trash")
    os.rename(job.path, trash)  # in one step: the worker writes into it all the time
    shutil.rmtree(trash)
    said = job.status()
    assert said.state == "failed" and said.message == f"job: {job.path} was deleted; start a new one"
    wait_for(lambda: house.jobs.machine.start_of(worker["pid"]) != worker["start"], 10.0)
    assert not job.path.exists(), "nothing is written where it was"
    after = start(house, steps=1)
    house.jobs.run.wait(after, PYTHON)
    assert after.status().state == "done", "the next job is not disturbed"


def test_a_status_that_is_broken_while_its_job_runs_is_written_anew(house: ModuleType) -> None:
    job = start(house, steps=60)
    wait_for(lambda: job.status().stage == "Counting")
    (job.path / "status.json").write_text("{ not json")
    assert not job.status().is_over, "its worker lives"
    wait_for(lambda: job.status().stage == "Counting")
    house.jobs.run.wait(job, PYTHON)
    assert job.report()["counted"] == 60


def test_a_recipe_that_is_changed_while_its_job_runs_counts_from_the_next_start(house: ModuleType) -> None:
    job = start(house, steps=60)
    wait_for(lambda: job.status().stage == "Counting")
    path = job.path / "job.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"recipe": values["recipe"] | {"steps": 3}}))
    house.jobs.run.wait(job, PYTHON)
    assert job.report()["counted"] == 60 and job.report()["recipe"]["steps"] == 60, "the report says what was done"


def test_a_job_json_that_is_broken_while_its_job_runs_is_said_and_the_worker_ends(house: ModuleType) -> None:
    job = start(house, steps=60)
    wait_for(lambda: job.status().stage == "Counting")
    worker = job.worker()
    (job.path / "job.json").write_text("{")
    seen = house.jobs.folder.Job(job.path).status()
    assert seen.state == "failed" and "job.json is damaged" in seen.message and "start a new job" in seen.message
    wait_for(lambda: house.jobs.machine.start_of(worker["pid"]) != worker["start"])


def test_a_running_job_tells_the_memory_that_it_holds_and_gives_all_of_it_back(house: ModuleType) -> None:
    job = start(house, steps=100)
    held = wait_for(lambda: job.status().stage == "Counting" and job.status().memory_mb)
    worker = job.worker()
    assert held > 50 and job.status().gpu_mb == 0
    house.jobs.run.wait(job, PYTHON)
    assert job.status().memory_mb == 0
    wait_for(lambda: house.jobs.machine.start_of(worker["pid"]) != worker["start"], 5.0)


def test_on_a_gpu_each_stage_gives_back_what_the_one_before_has_left(house: ModuleType, monkeypatch: pytest.MonkeyPatch
                                                                    ) -> None:
    import importlib
    import threading

    import torch
    worker = importlib.import_module(f"{house.__name__}.neural.worker")
    freed: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append("freed"))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 2**30)
    job = house.jobs.folder.Job.create(house.jobs.store.new_job_path("rehearsal"), house.recipes.rehearsal.Rehearsal())
    running = worker.Running(job, job.recipe, torch.device("cuda"), threading.Event())
    running.stage("Training", 0.5)
    running.stage("Writing", 1.0)
    assert freed == ["freed", "freed"]
    assert json.loads((job.path / "status.json").read_text())["gpu_mb"] == 3072


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_release_ends_a_worker_that_hangs_after_its_job_and_leaves_those_that_run(house: ModuleType) -> None:
    folder, process = house.jobs.folder, house.jobs.process
    hung = folder.Job.create(house.jobs.store.new_job_path("rehearsal"), house.recipes.rehearsal.Rehearsal())
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    hung.write_worker(child.pid)
    hung.write_status(folder.Status("done", fraction=1.0))
    running = start(house, steps=100_000)
    wait_for(lambda: running.status().stage == "Counting")
    assert process.release() == [hung]
    assert child.wait(5) == -signal.SIGKILL
    assert running.status().state == "running" and process.release() == []
    process.cancel(running)
