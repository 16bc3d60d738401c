"""Operators and panels against the importable bpy made from the oldest Blender's stubs."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAME = "maquette_in_a_fake_blender"


def load(path: Path, name: str, **options: Any) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, **options)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


fake_bpy = load(Path(__file__).with_name("blender") / "fake_bpy.py", "fake_bpy")


class Blender:
    """The fake with the extension registered in it."""

    def __init__(self, fake: Any, package: ModuleType) -> None:
        self.fake, self.package = fake, package
        self.bpy = fake.modules["bpy"]
        self.scene = self.bpy.context.scene

    def part(self, name: str) -> Any:
        return importlib.import_module(f"{NAME}.{name}")

    def make(self, kind: str, **values: Any) -> Any:
        return fake_bpy.types_of(kind)(**values)

    def panel(self, name: str) -> list[tuple[str, str]]:
        return self.fake.draw(next(c for c in self.fake.classes if c.__name__ == name))

    def texts(self, name: str) -> list[str]:
        return [text for _, text in self.panel(name)]

    def add_cameras(self, count: int) -> None:
        self.scene.objects.put(*(self.make("Object", name=f"Camera {i}", type="CAMERA") for i in range(count)))

    def add_job(self, state: str, fraction: float = 0.0, message: str = "", recipe: Any = None) -> Any:
        """A job of this file in a state, without any process."""
        recipes, store = self.part("recipes"), self.part("jobs.store")
        folder = self.part("jobs.folder")
        recipe = recipe or recipes.recipe_of("capture")()
        job = folder.Job.create(store.new_job_path("capture"), recipe)
        job.write_status(folder.Status(state, "Training", fraction, 12.0, message))
        self.part("operators.watch").add(self.scene, job)
        return job


@pytest.fixture
def blender(monkeypatch: pytest.MonkeyPatch) -> Iterator[Blender]:
    if importlib.util.find_spec("bpy-stubs") is None:
        pytest.skip("fake-bpy-module-4.2 is not installed")
    fake = fake_bpy.Fake()
    for name, module in fake.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    package = load(ROOT / "__init__.py", NAME, submodule_search_locations=[str(ROOT)])
    monkeypatch.setenv("MAQUETTE_PYTHON", sys.executable)
    package.register()
    yield Blender(fake, package)
    package.unregister()
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


# ---- the fake itself ---------------------------------------------------------------------------------------------

def test_what_blender_lacks_fails(blender: Blender) -> None:
    thing = blender.make("Object", name="Cube")
    assert thing.name == "Cube" and thing.hide_render is False
    with pytest.raises(AttributeError, match="hide_rendr"):
        thing.hide_rendr = True
    with pytest.raises(AttributeError, match="colour"):
        thing.colour  # noqa: B018
    with pytest.raises(AttributeError, match="fetch"):
        blender.bpy.ops.wm.fetch()
    layout = fake_bpy.Layout(blender.fake, [])
    with pytest.raises(TypeError, match="SMILE"):
        layout.label(text="x", icon="SMILE")
    with pytest.raises(TypeError, match="colour"):
        layout.label(text="x", colour=1)
    with pytest.raises(TypeError, match="subtype"):
        blender.bpy.props.FloatProperty(subtype="LENGTH")


# ---- registration and properties ---------------------------------------------------------------------------------

def test_it_registers_and_leaves_nothing_behind_twice(blender: Blender) -> None:
    assert blender.fake.classes and blender.fake.timers and blender.fake.menus["TOPBAR_MT_file_import"]
    for _ in range(2):
        blender.package.unregister()
        assert not blender.fake.classes and not blender.fake.timers
        assert not blender.fake.menus["TOPBAR_MT_file_import"]
        assert not blender.bpy.app.handlers.load_post and not blender.bpy.app.handlers.save_pre
        assert not hasattr(blender.bpy.types.Scene, "maquette")
        blender.package.register()


def test_a_class_that_fails_leaves_nothing_registered(blender: Blender, monkeypatch: pytest.MonkeyPatch) -> None:
    blender.package.unregister()
    register = blender.fake.register_class

    def fail(cls: type) -> None:
        if cls.__name__ == "MAQUETTE_PT_jobs":
            raise RuntimeError("no")
        register(cls)
    monkeypatch.setattr(blender.bpy.utils, "register_class", fail)
    with pytest.raises(RuntimeError, match="no"):
        blender.package.register()
    assert not blender.fake.classes and not blender.fake.timers
    monkeypatch.undo()
    blender.bpy.utils.register_class = register
    blender.package.register()


def test_properties_are_the_recipes(blender: Blender) -> None:
    for task, recipe in blender.part("recipes").tasks().items():
        settings = getattr(blender.scene.maquette, task)
        declared = type(settings).declared
        assert set(declared) == {p.name for p in recipe.parameters()}
        for parameter in recipe.parameters():
            options = declared[parameter.name].options
            assert options["default"] == parameter.default and options["description"] == parameter.help
            if parameter.type in (int, float) and parameter.min is not None:
                assert options["min"] == parameter.min
            if parameter.choices:
                assert tuple(item[0] for item in options["items"]) == parameter.choices
        assert blender.part("scene.properties").recipe_in(blender.scene, task) == recipe()


# ---- panels ------------------------------------------------------------------------------------------------------

def test_a_section_has_a_row_for_every_parameter(blender: Blender) -> None:
    for task, recipe in blender.part("recipes").tasks().items():
        drawn = blender.panel(f"MAQUETTE_PT_{task}")
        rows = [text for kind, text in drawn if kind in ("prop", "prop_search")]
        assert sorted(rows) == sorted(p.name for p in recipe.parameters())
        assert ("operator", f"maquette.reconstruct_{task}") in drawn
        folded = rows[[kind for kind, _ in drawn if kind in ("prop", "prop_search", "panel")].index("panel"):] \
            if any(p.advanced for p in recipe.parameters()) else []
        assert folded == [p.name for p in recipe.parameters() if p.advanced]


@pytest.mark.parametrize(("state", "shown", "offered"), [
    ("running", "waits", "dismiss"), ("queued", "waits for its turn", "cancel"),
    ("failed", "grid: it is empty", "resume"), ("done", "is inserted", "insert_result"),
])
def test_a_job_shows_what_it_is_and_what_can_be_done(blender: Blender, state: str, shown: str, offered: str) -> None:
    if state == "running":
        state, shown, offered = "interrupted", "resume", "resume"  # nobody runs it
    blender.add_job(state, 0.5, "grid: it is empty" if state == "failed" else "")
    drawn = blender.panel("MAQUETTE_PT_progress")
    assert shown in " ".join(text for _, text in drawn), drawn
    assert ("operator", f"maquette.{offered}") in drawn
    blender.panel("MAQUETTE_PT_jobs")


def test_a_running_job_shows_stage_fraction_time_and_picture(blender: Blender) -> None:
    import os
    job = blender.add_job("running", 0.25, "step 3")
    job.write_worker(os.getpid())
    job.preview.write_bytes(b"a picture")
    drawn = blender.panel("MAQUETTE_PT_progress")
    assert ("progress", "Training  25%") in drawn and ("operator", "maquette.cancel") in drawn
    assert any("12 s left" in text for _, text in drawn)
    assert any(kind == "template_icon" for kind, _ in drawn)


def test_a_result_shows_how_good_it_is_and_its_recipe(blender: Blender) -> None:
    assert blender.panel("MAQUETTE_PT_result") == [("label", "No Result Is Selected")]
    thing = blender.make("Object", name="Hen")
    thing["maquette_job"], thing["maquette_task"] = "capture-1", "capture"
    thing["maquette_recipe"] = json.dumps({"faces": 4321, "subject": ""})
    thing["maquette_figures"] = json.dumps({"method": "grid", "psnr_db": 31.04, "blender_psnr_db": 29.0, "faces": 4321})
    blender.bpy.context.object = thing
    texts = blender.texts("MAQUETTE_PT_result")
    assert "4321" in texts and "maquette.reconstruct_again" in texts and "Subject" not in texts
    said = [text for text in texts if text]
    at = said.index("Field")
    assert said[at:at + 5] == ["Field", "31.0 dB", "Mesh in Blender", "29.0 dB", "Faces"]
    thing["maquette_recipe"], thing["maquette_figures"] = "damaged", "3"
    assert "maquette.reconstruct_again" in blender.texts("MAQUETTE_PT_result")


def test_preferences_say_what_is_missing(blender: Blender, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [text for text in blender.texts("MAQUETTE_AP_preferences") if "torch" in text]
    monkeypatch.setattr(blender.part("jobs.backend"), "find_backend_python", refuse(blender, "python: no torch here"))
    blender.part("panels.preferences")._looked.clear()
    assert [text for text in blender.texts("MAQUETTE_AP_preferences") if "torch" in text]


def refuse(blender: Blender, message: str) -> Any:
    def act(*_: Any, **__: Any) -> None:
        raise blender.part("recipes").InputError(message)
    return act


# ---- operators ---------------------------------------------------------------------------------------------------

def test_a_grey_button_says_why(blender: Blender, monkeypatch: pytest.MonkeyPatch) -> None:
    able, why = blender.fake.poll("maquette.reconstruct_capture")
    assert not able and "no camera" in why
    blender.add_cameras(4)
    blender.scene.collection.all_objects.put(*blender.scene.objects)
    assert blender.fake.poll("maquette.reconstruct_capture") == (True, "")
    blender.scene.maquette.capture.subject = "Nowhere"
    assert "Nowhere" in blender.fake.poll("maquette.reconstruct_capture")[1]
    blender.scene.maquette.capture.views = "photos"
    for camera in blender.scene.objects:
        camera.data = blender.make("Camera")
    assert "none of 4 cameras has a picture" in blender.fake.poll("maquette.reconstruct_capture")[1]
    blender.scene.maquette.capture.views = "folder"
    assert blender.fake.poll("maquette.reconstruct_capture")[1].startswith("photos: no folder is chosen")
    assert "select" in blender.fake.poll("maquette.reconstruct_voxels")[1].lower()
    monkeypatch.setattr(blender.part("jobs.backend"), "find_backend_python", refuse(blender, "python: no torch here"))
    blender.part("operators.environment")._found.clear()
    assert blender.fake.poll("maquette.reconstruct_capture")[1] == "python: no torch here"


def open_image_editor(blender: Blender, image: Any = None) -> Any:
    """The space of an image editor in a window of its own."""
    area, window = blender.make("Area", type="IMAGE_EDITOR"), blender.make("Window")
    area.spaces.active = blender.make("SpaceImageEditor", image=image)
    window.screen.areas.put(area)
    blender.bpy.context.window_manager.windows.put(window)
    return area.spaces.active


def test_an_image_is_chosen_by_its_name_or_by_the_open_image_editor(blender: Blender) -> None:
    assert "none is chosen and no image editor shows one" in blender.fake.poll("maquette.reconstruct_picture")[1]
    space = open_image_editor(blender)
    assert not blender.fake.poll("maquette.reconstruct_picture")[0]
    space.image = blender.make("Image", name="Photo", source="FILE")
    assert blender.fake.poll("maquette.reconstruct_picture") == (True, "")
    blender.scene.maquette.picture.image = "Gone"
    assert 'no image "Gone"' in blender.fake.poll("maquette.reconstruct_picture")[1]
    blender.bpy.data.images.put(blender.make("Image", name="Gone", source="SEQUENCE"))
    assert '"Gone" is a sequence' in blender.fake.poll("maquette.reconstruct_picture")[1]
    blender.bpy.data.images[0].source = "GENERATED"
    assert blender.fake.poll("maquette.reconstruct_picture") == (True, "")


def test_an_image_without_pixels_leaves_no_job(blender: Blender) -> None:
    image = blender.make("Image", name="Lost", source="FILE", filepath="/gone/lost.png")
    image.size = (0, 0)
    blender.bpy.data.images.put(image)
    blender.scene.maquette.picture.image = "Lost"
    result, reports = blender.fake.run("maquette.reconstruct_picture")
    assert result == {"CANCELLED"} and "\n" not in reports[0][1]
    assert '"Lost" has no pixels; its file, /gone/lost.png, is missing' in reports[0][1]
    assert blender.part("jobs.store").list_jobs() == []


def test_a_size_that_is_none_is_said_in_the_panel(blender: Blender) -> None:
    blender.scene.maquette.picture.size = "large"
    assert "size: 'large' is not of its form" in " ".join(blender.texts("MAQUETTE_PT_picture"))
    assert "size: 'large'" in blender.fake.poll("maquette.reconstruct_picture")[1]


@pytest.mark.parametrize(("source", "name"), [("Photo", "Photo fitted"), ("", "Picture")])
def test_a_picture_that_arrives_is_an_image_that_the_open_editor_shows(
        blender: Blender, monkeypatch: pytest.MonkeyPatch, source: str, name: str) -> None:
    job = blender.add_job("done", recipe=blender.part("recipes").recipe_of("picture")(image=source))
    job.write_report({"task": "picture", "recipe": job.recipe.to_json()})
    monkeypatch.setattr(blender.part("scene.images"), "read", lambda path, name: blender.make("Image", name=name))
    space = open_image_editor(blender)
    result, reports = blender.fake.run("maquette.insert_result", job=job.name)
    assert result == {"FINISHED"} and reports == [({"INFO"}, f'Image "{name}" is ready')]
    assert space.image.name == name and space.image["maquette_job"] == job.name
    assert json.loads(space.image["maquette_recipe"])["image"] == source


def test_a_fields_buttons_stand_by_what_has_one_and_say_why_they_are_grey(blender: Blender, tmp_path: Path) -> None:
    for word in ("turntable", "render_field", "reconstruct_render"):
        assert "does not come from a capture; select one" in blender.fake.poll(f"maquette.{word}")[1]
    thing = blender.make("Object", name="Hen")
    thing["maquette_job"], thing["maquette_task"] = "voxels-1", "voxels"
    blender.bpy.context.object = blender.bpy.context.view_layer.objects.active = thing
    assert "maquette.turntable" not in blender.texts("MAQUETTE_PT_result")
    thing["maquette_task"], thing["maquette_folder"] = "capture", str(tmp_path)
    assert {"maquette.turntable", "maquette.render_field"} <= set(blender.texts("MAQUETTE_PT_result"))
    assert 'that of "Hen" is gone with its job' in blender.fake.poll("maquette.turntable")[1]
    (tmp_path / "output").mkdir()
    (tmp_path / "output/field.safetensors").write_bytes(b"")
    assert blender.fake.poll("maquette.turntable") == (True, "")
    blender.scene.camera = None
    assert "no active camera" in blender.fake.poll("maquette.render_field")[1]


def test_a_turntable_that_arrives_plays_in_the_open_image_editor(blender: Blender,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blender.part("scene.images"), "_loaded",
                        lambda path, name, colorspace: blender.make("Image", name=name, filepath=str(path)))
    job = blender.add_job("done", recipe=blender.part("recipes").recipe_of("render")())
    job.write_report({"task": "render", "recipe": job.recipe.to_json()})
    images = job.output / "pictures/images"
    images.mkdir(parents=True)
    for number in (1, 2, 3):
        (images / f"{number:04d}.png").write_bytes(b"")
    space = open_image_editor(blender)
    space.image_user = blender.make("ImageUser")
    result, reports = blender.fake.run("maquette.insert_result", job=job.name)
    assert result == {"FINISHED"} and reports == [({"INFO"}, 'Image "turntable" is ready')]
    assert space.image.source == "SEQUENCE" and space.image_user.frame_duration == 3
    assert Path(space.image.filepath).name == "0001.png"
    assert space.image_user.use_cyclic and space.image_user.use_auto_refresh
    assert len(list((job.path.parent.with_name("pictures") / job.name / "images").iterdir())) == 3


def test_a_comparison_is_shown_with_each_of_its_objects(blender: Blender) -> None:
    things = []
    for method, psnr in (("surface", 29.04), ("grid", 31.0)):
        thing = blender.make("Object", name=method)
        thing["maquette_job"], thing["maquette_task"], thing["maquette_comparison"] = "capture-1", "capture", "capture-1"
        thing["maquette_figures"] = json.dumps({"method": method, "seconds": 60.2, "psnr_db": psnr})
        things.append(thing)
    things[1]["maquette_figures"] = "damaged"
    blender.scene.objects.put(*things)
    blender.bpy.context.object = things[0]
    texts = blender.texts("MAQUETTE_PT_result")
    assert "60 s, 29.0 dB" in texts and "surface" in texts
    assert "maquette.compare_methods" in blender.texts("MAQUETTE_PT_capture")


def test_a_comparison_is_a_job_a_method_that_wait_for_one_rendering(blender: Blender, monkeypatch: pytest.MonkeyPatch
                                                                   ) -> None:
    blender.bpy.app.background = False
    started: list[Any] = []
    monkeypatch.setattr(blender.part("operators.submit"), "start_rendering",
                        lambda job, python: (started.append(job), blender.part("operators.submit").copied_scene(job)
                                             .write_bytes(b"")))
    inputs = blender.part("scene.inputs")
    slow = inputs.Source(lambda *_: None, lambda *_: {"views": 8}, lambda *_: None, is_slow=lambda recipe: True)
    monkeypatch.setitem(inputs.SOURCES, "capture", slow)
    result, reports = blender.fake.run("maquette.compare_methods", methods={"grid", "surface"})
    assert result == {"FINISHED"}, reports
    first, second = blender.part("jobs.store").list_jobs()
    assert started == [first] and second.status().state == "queued" and second.lacks_input()
    assert [link.name for link in blender.scene.maquette.jobs] == [first.name, second.name]
    assert first.target["compared"] == second.target["compared"] == ["surface", "grid"]
    assert second.target["input_of"] == first.name and second.recipe.method == "grid"


def test_reconstruct_reports_errors_in_one_line_and_leaves_no_job(blender: Blender) -> None:
    result, reports = blender.fake.run("maquette.reconstruct_voxels")
    assert result == {"CANCELLED"} and reports[0][0] == {"ERROR"} and "no mesh is selected" in reports[0][1]
    assert blender.part("jobs.store").list_jobs() == []


def test_reconstruct_links_its_job_to_the_file(blender: Blender, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gathered is a real job; starting its worker is left out."""
    started = []
    monkeypatch.setattr(blender.part("jobs.process"), "start_worker", lambda job, python: started.append(job))
    inputs = blender.part("scene.inputs")
    quick = inputs.Source(lambda *_: None, lambda *_: {"voxels": 8}, lambda *_: None)
    monkeypatch.setitem(inputs.SOURCES, "volume", quick)
    result, reports = blender.fake.run("maquette.reconstruct_voxels")
    assert result == {"FINISHED"}, reports
    link = blender.scene.maquette.jobs[0]
    assert started[0].name == link.name and started[0].target["scene"] == "Scene"


def test_the_timer_inserts_what_is_done_once(blender: Blender) -> None:
    watch = blender.part("operators.watch")
    job = blender.add_job("done")
    assert watch.look() == watch.EVERY
    watch.look()
    assert blender.fake.called == [("maquette.insert_result", {"job": job.name})]
    watch.on_load()  # opened again: the file still links to it
    watch.look()
    assert len(blender.fake.called) == 2


def test_a_result_waits_while_the_user_edits(blender: Blender) -> None:
    blender.add_job("done")
    active = blender.make("Object", name="Clay", mode="EDIT")
    window = blender.make("Window")
    window.view_layer.objects.active = active
    blender.bpy.context.window_manager.windows.put(window)
    blender.part("operators.watch").look()
    assert blender.fake.called == []
    active.mode = "OBJECT"
    blender.part("operators.watch").look()
    assert len(blender.fake.called) == 1


def test_a_link_that_an_undo_has_taken_comes_back(blender: Blender) -> None:
    job = blender.add_job("failed", message="memory: too little")
    blender.scene.maquette.jobs.remove(0)
    assert blender.part("operators.watch").linked() == [job.name]
    assert blender.fake.run("maquette.dismiss", job=job.name)[0] == {"FINISHED"}
    assert blender.part("operators.watch").linked() == []


def test_an_undone_result_does_not_come_back_with_the_saved_file(blender: Blender) -> None:
    watch = blender.part("operators.watch")
    job, waiting = blender.add_job("done"), blender.add_job("queued")
    watch.forget(job.name)  # as inserting does
    blender.scene.maquette.jobs.add().name = job.name  # as undo does
    blender.bpy.app.handlers.save_pre[0]()
    assert [link.name for link in blender.scene.maquette.jobs] == [waiting.name]


def test_cancel_resume_and_clean_up_go_to_the_job(blender: Blender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blender.part("jobs.process"), "start_worker", lambda job, python: None)
    job = blender.add_job("queued")
    assert blender.fake.run("maquette.cancel", job=job.name)[0] == {"FINISHED"}
    assert job.status().state == "cancelled"
    assert blender.fake.run("maquette.resume", job=job.name)[0] == {"FINISHED"}
    assert job.status().state == "queued"
    blender.fake.run("maquette.cancel", job=job.name)
    result, reports = blender.fake.run("maquette.clean_up")
    assert result == {"FINISHED"} and "MB freed" in reports[0][1] and not job.path.exists()
    result, reports = blender.fake.run("maquette.cancel", job=job.name)
    assert result == {"CANCELLED"} and reports[0][0] == {"ERROR"}


def test_a_preset_sets_what_presets_name_and_nothing_else(blender: Blender) -> None:
    settings = blender.scene.maquette.capture
    settings.subject, settings.faces = "Hens", 77
    assert blender.fake.run("maquette.preset", task="capture", preset="draft")[0] == {"FINISHED"}
    draft = blender.part("recipes").recipe_of("capture").presets["draft"]
    assert {name: getattr(settings, name) for name in draft} == draft and settings.subject == "Hens"


def test_enabling_the_extension_loads_no_torch() -> None:
    """In a process of its own: here other tests may have loaded it."""
    import subprocess
    code = (f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "import importlib.util\n"
            f"spec = importlib.util.spec_from_file_location('tests_fake', {__file__!r})\n"
            "tests = importlib.util.module_from_spec(spec); spec.loader.exec_module(tests)\n"
            "fake = tests.fake_bpy.Fake(); sys.modules.update(fake.modules)\n"
            "package = tests.load(tests.ROOT / '__init__.py', tests.NAME,"
            " submodule_search_locations=[str(tests.ROOT)])\n"
            "package.register(); assert 'torch' not in sys.modules\n")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


def test_the_memory_that_a_running_job_holds_is_shown(blender: Blender) -> None:
    job = blender.add_job("queued")
    job.write_worker(os.getpid())
    status = blender.part("jobs.folder").Status
    job.write_status(status("running", "Training", 0.5, 12.0, memory_mb=1500, gpu_mb=2048))
    for panel in ("MAQUETTE_PT_progress", "MAQUETTE_PT_jobs"):
        assert "1,500 MB of memory, GPU 2,048 MB" in blender.texts(panel)


# ---- the tab as a user finds it ----------------------------------------------------------------------------------

def test_every_task_stands_in_the_section_of_what_it_takes(blender: Blender) -> None:
    found = {section: [recipe.task() for recipe in recipes]
             for section, recipes in blender.part("panels.tasks").sections().items()}
    assert list(found)[:4] == ["Photo", "Scene Cameras", "Object or Scan", "Voxels"]
    assert found["Photo"][0] == "image" and found["Scene Cameras"] == ["capture", "texture", "render"]
    assert sorted(sum(found.values(), [])) == sorted(blender.part("recipes").tasks())
    panels = [cls.__name__ for cls in blender.fake.classes]
    for section, tasks in found.items():
        parent = blender.part("panels.tasks")._section_id(section)
        for task in tasks:
            assert panels.index(parent) < panels.index(f"MAQUETTE_PT_{task}")


def test_a_kind_of_input_that_no_section_names_gets_its_own(blender: Blender, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = blender.part("recipes").recipe_of("capture")
    new = type("Stereo", (capture,), {"input": "stereo pair", "__module__": "recipes.stereo"})
    monkeypatch.setattr(blender.part("panels.tasks"), "tasks", lambda: {"capture": capture, "stereo": new})
    assert list(blender.part("panels.tasks").sections()) == ["Scene Cameras", "Stereo Pair"]


def test_method_and_quality_stand_in_one_row_that_names_the_preset(blender: Blender) -> None:
    drawn = blender.panel("MAQUETTE_PT_capture")
    at = drawn.index(("prop", "method"))
    assert drawn[at + 1] == ("operator_menu_enum", "maquette.preset")
    state, capture = blender.part("panels.state"), blender.part("recipes").recipe_of("capture")
    settings = blender.scene.maquette.capture
    assert state.preset_of(settings, capture) == "standard"
    blender.fake.run("maquette.preset", task="capture", preset="best")
    assert state.preset_of(settings, capture) == "best"
    settings.seconds = 600.00002  # as single precision may have it
    assert state.preset_of(settings, capture) == "best"
    settings.seconds = 601.0
    assert state.preset_of(settings, capture) == ""


def test_the_estimate_stands_beside_what_is_free_and_warns_where_it_does_not_fit(
        blender: Blender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blender.part("panels.state"), "free_memory_mb", lambda: 8000)
    assert any(text.endswith("of 8.0 GB free") for text in blender.texts("MAQUETTE_PT_capture"))
    assert "more memory than is free" not in " ".join(blender.texts("MAQUETTE_PT_capture"))
    monkeypatch.setattr(blender.part("panels.state"), "free_memory_mb", lambda: 500)
    assert "more memory than is free" in " ".join(blender.texts("MAQUETTE_PT_capture"))


def test_a_section_says_why_its_button_is_grey_and_offers_what_mends_it(blender: Blender) -> None:
    drawn = blender.panel("MAQUETTE_PT_capture")
    assert "has no camera" in " ".join(text for _, text in drawn)
    assert ("operator", "maquette.add_cameras") in drawn
    blender.add_cameras(4)
    blender.scene.collection.all_objects.put(*blender.scene.objects)
    assert ("operator", "maquette.add_cameras") not in blender.panel("MAQUETTE_PT_capture")


@pytest.mark.parametrize(("message", "operators"), [
    ("memory: the job needs about 9000 MB and 500 MB are free; close other programs", ["maquette.run_smaller"]),
    ("disk: no space is left for /jobs; free some", ["maquette.clean_up"]),
    ("python: no Python with torch was found", ["maquette.set_up", "preferences.addon_show"]),
    ("photos: 3 of 40 could be put together, which is too few", ["maquette.photos_to_mesh"]),
    ("grid: it is empty", []), ("it ended without a word", []),
])
def test_a_failed_job_carries_its_fix_as_a_button(blender: Blender, message: str, operators: list[str]) -> None:
    blender.add_job("failed", 0.5, message)
    drawn = [text for kind, text in blender.panel("MAQUETTE_PT_progress") if kind == "operator"]
    usual = ["maquette.resume", "maquette.run_again", "maquette.open_log", "maquette.dismiss"]
    assert drawn == [*operators, *usual]


def test_set_up_is_offered_before_the_preferences_where_there_is_one(blender: Blender,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    fixes = blender.part("panels.fixes")
    monkeypatch.setattr(fixes, "exists", lambda operator: True)
    assert [fix.operator for fix in fixes.fixes_of("python: no torch")] == ["maquette.set_up", "preferences.addon_show"]


def test_the_top_of_the_tab_says_what_the_backend_lacks(blender: Blender, monkeypatch: pytest.MonkeyPatch) -> None:
    assert blender.panel("MAQUETTE_PT_setup") == []
    monkeypatch.setattr(blender.part("jobs.backend"), "find_backend_python", refuse(blender, "python: no torch here"))
    blender.part("panels.preferences")._looked.clear()
    drawn = [text for kind, text in blender.panel("MAQUETTE_PT_setup") if kind == "operator"]
    assert drawn == ["maquette.set_up", "preferences.addon_show"]


def test_a_job_that_had_too_little_memory_runs_again_with_the_next_smaller_preset(
        blender: Blender, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(blender.part("jobs.process"), "start_worker", lambda job, python: started.append(job))
    capture = blender.part("recipes").recipe_of("capture")
    failed = blender.add_job("failed", message="memory: too little", recipe=capture.preset("best", subject="Hens"))
    (failed.input / "capture.json").write_text("{}")
    result, reports = blender.fake.run("maquette.run_smaller", job=failed.name)
    assert result == {"FINISHED"} and reports == [({"INFO"}, "Started again with the preset Standard")]
    assert started[0].recipe == capture.preset("standard", subject="Hens")
    assert (started[0].input / "capture.json").read_text() == "{}"
    assert [link.name for link in blender.scene.maquette.jobs] == [started[0].name]
    smallest = blender.add_job("failed", recipe=capture.preset("draft"))
    (smallest.input / "capture.json").write_text("{}")
    assert "with any preset" in blender.fake.run("maquette.run_smaller", job=smallest.name)[1][0][1]


def test_every_operator_that_can_refuse_says_why(blender: Blender, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty file, in edit mode, without a backend: whatever is grey tells why."""
    monkeypatch.setattr(blender.part("jobs.backend"), "find_backend_python", refuse(blender, "python: no torch here"))
    blender.part("operators.environment")._found.clear()
    blender.bpy.context.mode, blender.bpy.context.object = "EDIT_MESH", None
    refused = 0
    for idname, cls in blender.fake.operators.items():
        if "poll" in dir(cls) and not idname.endswith("_preset_add"):
            able, why = blender.fake.poll(idname)
            assert able or why, f"{idname} is grey without a reason"
            refused += not able
    assert refused > 10


def test_labels_and_tooltips_are_as_blender_writes_them(blender: Blender) -> None:
    """Labels begin with a capital, names of tasks and buttons are titles, and nothing ends with a full stop."""
    small = {"a", "an", "and", "as", "from", "in", "of", "on", "or", "the", "to", "with"}
    for cls in blender.fake.classes:
        for name in ("bl_label", "bl_description"):
            text = getattr(cls, name, "") or ""
            assert not text.endswith("."), f"{cls.__name__}.{name}: {text}"
        if cls.stub in ("Operator", "Panel", "FileHandler"):
            for word in cls.bl_label.split()[1:]:
                assert word[0] == "(" or word[0].isupper() or word in small, f"{cls.__name__}: {cls.bl_label}"
        if cls.stub == "Operator" and not getattr(cls, "bl_description", ""):
            assert not (cls.__doc__ or "").endswith("."), cls.__name__
        for name, declared in vars(cls).get("declared", {}).items():
            label, tip = declared.options.get("name", ""), declared.options.get("description", "")
            assert not label or label[0].isupper(), f"{cls.__name__}.{name}: {label}"
            assert not label.endswith(".") and not tip.endswith("."), f"{cls.__name__}.{name}"
