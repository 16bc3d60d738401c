"""run.py without its downloads: what it needs, when it makes an environment anew, how it says what is missing."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """run.py of an empty checkout, its downloads replaced by empty environments."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "check_libraries", lambda environment: None)
    really = module.call  # pip itself would take most of the time
    monkeypatch.setattr(module, "call", lambda *words: really(*words, *(["--without-pip"] if "venv" in words else [])))
    return module


@pytest.fixture
def installs(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requirement lists that were installed, in their order."""
    seen: list[str] = []

    def installed(python: Path, requirements: str, **more: Any) -> bool:
        seen.append(requirements)
        return True

    monkeypatch.setattr(run, "installed", installed)
    return seen


def test_an_environment_is_made_once(run: ModuleType, installs: list[str]) -> None:
    python = run.backend()
    assert installs == ["torch-cpu.txt", "backend.txt", "tests.txt"]
    assert run.backend() == python and len(installs) == 3


def test_peers_are_added_once_and_only_for_a_benchmark_that_names_them(run: ModuleType, installs: list[str],
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    (run.ROOT / "benchmarks").mkdir()
    (run.ROOT / "benchmarks/plain.py").write_text("")
    (run.ROOT / "benchmarks/compared.py").write_text('"""The peers are those of requirements/peers.txt."""')
    monkeypatch.setattr(run, "call", lambda *words: 0 if "benchmarks" in str(words[-1]) else subprocess.run(
        [*map(str, words), "--without-pip"]).returncode)
    assert run.bench(["plain"]) == 0 and "peers.txt" not in installs
    assert run.bench(["compared"]) == 0 and run.bench(["compared"]) == 0
    assert installs.count("peers.txt") == 1


def test_a_set_up_that_was_killed_is_made_anew(run: ModuleType, installs: list[str]) -> None:
    run.backend()
    (run.ROOT / ".venv/complete").unlink()
    (run.ROOT / ".venv/half").touch()
    run.backend()
    assert len(installs) == 6 and not (run.ROOT / ".venv/half").exists()


def test_changed_requirements_make_it_anew(run: ModuleType, installs: list[str], tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    run.backend()
    changed = tmp_path / "requirements"
    changed.mkdir()
    for path in run.REQUIREMENTS.glob("*.txt"):
        (changed / path.name).write_text(path.read_text() + "# changed\n")
    monkeypatch.setattr(run, "REQUIREMENTS", changed)
    run.backend()
    assert len(installs) == 6


def test_without_a_cpu_build_the_public_torch_comes_with_what_it_needs(run: ModuleType, installs: list[str],
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    seen = run.installed
    monkeypatch.setattr(run, "installed", lambda python, name, **more: name != "torch-cpu.txt" and seen(python, name))
    run.backend()
    cuda = ["cuda.txt"] if sys.platform == "linux" else []
    assert installs == ["torch.txt", *cuda, "backend.txt", "tests.txt"]


def test_the_environment_imports_maquette(run: ModuleType, installs: list[str], tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("where = __file__\n")
    python = run.backend()
    said = subprocess.run([python, "-c", "import maquette; print(maquette.where)"], capture_output=True, text=True,
                          cwd="/", check=True)
    assert said.stdout.strip() == str(tmp_path / "__init__.py")


def test_a_failed_installation_leaves_no_stamp_and_says_what_to_do(run: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "installed", lambda *_, **__: False)
    assert run.main(["setup"]) == 4
    assert "torch.txt could not be installed" in capsys.readouterr().err
    assert not (run.ROOT / ".venv/complete").exists()


def test_missing_system_libraries_are_named_with_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch,
                                                                             tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if sys.platform != "linux":
        pytest.skip("the wheels bring them on macOS and Windows")
    binary = tmp_path / "lib/python3.11/site-packages/bpy/__init__.so"
    binary.parent.mkdir(parents=True)
    binary.touch()
    ldd = "\tlibGL.so.1 => not found\n\tlibXi.so.6 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x0)\n"
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, ldd))
    with pytest.raises(module.Trouble, match="2 system libraries are missing .*; apt-get install libgl1 libxi6$"):
        module.check_libraries(tmp_path)


@pytest.mark.parametrize("word", ["demo", "test", "test-gui", "bench", "docs", "build", "maquette"])
def test_every_word_of_the_design_is_there(word: str, run: ModuleType) -> None:
    assert word in run.WORDS and re.search(rf"^    {word} ", run.__doc__ or "", re.MULTILINE)


def test_an_unknown_word_shows_those_there_are(run: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["dance"]) == 2 and "test-gui" in capsys.readouterr().out


def test_run_needs_the_standard_library_alone() -> None:
    tree = ast.parse((ROOT / "run.py").read_text())
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        assert all(name.split(".")[0] in sys.stdlib_module_names for name in names), names


def test_every_requirement_is_pinned_with_hashes_and_names_no_host() -> None:
    lists = sorted((ROOT / "requirements").glob("*.txt"))
    assert len(lists) >= 8
    for path in lists:
        text = path.read_text()
        entries = re.findall(r"^[^\s#].*(?:\n    .*)*", text, re.MULTILINE)
        if path.name != "torch-rocm.txt":  # torch's makers' own index, which alone has these builds, gives pip their hashes
            assert entries and all("==" in entry and "--hash=sha256:" in entry for entry in entries), path
        assert "://" not in text and "--index" not in text and "--find-links" not in text


def test_the_lists_hold_all_that_the_sources_ask_for() -> None:
    for source, targets in (("backend.in", ["backend.txt", "torch.txt"]), ("tests.in", ["tests.txt"]),
                            ("peers.in", ["peers.txt"])):
        names = re.findall(r"^([A-Za-z][\w.-]*)", (ROOT / "requirements" / source).read_text(), re.MULTILINE)
        locked = "".join((ROOT / "requirements" / target).read_text().lower() for target in targets)
        for name in names:
            assert re.search(rf"^{re.sub('[-_.]', '[-_.]', name.lower())}==", locked, re.MULTILINE), name
