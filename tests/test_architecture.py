"""The import graph and its rules: what may depend on what, and where each library may appear."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import unbuffer

ROOT = Path(unbuffer.__file__).parent

# -- the rules

# From the bottom up. A module may import from the rows below its own, and from its own unit.
LAYERS = (
    (
        "unbuffer",
        "unbuffer.clock",
        "unbuffer.compiled",
        "unbuffer.documents",
        "unbuffer.histogram",
        "unbuffer.judgement",
        "unbuffer.managed",
        "unbuffer.outcome",
        "unbuffer.presence",
        "unbuffer.record",
        "unbuffer.rhythm",
        "unbuffer.timeline",
        "unbuffer.totals",
    ),
    ("unbuffer.settings", "unbuffer.http"),
    ("unbuffer.relay", "unbuffer.observe"),
    ("unbuffer.resume",),
    ("unbuffer.server", "unbuffer.demo", "unbuffer.check", "unbuffer.cli", "unbuffer.__main__"),
)
# In these rows the units may import each other too; in the others they stand apart.
OPEN_ROWS = (0, 4)

LIBRARIES = {
    "httptools": ("unbuffer.relay", "unbuffer.check.messages"),
    "h2": ("unbuffer.relay.http2", "unbuffer.check.messages"),
    "hpack": ("unbuffer.relay.http2",),
    "hyperframe": ("unbuffer.relay.http2",),
    "yaml": ("unbuffer.settings",),
    "msgspec": (
        "unbuffer.settings",
        "unbuffer.observe.stream_line",
        "unbuffer.observe.spans",
        "unbuffer.observe.news",
        "unbuffer.server.openapi",
    ),
    "redis": ("unbuffer.resume.server",),
    "opentelemetry": ("unbuffer.observe.push", "unbuffer.observe.resource", "unbuffer.observe.spans"),
    "aiohttp": ("unbuffer.demo",),
    "uvloop": ("unbuffer.server",),
    "brotli": ("unbuffer.http.coding",),
    "backports": ("unbuffer.http.coding",),
    "fastapi": ("unbuffer.demo",),
    "pydantic": ("unbuffer.demo",),
    "starlette": ("unbuffer.demo",),
    "sse_starlette": ("unbuffer.demo",),
    "uvicorn": ("unbuffer.demo",),
    "websockets": ("unbuffer.demo",),
}
STANDARD = sys.stdlib_module_names | {"compression"}  # that one from Python 3.14 on

# Names that start a task, and how often each module of the relay may say them: a chunk must never cost one.
TASKS = {"create_task", "ensure_future"}
TASKS_ALLOWED = {"unbuffer.relay.exchange": 1}

# The files of the relay that any version of HTTP towards the client has to do with, and those of HTTP/1.1.
STREAM = (
    "answer",
    "client",
    "clients",
    "counting",
    "decoding",
    "exchange",
    "patience",
    "plane",
    "pool",
    "shared",
    "stream",
    "tunnel",
    "upstream",
)
CONNECTION = ("client_connection", "downstream", "preface", "request_reader", "response_writer", "states")

# What outgrows these lines has more than one purpose.
FILE_LINES = 400
CLASS_LINES = 350
# Where both sides of a stream meet, everything would like to move in: its lines and its methods.
NARROW = {"unbuffer.relay.exchange.Exchange": (330, 25)}


# -- the graph


@dataclass(frozen=True, slots=True)
class Import:
    """One module names another. at_run_time: not only for the type checker."""

    importer: str
    imported: str
    line: int
    at_run_time: bool

    def __str__(self) -> str:
        return f"{self.importer} (line {self.line}) imports {self.imported}"


def modules(root: Path) -> dict[str, ast.Module]:
    """The modules of a package by their names, parsed."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text("utf-8"), str(path))
    return found


def imports(trees: dict[str, ast.Module]) -> list[Import]:
    """All imports, those inside functions too. A name that is a module counts as the module, not its package."""
    found = []
    for importer, tree in trees.items():
        for node, at_run_time in statements(tree, True):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                assert not node.level, f"{importer}: write the full name instead of a relative import"
                module = node.module or ""
                names = [name if (name := f"{module}.{a.name}") in trees else module for a in node.names]
            found += [Import(importer, name, node.lineno, at_run_time) for name in names]
    return found


def statements(node: ast.AST, at_run_time: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_run_time
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from statements(child, False)
        else:
            yield from statements(child, at_run_time)


def unit(module: str) -> tuple[int, str]:
    """The row and the name of the unit that a module belongs to."""
    units = {name: row for row, names in enumerate(LAYERS) for name in names}
    name = ".".join(module.split(".")[:2])
    assert name in units, f"{name}: give the new unit its row in LAYERS"
    return units[name], name


def breaches(graph: list[Import]) -> list[str]:
    """The imports that no row allows."""
    found = []
    for edge in graph:
        if edge.imported.split(".")[0] != "unbuffer":
            continue
        (row, own), (other_row, other) = unit(edge.importer), unit(edge.imported)
        if own != other and (other_row > row or (other_row == row and row not in OPEN_ROWS)):
            found.append(f"{edge}: move what both need into a row below, or pass it in")
    return found


def cycle(graph: list[Import], for_types: bool = False) -> list[str]:
    """The modules of one circle of imports at run time, or also of those for types; empty = there is none."""
    after: dict[str, set[str]] = {}
    for edge in graph:
        if (edge.at_run_time or for_types) and edge.imported.split(".")[0] == "unbuffer":
            after.setdefault(edge.importer, set()).add(edge.imported)
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for imported in sorted(after.get(module, ())):
            if circle := walk(imported, [*path, module]):
                return circle
        done.add(module)
        return []

    return next((circle for module in sorted(after) if (circle := walk(module, []))), [])


def strays(graph: list[Import]) -> list[str]:
    """Libraries where they must not be, or that have no place."""
    found = []
    for edge in graph:
        library = edge.imported.split(".")[0]
        if library == "unbuffer" or library in STANDARD:
            continue
        places = LIBRARIES.get(library, ())
        if not any(edge.importer == place or edge.importer.startswith(place + ".") for place in places):
            found.append(f"{edge}: it belongs in {', '.join(places) or 'LIBRARIES first, if it is needed at all'}")
    return found


def tasks(trees: dict[str, ast.Module]) -> dict[str, int]:
    """How often each module of the relay starts a task."""
    found: dict[str, int] = {}
    for name, tree in trees.items():
        if name.startswith("unbuffer.relay"):
            nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            names = [getattr(node.func, "attr", getattr(node.func, "id", "")) for node in nodes]
            if count := sum(name in TASKS for name in names):
                found[name] = count
    return found


def oversized(root: Path, narrow: dict[str, tuple[int, int]]) -> list[str]:
    """The files and classes of a package that are too long, or have too many methods."""
    found = []
    for name, tree in modules(root).items():
        path = root.parent.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if (lines := len(path.read_text("utf-8").splitlines())) > FILE_LINES:
            found.append(f"{name}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                most_lines, most_methods = narrow.get(f"{name}.{node.name}", (CLASS_LINES, CLASS_LINES))
                lines = (node.end_lineno or 0) - node.lineno + 1
                methods = sum(isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) for one in node.body)
                if lines > most_lines or methods > most_methods:
                    found.append(f"{name}.{node.name}: {lines} lines, {methods} methods")
    return found


def foreign_privates(tree: ast.Module) -> list[str]:
    """Attributes with an underscore of anything but the object itself."""
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]


# -- the product keeps them


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return modules(ROOT)


def test_imports_run_downwards_and_units_of_a_row_stand_apart(trees: dict[str, ast.Module]) -> None:
    assert breaches(imports(trees)) == []


def test_no_module_needs_itself(trees: dict[str, ast.Module]) -> None:
    circle = cycle(imports(trees))
    assert not circle, f"{' -> '.join(circle)}: move what they share, or import it for type checking only"


def test_no_file_of_the_relay_needs_itself_even_for_types(trees: dict[str, ast.Module]) -> None:
    """What must know whom it serves knows a base class of that: see `client`, `stream`, `decoding`, `upstream`."""
    relay = {name: tree for name, tree in trees.items() if name.startswith("unbuffer.relay")}
    # HTTP/2 is one room: a connection, its streams and their writers know each other.
    inside = "unbuffer.relay.http2"
    graph = [e for e in imports(relay) if not (e.importer.startswith(inside) and e.imported.startswith(inside))]
    circle = cycle(graph, for_types=True)
    assert not circle, " -> ".join(circle)


def test_each_library_stays_in_its_place(trees: dict[str, ast.Module]) -> None:
    assert strays(imports(trees)) == []


def test_mypy_looks_closely_at_all_that_is_compiled() -> None:
    """What it takes for impossible is compiled as such (setup.py, pyproject.toml)."""
    text = (ROOT.parent / "setup.py").read_text()
    compiled = {path.replace("/", ".") for path in re.findall(r'"(unbuffer/[\w/]+)\.py"', text)}
    packages = re.search(r"for package in \((.+?)\)", text)
    assert packages is not None
    compiled |= {f"unbuffer.{package.split('/')[0]}.*" for package in re.findall(r"[\w/]+", packages[1])}
    overrides = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    (closely,) = [set(one["module"]) for one in overrides if one.get("warn_unreachable")]
    assert closely == compiled


def test_what_others_keep_to_themselves_is_not_reached_for(trees: dict[str, ast.Module]) -> None:
    found = {name for name, tree in trees.items() if name.startswith("unbuffer.server") and foreign_privates(tree)}
    assert found == set()


def test_a_connection_is_opened_in_one_place(trees: dict[str, ast.Module]) -> None:
    """`unbuffer check` goes the same way as the relay. The admin port is asked by a plain socket, without a loop."""
    found = [
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "create_connection" and ast.unparse(node.value) != "socket"
    ]
    assert found == ["unbuffer.relay.dial"]


def test_a_stream_knows_nothing_of_the_connection_of_its_client(trees: dict[str, ast.Module]) -> None:
    """`relay/client.py` says what it needs of one, whatever version of HTTP that speaks."""
    relay = {name: f"unbuffer.relay.{name}" for name in STREAM + CONNECTION}
    assert set(relay.values()) <= set(trees)
    connection = {relay[name] for name in CONNECTION}
    known = [str(edge) for edge in imports(trees) if edge.imported in connection]
    assert not [text for text in known for name in STREAM if text.startswith(f"{relay[name]} ")]


def test_a_stream_costs_one_task_at_most(trees: dict[str, ast.Module]) -> None:
    assert tasks(trees) == TASKS_ALLOWED, "use a callback, or the watchdog where something is waited for"


def test_no_file_and_no_class_has_outgrown_its_purpose(trees: dict[str, ast.Module]) -> None:
    assert {name.rpartition(".")[0] for name in NARROW} <= set(trees)
    assert oversized(ROOT, NARROW) == [], "split it where it has two purposes"


# -- and the rules notice when it does not


def package(root: Path, **sources: str) -> dict[str, ast.Module]:
    """Modules of a package `unbuffer` under `root`, `relay__pool` for unbuffer/relay/pool.py."""
    for name, source in sources.items():
        path = root / "unbuffer" / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return modules(root / "unbuffer")


@pytest.mark.parametrize(
    "source",
    [
        "import unbuffer.observe.metrics",
        "from unbuffer.observe import metrics",
        "from unbuffer.server.worker import run",
        "def late() -> None:\n    from unbuffer.observe.metrics import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from unbuffer.server import worker",
    ],
)
def test_an_import_sideways_or_upwards_is_a_breach(tmp_path: Path, source: str) -> None:
    assert len(breaches(imports(package(tmp_path, relay__pool=source)))) == 1


def test_imports_downwards_and_inside_a_unit_are_none(tmp_path: Path) -> None:
    source = (
        "import unbuffer\nfrom unbuffer.relay import x\nfrom unbuffer.http import y\nfrom unbuffer.record import Record"
    )
    assert breaches(imports(package(tmp_path, relay__pool=source))) == []


def test_a_circle_is_found_unless_it_is_for_types(tmp_path: Path) -> None:
    there = "from unbuffer.relay import b"
    back = "def late() -> None:\n    import unbuffer.relay.a"
    assert cycle(imports(package(tmp_path, relay__a=there, relay__b=back))) == [
        "unbuffer.relay.a",
        "unbuffer.relay.b",
        "unbuffer.relay.a",
    ]
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import unbuffer.relay.a"
    graph = imports(package(tmp_path, relay__a=there, relay__b=typed))
    assert cycle(graph) == []
    assert cycle(graph, for_types=True)


def test_a_library_out_of_its_place_or_without_one_is_a_stray(tmp_path: Path) -> None:
    trees = package(tmp_path, http__sse="import httptools.parser", relay__a="import httptools\nimport os\nimport numpy")
    assert [stray.partition(":")[0] for stray in strays(imports(trees))] == [
        "unbuffer.http.sse (line 1) imports httptools.parser",
        "unbuffer.relay.a (line 3) imports numpy",
    ]


def test_every_start_of_a_task_is_counted(tmp_path: Path) -> None:
    source = "asyncio.create_task(x())\nloop.create_task(x())\nensure_future(x())"
    assert tasks(package(tmp_path, relay__a=source, server__b=source)) == {"unbuffer.relay.a": 3}


def test_what_is_too_long_is_found(tmp_path: Path) -> None:
    method = "    def x(self) -> None: ...\n"
    sources = {
        "relay__a": f"class Long:\n{method * CLASS_LINES}",
        "relay__b": f"class Whole:\n{method * (CLASS_LINES - 1)}",
        "relay__c": "\n" * (FILE_LINES + 1),
        "relay__d": f"class Narrow:\n{method * 3}",
    }
    package(tmp_path, **sources)
    narrow = {"unbuffer.relay.d.Narrow": (4, 2)}
    assert [text.partition(":")[0] for text in oversized(tmp_path / "unbuffer", narrow)] == [
        "unbuffer.relay.a.Long",
        "unbuffer.relay.c",
        "unbuffer.relay.d.Narrow",
    ]
