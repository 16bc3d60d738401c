"""The doctor as a user calls it, in copies of the package whose devices and files are really broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from maquette.formats.redacted import redacted
from maquette.jobs import gpus, machine

ROOT = Path(__file__).resolve().parents[1]


def doctor(root: Path, *words: str, python: Path | str = sys.executable, **env: str) -> Any:
    """The ended process."""
    without = {name: value for name, value in os.environ.items() if name not in ("MAQUETTE_PYTHON", "MAQUETTE_BLENDER")}
    return subprocess.run([python, root, "doctor", *words], env={**without, **env}, capture_output=True, text=True,
                          timeout=300)


def seen(root: Path, **more: Any) -> tuple[int, dict[str, Any]]:
    """The exit code and the document."""
    run = doctor(root, "--json", **more)
    assert "Traceback" not in run.stderr
    return run.returncode, json.loads(run.stdout)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, f"{path}.{'NAME' if path == 'backend.packages' else key}".lstrip("."))
    elif isinstance(value, list):
        for entry in value:
            yield from leaves(entry, path + "[]")
    else:
        yield path, value


def schema() -> dict[str, str]:
    """Key to type, as the documentation has them."""
    text = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([^`]+)` \| (\w+) \|", text, re.MULTILINE))


def test_a_healthy_installation_passes_and_its_document_is_the_documented_one(tmp_path: Path) -> None:
    import torch
    code, found = seen(ROOT)
    assert code == 0 and found["problems"] == []
    assert found["backend"]["packages"]["torch"] == torch.__version__
    cpu = found["devices"][0]
    assert cpu["device"] == "cpu" and cpu["test"]["passed"] and cpu["test"]["error"] < 0.004
    assert found["memory"]["total_mb"] == machine.total_memory_mb() >= found["memory"]["free_mb"] > 0
    assert {entry["pinned"] for entry in found["weights"]} == {True} and len(found["weights"]) > 5
    types = {"number": (int, float), "text": str, "truth": bool}
    for key, value in leaves(found):
        assert isinstance(value, types[schema()[key]]), key


def spoil(package: Path, name: str, old: str, new: str) -> None:
    """Break a file of a copied package."""
    path = package / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_lines_have_what_the_document_has(copied_package: Path) -> None:
    (copied_package / "neural/weights/mine.safetensors").write_bytes(b"weights")
    spoil(copied_package, "neural/selftest.py", "import torch\n", "raise SystemExit(7)\n")
    document, lines = doctor(copied_package, "--json"), doctor(copied_package)
    assert document.returncode == lines.returncode == 4
    for key, value in leaves(json.loads(document.stdout)):
        if isinstance(value, str) and not key.endswith("kind"):
            assert value in lines.stdout, key


@pytest.mark.parametrize(("what", "says"), [
    ("os.kill(os.getpid(), 11)", "its process ended with -11"), ("time.sleep(600)", "it has not answered in 3 s"),
    ("raise RuntimeError('CUDA error: unknown error')", "CUDA error: unknown error")])
@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_device_that_crashes_hangs_or_fails_does_not_take_the_doctor_with_it(copied_package: Path, what: str,
                                                                              says: str) -> None:
    spoil(copied_package, "neural/selftest.py", "    _trained(device, steps=1)", f"    import os, time; {what}\n")
    spoil(copied_package, "doctor.py", "    said, why = _ask([python, process.ROOT",
          "    global LIMIT\n    LIMIT = 3.0 if 'sleep' in " + repr(what) + " else LIMIT\n"
          "    said, why = _ask([python, process.ROOT")
    code, found = seen(copied_package)
    assert code == 4 and not found["devices"][0]["test"]["passed"]
    assert says in found["problems"][0]["says"] and found["problems"][0]["kind"] == "machine"
    assert found["weights"], "the rest is told all the same"


def test_a_device_that_computes_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from maquette.neural import selftest
    from maquette.neural.kernels import hashgrid
    right = hashgrid.encode
    monkeypatch.setattr(selftest, "STEPS", 100)
    monkeypatch.setattr(hashgrid, "encode", lambda points, table, levels: right(points, table.detach(), levels))
    assert "wrong numbers: error 0.1" in selftest.run("cpu")["says"], "no gradient reaches the table"
    monkeypatch.setattr(hashgrid, "encode", lambda points, table, levels: 1.01 * right(points, table, levels))
    said = selftest.run("cpu")
    assert not said["passed"] and said["difference"] > 0.001
    monkeypatch.setattr(hashgrid, "encode", lambda points, table, levels: float("nan") * right(points, table, levels))
    assert not selftest.run("cpu")["passed"]


def test_weights_that_were_changed_or_lost_are_named_and_ones_own_are_left_alone(copied_package: Path) -> None:
    folder = copied_package / "neural/weights"
    with open(folder / "image-pose.safetensors", "r+b") as file:
        file.write(b"\xff")
    (folder / "image-points.safetensors").unlink()
    (folder / "image-detector.safetensors").write_bytes(b"mine")
    code, found = seen(copied_package)
    pinned = {entry["name"]: entry.get("pinned") for entry in found["weights"]}
    assert code == 4 and pinned["image-pose.safetensors"] is False and pinned["image-detector.safetensors"] is None
    assert [problem["says"] for problem in found["problems"]] == [
        "weights: image-points.safetensors is missing; install Maquette again",
        "weights: image-pose.safetensors is not the one that ships; install Maquette again"]


def test_without_torch_it_says_what_is_missing_and_how_to_mend_it(copied_package: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    bare = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    code, found = seen(copied_package, python=bare)
    assert code == 2 and found["devices"] == [] and "python" not in found["backend"]
    assert "no Python with torch was found" in found["problems"][0]["says"] and "setup" in found["problems"][0]["says"]
    assert re.search(r"^backend +none$", doctor(copied_package, python=bare).stdout, re.MULTILINE)


def test_no_folder_and_no_name_is_in_the_report(copied_package: Path, tmp_path: Path) -> None:
    home = tmp_path / "Zoë O'Hara (private)"
    absent = home / "my secret project" / "bin" / "python3"
    absent.parent.mkdir(parents=True)
    env = {"HOME": str(home), "USERPROFILE": str(home), "LOGNAME": "zoe.ohara", "USER": "zoe.ohara",
           "MAQUETTE_PYTHON": str(absent), "MAQUETTE_JOBS": str(home / "jobs of mine"),
           "MAQUETTE_BLENDER": str(home / "b")}
    for words in ((), ("--json",)):
        run = doctor(copied_package, *words, **env)
        assert run.returncode == 2, run.stderr
        assert "<folder>" in run.stdout
        for secret in ("Zoë", "Zo\\u00eb", "O'Hara", "private", "secret", "zoe.ohara", "of mine", str(tmp_path),
                       machine.host(), copied_package.parent.name):
            assert secret not in run.stdout, secret


word = st.text(st.characters(exclude_characters="/\\\0\n'\"<>", exclude_categories=("C", "Z")), min_size=3, max_size=9)


@given(word, word, st.sampled_from(["{}", "say '{}', then", "OSError: [Errno 2] no file: {}; make it", "({})"]))
@example("joe", "a b", "{}")
def test_paths_below_a_known_folder_and_names_go_whatever_they_are_called(user: str, folder: str,
                                                                          sentence: str) -> None:
    path = f"/home/{user}/{folder}/bin/python"
    assume(all(part.casefold() not in (sentence + "<folder> <name>").casefold() for part in (user, folder)))
    shown = redacted({"says": [sentence.format(path), f"on {user}"]}, [f"/home/{user}"], [user])
    assert folder not in str(shown) and path not in str(shown) and shown["says"][1] == "on <name>"


@pytest.mark.parametrize(("text", "shown"), [
    ("python: /mnt/Secret/bin/python is not a program", "python: <folder> is not a program"),
    (r"C:\Users\Joe Doe\venv\python.exe is none", "<folder> is none"), ("~/secret", "<folder>"),
    ("see https://example.org/a/b and torch 2.13.0+cpu/cuda", "see https://example.org/a/b and torch 2.13.0+cpu/cuda"),
    (r"\\server\share\x", "<folder>"), ("1 / 2", "1 / 2"), ("JOE, joey", "<name>, joey")])
def test_a_path_that_nobody_named_is_found_by_its_form(text: str, shown: str) -> None:
    assert redacted(text, [], ["joe"]) == shown


def test_gpus_are_read_from_what_the_systems_programs_say(tmp_path: Path) -> None:
    assert gpus.read_nvidia("NVIDIA GeForce RTX 3060, 12288, 11911, 550.54.14\nGRID, [N/A], [N/A], 550.54.14\n") == [
        {"name": "NVIDIA GeForce RTX 3060", "memory_mb": 12288, "free_mb": 11911, "driver": "550.54.14"},
        {"name": "GRID", "driver": "550.54.14"}]
    assert gpus.read_windows('{"Name": "Radeon", "DriverVersion": "31.0"}') == [{"name": "Radeon", "driver": "31.0"}]
    assert gpus.read_windows("") == gpus.read_macos("{}") == gpus.read_nvidia("") == []
    assert gpus.read_macos('{"SPDisplaysDataType": [{"sppci_model": "Apple M2"}]}') == [{"name": "Apple M2"}]
    card = tmp_path / "card0" / "device"
    card.mkdir(parents=True)
    (card / "mem_info_vram_total").write_text(str(8 * 2**30))
    (card / "mem_info_vram_used").write_text(str(2**30))
    (card / "device").write_text("0x73bf\n")
    assert gpus.amd_on_linux(tmp_path) == [
        {"name": "AMD 0x73bf", "memory_mb": 8192, "free_mb": 7168, "driver": "amdgpu"}]
