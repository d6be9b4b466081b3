"""docs/environments.md is up to date."""

from __future__ import annotations

import re
from pathlib import Path

from sim2street import envs
from sim2street.apps import env_reference
from sim2street.envs.rewards import REWARD_TERMS

PAGE = Path(__file__).parents[2] / "docs" / "environments.md"


def test_the_page_is_up_to_date() -> None:
    written = PAGE.read_text()
    assert written == env_reference.page(), (
        "run: python -m sim2street.apps.env_reference > docs/environments.md"
    )
    for name in (*envs.ENV_CONFIGS, *REWARD_TERMS):
        assert f"`{name}`" in written


def test_every_option_is_described() -> None:
    for row in re.findall(r"^\| `(\w+)` \|.*\| *\|$", PAGE.read_text(), re.MULTILINE):
        assert row in ("weather", "route_length_m"), row


def test_descriptions_of_attributes_are_read_from_docstrings() -> None:
    docstring = """A model.

    Attributes:
        first: what it is,
            and more of it. second, third: in m: the same.
    """
    assert env_reference._attributes(docstring) == {
        "first": "what it is, and more of it.",
        "second": "in m: the same.",
        "third": "in m: the same.",
    }
