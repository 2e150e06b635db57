"""A window over recorded values, for every test of the screens."""

from collections.abc import Iterator
from datetime import UTC

import pytest

from tests.gui.fake_source import FakeSource
from wallet_app import format as fmt
from wallet_app import i18n


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The offscreen platform says this of every window that has a smallest size.
    for item in items:
        if "tests/gui" in item.path.as_posix():
            item.add_marker(pytest.mark.qt_log_ignore("propagateSizeHints"))


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    i18n.use_language("en")
    fmt.set_number_style(fmt.NumberStyle())
    fmt.use_zone(UTC)
    yield
    i18n.use_language("en")
    fmt.use_zone(None)
    fmt.set_number_style(fmt.NumberStyle())


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()
