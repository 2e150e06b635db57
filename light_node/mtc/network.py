"""The operator's way to a real network: an identity in files, and the gateway of some peer.

The identity folder is for servers that operate a market (wallets keep keys in the keyring):

| file       | content                                             |
| ---------- | --------------------------------------------------- |
| cert.pem   | enrolment certificate, with the permission operate  |
| key.pem    | its private key, PKCS#8, readable by its owner only |
| msp_id     | MSP id of the organisation, as text                 |
"""

import logging
import os
from pathlib import Path

from light_node.clock import Clock
from light_node.fabric import clocks, crypto, endorsement
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.crypto import CryptoError, PrivateKey
from light_node.fabric.gateway import Deadlines, Gateway
from light_node.fabric.identity import IdentityError, SigningIdentity
from light_node.fabric.peers import Heights, Link, Move, Peers, PeerWatch
from light_node.fabric.profile import NetworkProfile

CERTIFICATE, KEY, MSP_ID = "cert.pem", "key.pem", "msp_id"
_MAX_FILE_BYTES = 64 * 1024
# A step that hangs must not take the next round's time as well.
_DEADLINES = Deadlines(evaluate=10.0, endorse=20.0, submit=10.0, commit=20.0)

_log = logging.getLogger(__name__)


class IdentityUnusable(Exception):
    """The identity folder cannot be used; the message names the file and says what to do."""


def load_identity(folder: Path) -> SigningIdentity:
    """Read an identity folder; ``IdentityUnusable`` if a file is missing or they do not fit."""
    msp_id = _read(folder / MSP_ID).decode("utf-8", "replace").strip()
    if not msp_id or len(msp_id) > 200 or not msp_id.isprintable():
        raise IdentityUnusable(f"{folder / MSP_ID} must hold an MSP id, such as Org1MSP")
    key_file = folder / KEY
    if os.name == "posix" and key_file.exists() and key_file.stat().st_mode & 0o077:
        _log.warning("%s can be read by others: run chmod 600 on it", key_file)
    try:
        key = crypto.load_private_key(_read(key_file))
        return SigningIdentity.from_key(msp_id, _read(folder / CERTIFICATE), key)
    except (CryptoError, IdentityError) as error:
        raise IdentityUnusable(f"the identity in {folder} cannot be used: {error}") from error


def save_identity(folder: Path, msp_id: str, certificate_pem: bytes, key: PrivateKey) -> None:
    """Write an identity folder; ``OSError`` if the disk refuses. The key is its owner's only."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MSP_ID).write_text(msp_id + "\n", encoding="utf-8")
    (folder / CERTIFICATE).write_bytes(certificate_pem)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(folder / KEY, flags, 0o600), "wb") as file:
        file.write(crypto.private_key_pem(key))


class PeerGateway:
    """An :class:`~light_node.mtc.driver.OperatorGateway` through one peer at a time.

    The own organisation's peers come first, then all others (:mod:`light_node.fabric.peers`). A
    peer that lags behind shows an older phase, and the step repeated on it is refused or fails by
    MVCC, so changing peers does no harm.
    """

    def __init__(
        self,
        profile: NetworkProfile,
        identity: SigningIdentity,
        clock: Clock,
        config: ChannelConfig,
    ) -> None:
        """``config`` is the trusted channel configuration; it judges endorsements.

        ``ProfileError`` if the network has no such organisation, ``ValueError`` without peers.
        """
        self._chaincode = profile.chaincode
        self._peers = Peers.of_profile(profile, identity.msp_id, monotonic=clock.monotonic)
        heights = Heights(identity, profile.channel, clock)
        self._watch = PeerWatch(
            self._peers,
            heights,
            monotonic=clock.monotonic,
            on_move=_log_move,
            ahead=heights.ahead,
        )
        self._gateway = Gateway(
            self._peers,
            identity,
            profile.channel,
            clock,
            policy=endorsement.by_reference(config),
            config=config,
            deadlines=_DEADLINES,
        )
        self._watch.start()

    @property
    def peer(self) -> Link:
        """The peer that is asked now."""
        return self._peers.current

    def submit(self, function: str, *args: str) -> bytes:
        """Endorse, check, submit and wait for the commit."""
        return self._gateway.submit_transaction(self._chaincode, function, *args).payload

    def evaluate(self, function: str, *args: str) -> bytes:
        """Return what a query answers."""
        return self._gateway.evaluate(self._chaincode, function, *args)

    def close(self) -> None:
        """End the connections."""
        self._gateway.close()
        self._watch.stop()
        self._peers.close()


def _log_move(move: Move) -> None:
    if move.preferred:
        _log.warning("%s serves again", move.taken.name)
    elif move.ahead is not None:
        _log.warning(
            "the clock of %s is %s: its operator has to set it; asking %s",
            move.left.name,
            clocks.apart(move.ahead),
            move.taken.name,
        )
    elif move.behind is None:
        _log.warning("%s does not answer: asking %s", move.left.name, move.taken.name)
    else:
        behind = move.behind
        _log.warning("%s is %d blocks behind: asking %s", move.left.name, behind, move.taken.name)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise IdentityUnusable(
            f"cannot read {path}: {error.strerror}; an identity folder holds "
            f"{CERTIFICATE}, {KEY} and {MSP_ID}"
        ) from error
    if len(data) > _MAX_FILE_BYTES:
        raise IdentityUnusable(f"{path} is too large")
    return data
