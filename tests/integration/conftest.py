"""A real devnet for the tests of this folder: one process, started once per session."""

from collections.abc import Iterator

import pytest

from light_node.devnet.testing import DevnetProcess


@pytest.fixture(scope="session")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetProcess]:
    """A running devnet with short blocks; see DevnetProcess for what it offers."""
    directory = tmp_path_factory.mktemp("devnet")
    with DevnetProcess(directory, "--batch-timeout", "50") as process:
        yield process
