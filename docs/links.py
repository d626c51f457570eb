"""Rewrites links that work on GitHub so that they also work on the site: links to pages outside docs/ and to folders.

Links to other files need no change, because Sphinx copies these files to the site.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "results/README.md": "results.md"}
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)#:]+)(?P<anchor>#[^)]*)?\)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Set up the Sphinx extension."""
    app.connect("source-read", lambda app, name, source: _rewrite(DOCS, source))
    app.connect("include-read", lambda app, path, parent, source: _rewrite((DOCS / path).resolve().parent, source))
    return {"parallel_read_safe": True}


def _rewrite(folder: Path, source: list[str]) -> None:
    source[0] = rewritten(source[0], folder)


def rewritten(text: str, folder: Path) -> str:
    """Markdown of a page in `folder`, with its links changed for a page in docs/.

    >>> rewritten("[how](docs/speed.md#steps), [who](CONTRIBUTING.md), [where](conf)", ROOT)
    '[how](speed.md#steps), [who](contributing.md), where'
    """
    return LINK.sub(lambda link: _link(link, folder), text)


def _link(link: re.Match[str], folder: Path) -> str:
    path = Path(os.path.normpath(folder / link["path"]))
    if path.is_dir():
        return link["text"]
    inside = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
    target = PAGES.get(inside, os.path.relpath(path, DOCS))
    return f"{link['image']}[{link['text']}]({target}{link['anchor'] or ''})"
