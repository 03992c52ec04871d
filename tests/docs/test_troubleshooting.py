"""The messages that the troubleshooting page explains are those that users get."""

from __future__ import annotations

import re

import pytest

from tests.docs.snippets import ROOT

PAGE = (ROOT / "docs/troubleshooting.md").read_text()
MESSAGES = re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)
FILES = sorted((ROOT / "airflow_provider_apiusage").rglob("*.py"))
SOURCE = re.sub(r'"\s*\n\s*f?"', "", "".join(file.read_text() for file in FILES))


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_one_that_is_written(message: str) -> None:
    """What the heading quotes, less what differs from case to case, stands in the code."""
    for part in re.split(r"<[^>]*>", message):
        assert part.strip() in SOURCE


def test_the_page_explains_messages() -> None:
    """There are as many as to be worth a page."""
    assert len(MESSAGES) > 12
