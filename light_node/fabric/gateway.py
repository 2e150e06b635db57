"""Client of the peers' gateway service (docs/fabric-protocol.md section 4).

Nothing is signed before it has passed the whole check of 4.3, and the retry rule of 4.7 is kept:
Evaluate and Endorse are repeated freely; once an envelope is signed, only that envelope is ever
submitted, and after any error CommitStatus is asked before it is submitted again. Both hold across
peers: where several are given, a call that finds one dead goes on at the next.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from light_node.clock import Clock
from light_node.fabric import endorsement
from light_node.fabric.calls import Calls
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.commit import DEFAULT_DEADLINES, Committer, Pace
from light_node.fabric.commit import CommitStatus as CommitStatus
from light_node.fabric.commit import Deadlines as Deadlines
from light_node.fabric.commit import Endorsed as Endorsed
from light_node.fabric.commits import CommitFollower
from light_node.fabric.errors import (
    CommitConflict,
    EndorseError,
    EndorsersDisagree,
    EvaluateError,
    MalformedMessage,
    TimedOut,
    Unavailable,
    UntrustedResponse,
    commit_error,
    contract_refused,
)
from light_node.fabric.events import Checkpoint, EventStream
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.methods import (
    CHAINCODE_EVENTS,
    COMMIT_STATUS,
    ENDORSE,
    EVALUATE,
    SUBMIT,
)
from light_node.fabric.pb import (
    common_pb2,
    gateway_pb2,
    lifecycle_pb2,
    orderer_pb2,
)
from light_node.fabric.peers import Link, Peers
from light_node.fabric.proposal import NONCE_BYTES, Proposal, build_proposal, is_transaction_id
from light_node.fabric.transaction import (
    EndorsementPolicy,
    Expectation,
    check_prepared,
    parse_transaction,
    read_envelope,
    sign_payload,
)
from light_node.i18n import Text

_STATUS_SLICE_S = 2.0  # how long one peer of several is asked for a commit before looking round


@dataclass(frozen=True, slots=True)
class Result:
    """A transaction committed as valid, with what the chaincode returned."""

    payload: bytes
    transaction_id: str
    block_number: int


class Gateway:
    """One identity on one channel, through one peer at a time. Thread-safe."""

    def __init__(
        self,
        peers: grpc.Channel | Peers,
        identity: SigningIdentity,
        channel_id: str,
        clock: Clock,
        *,
        policy: EndorsementPolicy | None = None,
        config: ChannelConfig | None = None,
        deadlines: Deadlines = DEFAULT_DEADLINES,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``peers`` are those to ask, or the channel to the only one, of the own organisation.

        ``policy`` judges endorsements of every chaincode called.

        A wallet passes ``endorsement.by_reference`` of its trusted config. Without ``policy`` each
        chaincode's definition is fetched through this gateway and evaluated over ``config``;
        without ``config`` that is fetched too, which trusts the gateway's peer entirely.
        """
        self._identity = identity
        self._channel_id = channel_id
        self._clock = clock
        self._policy = policy
        self._given_config = self._config = config
        self._deadlines = deadlines
        self._random = random
        if not isinstance(peers, Peers):
            peers = Peers([Link("the peer", identity.msp_id, peers)], monotonic=clock.monotonic)
        self._peers = peers
        self._planned = False  # whether to leave the choice of endorsers to the gateway always
        self._unsubscribe = peers.subscribe(self._moved)
        self._lock = threading.Lock()
        self._policies: dict[str, EndorsementPolicy] = {}
        self._streams: list[EventStream] = []
        self._pace = Pace(random)
        self._calls = Calls(peers, clock, self._pace)
        self._commits = CommitFollower(identity, channel_id, clock)
        self._committer = Committer(self.submit, self.commit_status, deadlines, clock, self._pace)

    @property
    def identity(self) -> SigningIdentity:
        """Who signs."""
        return self._identity

    def close(self) -> None:
        """End event streams and waiting retries. Channel or peers stay their owner's."""
        self._unsubscribe()
        self._pace.stop()
        self._commits.close()
        with self._lock:
            streams, self._streams = self._streams, []
        for stream in streams:
            stream.close()

    # -- reading --------------------------------------------------------------------------------

    def evaluate(
        self,
        chaincode: str,
        function: str,
        *args: bytes | str,
        transient: Mapping[str, bytes] | None = None,
        organizations: Sequence[str] = (),
    ) -> bytes:
        """Return what a query answers: one peer's unsigned word.

        ``organizations`` (MSP ids) restricts whose peers may answer. ``ContractRefused`` if the
        chaincode says no, another ``FabricError`` otherwise.
        """

        def attempt(within: float) -> bytes:
            proposal = self._propose(chaincode, function, args, transient)
            request = gateway_pb2.EvaluateRequest(
                transaction_id=proposal.transaction_id,
                channel_id=self._channel_id,
                proposed_transaction=proposal.signed,
                target_organizations=organizations,
            )
            answer = self._calls.call(EVALUATE, request, "evaluate", within, proposal)
            response = answer.result
            if response.status >= 400:
                raise contract_refused(response.status, response.message, stage="evaluate")
            if response.status < 200:
                raise EvaluateError(Text("the peer's answer has no status"), stage="evaluate")
            payload: bytes = response.payload
            return payload

        return self._calls.repeat(attempt, self._deadlines.evaluate)

    def height(self) -> int:
        """Return the number of blocks at the peer that is asked (``qscc`` GetChainInfo)."""
        asked = [self._peers.current.msp_id]
        raw = self.evaluate("qscc", "GetChainInfo", self._channel_id, organizations=asked)
        try:
            return common_pb2.BlockchainInfo.FromString(raw).height
        except DecodeError as error:
            raise MalformedMessage(Text("the peer's chain info cannot be read")) from error

    def definition(self, chaincode: str) -> endorsement.ChaincodeDefinition:
        """Return a chaincode's committed definition, by this gateway's word."""
        args = lifecycle_pb2.QueryChaincodeDefinitionArgs(name=chaincode).SerializeToString()
        raw = self.evaluate("_lifecycle", "QueryChaincodeDefinition", args)
        return endorsement.read_definition(chaincode, raw)

    def config_block(self) -> bytes:
        """Return the channel's newest config block (``cscc`` GetConfigBlock), not verified."""
        return self.evaluate("cscc", "GetConfigBlock", self._channel_id)

    # -- writing --------------------------------------------------------------------------------

    def endorse(
        self,
        chaincode: str,
        function: str,
        *args: bytes | str,
        transient: Mapping[str, bytes] | None = None,
        organizations: Sequence[str] = (),
        expect: Expectation | None = None,
    ) -> Endorsed:
        """Have a transaction endorsed, check it (4.3) and sign it. Nothing is submitted.

        ``expect`` checks the decoded outcome instead of the default, which lets only the called
        chaincode's state be written. ``UntrustedResponse`` if the gateway prepared anything else
        than what was asked for; ``ContractRefused`` if the chaincode says no.
        """
        policy = self._policy_of(chaincode)

        def attempt(within: float) -> Endorsed:
            named = list(organizations) or self._serving()
            proposal = self._propose(chaincode, function, args, transient)
            request = gateway_pb2.EndorseRequest(
                transaction_id=proposal.transaction_id,
                channel_id=self._channel_id,
                proposed_transaction=proposal.signed,
                endorsing_organizations=named,
            )
            answer = self._calls.call(ENDORSE, request, "endorse", within, proposal)
            try:
                checked = check_prepared(
                    answer.prepared_transaction, proposal, policy, expect=expect
                )
            except UntrustedResponse as error:
                if error.point == 6:  # the organisations may have changed: fetch anew next time
                    self._forget_policies()
                    if named and not organizations:
                        # Those that serve are too few for this policy: the gateway's plan it is.
                        self._planned = True
                        raise Unavailable(
                            Text(
                                "endorse: too few organisations' peers answer; try again when "
                                "they do"
                            ),
                            stage="endorse",
                        ) from error
                raise
            envelope = sign_payload(self._identity, checked.payload)
            return Endorsed(
                proposal.transaction_id,
                envelope.SerializeToString(),
                checked.action.response.payload,
                checked.action.event,
            )

        return self._calls.repeat(attempt, self._deadlines.endorse)

    def submit(self, endorsed: Endorsed) -> None:
        """Hand the envelope to the ordering service; may be repeated with the same one.

        Success means accepted, not committed; failure does not mean that it will not commit.
        """
        request = gateway_pb2.SubmitRequest(
            transaction_id=endorsed.transaction_id,
            channel_id=self._channel_id,
            prepared_transaction=read_envelope(endorsed.envelope),
        )
        with self._commits.expecting(self._peers.current, endorsed.transaction_id):
            self._calls.repeat(
                lambda within: self._calls.call(
                    SUBMIT,
                    request,
                    "submit",
                    within,
                    transaction_id=endorsed.transaction_id,
                ),
                self._deadlines.submit,
                only_overload=True,
            )

    def commit_status(self, transaction_id: str, timeout: float | None = None) -> CommitStatus:
        """Wait until the peer has committed the transaction and return how it ended.

        When another peer is taken meanwhile, that one is asked. ``TimedOut`` after ``timeout``
        seconds (default: ``Deadlines.commit``): it may still commit. While many wait at once, one
        stream of the peer's filtered blocks tells them all (:mod:`light_node.fabric.commits`).
        """
        until = self._clock.monotonic() + (self._deadlines.commit if timeout is None else timeout)
        with self._commits.waiting(self._peers.current):
            within = min(_STATUS_SLICE_S, (until - self._clock.monotonic()) / 2)
            told = self._commits.told(self._peers.current, transaction_id, within)
            return told or self._ask_commit_status(transaction_id, until)

    def _ask_commit_status(self, transaction_id: str, until: float) -> CommitStatus:
        request = gateway_pb2.CommitStatusRequest(
            transaction_id=transaction_id,
            channel_id=self._channel_id,
            identity=self._identity.serialized,
        ).SerializeToString()
        signed = gateway_pb2.SignedCommitStatusRequest(
            request=request, signature=self._identity.sign(request)
        )
        several, losses = len(self._peers.links) > 1, 0
        while True:
            left = until - self._clock.monotonic()
            within = min(left, _STATUS_SLICE_S) if several else left
            try:
                answer = self._calls.call(
                    COMMIT_STATUS, signed, "commit status", within, transaction_id=transaction_id
                )
            except TimedOut:
                if left <= within:
                    raise
                self._peers.trouble.set()  # perhaps this peer stands still: have all compared
            except Unavailable:
                losses += 1
                if losses >= len(self._peers.links):
                    raise
            else:
                return CommitStatus(answer.result, answer.block_number)

    def submit_transaction(
        self,
        chaincode: str,
        function: str,
        *args: bytes | str,
        transient: Mapping[str, bytes] | None = None,
        organizations: Sequence[str] = (),
        expect: Expectation | None = None,
        retries: int = 0,
    ) -> Result:
        """Endorse, check, sign, submit and wait for the commit.

        When something read has changed in between (``CommitConflict``) or peers disagreed, up to
        ``retries`` new transactions are tried, with growing random pauses. ``OutcomeUnknown``
        holds the envelope to go on with in :meth:`resume`.
        """
        for attempt in range(retries + 1):
            try:
                endorsed = self.endorse(
                    chaincode,
                    function,
                    *args,
                    transient=transient,
                    organizations=organizations,
                    expect=expect,
                )
                status = self._committer.bring_to_commit(endorsed)
                if not status.valid:
                    raise commit_error(endorsed.transaction_id, status.code, status.block_number)
                return Result(endorsed.result, endorsed.transaction_id, status.block_number)
            except (CommitConflict, EndorsersDisagree):
                if attempt == retries:
                    raise
            self._pace.pause(attempt)
        raise ValueError("retries must not be negative")

    def resume(self, transaction_id: str, envelope: bytes) -> Result:
        """Bring an envelope from an earlier run to its end, whatever had become of it.

        CommitStatus is asked first; the same envelope is submitted if it is not committed yet.
        ``CommitError`` if it ended invalid, ``OutcomeUnknown`` if nobody can tell yet.
        """
        stored = parse_transaction(envelope)
        if not is_transaction_id(transaction_id) or stored.transaction_id != transaction_id:
            raise MalformedMessage(Text("the stored envelope is of another transaction"))
        endorsed = Endorsed(transaction_id, envelope, stored.response.payload)
        status = self._committer.bring_to_commit(endorsed, ask_first=True)
        if not status.valid:
            raise commit_error(transaction_id, status.code, status.block_number)
        return Result(endorsed.result, transaction_id, status.block_number)

    # -- events ---------------------------------------------------------------------------------

    def events(
        self, chaincode: str, start_block: int | None = None, after_tx: str = ""
    ) -> EventStream:
        """Return the chaincode's events from ``start_block`` on, after transaction ``after_tx``.

        Without either from the next block on; the height is asked now, so that nothing is missed
        between this call and the first event, not even when the connection breaks.
        """
        if start_block is None and not after_tx:
            start_block = self.height()
        stream = self._stream(chaincode, Checkpoint(start_block, after_tx))
        with self._lock:
            self._streams = [s for s in self._streams if not s.closed] + [stream]
        if self._pace.stopped:
            stream.close()
        return stream

    def _stream(self, chaincode: str, start: Checkpoint) -> EventStream:
        asked = self._peers.current

        def open_call(checkpoint: Checkpoint) -> Any:
            nonlocal asked
            asked = self._peers.current
            request = gateway_pb2.ChaincodeEventsRequest(
                channel_id=self._channel_id,
                chaincode_id=chaincode,
                identity=self._identity.serialized,
                after_transaction_id=checkpoint.after_tx,
            )
            if checkpoint.start_block is not None:
                request.start_position.CopyFrom(
                    orderer_pb2.SeekPosition(
                        specified=orderer_pb2.SeekSpecified(number=checkpoint.start_block)
                    )
                )
            raw = request.SerializeToString()
            return asked.callable(CHAINCODE_EVENTS)(
                gateway_pb2.SignedChaincodeEventsRequest(
                    request=raw, signature=self._identity.sign(raw)
                )
            )

        return EventStream(
            chaincode, start, open_call, lambda error: self._calls.failed(asked, error)
        )

    def _moved(self, link: Link) -> None:
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.reconnect()

    # -- shared ---------------------------------------------------------------------------------

    def _propose(
        self,
        chaincode: str,
        function: str,
        args: Sequence[bytes | str],
        transient: Mapping[str, bytes] | None,
    ) -> Proposal:
        parts = [function.encode()]
        parts += [arg.encode() if isinstance(arg, str) else arg for arg in args]
        return build_proposal(
            self._identity,
            self._channel_id,
            chaincode,
            parts,
            now=self._clock.now(),
            nonce=self._random(NONCE_BYTES),
            transient=transient,
        )

    def _policy_of(self, chaincode: str) -> EndorsementPolicy:
        if self._policy is not None:
            return self._policy
        with self._lock:
            found = self._policies.get(chaincode)
        if found is not None:
            return found
        config = self._config
        try:
            if config is None:
                config = ChannelConfig.from_block(self.config_block())
                if config.channel_id != self._channel_id:
                    raise EndorseError(Text("the peer's config block is of another channel"))
            if chaincode == "_lifecycle":
                found = endorsement.by_reference(config, endorsement.LIFECYCLE_REFERENCE)
            else:
                found = endorsement.by_definition(config, self.definition(chaincode))
        except ValueError as error:  # ConfigError, PolicyError
            raise EndorseError(
                Text("the endorsement policy cannot be used: {error}", error=error)
            ) from error
        with self._lock:
            self._config = config
            return self._policies.setdefault(chaincode, found)

    def _forget_policies(self) -> None:
        with self._lock:
            self._policies.clear()
            self._config = self._given_config

    def _serving(self) -> Sequence[str]:
        """Return whom to name as endorsers: nobody, unless some organisation's peers are silent."""
        return () if self._planned else self._peers.serving_organizations()
