"""What can go wrong with a network of processes; the message is one line that says what to do."""


class FabricNetError(Exception):
    """The network cannot be started, stopped or looked at."""


class BinariesMissing(FabricNetError):
    """Fabric's programs are not where they were looked for."""


class NotReady(FabricNetError):
    """A part did not become ready in time; its log says why."""
