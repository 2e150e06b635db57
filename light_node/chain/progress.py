"""How far a catch-up has come, how fast it goes, and how long the rest will take at that pace."""

from collections import deque
from dataclasses import dataclass

WINDOW_S = 10.0
"""The pace is that of the last seconds: a new source, or none, shows soon."""
_SPACING_S = 0.25


@dataclass(frozen=True, slots=True)
class Progress:
    """A node that is behind: ``share`` (0 to 1) of the chain from its trust root on is verified.

    ``blocks_per_s`` and ``seconds_left`` are None until two batches have come, or when nothing came
    for :data:`WINDOW_S`.
    """

    share: float
    blocks_per_s: float | None = None
    seconds_left: float | None = None


class Pace:
    """Heights over the last seconds. Not thread-safe."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, height: int) -> None:
        """Note the verified height at monotonic time ``now``."""
        self._forget(now)
        if len(self._samples) > 1 and now - self._samples[-2][0] < _SPACING_S:
            self._samples.pop()
        self._samples.append((now, height))

    def progress(
        self, now: float, first: int, verified: int, claimed: int | None
    ) -> Progress | None:
        """Return the progress from block ``first`` to ``claimed`` blocks; None if not behind."""
        if claimed is None or verified >= claimed:
            return None
        share = max(0, verified - first - 1) / max(1, claimed - first - 1)
        self._forget(now)
        if len(self._samples) < 2:
            return Progress(share)
        since, before = self._samples[0]
        pace = (verified - before) / max(now - since, _SPACING_S)
        if pace <= 0:
            return Progress(share)
        return Progress(share, pace, (claimed - verified) / pace)

    def _forget(self, now: float) -> None:
        while self._samples and now - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()
