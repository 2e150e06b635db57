"""Several simulated meters on one pair of wires."""

from collections.abc import Sequence

from wallet_app.meter.simulator.device import Asked, Device, Replies


class Bus(Asked):
    """Passes the host's bytes to every meter; whoever is meant answers."""

    def __init__(self, meters: Sequence[Device]) -> None:
        self._meters = meters

    def on_bytes(self, data: bytes, now: float) -> Replies:
        return [reply for meter in self._meters for reply in meter.on_bytes(data, now)]
