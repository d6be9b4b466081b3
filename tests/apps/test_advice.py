"""Options that error messages advise exist, in the command that the reader can run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from sim2street.apps.cli import app

ROOT = Path(__file__).parents[2]
PACKAGES = ("apps", "bridge", "configs", "envs", "neural_renderer")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
NAMED = re.compile(r"(?:sim2street |`)((?:[a-z-]+ )+)[^`]*?(--[a-z][a-z0-9-]*)")

FOREIGN = {"--force-reinstall", "--net", "--nproc-per-node", "--id-type", "--help"}
"""Options of other programs, such as pip, and the one that every command has."""

FOREIGN_FILES = {"bridge/carla/farm/config.py"}
"""Files with command lines of other programs."""

RAISED_BY: dict[str, list[str]] = {
    "bridge/datasets/label_folder.py": ["render"],
    "bridge/datasets/depth_scale.py": ["render"],
    "bridge/datasets/depth_images.py": ["render"],
    "bridge/datasets/naming.py": ["render", "style make", "finetune"],
    "bridge/datasets/plausibility.py": ["render", "style make", "finetune"],
    "bridge/carla/diagnose.py": ["doctor"],
    "bridge/transport/frame_stream.py": ["demo", "serve world"],
    "neural_renderer/evaluation/measures.py": ["evaluate"],
    "neural_renderer/styles/make.py": ["style make", "evaluate"],
    "apps/output.py": ["render"],
    "apps/commands/options.py": [],  # helpers of several commands, each with the option
}
"""For files that do not belong to one command: the commands whose users read their messages."""


def commands() -> dict[str, set[str]]:
    """The options of every command, by its words."""
    found: dict[str, set[str]] = {}

    def walk(command: object, words: tuple[str, ...]) -> None:
        for name, sub in getattr(command, "commands", {}).items():
            walk(sub, (*words, name))
        options = {opt for param in command.params for opt in param.opts}  # type: ignore[attr-defined]
        found[" ".join(words)] = options | {"--help"}

    walk(typer.main.get_command(app), ())
    return found


COMMANDS = commands()


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """All string literals but docstrings, f-strings and pieces put together, with their lines."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            body[0].value = ast.Constant(None)
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            inner |= {id(v) for v in ast.walk(node) if v is not node}
            if id(node) not in inner:
                yield node.lineno, "".join(map(str, parts))
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner
        ):
            yield node.lineno, node.value


def advised(file: Path) -> Iterator[tuple[int, str, str | None]]:
    """Line, option, and the command that the text names with it, if it names one."""
    for line, text in texts(file):
        if text.startswith("-") and " " not in text:
            continue  # the declaration of an option
        named = {m[2]: m[1].strip() for m in NAMED.finditer(text)}
        for option in OPTION.findall(text):
            if option not in FOREIGN:
                yield line, option, named.get(option)


def owners(relative: str) -> list[str]:
    """The commands that print the messages of a file."""
    if relative in RAISED_BY:
        return RAISED_BY[relative]
    name = Path(relative).stem.replace("_", "-")
    if relative.startswith("apps/commands/"):
        aliases = {"check": "check-world"}
        name = aliases.get(name, name)
        own = [command for command in COMMANDS if command.split(" ")[0] == name]
        group = {"train": ["train", "distil", "seed", "pack"], "record": ["record", "replay"]}
        return group.get(name, own)
    return []


FILES = [
    str(file.relative_to(ROOT))
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    if any(advised(file)) and str(file.relative_to(ROOT)) not in FOREIGN_FILES
]


@pytest.mark.parametrize("relative", FILES)
def test_advised_options_exist(relative: str) -> None:
    readers = owners(relative)
    for line, option, command in advised(ROOT / relative):
        where = f"{relative}:{line}: {option}"
        if command is not None:
            while command not in COMMANDS and " " in command:
                command = command.rpartition(" ")[0]  # words of the sentence, not of the command
            assert option in COMMANDS.get(command, set()), f"{where}: not of sim2street {command}"
        elif relative == "apps/commands/options.py":
            assert any(option in options for options in COMMANDS.values()), where
        elif relative.startswith("apps/commands/"):
            has = [reader for reader in readers if option in COMMANDS[reader]]
            assert has, f"{where}: none of {readers} has it"
        else:
            assert readers, f"{where}: name the command, as in `sim2street demo {option}`"
            lacking = [reader for reader in readers if option not in COMMANDS[reader]]
            assert not lacking, f"{where}: not of {lacking}"


def test_commands_named_in_messages_exist() -> None:
    pattern = re.compile(r"`sim2street ([a-z-]+)(?: ([a-z-]+))?")
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for line, text in texts(file):
                for first, second in pattern.findall(text):
                    known = first in COMMANDS and (
                        not any(name.startswith(f"{first} ") for name in COMMANDS)
                        or f"{first} {second}" in COMMANDS
                    )
                    assert known, f"{file.relative_to(ROOT)}:{line}: sim2street {first} {second}"
