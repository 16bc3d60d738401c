"""The documentation says what the code does."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from maquette.recipes import tasks

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def made_pages():
    spec = importlib.util.spec_from_file_location("docs_tasks", ROOT / "docs/tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def test_the_tables_are_those_of_the_recipes():
    for path, text in made_pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: python3 run.py docs"


def test_the_readme_has_a_line_and_an_example_for_every_task():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for task, recipe in tasks().items():
        assert f"docs/tasks.md#{task}" in readme and recipe.example in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    paths = re.findall(r"`((?:docs|formats|jobs|neural|operators|panels|recipes|requirements|scene|tests)/[\w./-]*)`",
                       text)
    absent = [link for link in links if not (page.parent / link).exists()]
    absent += [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]
    assert not absent


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documentation_are_understood(page):
    from maquette.cli import _parser

    for line in re.findall(r"(?:^    |`)(maquette .+?)(?:`|  |$)", page.read_text(encoding="utf-8"), re.MULTILINE):
        words = shlex.split(line)[1:]
        if any(word.isupper() for word in words):  # a form, not an example
            continue
        if "hull" not in words:  # the task that a page invents
            _parser().parse_args(words)


def test_every_dependency_is_explained_and_no_other():
    def named(file):
        lines = (ROOT / "requirements" / file).read_text().splitlines()
        return {re.split("==|;", line)[0].lower() for line in lines if line and not line.startswith("#")}

    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/dependencies.md").read_text(encoding="utf-8"), re.MULTILINE)
    explained = {name.strip().lower() for row in rows for name in row.split(",")} - {"package", "bpy"}
    assert explained == named("backend.in") | named("tests.in")


def test_messages_that_the_pages_explain_are_those_of_the_code():
    sources = "".join(path.read_text(encoding="utf-8") for room in ("jobs", "neural", "formats", "scene", "operators", "panels")
                      for path in (ROOT / room).rglob("*.py"))
    sources = re.sub(r'"\s*f?"', "", sources)  # of lines that go on
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| (?:.*?)\*(\w[^*]+)\* \|", page, re.MULTILINE)
    assert len(quoted) > 12
    for message in quoted:
        pieces = [re.escape(piece) for piece in re.split(r"\[\w[^\]]*\]", message)]
        assert re.search(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}".join(pieces), sources), message


def test_every_picture_of_the_pages_is_there_and_its_command_known():
    made = json.loads((ROOT / "docs/images/made.json").read_text())
    for page in PAGES:
        for name in re.findall(r"!\[[^]]+\]\((?:docs/)?images/([\w.-]+)\)", page.read_text(encoding="utf-8")):
            assert name in made, f"{page.name} shows {name}, and docs/images/made.json does not say what makes it"
    assert all((ROOT / "docs/images" / name).stat().st_size < 800_000 for name in made)


def test_every_page_is_in_the_sites_navigation():
    listed = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path):
    python = ROOT / ".docs" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        pytest.skip("the site's tools are not here; `python3 run.py docs` makes them")
    said = subprocess.run([python, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path], cwd=ROOT,
                          capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?((?:https?:)?//[^\" >]+)", page.read_text())
        loaded += re.findall(r"<link[^>]* href=\"?((?:https?:)?//[^\" >]+)", page.read_text())
        assert not loaded, page
