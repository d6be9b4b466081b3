"""Where the files of a user are kept that belong to no project folder: styles of shipped weights.

`SIM2STREET_HOME` names the folder; without it, the platform's folder for the data of programs.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from sim2street.configs import ConfigError

HOME_VARIABLE = "SIM2STREET_HOME"


def user_folder() -> Path:
    """The folder of the user's files; it may not exist yet.

    Raises:
        ConfigError: `SIM2STREET_HOME` is not set, and the user has no home folder.
    """
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    try:
        return _platform_data_folder() / "sim2street"
    except RuntimeError as error:  # pathlib's, where the user has no home
        raise ConfigError(
            f"this user has no home folder to keep files in: set {HOME_VARIABLE} to a folder"
        ) from error


def styles_of_user(weights: Path) -> Path:
    """The user's folder of styles for some weights; it may not exist yet.

    Its name has the hash of the weights, because a style only works with those it was made for.

    Raises:
        ConfigError: the weights cannot be read, or there is no folder for the user's files.
    """
    try:
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"no weights at {weights}: {error.strerror}") from error
    return user_folder() / "styles" / f"{weights.stem}-{digest[:12]}"


def _platform_data_folder() -> Path:
    """The platform's folder for the data of programs. RuntimeError without a home folder."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    data = os.environ.get("XDG_DATA_HOME")
    return Path(data) if data else Path.home() / ".local" / "share"
