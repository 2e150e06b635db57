"""Deploying a chaincode: install, approve, commit (docs/fabric-protocol.md 6.7, 1.10).

Each step looks first whether it is done, so a deployment that broke off goes on where it was.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError

from light_node.fabric.errors import EndorseError, FabricError, Unavailable
from light_node.fabric.gateway import Gateway
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import lifecycle_pb2
from light_node.fabricnet.channel import PeerAdmin
from light_node.fabricnet.errors import FabricNetError

LIFECYCLE = "_lifecycle"
_ALREADY = "already successfully installed"
_RETRY_S = 0.5
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Member:
    """One organisation's part: the line to its peer, its admin's gateways there, its package.

    ``own`` judges endorsements by the organisation's own policy, ``all_of_them`` by the channel's.
    """

    msp_id: str
    line: grpc.Channel
    admin: SigningIdentity
    peer: PeerAdmin
    own: Gateway
    all_of_them: Gateway
    package: bytes
    package_id: str


def deploy(name: str, version: str, members: Sequence[Member], seconds: float) -> bool:
    """Bring chaincode ``name`` onto the channel; False if a version of it was there.

    Every organisation installs its package and approves, the first commits. What is in force stays,
    be it another version; a peer that has lost its package with its disk gets it again. Peers learn
    of each other by gossip, so what fails for want of peers is tried again for ``seconds``.
    """
    now = _committed(members[0].all_of_them, name, seconds)
    for member in members:
        install(member)
    if now is not None:
        return False
    for member in members:
        _patiently(functools.partial(_approve, member, name, version, 1), seconds)
    _patiently(lambda: _commit(members, name, version, 1), seconds)
    return True


def install(member: Member) -> None:
    """Install the organisation's package on its peer unless it is there; ``FabricNetError``."""
    args = lifecycle_pb2.InstallChaincodeArgs(chaincode_install_package=member.package)
    answer = member.peer.invoke(LIFECYCLE, "InstallChaincode", args.SerializeToString())
    if answer.status == 200:
        found = lifecycle_pb2.InstallChaincodeResult.FromString(answer.payload).package_id
        if found != member.package_id:
            raise FabricNetError(f"the peer of {member.msp_id} gave the package the id {found}")
    elif _ALREADY not in answer.message:
        raise FabricNetError(
            f"the peer of {member.msp_id} did not install the chaincode: {answer.message[:500]}"
        )


def await_endorsers(gateway: Gateway, name: str, probe: Sequence[str], seconds: float) -> None:
    """Wait until the gateway finds enough endorsers for ``name``: peers learn of each other slowly.

    ``probe`` is a call that only reads; it is endorsed and never submitted.
    """
    _patiently(lambda: gateway.endorse(name, *probe), seconds)


def _committed(
    gateway: Gateway, name: str, seconds: float
) -> lifecycle_pb2.QueryChaincodeDefinitionsResult.ChaincodeDefinition | None:
    """Return the definition in force, None if the channel has none of that name."""
    args = lifecycle_pb2.QueryChaincodeDefinitionsArgs().SerializeToString()
    raw = _patiently(
        lambda: gateway.evaluate(LIFECYCLE, "QueryChaincodeDefinitions", args), seconds
    )
    try:
        found = lifecycle_pb2.QueryChaincodeDefinitionsResult.FromString(raw)
    except DecodeError as error:
        raise FabricNetError("the peer's chaincode definitions cannot be read") from error
    return next((d for d in found.chaincode_definitions if d.name == name), None)


def _approve(member: Member, name: str, version: str, sequence: int) -> None:
    ready = lifecycle_pb2.CheckCommitReadinessArgs(name=name, version=version, sequence=sequence)
    raw = member.own.evaluate(
        LIFECYCLE,
        "CheckCommitReadiness",
        ready.SerializeToString(),
        organizations=[member.msp_id],
    )
    if lifecycle_pb2.CheckCommitReadinessResult.FromString(raw).approvals.get(member.msp_id):
        return
    args = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        name=name,
        version=version,
        sequence=sequence,
        source=lifecycle_pb2.ChaincodeSource(
            local_package=lifecycle_pb2.ChaincodeSource.Local(package_id=member.package_id)
        ),
    )
    # The approval goes into the organisation's own collection, which its own peers endorse.
    member.own.submit_transaction(
        LIFECYCLE,
        "ApproveChaincodeDefinitionForMyOrg",
        args.SerializeToString(),
        organizations=[member.msp_id],
        retries=3,
    )


def _commit(members: Sequence[Member], name: str, version: str, sequence: int) -> None:
    args = lifecycle_pb2.CommitChaincodeDefinitionArgs(
        name=name, version=version, sequence=sequence
    )
    members[0].all_of_them.submit_transaction(
        LIFECYCLE,
        "CommitChaincodeDefinition",
        args.SerializeToString(),
        organizations=[member.msp_id for member in members],
        retries=3,
    )


def _patiently(attempt: Callable[[], T], seconds: float) -> T:
    until = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except (Unavailable, EndorseError) as error:
            if time.monotonic() > until:
                raise FabricNetError(f"the chaincode was not deployed: {error}") from error
            time.sleep(_RETRY_S)
        except FabricError as error:
            raise FabricNetError(f"the chaincode was not deployed: {error}") from error
