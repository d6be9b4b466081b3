"""Links of the Markdown pages, adapted to the documentation site.

On a code host, pages link to files of the repository (`../examples/train.py`). The site has no such
files: there such a link becomes the file's path as text.
"""

from __future__ import annotations

import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?P<up>(?:\.\./)+)(?P<path>[^)#]+)(?P<anchor>#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs with the source of every page."""
    depth = page.file.src_uri.count("/")

    def adapted(match: re.Match[str]) -> str:
        ups, path, anchor = match["up"].count("../"), match["path"], match["anchor"] or ""
        if path.startswith("docs/"):  # a model card, seen from its folder in the repository
            return f"[{match[1]}]({'../' * depth}{path.removeprefix('docs/')}{anchor})"
        if ups <= depth:
            return match[0]
        card = re.fullmatch(r"neural_renderer/(weights/\w+/\w+\.md)", path)
        if card is not None:
            return f"[{match[1]}]({'../' * depth}{card[1]}{anchor})"
        return f"{match[1]} (`{path}`)" if match[1] != f"`{path}`" else f"`{path}`"

    return _LINK.sub(adapted, markdown)
