"""Configuration of the documentation site: `sphinx-build -W --keep-going -b html docs build/docs`. It needs no network."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "Robust training benchmark"
author = copyright = "the authors of the robust training benchmark"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "docstrings", "links"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 3  # links such as data.md#pictures work as they do on GitHub

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # torch's docstrings have another format
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
add_module_names = False

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files, html_js_files = ["site.css"], ["site.js"]
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "github-dark"
copybutton_exclude = ".linenos, .gp, .go"
