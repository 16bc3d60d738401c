"""The job folder without a worker: states from files, atomic writes, the queue's order, clean-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maquette.jobs import backend, files, headless, machine, planning, process, queue, store
from maquette.jobs.folder import SILENCE_ELSEWHERE, Job, Status
from maquette.recipes import InputError, MachineError
from maquette.recipes.voxels import Voxels


@pytest.fixture
def job() -> Job:
    return new_job()


def new_job() -> Job:
    job = Job.create(store.new_job_path("voxels"), Voxels(), summary={"voxels": 8})
    queue.submit(job)
    return job


def a_dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def runs_here(job: Job) -> None:
    """As if this very process worked on the job."""
    job.write_worker(os.getpid())
    job.write_status(Status("running", "Meshing", 0.4))


def test_a_job_reads_what_was_written(job: Job) -> None:
    again = Job(job.path)
    assert again.recipe == Voxels() and again.task == "voxels" and again.status() == Status("queued")
    assert again == job and again.name.startswith("voxels-")


def test_a_running_job_whose_worker_lives_runs(job: Job) -> None:
    runs_here(job)
    assert job.status() == Status("running", "Meshing", 0.4)


def test_a_queued_job_with_a_living_worker_is_starting(job: Job) -> None:
    job.write_worker(os.getpid())
    assert job.status() == Status("running", "starting")


def test_a_running_job_whose_worker_is_gone_is_interrupted(job: Job) -> None:
    runs_here(job)
    job.write_worker(a_dead_pid())
    assert (job.status().state, job.status().fraction) == ("interrupted", 0.4)
    assert json.loads((job.path / "status.json").read_text())["state"] == "running", "nobody writes interrupted"


def test_a_pid_that_another_process_has_now_is_not_the_worker(job: Job) -> None:
    runs_here(job)
    files.write_json(job.worker_file, {"pid": os.getpid(), "start": "long ago", "host": machine.host()})
    assert job.status().state == "interrupted"


def test_a_worker_that_is_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        until = time.monotonic() + 10
        while machine.start_of(child.pid) is not None:
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        child.wait()


def test_the_start_of_a_process_stays_and_differs_between_processes() -> None:
    here = machine.start_of(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        time.sleep(0.05)
        assert here and here == machine.start_of(os.getpid()) and machine.start_of(child.pid) not in (None, here)
    finally:
        child.communicate(b"\n")


def test_ps_tells_the_start_as_well_where_there_is_no_proc() -> None:
    """The way of macOS, tried wherever there is a ps."""
    import shutil
    if shutil.which("ps") is None:
        pytest.skip("this Windows has no ps")
    assert machine._start_by_ps(os.getpid()) == machine._start_by_ps(os.getpid()) is not None
    assert machine._start_by_ps(a_dead_pid()) is None


def test_a_job_that_was_asked_to_stop_and_has_no_worker_is_cancelled(job: Job) -> None:
    runs_here(job)
    job.write_worker(a_dead_pid())
    job.request_cancel()
    assert job.status().state == "cancelled"


def test_a_worker_on_another_machine_counts_as_alive_until_it_is_silent_for_long(job: Job) -> None:
    runs_here(job)
    files.write_json(job.worker_file, {"pid": 1, "start": "x", "host": "another"})
    assert job.status().state == "running"
    silent = time.time() - SILENCE_ELSEWHERE - 1
    os.utime(job.path / "status.json", (silent, silent))
    assert job.status().state == "interrupted"


def test_a_job_on_another_machine_is_asked_and_not_killed(job: Job) -> None:
    runs_here(job)
    files.write_json(job.worker_file, {"pid": os.getpid(), "start": "x", "host": "another"})
    with pytest.raises(MachineError, match=f"{job.name} runs on another"):
        process.cancel(job)
    assert job.cancel_file.exists()


@pytest.mark.parametrize("damage", [b"", b"{", b'{"state": "runn', b"[]", b"null", b"\xff\xfe", b'{"stage": 3}'])
def test_a_damaged_status_is_an_interrupted_job_that_can_be_resumed(job: Job, damage: bytes) -> None:
    (job.path / "status.json").write_bytes(damage)
    status = job.status()
    assert status.state == "interrupted" and "status.json is damaged" in status.message and "\n" not in status.message
    process.resume(job)
    assert job.status().state == "queued"


@pytest.mark.parametrize(("damage", "says"), [
    (b"", "is damaged"), (b"[]", "is damaged"), (b'{"format": 1}', "lacks created, device, recipe"),
    (b'{"format": 2, "task": "voxels"}', "has format 2 and this Maquette reads 1; use the Maquette that wrote it"),
])
def test_a_job_that_cannot_be_read_says_so_in_one_line_and_disturbs_no_other(job: Job, damage: bytes, says: str
                                                                             ) -> None:
    (job.path / "job.json").write_bytes(damage)
    other = new_job()
    damaged = Job(job.path)
    assert damaged.status().state == "failed" and says in damaged.status().message
    assert "\n" not in damaged.status().message
    assert store.list_jobs() == [damaged, other]
    assert queue.ahead_of(other) == []


def test_a_job_that_vanishes_while_it_is_watched_says_so(job: Job) -> None:
    store.remove(_cancelled(job))
    assert job.status().message == f"job: {job.path} was deleted; start a new one"


def test_a_folder_without_job_json_is_no_job_yet() -> None:
    path = store.new_job_path("voxels")
    assert store.list_jobs() == []
    assert "never completed" in Job(path).status().message
    assert store.clean() == 0 and path.exists(), "it may be in the making"
    view = path / "view.exr"
    view.touch()
    os.utime(path, (0, 0))
    store.clean()
    assert path.exists(), "its views are being rendered"
    os.utime(view, (0, 0))
    store.clean()
    assert not path.exists()


def _cancelled(job: Job) -> Job:
    job.write_status(Status("cancelled"))
    return job


def test_jobs_are_listed_in_the_order_of_their_creation() -> None:
    made = [new_job() for _ in range(4)]
    assert store.list_jobs() == made and queue.ahead_of(made[2]) == made[:2]


def test_cleaning_deletes_what_is_over_and_keeps_what_may_go_on(job: Job) -> None:
    queued, cancelled, interrupted = job, _cancelled(new_job()), new_job()
    interrupted.write_status(Status("running", "Meshing", 0.5))
    interrupted.write_worker(a_dead_pid())
    (cancelled.path / "log.txt").write_bytes(b"0" * 1000)
    assert store.size(cancelled.path) > 1000
    assert store.clean() > 1000
    assert store.list_jobs() == [queued, interrupted]
    store.remove(interrupted)
    with pytest.raises(InputError, match="is queued; cancel it before"):
        store.remove(queued)
    assert store.list_jobs() == [queued]


def test_a_queued_job_is_cancelled_and_resumed_without_a_worker(job: Job) -> None:
    process.cancel(job)
    assert job.status() == Status("cancelled")
    process.resume(job)
    assert job.status() == Status("queued")


@pytest.mark.parametrize("state", ["done", "running", "queued"])
def test_only_what_has_stopped_is_resumed(job: Job, state: str) -> None:
    runs_here(job)
    job.write_status(Status(state))
    with pytest.raises(InputError, match=f"is {'done' if state == 'done' else 'running'}; there is nothing to resume"):
        process.resume(job)


def test_a_queue_with_a_running_job_starts_no_other(job: Job) -> None:
    runs_here(job)
    new_job()
    assert queue.advance(Path(sys.executable)) is None


def test_many_blenders_that_advance_the_queue_at_once_start_one_worker(job: Job, monkeypatch: pytest.MonkeyPatch
                                                                        ) -> None:
    """Eight processes at one lock; the worker is a sleeping Python that counts its starts."""
    new_job()
    fake = job.path.parent / "python"
    fake.write_text(f"#!/bin/sh\necho started >> {job.path.parent}/starts\nexec sleep 3\n")
    fake.chmod(0o755)
    code = f"from pathlib import Path; from maquette.jobs import queue; queue.advance(Path({str(fake)!r}))"
    blenders = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(8)]
    assert [blender.wait() for blender in blenders] == [0] * 8
    time.sleep(0.1)
    assert (job.path.parent / "starts").read_text().count("started") == 1
    assert job.status().state == "running"
    process.cancel(job)
    assert job.status().state == "cancelled"


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """One process writes a status of changing length as fast as it can, this one reads."""
    path = tmp_path / "status.json"
    code = ("import itertools, sys; from pathlib import Path; from maquette.jobs.files import write_json\n"
            "for i in itertools.count(): write_json(Path(sys.argv[1]), {'i': i, 'text': 'x' * (i * 7919 % 20000)})")
    writer = subprocess.Popen([sys.executable, "-c", code, path])
    try:
        while not path.exists():
            time.sleep(0.01)
        seen, until = set(), time.monotonic() + 2
        while time.monotonic() < until:
            values = files.read_json(path)
            assert len(values["text"]) == values["i"] * 7919 % 20000
            seen.add(values["i"])
    finally:
        writer.kill()
        writer.wait()
    assert len(seen) > 20


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    code = ("import sys; from pathlib import Path; from maquette.jobs.files import write_json\n"
            "i = 0\nwhile True: write_json(Path(sys.argv[1]), {'text': 'x' * 100_000}); i += 1; print(i, flush=True)")
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        assert writer.stdout and writer.stdout.readline()
        writer.kill()
        writer.communicate()
        assert len(files.read_json(path)["text"]) == 100_000


def test_a_lock_is_freed_when_its_holder_is_killed(tmp_path: Path) -> None:
    code = ("import sys, time; from pathlib import Path; from maquette.jobs.files import locked\n"
            "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)")
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path / "lock"], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    taken = threading.Event()

    def take() -> None:
        with files.locked(tmp_path / "lock"):
            taken.set()

    waiting = threading.Thread(target=take)
    waiting.start()
    assert not taken.wait(0.2)
    holder.kill()
    holder.communicate()
    assert taken.wait(5)
    waiting.join()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MAQUETTE_JOBS", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\); choose another folder"):
        store.new_job_path("voxels")


def test_the_jobs_folder_is_the_environments_then_the_chosen_then_the_users(monkeypatch: pytest.MonkeyPatch,
                                                                            tmp_path: Path) -> None:
    monkeypatch.setattr(store, "_chosen", None)
    monkeypatch.setenv("MAQUETTE_JOBS", str(tmp_path / "a"))
    store.use_folder(tmp_path / "b")
    assert store.jobs_folder() == tmp_path / "a"
    monkeypatch.delenv("MAQUETTE_JOBS")
    assert store.jobs_folder() == tmp_path / "b"
    store.use_folder(None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert store.jobs_folder() == tmp_path / "maquette" / "jobs"


@given(st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
                       | st.text(max_size=50)))
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_survives_the_disk(tmp_path: Path, values: dict[str, Any]) -> None:
    files.write_json(tmp_path / "x.json", values)
    assert files.read_json(tmp_path / "x.json") == values
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"], "nothing is left beside it"


def test_a_python_without_torch_is_refused_by_its_path(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    python = bare / planning.IN_ENVIRONMENT
    with pytest.raises(InputError, match=f"no torch in the chosen Python {python}; .*Set Up Backend"):
        backend.find_backend_python(python)


def test_a_python_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be started"):
        backend.find_backend_python(tmp_path / "nothing")


def test_a_look_at_a_python_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    assert backend.find_backend_python(sys.executable, tried=False) == Path(sys.executable)
    with pytest.raises(InputError, match="nothing is not a program; .*Set Up Backend"):
        backend.find_backend_python(tmp_path / "nothing", tried=False)


def test_this_python_is_the_backend_where_it_has_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAQUETTE_PYTHON", raising=False)
    assert backend.find_backend_python() == Path(sys.executable)
    monkeypatch.setenv("MAQUETTE_PYTHON", "/no/python")
    with pytest.raises(InputError, match="/no/python"):
        backend.find_backend_python()


def test_a_named_blender_runs_scripts_as_a_blender_or_as_a_python(tmp_path: Path) -> None:
    for name in ("blender", "python3.11"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert backend.find_blender(tmp_path / "python3.11") == [str(tmp_path / "python3.11")]
    words = backend.find_blender(tmp_path / "blender")
    assert words[0] == str(tmp_path / "blender") and words[-1] == "--python" and "--background" in words
    with pytest.raises(InputError, match="is not a program"):
        backend.find_blender(tmp_path / "none")


def test_memory_and_cores_are_those_of_this_machine() -> None:
    assert 0 < machine.peak_memory_mb() < machine.available_memory_mb() < 10**8
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_blender_that_is_killed_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="signal 9"):
        headless.call(["sh", "-c", "kill -9 $$"], "gather", log=tmp_path / "log.txt", on_progress=lambda *said: None)
