"""What can go wrong with a devnet as a whole; the message is one line that says what to do."""


class DevnetError(Exception):
    """The devnet cannot start or go on."""


class DirectoryError(DevnetError):
    """The directory holds something this program cannot use."""


class PortInUseError(DevnetError):
    """A port the network needs is taken."""
