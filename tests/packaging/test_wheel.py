"""The wheel in an environment of its own, beside a project that has folders named as ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OUR_FOLDERS = ("apps", "bridge", "configs", "envs", "neural_renderer")
INSTALL_TIMEOUT_S = 400


def run(
    command: Sequence[str | Path], cwd: Path, timeout_s: float = 100
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from an sdist, as package indexes and `pip wheel` do it."""
    folder = tmp_path_factory.mktemp("wheel")
    code = (
        "from setuptools.build_meta import build_sdist; import sys; print(build_sdist(sys.argv[1]))"
    )
    made = run([sys.executable, "-c", code, folder], ROOT)
    assert made.returncode == 0, made.stderr
    (sdist,) = folder.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    made = run([*pip, "--wheel-dir", folder, sdist], folder, INSTALL_TIMEOUT_S)
    assert made.returncode == 0, made.stderr
    (built,) = folder.glob("*.whl")
    return built


def environment(folder: Path) -> Path:
    """The interpreter of a new, empty virtual environment."""
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def install(python: Path, *what: str | Path, timeout_s: float = INSTALL_TIMEOUT_S) -> None:
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *what]
    made = run(command, python.parent, timeout_s)
    assert made.returncode == 0, made.stderr


def somebodys_project(folder: Path) -> Path:
    """A project with folders of the names that ours have at the top of the repository."""
    folder.mkdir()
    for name in OUR_FOLDERS:
        (folder / name).mkdir()
    (folder / "envs" / "__init__.py").write_text("MINE = True\n")
    (folder / "configs" / "__init__.py").write_text("MINE = True\n")
    return folder


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The project and its interpreter; third-party packages are those of these tests."""
    folder = tmp_path_factory.mktemp("user")
    python = environment(folder / "venv")
    install(python, "--no-deps", wheel)
    site = Path(sysconfig.get_paths(vars={"base": str(folder / "venv")})["purelib"])
    # A path in a .pth file is searched, but .pth files inside it (our editable install) are not.
    (site / "third_party.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return somebodys_project(folder / "project"), python


def test_the_wheel_holds_everything_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sim2street"}
    inside = set(names)
    for part in (
        "py.typed",
        "configs/world/town.yaml",
        "neural_renderer/weights/tiny/tiny.safetensors",
        "bridge/carla/child/__main__.py",
    ):
        assert f"sim2street/{part}" in inside
    source_files = [path for folder in OUR_FOLDERS for path in (ROOT / folder).rglob("*.py")]
    missing = {f"sim2street/{path.relative_to(ROOT)}" for path in source_files} - inside
    assert not missing


def test_it_lives_beside_folders_of_the_same_names(project: tuple[Path, Path]) -> None:
    folder, python = project
    code = (
        "import sim2street, envs, configs, gymnasium; assert envs.MINE and configs.MINE; "
        "import sim2street.envs; print(sim2street.__file__); "
        "env = gymnasium.make('sim2street/TownLaneKeepState-v0'); env.reset(seed=1); env.close()"
    )
    done = run([python, "-c", code], folder)
    assert done.returncode == 0, done.stderr
    assert str(folder.parent / "venv") in done.stdout


def snippets() -> list[str]:
    """The Python blocks of the README that need no server."""
    found = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    return [text for text in found if "tcp://" not in text]


@pytest.mark.parametrize("snippet", snippets(), ids=range(len(snippets())))
def test_the_snippets_of_the_readme_run_there(project: tuple[Path, Path], snippet: str) -> None:
    folder, python = project
    (folder / "snippet.py").write_text(snippet)
    done = run([python, "snippet.py"], folder)
    assert done.returncode == 0, done.stderr


def test_the_readme_has_snippets() -> None:
    assert len(snippets()) >= 2


def test_importing_it_is_cheap(project: tuple[Path, Path]) -> None:
    folder, python = project
    code = (
        "import sys, sim2street; "
        "print(sorted({'torch', 'panda3d', 'zmq', 'scipy', 'av', 'carla'} & set(sys.modules)))"
    )
    assert run([python, "-c", code], folder).stdout.strip() == "[]"


@pytest.mark.slow
def test_a_base_install_says_which_extra_is_missing(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("base")
    python = environment(folder / "venv")
    install(python, wheel)
    command = folder / "venv" / "bin" / "sim2street"
    for arguments in (["--help"], ["doctor"], ["--version"]):
        done = run([command, *arguments], folder)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    for arguments, extra in (
        (["demo"], "town"),
        (["serve", "renderer", "--renderer", "tiny"], "neural"),
        (["record", "drive.mcap"], "recording"),
        (["train", "street", "--out", "run"], "train"),
        (["bench", "env"], "env"),
        (["style", "list"], "neural"),
    ):
        done = run([command, *arguments], folder)
        assert done.returncode != 0
        assert f"sim2street[{extra}]" in done.stderr, (arguments, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    code = "import sim2street; sim2street.load_renderer('tiny')"
    done = run([python, "-c", code], folder)
    assert "sim2street[neural]" in done.stderr
    palette = "import sim2street, numpy as np; r = sim2street.load_renderer('palette'); "
    palette += "print(r.render_labels(np.zeros((8, 8), np.uint8)).shape)"
    assert run([python, "-c", palette], folder).stdout.strip() == "(8, 8, 3)"
