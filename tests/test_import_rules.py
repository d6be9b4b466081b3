"""The direction of dependencies and the budgets of the sources, read off their syntax."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("configs", "bridge", "neural_renderer", "envs", "apps")
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
IDS = [str(file.relative_to(ROOT)) for file in SOURCES]

OURS: dict[str, set[str]] = {
    "configs": set(),
    "bridge": {"configs"},
    "neural_renderer": {"configs", "bridge"},
    "envs": {"configs", "bridge"},
    "apps": {"configs", "bridge", "neural_renderer", "envs"},
}
"""Package -> the packages of ours that it may import."""

FORBIDDEN: dict[str, set[str]] = {
    "configs": {"torch", "gymnasium", "zmq", "carla", "panda3d"},
    "bridge": {"torch", "gymnasium"},
    "neural_renderer": {"gymnasium", "zmq", "carla", "panda3d"},
    "envs": {"torch", "zmq", "carla", "panda3d"},
}
"""Package -> what it never imports, not even inside a function."""

HOMES: dict[str, str] = {
    "zmq": "bridge/transport",
    "carla": "bridge/carla",
    "panda3d": "bridge/town",
    "direct": "bridge/town",
}
"""Third-party package -> the one folder that imports it."""

CONTRACTS = {
    "bridge.errors",
    "bridge.frame",
    "bridge.hazards",
    "bridge.labels",
    "bridge.palette",
    "bridge.render_request",
    "bridge.renderer",
    "bridge.world",
}
"""What `envs` may know of the bridge."""

ANSWERING_SERVERS = (
    "bridge/transport/renderer_server.py",
    "bridge/transport/world_server.py",
)
"""A bug in a served world or renderer is logged with its traceback and answered as an error of
this request: it must not end the server for its other clients."""

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_TRAINING_LOOP_LINES = 150


CORE = (
    "bridge/errors.py",
    "bridge/frame.py",
    "bridge/camera.py",
    "bridge/frame_checks.py",
    "bridge/labels.py",
    "bridge/world.py",
    "bridge/renderer.py",
    "bridge/render_request.py",
    "bridge/rendered_world.py",
    "bridge/wire/bodies.py",
    "bridge/wire/codec.py",
    "bridge/wire/renderer_messages.py",
    "bridge/wire/schema.py",
    "bridge/wire/world_messages.py",
    "neural_renderer/session.py",
    "neural_renderer/batching.py",
    "neural_renderer/style_book.py",
    "neural_renderer/conditions/assemble.py",
    "neural_renderer/conditions/class_map.py",
    "neural_renderer/conditions/history.py",
    "neural_renderer/conditions/view_input.py",
    "neural_renderer/networks/blend.py",
    "neural_renderer/networks/build.py",
    "neural_renderer/networks/generator.py",
    "neural_renderer/networks/harmonise.py",
    "neural_renderer/networks/interface.py",
    "neural_renderer/networks/motion.py",
    "neural_renderer/networks/resampling.py",
    "neural_renderer/networks/spade.py",
    "neural_renderer/networks/style.py",
    "neural_renderer/training/config.py",
    "neural_renderer/training/losses.py",
    "neural_renderer/training/objective.py",
    "neural_renderer/training/optimise.py",
    "neural_renderer/training/rollout.py",
    "neural_renderer/training/sources.py",
    "neural_renderer/training/state.py",
    "neural_renderer/training/trainer.py",
    "neural_renderer/training/update.py",
    "envs/actions.py",
    "envs/driving.py",
    "envs/episodes.py",
    "envs/observations.py",
    "envs/rewards.py",
    "envs/tasks.py",
)
"""What somebody who wants to know the project reads; marked in the README's tree."""

READING_PATH = (
    "bridge/frame.py",
    "bridge/world.py",
    "bridge/renderer.py",
    "neural_renderer/networks/generator.py",
    "neural_renderer/session.py",
    "neural_renderer/training/trainer.py",
    "envs/driving.py",
)
"""The README's ten minutes."""

MAX_CORE_LINES = 7500
MAX_READING_PATH_LINES = 1500


def imported(file: Path) -> Iterator[tuple[str, int]]:
    """Every absolute module that a file imports, anywhere in it, with its line."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            assert node.module is not None
            if node.module == "sim2street":
                yield from ((f"sim2street.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("file", SOURCES, ids=IDS)
def test_imports_point_the_right_way(file: Path) -> None:
    relative = file.relative_to(ROOT)
    package = relative.parts[0]
    for imported_name, line in imported(file):
        where = f"{relative}:{line} imports {imported_name}"
        module = imported_name.removeprefix("sim2street.")
        top = module.split(".")[0]
        if top in PACKAGES and "carla/child" not in str(relative):
            assert imported_name.startswith("sim2street."), f"{where}: write sim2street.{module}"
        if top in PACKAGES and top != package:
            assert top in OURS[package], where
        assert top not in FORBIDDEN.get(package, set()), where
        if top in HOMES:
            assert str(relative.parent).startswith(HOMES[top]), where
        if package == "envs" and top == "bridge":
            assert module in CONTRACTS, f"{where}, which is no contract"


def test_only_the_composition_root_reads_the_shipped_configs() -> None:
    readers = {
        str(file.relative_to(ROOT))
        for file in SOURCES
        if any(
            isinstance(node, ast.Name) and node.id == "find_config"
            for node in ast.walk(ast.parse(file.read_text()))
        )
    }
    assert readers <= {"apps/compose.py", "configs/loader.py"}


def test_importing_the_contracts_loads_nothing_heavy() -> None:
    """A CARLA host has numpy, pyzmq and pydantic; envs must not need a renderer's torch."""
    import subprocess

    heavy = "{'torch', 'panda3d', 'carla', 'scipy', 'av'}"
    for modules, also in (
        ("sim2street.bridge.world, sim2street.bridge.renderer", "'av'"),
        ("sim2street", "'zmq'"),
    ):
        code = f"import sys, {modules}; print(sorted(set(sys.modules) & ({heavy} | {{{also}}})))"
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=110
        )
        assert result.stdout.strip() == "[]", f"{modules} loads {result.stdout} {result.stderr}"


@pytest.mark.parametrize("file", SOURCES, ids=IDS)
def test_budgets(file: Path) -> None:
    lines = file.read_text().count("\n")
    assert lines <= MAX_FILE_LINES, f"{lines} lines"
    for node in functions(file):
        assert node.end_lineno is not None
        length = node.end_lineno - node.lineno + 1
        is_loop = "training" in file.parts and node.name == "train"
        limit = MAX_TRAINING_LOOP_LINES if is_loop else MAX_FUNCTION_LINES
        assert length <= limit, f"line {node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("file", SOURCES, ids=IDS)
def test_public_names_are_documented_and_annotated(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"line {node.lineno}: {node.name} has no docstring"
    for function in functions(file):
        where = f"line {function.lineno}: {function.name}"
        assert function.returns is not None or function.name == "__init__", f"{where} -> ?"
        for argument in (*function.args.args, *function.args.kwonlyargs):
            known = argument.annotation is not None or argument.arg in ("self", "cls")
            assert known, f"{where}: {argument.arg} has no type"


@pytest.mark.parametrize("file", SOURCES, ids=IDS)
def test_habits(file: Path) -> None:
    relative = str(file.relative_to(ROOT))
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ExceptHandler):
            name = getattr(node.type, "id", None)
            assert node.type is not None, f"line {node.lineno}: bare except"
            if name in ("Exception", "BaseException"):  # to clean up and pass on, never to hide
                last = node.body[-1]
                passed_on = isinstance(last, ast.Raise) and last.exc is None
                handled = ast.unparse(node)
                logged = ".exception(" in handled or "exc_info=True" in handled
                answered = relative in ANSWERING_SERVERS and logged
                assert passed_on or answered, f"line {node.lineno}: broad except hides an error"
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"line {node.lineno}: import *"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}: print"


def lines_of(files: tuple[str, ...]) -> int:
    return sum((ROOT / file).read_text().count("\n") for file in files)


def test_the_core_and_the_reading_path_are_small() -> None:
    assert lines_of(CORE) <= MAX_CORE_LINES
    assert lines_of(READING_PATH) <= MAX_READING_PATH_LINES


def test_the_readme_names_the_core_and_the_reading_path() -> None:
    text = (ROOT / "README.md").read_text()
    tree = text[text.index("## The code") :]
    for file in CORE:
        name = Path(file).name
        folder = f"● {Path(file).parent.name}/"  # a folder whose files are listed as one
        assert folder in tree or name in tree or name.removesuffix(".py") in tree, file
    links = [f"({file})" for file in READING_PATH]
    assert all(link in tree for link in links)
