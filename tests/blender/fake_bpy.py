"""An importable `bpy` made from fake-bpy-module-4.2's stubs: whatever Blender 4.2 does not have fails.

The stubs are read as a database, by `ast`, a class at a time. Reading or setting an attribute that a type lacks
raises AttributeError; calling a function with arguments that its signature does not take, or an enumeration's
identifier that does not exist, raises TypeError. Nothing is computed: a value is the zero of its type until a test
sets it, a function returns the zero of what it returns.
"""

from __future__ import annotations

import ast
import bisect
import importlib.util
import re
import sys
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


# ---- the stubs as a database -------------------------------------------------------------------------------------

@cache
def stub_text(module: str) -> str:
    """A stub without the type parameters that Python 3.11 cannot parse."""
    spec = importlib.util.find_spec("bpy-stubs")
    assert spec and spec.submodule_search_locations, "fake-bpy-module-4.2 is not installed"
    site = Path(next(iter(spec.submodule_search_locations))).parent
    top, *rest = module.split(".")
    text = (site / f"{top}-stubs").joinpath(*rest, "__init__.pyi").read_text()
    return re.sub(r"^(\s*(?:class|def) \w+)\[[^\]]*\]", r"\1", text, flags=re.MULTILINE)


@cache
def starts(module: str) -> dict[str, int]:
    """Where each class and function at the top of a stub begins."""
    return {m.group(1): m.start() for m in re.finditer(r"^(?:class|def) (\w+)", stub_text(module), re.MULTILINE)}


@cache
def ends(module: str) -> list[int]:
    """Where one may end: before a line that is not indented (which lines of docstrings may be too)."""
    return [m.start() for m in re.finditer(r"^(?=\S)", stub_text(module), re.MULTILINE)] + [len(stub_text(module))]


@cache
def definition(module: str, name: str) -> Any:
    """The syntax tree of a class or function, None where the module has none of that name."""
    if name not in starts(module):
        return None
    start = starts(module)[name]
    for end in ends(module)[bisect.bisect_right(ends(module), start):]:
        try:
            return ast.parse(stub_text(module)[start:end]).body[0]
        except SyntaxError:  # within a docstring or a signature
            continue
    raise AssertionError(f"{module}.{name} cannot be parsed")


@cache
def member(cls: str, name: str) -> Any:
    """The tree of a type's attribute or method, its bases' included; None where Blender has none."""
    tree = definition("bpy.types", cls)
    if tree is None:
        return None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return node
    for base in tree.bases:
        base_name = base.value.id if isinstance(base, ast.Subscript) else getattr(base, "id", "")
        found = member(base_name, name)
        if found is not None:
            return found
    return None


@cache
def enumeration(name: str) -> frozenset[str]:
    """The identifiers of one of `bpy.stub_internal.rna_enums`."""
    found = re.search(rf"^(?:type )?{name}\b[^\[]*\[(.*?)\]", stub_text("bpy.stub_internal.rna_enums"), re.M | re.S)
    return frozenset(re.findall(r"[\"']([^\"']*)[\"']", found.group(1))) if found else frozenset()


def identifiers(annotation: Any) -> frozenset[str]:
    """The identifiers that an annotation allows, empty where it allows any text."""
    if isinstance(annotation, ast.BinOp):
        return identifiers(annotation.left) | identifiers(annotation.right)
    text = ast.unparse(annotation) if annotation is not None else ""
    if text.startswith("typing.Literal["):
        return frozenset(re.findall(r"'([^']*)'", text))
    if text.startswith("bpy.stub_internal.rna_enums."):
        return enumeration(text.rpartition(".")[2])
    return frozenset()


def check_call(function: ast.FunctionDef, where: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """TypeError for arguments that the signature does not take or identifiers that do not exist."""
    names = [a.arg for a in [*function.args.posonlyargs, *function.args.args] if a.arg not in ("self", "cls")]
    keyword_only = [a.arg for a in function.args.kwonlyargs]
    if len(args) > len(names) and not function.args.vararg:
        raise TypeError(f"{where} takes {len(names)} positional arguments and was given {len(args)}")
    annotations = {a.arg: a.annotation for a in [*function.args.args, *function.args.kwonlyargs]}
    for name, value in [*zip(names, args, strict=False), *kwargs.items()]:
        if name not in [*names, *keyword_only] and not function.args.kwarg:
            raise TypeError(f"{where} has no argument {name!r}")
        allowed = identifiers(annotations.get(name))
        if allowed and isinstance(value, str) and value not in allowed:
            raise TypeError(f"{where}: {name} cannot be {value!r}")
    required = [n for n in names[: len(names) - len(function.args.defaults)] if n not in kwargs][len(args):]
    if required:
        raise TypeError(f"{where} lacks {', '.join(required)}")


def zero(annotation: Any) -> Any:
    """The value of a type's attribute or of a function's return before a test has set any."""
    if isinstance(annotation, ast.Constant):
        return None
    if isinstance(annotation, ast.BinOp):
        return zero(annotation.left)
    if identifiers(annotation):
        return sorted(identifiers(annotation))[0]
    text = ast.unparse(annotation) if annotation is not None else "None"
    simple = {"str": "", "int": 0, "float": 0.0, "bool": False}
    if text in simple:
        return simple[text]
    if text.startswith("bpy_prop_collection["):
        return Collection(text[len("bpy_prop_collection["):-1])
    name = text.rpartition(".")[2]
    tree = definition("bpy.types", name)
    if tree is None:
        return [] if text.startswith(("list", "collections.abc.Sequence")) else None
    if any(ast.unparse(base).startswith("bpy_prop_collection[") for base in tree.bases):
        return Collection(next(ast.unparse(b)[len("bpy_prop_collection["):-1] for b in tree.bases), name)
    return types_of(name)()


# ---- objects -----------------------------------------------------------------------------------------------------

class Deferred:
    """What a function of bpy.props returns: a property in the making."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        self.kind, self.options = kind, options

    def __call__(self) -> None:
        """typing.get_type_hints wants something callable."""

    def zero(self) -> Any:
        if self.kind == "PointerProperty":
            return self.options["type"]()
        if self.kind == "CollectionProperty":
            return Collection(self.options["type"])
        if "default" in self.options:
            return self.options["default"]
        if self.kind == "EnumProperty":
            return self.options["items"][0][0]
        return {"StringProperty": "", "IntProperty": 0, "FloatProperty": 0.0, "BoolProperty": False}[self.kind]


class Meta(type):
    """Properties set on a type, such as `bpy.types.Scene.maquette`, belong to all its instances."""

    def __setattr__(cls, name: str, value: Any) -> None:
        if isinstance(value, Deferred):
            cls.added[name] = value  # type: ignore[attr-defined]
        else:
            super().__setattr__(name, value)

    def __delattr__(cls, name: str) -> None:
        if name in cls.added:  # type: ignore[attr-defined]
            del cls.added[name]  # type: ignore[attr-defined]
        else:
            super().__delattr__(name)

    def __getattr__(cls, name: str) -> Any:
        for base in cls.__mro__:
            if name in vars(base).get("added", {}):
                return vars(base)["added"][name]
        raise AttributeError(f"{cls.__name__} has no {name}")


class Struct(metaclass=Meta):
    """An instance of one of Blender's types, or of a class that is registered on top of it."""

    stub = "bpy_struct"
    added: dict[str, Deferred] = {}

    def __init__(self, **values: Any) -> None:
        vars(self).update(_values={}, _custom={})
        for name, value in values.items():
            setattr(self, name, value)

    def _declared(self) -> dict[str, Deferred]:
        found: dict[str, Deferred] = {}
        for base in reversed(type(self).__mro__):
            found |= vars(base).get("added", {}) | vars(base).get("declared", {})
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        values = vars(self)["_values"]
        if name in values:
            return values[name]
        if name in self._declared():
            values[name] = self._declared()[name].zero()
            return values[name]
        node = member(self.stub, name)
        if node is None:
            raise AttributeError(f"Blender 4.2's {self.stub} has no {name!r}")
        if isinstance(node, ast.AnnAssign):
            values[name] = zero(node.annotation)
        elif any(ast.unparse(d) == "property" for d in node.decorator_list):
            values[name] = zero(node.returns)
        else:
            return lambda *args, **kwargs: self._call(node, args, kwargs)
        return values[name]

    def _call(self, node: ast.FunctionDef, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        check_call(node, f"{self.stub}.{node.name}", args, kwargs)
        return zero(node.returns)

    def __setattr__(self, name: str, value: Any) -> None:
        node = member(self.stub, name)
        if node is None and name not in self._declared():
            raise AttributeError(f"Blender 4.2's {self.stub} has no {name!r} to set")
        if isinstance(node, ast.AnnAssign) and isinstance(value, str):
            allowed = identifiers(node.annotation)
            if allowed and value not in allowed:
                raise TypeError(f"{self.stub}.{name} cannot be {value!r}")
        vars(self)["_values"][name] = value

    def __enter__(self) -> Struct:
        assert self.stub == "ContextTempOverride"
        return self

    def __exit__(self, *_: Any) -> None:
        """End of the override."""

    # Custom properties.
    def __getitem__(self, key: str) -> Any:
        return vars(self)["_custom"][key]

    def __setitem__(self, key: str, value: Any) -> None:
        vars(self)["_custom"][key] = value

    def __contains__(self, key: str) -> bool:
        return key in vars(self)["_custom"]

    def get(self, key: str, default: Any = None) -> Any:
        return vars(self)["_custom"].get(key, default)

    def keys(self) -> Any:
        return vars(self)["_custom"].keys()


class Collection:
    """A bpy_prop_collection: named items in order. A collection of a registered type can `add` and `remove`."""

    def __init__(self, item: Any, stub: str = "bpy_prop_collection") -> None:
        self._item, self._stub, self._items = item, stub, []

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, key: int | str) -> Any:
        return self._items[key] if isinstance(key, int) else self._items[self.find_or_raise(key)]

    def __contains__(self, key: str) -> bool:
        return self.find(key) >= 0

    def find_or_raise(self, key: str) -> int:
        if self.find(key) < 0:
            raise KeyError(key)
        return self.find(key)

    def find(self, key: str) -> int:
        return next((i for i, item in enumerate(self._items) if item.name == key), -1)

    def get(self, key: str, default: Any = None) -> Any:
        return self._items[self.find(key)] if self.find(key) >= 0 else default

    def add(self) -> Any:
        assert isinstance(self._item, type), f"{self._stub} has no add()"
        self._items.append(self._item())
        return self._items[-1]

    def remove(self, what: Any) -> None:
        del self._items[what if isinstance(what, int) else self._items.index(what)]

    def put(self, *items: Any) -> None:
        """For tests: what the collection holds."""
        self._items[:] = items

    def __getattr__(self, name: str) -> Any:
        node = member(self._stub, name)
        if node is None:
            raise AttributeError(f"Blender 4.2's {self._stub} has no {name!r}")
        return (lambda *args, **kwargs: check_call(node, f"{self._stub}.{name}", args, kwargs)) if isinstance(
            node, ast.FunctionDef) else zero(node.annotation)


class Layout:
    """A UILayout that checks what is drawn and remembers it in `drawn` as (kind, text) pairs."""

    def __init__(self, bpy: Fake, drawn: list[tuple[str, str]]) -> None:
        vars(self).update(_bpy=bpy, drawn=drawn)

    def __setattr__(self, name: str, value: Any) -> None:
        node = member("UILayout", name)
        if not isinstance(node, ast.AnnAssign):
            raise AttributeError(f"Blender 4.2's UILayout has no {name!r} to set")
        allowed = identifiers(node.annotation)
        if allowed and value not in allowed:
            raise TypeError(f"UILayout.{name} cannot be {value!r}")

    def __getattr__(self, name: str) -> Any:
        node = member("UILayout", name)
        if not isinstance(node, ast.FunctionDef):
            raise AttributeError(f"Blender 4.2's UILayout has no {name!r}")

        def call(*args: Any, **kwargs: Any) -> Any:
            check_call(node, f"UILayout.{name}", args, kwargs)
            return self._draw(name, args, kwargs)
        return call

    def _draw(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        text = kwargs.get("text") or ""
        if name in ("prop", "prop_search", "prop_enum"):
            getattr(args[0], args[1])
            text = args[1]
            if name == "prop_search":
                getattr(args[2], args[3])
        if name in ("operator", "operator_menu_enum"):
            self.drawn.append((name, args[0]))
            return self._bpy.operators[args[0]]() if args[0] in self._bpy.operators else BlendersOwn(args[0])
        self.drawn.append((name, text or str(args[0] if args else "")))
        return (Layout(self._bpy, self.drawn),) * 2 if name == "panel" else Layout(self._bpy, self.drawn)


class BlendersOwn:
    """The properties of one of Blender's operators, for a button."""

    def __init__(self, idname: str) -> None:
        module, _, name = idname.partition(".")
        tree = definition(f"bpy.ops.{module}", name)
        assert tree is not None, f"Blender 4.2 has no operator {idname}"
        vars(self)["_function"] = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
                                       and node.name in (name, "__new__"))

    def __setattr__(self, name: str, value: Any) -> None:
        check_call(self._function, self._function.name, (), {name: value})


# ---- the modules -------------------------------------------------------------------------------------------------

_types: dict[str, type] = {}


def types_of(name: str) -> type:
    """The class of one of bpy.types; AttributeError where Blender has none."""
    if name not in _types:
        tree = definition("bpy.types", name)
        if tree is None:
            raise AttributeError(f"Blender 4.2's bpy.types has no {name!r}")
        _types[name] = Meta(name, (Struct,), {"stub": name, "added": {}})
    return _types[name]


class StubModule(ModuleType):
    """A module of bpy: its functions check their arguments, its values are what a test has set."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        node = definition(self.__name__, name)
        if isinstance(node, ast.FunctionDef):
            return lambda *args, **kwargs: (check_call(node, f"{self.__name__}.{name}", args, kwargs),
                                            zero(node.returns))[1]
        raise AttributeError(f"Blender 4.2's {self.__name__} has no {name!r} (or a test has to set it)")


class Fake:
    """A whole Blender without a file: `bpy` and its parts in sys.modules while it is installed."""

    def __init__(self) -> None:
        _types.clear()
        self.classes: list[type] = []
        self.operators: dict[str, type] = {}
        self.called: list[tuple[str, dict[str, Any]]] = []  # operators that bpy.ops was asked for
        self.timers: list[Any] = []
        self.menus: dict[str, list[Any]] = {}
        names = ("bpy", "bpy.app", "bpy.app.handlers", "bpy.app.timers", "bpy.app.translations", "bpy.path",
                 "bpy.props", "bpy.types", "bpy.utils", "bpy.utils.previews", "bpy_extras",
                 "bpy_extras.io_utils", "bpy_extras.object_utils", "mathutils", "bl_operators", "bl_operators.presets",
                 "bl_ui", "bl_ui.utils")
        self.modules = {name: StubModule(name) for name in names}
        for name, module in self.modules.items():
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(self.modules[parent], child, module)
        self._fill()

    def _fill(self) -> None:
        bpy, app = self.modules["bpy"], self.modules["bpy.app"]
        bpy.data = types_of("BlendData")()
        bpy.context = types_of("Context")(preferences=types_of("Preferences")(), view_layer=types_of("ViewLayer")(),
                                          mode="OBJECT", window_manager=types_of("WindowManager")())
        bpy.context.scene = types_of("Scene")(name="Scene")
        bpy.context.scene.collection.children_recursive = []  # the stubs do not say its type
        bpy.data.scenes.put(bpy.context.scene)
        bpy.ops = Ops(self)
        app.background, app.binary_path, app.version, app.autoexec_fail = False, "/usr/bin/blender", (4, 2, 0), False
        app.is_job_running = lambda kind: False
        self.modules["bpy.app.handlers"].persistent = lambda function: function
        self.modules["bpy.app.handlers"].load_post = []
        self.modules["bpy.app.handlers"].save_pre = []
        timers = self.modules["bpy.app.timers"]
        timers.register = lambda function, *, first_interval=0, persistent=False: self.timers.append(function)
        timers.unregister = self.timers.remove
        timers.is_registered = self.timers.__contains__
        for name in ("pgettext_iface", "pgettext_rpt"):
            setattr(self.modules["bpy.app.translations"], name, lambda text: text)
        self.modules["bpy.path"].abspath = lambda path, **_: path
        utils = self.modules["bpy.utils"]
        utils.register_class, utils.unregister_class = self.register_class, self.unregister_class
        utils.extension_path_user = self._no_extension
        self.modules["bpy.types"].__getattr__ = self._type
        self.modules["bpy.utils.previews"].new = Previews
        self.modules["bpy.utils.previews"].remove = Previews.clear
        self.modules["mathutils"].Matrix = self.modules["mathutils"].Vector = object
        self.modules["bl_operators.presets"].AddPresetBase = Meta("AddPresetBase", (), {"added": {}, "declared": {}})
        self.modules["bl_ui.utils"].PresetPanel = Meta("PresetPanel", (), {
            "added": {}, "declared": {}, "draw_panel_header": classmethod(
                lambda cls, layout: layout.popover(panel=cls.__name__, icon="PRESET", text=""))})
        self.modules["bpy_extras.io_utils"].ImportHelper = Meta("ImportHelper", (), {"added": {}, "declared": {
            "filepath": Deferred("StringProperty", {})}})
        for kind in ("Bool", "Int", "Float", "String", "Enum", "Pointer", "Collection"):
            setattr(self.modules["bpy.props"], f"{kind}Property", self._property(f"{kind}Property"))

    def _no_extension(self, package: str, *, path: str = "", create: bool = False) -> str:
        raise ValueError(f"{package} is not an extension")

    def _property(self, kind: str) -> Any:
        def make(**options: Any) -> Deferred:
            check_call(definition("bpy.props", kind), f"bpy.props.{kind}", (), options)
            return Deferred(kind, options)
        return make

    def _type(self, name: str) -> Any:
        operator = next((cls for cls in self.operators.values() if cls.__name__ == name), None)
        if operator is not None:
            return operator
        if re.search(rf"^class {name}\b", menus_text(), re.MULTILINE):
            functions = self.menus.setdefault(name, [])
            return type(name, (), {"append": staticmethod(functions.append), "remove": staticmethod(functions.remove)})
        return types_of(name)

    def register_class(self, cls: type) -> None:
        """As Blender: evaluate annotations, take properties, know operators by their name."""
        assert issubclass(cls, Struct), f"{cls.__name__} is none of Blender's types"
        assert cls not in self.classes, f"{cls.__name__} is registered already"
        assert cls.__name__.startswith("MAQUETTE_"), cls.__name__
        hints = typing.get_type_hints(cls)
        inherited = {n: h for base in cls.__mro__ for n, h in vars(base).get("declared", {}).items()}
        type.__setattr__(cls, "declared", inherited | {n: h for n, h in hints.items() if isinstance(h, Deferred)})
        if cls.stub == "Operator":
            assert re.fullmatch(r"[a-z_]+\.[a-z_0-9]+", cls.bl_idname), cls.bl_idname
            assert cls.bl_label and (cls.__doc__ or getattr(cls, "bl_description", "")), f"{cls.bl_idname} has no tooltip"
            allowed = enumeration("OperatorTypeFlagItems")
            assert set(getattr(cls, "bl_options", ())) <= allowed, cls.bl_options
            self.operators[cls.bl_idname] = cls
        self.classes.append(cls)

    def unregister_class(self, cls: type) -> None:
        self.classes.remove(cls)
        self.operators = {name: other for name, other in self.operators.items() if other is not cls}

    def draw(self, panel: type) -> list[tuple[str, str]]:
        """Draw a panel whose poll allows it; what it has drawn, empty where it does not show."""
        context, drawn = self.modules["bpy"].context, []
        if hasattr(panel, "poll") and not panel.poll(context):
            return []
        drawing = panel()
        vars(drawing)["layout"] = Layout(self, drawn)
        for name in ("draw_header_preset", "draw"):
            if name in dir(panel):
                getattr(drawing, name)(context)
        return drawn

    def run(self, idname: str, **properties: Any) -> tuple[set[str], list[tuple[set[str], str]]]:
        """Execute an operator; its result and its reports."""
        cls = self.operators[idname]
        reports: list[tuple[set[str], str]] = []
        operator = cls()
        vars(operator)["report"] = lambda kind, text: reports.append((kind, text))
        for name, value in properties.items():
            setattr(operator, name, value)
        return operator.execute(self.modules["bpy"].context), reports

    def poll(self, idname: str) -> tuple[bool, str]:
        """Whether an operator can run, and the reason that it gives."""
        said: list[str] = []
        cls = self.operators[idname]
        type.__setattr__(cls, "poll_message_set", classmethod(lambda cls, text: said.append(text)))
        return cls.poll(self.modules["bpy"].context), "".join(said)


class Previews(dict[str, Any]):
    """An ImagePreviewCollection."""

    def load(self, name: str, path: str, kind: str) -> Any:
        assert Path(path).is_file() and name not in self
        self[name] = types_of("ImagePreview")(icon_id=len(self) + 1, image_size=(96, 64))
        return self[name]


class Ops:
    """bpy.ops: remembers what was asked for; the extension's own operators and those of the stubs exist."""

    def __init__(self, fake: Fake, module: str = "") -> None:
        self._fake, self._module = fake, module

    def __getattr__(self, name: str) -> Any:
        if not self._module:
            return Ops(self._fake, name)
        idname = f"{self._module}.{name}"
        if idname not in self._fake.operators and definition(f"bpy.ops.{self._module}", name) is None:
            raise AttributeError(f"Blender 4.2 has no operator {idname}")
        return lambda *args, **kwargs: self._fake.called.append((idname, kwargs)) or {"FINISHED"}


@cache
def menus_text() -> str:
    spec = importlib.util.find_spec("bl_ui-stubs")
    assert spec and spec.submodule_search_locations
    return "\n".join(p.read_text() for p in Path(next(iter(spec.submodule_search_locations))).rglob("space_topbar/*.pyi"))
