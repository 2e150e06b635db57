"""Where the demo's day takes place: a devnet of its own, or a test network that runs already."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from pathlib import Path

from light_node import jsonio
from light_node.clock import Clock
from light_node.devnet.network import PROFILE_FILE, USERS_DIRECTORY
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.connection import connect
from light_node.fabric.gateway import Gateway
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import NetworkProfile

MAX_DAYS = 400
_SECONDS_PER_BATCH = 100
"""Seconds of a slot for every second a block waits to fill: a slot's rounds take some ten blocks,
one after the other, and on one machine every call waits for ten other programs."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A network to trade on.

    ``operator`` is the folder of the trading centre's identity. ``suffix`` ends the names of those
    who take part, so that a network which has seen such a day before knows them apart.
    """

    profile: NetworkProfile
    operator: Path
    suffix: str

    @classmethod
    def of_directory(cls, directory: Path, suffix: str) -> "Ground":
        """Read the network in ``directory``; ``ProfileError`` if there is none."""
        profile = NetworkProfile.load(directory / PROFILE_FILE)
        msp_id = profile.organizations[0].msp_id
        return cls(profile, directory / USERS_DIRECTORY / msp_id / "operator", suffix)

    def seconds_per_slot(self, wanted: float) -> float:
        """Return how long a slot takes at least with the batch timeout of the channel."""
        config = ChannelConfig.from_block(self.profile.trust_root.config_block)
        return max(wanted, _SECONDS_PER_BATCH * config.batch_timeout_ns / 1e9)

    def free_day(
        self, day: date, zone: tzinfo, reader: SigningIdentity, clock: Clock
    ) -> date | None:
        """Return the first day from ``day`` on in which nothing was traded; None within 400 days.

        ``FabricError`` if the network does not answer.
        """
        peer = self.profile.organization(reader.msp_id).peers[0]
        line = connect(peer.address, peer.tls_root_pem)
        gateway = Gateway(line, reader, self.profile.channel, clock)
        try:
            return _first_free(day, zone, lambda *span: _slots(gateway, self.profile, *span))
        finally:
            gateway.close()
            line.close()


def _first_free(day: date, zone: tzinfo, slots: Callable[[datetime, datetime], int]) -> date | None:
    for number in range(MAX_DAYS):
        candidate = day + timedelta(days=number)
        start = datetime.combine(candidate, time(), zone)
        if not slots(start, start + timedelta(days=1)):
            return candidate
    return None


def _slots(gateway: Gateway, profile: NetworkProfile, start: datetime, end: datetime) -> int:
    span = [_instant(start), _instant(end)]
    answer = jsonio.strict_loads(gateway.evaluate(profile.chaincode, "ListSlots", *span))
    return len(jsonio.array(jsonio.mapping(answer, "ListSlots"), "slots"))


def _instant(moment: datetime) -> str:
    offset = moment.utcoffset() or timedelta()
    return f"{(moment - offset).replace(tzinfo=None):%Y-%m-%dT%H:%MZ}"
