"""The examples of the documentation are tests: see tests/documents.py."""

from sybil import Sybil

from tests import documents

collect_ignore = ["docs/conf.py", "examples"]  # importing them would configure a site, and register methods

pytest_collect_file = Sybil(
    parsers=documents.PARSERS,
    patterns=["README.md", "CONTRIBUTING.md", "docs/*.md"],
    setup=documents.begin,
    teardown=documents.end,
).pytest()
