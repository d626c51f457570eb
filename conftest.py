"""The code blocks of the documentation are tests (tests/documents.py)."""

from sybil import Sybil

from tests import documents

collect_ignore = ["docs/conf.py", "examples"]  # their import configures a site and registers methods

pytest_collect_file = Sybil(
    parsers=documents.PARSERS,
    patterns=["README.md", "CONTRIBUTING.md", "docs/*.md"],
    setup=documents.begin,
    teardown=documents.end,
).pytest()
