"""What nbval compares in the committed notebooks: printed text, and only in marked cells."""

from __future__ import annotations

import pytest

PICTURES = ("image/svg+xml", "text/html")
"""Not compared: float noise of another CPU moves a curve's last digit in an SVG."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the pictures to what nbval skips; it has no option for this."""
    for item in items:
        skipped = getattr(item.parent, "skip_compare", None)
        if skipped is not None:
            item.parent.skip_compare = tuple(dict.fromkeys((*skipped, *PICTURES)))  # type: ignore[union-attr]
