"""From a commit on the devnet to "two organisations agree" on the window's Trust page.

To reach: a median below 150 ms. A real window (on the off-screen platform where there is no
display) shows what a real light node says of a real devnet; everything else in it is recorded. The
clock starts when the gateway says that the transaction is committed and stops when the page's text
names the new height as agreed on.
"""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from pathlib import Path

from light_node.chain.node import LightNode
from light_node.clock import SystemClock
from light_node.devnet.testing import DevnetProcess
from wallet_app.trading.node import trust_view
from wallet_app.trading.view import Change, WalletView

COMMITS = 60
PAUSE_S = 0.35
TIMEOUT_S = 10.0


def run() -> None:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with DevnetProcess(directory / "net", "--batch-timeout=100") as net:
            node = LightNode(net.profile, directory / "headers", net.user(), SystemClock())
            with node:
                if not node.wait(lambda s: s.verified_height == s.agreed_height, TIMEOUT_S):
                    raise RuntimeError(f"the light node does not agree: {node.status()}")
                _measure(net, node, directory)


def _measure(net: DevnetProcess, node: LightNode, directory: Path) -> None:
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication, QLabel

    from tests.gui.fake_source import FakeSource, full_view
    from wallet_app.gui import app, settings
    from wallet_app.gui.window import MainWindow

    recorded = full_view()

    class Source(FakeSource):
        def view(self) -> WalletView:
            return replace(recorded, trust=trust_view(node.status()))

        def subscribe(self, callback: Callable[[frozenset[Change]], None]) -> Callable[[], None]:
            return node.subscribe(lambda _: callback(frozenset((Change.TRUST,))))

    kept = settings.WindowSettings()
    qt = app.application(kept, UTC)
    window = MainWindow(Source(), kept, None)
    window.show()
    window.start()
    window.open_page("trust")
    labels = window.pages["trust"].findChildren(QLabel)
    agreed = next(found for found in labels if found.accessibleName() == "Height, agreed")
    committed: dict[int, float] = {}
    shown: dict[int, float] = {}
    done = threading.Event()

    def look() -> None:
        text = agreed.text().replace(",", "")
        if text.isdigit():
            shown.setdefault(int(text), time.perf_counter())
        if done.is_set() and (not committed or max(committed) in shown):
            qt.quit()

    timer = QTimer()
    timer.setInterval(1)
    timer.timeout.connect(look)
    timer.start()

    def load() -> None:
        channel = net.connect()
        gateway = net.gateway(channel, net.user())
        for number in range(COMMITS):
            result = gateway.submit_transaction("kv", "put", "key", str(number))
            committed[result.block_number + 1] = time.perf_counter()
            time.sleep(PAUSE_S)
        gateway.close()
        channel.close()
        done.set()

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    QTimer.singleShot(int((COMMITS * 1.0 + 30) * 1000), qt.quit)
    QApplication.exec()
    window.close()
    waits = sorted(
        1000 * max(0.0, shown[height] - at) for height, at in committed.items() if height in shown
    )
    if len(waits) < COMMITS * 0.9:
        raise RuntimeError(f"only {len(waits)} of {COMMITS} commits were seen on the page")
    print(f"{len(waits)} commits, commit to agreed on the page, ms")
    print(
        f"median {statistics.median(waits):.0f}, 90 % {waits[int(len(waits) * 0.9)]:.0f}, "
        f"most {waits[-1]:.0f} (goal: median below 150)"
    )
