"""Recipes: what is generated from them agrees with them, and nothing out of range gets in."""

from __future__ import annotations

import argparse
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maquette import api, cli
from maquette.recipes import PRESETS, InputError, Parameter, Recipe, recipe_of, tasks

RECIPES = list(tasks().values())


def values_of(parameter: Parameter) -> st.SearchStrategy[Any]:
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if parameter.type is bool:
        return st.booleans()
    if parameter.type is int:
        return st.integers(int(parameter.min or 0), int(parameter.max or 10**6))
    if parameter.type is float:
        return st.floats(parameter.min or 0.0, parameter.max or 1e6)
    if parameter.pattern:
        return st.from_regex(parameter.pattern, fullmatch=True)
    return st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    recipe = draw(st.sampled_from(RECIPES))
    return recipe(**{p.name: draw(values_of(p)) for p in recipe.parameters()})


def as_options(recipe: Recipe) -> list[str]:
    """The recipe as a user types it."""
    words = []
    for p in recipe.parameters():
        option, value = "--" + p.name.replace("_", "-"), getattr(recipe, p.name)
        if p.type is bool:
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words.append(f"{option}={value!r}" if p.type is not str else f"{option}={value}")
    return words


def parsed(*words: str) -> argparse.Namespace:
    return cli._parser().parse_args(list(words))


@given(recipes())
@settings(deadline=None)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert type(recipe).from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@given(recipes())
@settings(deadline=None, max_examples=50)
def test_a_recipe_survives_the_command_line(recipe: Recipe) -> None:
    options = parsed(*recipe.words(), "in", "-o", "out.glb", *as_options(recipe))
    assert recipe.from_json(cli.given_values(options)) == recipe


@given(recipes())
@settings(deadline=None, max_examples=20)
def test_a_recipe_survives_a_file_and_a_report(tmp_path_factory: Any, recipe: Recipe) -> None:
    file = tmp_path_factory.mktemp("recipe") / "recipe.json"
    for text in (recipe.to_json(), {"task": recipe.task(), "recipe": recipe.to_json(), "psnr_db": 30.0}):
        file.write_text(json.dumps(text))
        options = parsed(*recipe.words(), "in", "-o", "out.glb", f"--recipe={file}")
        assert recipe.from_json(cli.given_values(options)) == recipe


@given(recipes(), st.data())
@settings(deadline=None)
def test_a_value_out_of_its_range_is_refused_by_its_name(recipe: Recipe, data: st.DataObject) -> None:
    bounded = [p for p in recipe.parameters() if p.min is not None and p.max is not None and not p.choices]
    parameter = data.draw(st.sampled_from(bounded))
    assert parameter.min is not None and parameter.max is not None
    wrong: list[Any] = [parameter.min - 1, parameter.max + 1, float("nan"), float("inf"), None, "x", [], True]
    outside = data.draw(st.sampled_from(wrong))
    with pytest.raises(InputError, match=f"^{parameter.name}: .*; give ") as error:
        type(recipe).from_json({**recipe.to_json(), parameter.name: outside})
    assert "\n" not in str(error.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8), st.data())
@settings(deadline=None)
def test_any_json_is_a_recipe_or_refused_in_one_line(value: Any, data: st.DataObject) -> None:
    recipe = data.draw(st.sampled_from(RECIPES))
    name = data.draw(st.sampled_from([p.name for p in recipe.parameters()]) | st.text())
    try:
        recipe.from_json({name: value})
    except InputError as error:
        assert str(error) and str(error).count("\n") <= repr(value).count("\n")


def test_an_unknown_parameter_is_refused_by_its_name() -> None:
    with pytest.raises(InputError, match="capture has no parameter 'secondz'; it has method, seconds"):
        recipe_of("capture").from_json({"secondz": 3})


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="no task 'captcha'; the tasks are capture, "):
        recipe_of("captcha")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.task())
def test_each_recipe_says_all_that_its_surfaces_show(recipe: type[Recipe]) -> None:
    assert recipe.__doc__ and recipe.__doc__.endswith(".") and recipe.label
    assert recipe.example.startswith(f"maquette {' '.join(recipe.words())} ")
    assert recipe.output in api.ENDINGS
    assert recipe.presets.keys() <= set(PRESETS)
    for p in recipe.parameters():
        assert p.help and not p.help.endswith("."), p.name
        assert p.unit in ("", "s", "m", "mm", "px", "%", "MB", "°"), p.name
        assert p.choices or p.type in (bool, str) or None not in (p.min, p.max), f"{p.name} has no range"
        assert p.check(p.default) == p.default


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.task())
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_grow(recipe: type[Recipe], preset: str) -> None:
    chosen = recipe.preset(preset)
    estimate, standard = (r.estimate({}) for r in (chosen, recipe()))
    assert estimate.memory_mb > 0 and estimate.seconds > 0
    assert (estimate.memory_mb <= standard.memory_mb) if preset == "draft" else (
        estimate.memory_mb >= standard.memory_mb)


def test_options_win_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text('{"faces": 777, "seconds": 5}')
    values = cli.given_values(parsed("capture", "in", "-o", "x.glb", "--preset", "draft", "--recipe", str(file),
                                     "--seconds", "9"))
    assert (values["resolution"], values["faces"], values["seconds"]) == (96, 777, 9)


def test_without_a_preset_only_what_was_given_is_given() -> None:
    """What is left out is taken from the settings that a .blend stores."""
    assert cli.given_values(parsed("capture", "a.blend", "-o", "x.glb", "--faces", "500")) == {"faces": 500}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.task())
def test_the_python_function_takes_the_recipes_fields_as_keywords(recipe: type[Recipe]) -> None:
    function = getattr(api, recipe.task())
    parameters = inspect.signature(function).parameters
    for p in recipe.parameters():
        assert parameters[p.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[p.name].default == p.default and p.help in (function.__doc__ or "")
    assert function.__name__ == recipe.task() and getattr(__import__("maquette"), recipe.task()) is function


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.task())
def test_help_names_every_parameter_with_its_sentence(recipe: type[Recipe], capsys: pytest.CaptureFixture[str]
                                                      ) -> None:
    with pytest.raises(SystemExit) as end:
        parsed(*recipe.words(), "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    for p in recipe.parameters():
        assert f"--{p.name.replace('_', '-')}" in said
        assert p.help.split()[0] in said
