"""The system chaincodes clients ask: ``qscc``, ``cscc`` and ``_lifecycle``, the queries of them.

``docs/fabric-protocol.md`` 1.10. They read the peer's chain, not the state, and write nothing.
"""

from collections.abc import Callable, Mapping, Sequence

from google.protobuf.message import DecodeError

from light_node.contract.stub import OK, Response
from light_node.devnet.access import ENDORSEMENT, READERS, WRITERS
from light_node.devnet.ledger import envelopes_of
from light_node.devnet.views import PeerView
from light_node.fabric.block import BlockError, config_envelope, parse_block
from light_node.fabric.pb import common_pb2, lifecycle_pb2, peer_pb2

LIFECYCLE, QSCC, CSCC = "_lifecycle", "qscc", "cscc"
VERSION = "1"
SEQUENCE = 1


class QueryRefused(Exception):
    """A system chaincode answers status 500 with this text."""


Query = Callable[[PeerView, Sequence[bytes]], bytes]


class SystemChaincodes:
    """The queries a peer answers itself; ``chaincodes`` are the definitions on the channel."""

    def __init__(self, channel: str, chaincodes: Sequence[str], msp_ids: Sequence[str]) -> None:
        self._channel = channel
        self._definitions = {name: _definition(msp_ids) for name in chaincodes}
        self._queries: Mapping[tuple[str, str], tuple[str, Query]] = {
            (QSCC, "GetChainInfo"): (READERS, self._chain_info),
            (QSCC, "GetBlockByNumber"): (READERS, self._block_by_number),
            (QSCC, "GetBlockByHash"): (READERS, self._block_by_hash),
            (QSCC, "GetBlockByTxID"): (READERS, self._block_by_transaction),
            (QSCC, "GetTransactionByID"): (READERS, self._transaction_by_id),
            (CSCC, "GetConfigBlock"): (READERS, self._config_block),
            (CSCC, "GetChannelConfig"): (READERS, self._channel_config),
            (CSCC, "GetChannels"): ("", self._channels),
            (LIFECYCLE, "QueryChaincodeDefinition"): (WRITERS, self._definition),
            (LIFECYCLE, "QueryChaincodeDefinitions"): (WRITERS, self._all_definitions),
        }

    @staticmethod
    def is_system(chaincode: str) -> bool:
        """Tell whether ``chaincode`` is answered here."""
        return chaincode in (LIFECYCLE, QSCC, CSCC)

    def policy(self, chaincode: str, args: Sequence[bytes]) -> str | None:
        """Return the policy that guards a query, "" for any member, None if there is none such."""
        found = self._queries.get((chaincode, _function(args)))
        return None if found is None else found[0]

    def deny(self, chaincode: str, args: Sequence[bytes], reason: str) -> Response:
        """Answer whoever may not ask, in the words of each chaincode."""
        if chaincode == LIFECYCLE:
            text = f"Failed to authorize invocation due to failed ACL check: {reason}"
        else:
            asked = f"[{_function(args)}][{self._channel}]"
            text = f"access denied for {asked}: {f'[{reason}]' if chaincode == QSCC else reason}"
        return Response(500, text, b"")

    def invoke(self, view: PeerView, chaincode: str, args: Sequence[bytes]) -> Response:
        """Answer a query; status 500 with a text if it cannot be."""
        found = self._queries.get((chaincode, _function(args)))
        if found is None:
            name = _function(args)
            return Response(500, f"Requested function {name} not found on {chaincode}.", b"")
        try:
            return Response(OK, "", found[1](view, args[1:]))
        except QueryRefused as error:
            return Response(500, str(error), b"")

    # -- qscc --------------------------------------------------------------------------------

    def _chain_info(self, view: PeerView, args: Sequence[bytes]) -> bytes:
        self._on_channel(args, 1)
        tip = view.stored(view.height - 1)
        if tip is None:
            raise QueryRefused("Failed to get block info")
        return common_pb2.BlockchainInfo(
            height=view.height, currentBlockHash=tip.hash, previousBlockHash=tip.previous_hash
        ).SerializeToString()

    def _block_by_number(self, view: PeerView, args: Sequence[bytes]) -> bytes:
        self._on_channel(args, 2)
        text = args[1].decode("ascii", "replace")
        if not text.isdecimal() or len(text) > 20:
            raise QueryRefused(f"Failed to parse block number: {text[:30]!r}")
        return _whole_block(view, int(text))

    def _block_by_hash(self, view: PeerView, args: Sequence[bytes]) -> bytes:
        self._on_channel(args, 2)
        number = view.number_of_hash(args[1])
        if number is None:
            raise QueryRefused(f"Failed to get block hash {args[1].hex()[:64]}: no such block")
        return _whole_block(view, number)

    def _block_by_transaction(self, view: PeerView, args: Sequence[bytes]) -> bytes:
        self._on_channel(args, 2)
        return _whole_block(view, self._entry(view, args[1])[0])

    def _transaction_by_id(self, view: PeerView, args: Sequence[bytes]) -> bytes:
        self._on_channel(args, 2)
        number, position, code = self._entry(view, args[1])
        stored = view.stored(number)
        if stored is None:
            raise QueryRefused(f"Failed to get block {number}: no such block")
        envelope = common_pb2.Envelope.FromString(envelopes_of(stored)[position])
        return peer_pb2.ProcessedTransaction(
            transactionEnvelope=envelope, validationCode=code
        ).SerializeToString()

    def _entry(self, view: PeerView, transaction_id: bytes) -> tuple[int, int, int]:
        name = transaction_id.decode("utf-8", "replace")
        entry = view.transaction(name)
        if entry is None:
            raise QueryRefused(
                f"Failed to get transaction with id {name[:64]}, "
                f"error no such transaction ID [{name[:64]}] in index"
            )
        return entry.block, entry.position, entry.code

    # -- cscc --------------------------------------------------------------------------------

    def _config_block(self, view: PeerView, args: Sequence[bytes]) -> bytes:
        self._on_channel(args, 1)
        tip = view.stored(view.height - 1)
        return _whole_block(view, tip.last_config if tip else 0)

    def _channel_config(self, view: PeerView, args: Sequence[bytes]) -> bytes:
        try:
            _, envelope = config_envelope(parse_block(self._config_block(view, args)))
        except BlockError as error:
            raise QueryRefused(f"cannot read the configuration: {error}") from error
        return envelope.config.SerializeToString()

    def _channels(self, _: PeerView, args: Sequence[bytes]) -> bytes:
        info = peer_pb2.ChannelInfo(channel_id=self._channel)
        return peer_pb2.ChannelQueryResponse(channels=[info]).SerializeToString()

    def _on_channel(self, args: Sequence[bytes], count: int) -> None:
        if len(args) != count:
            raise QueryRefused(f"Incorrect number of arguments, {len(args)}")
        if args[0].decode("utf-8", "replace") != self._channel:
            raise QueryRefused("Invalid chain ID")

    # -- _lifecycle --------------------------------------------------------------------------

    def _definition(self, _: PeerView, args: Sequence[bytes]) -> bytes:
        try:
            asked = lifecycle_pb2.QueryChaincodeDefinitionArgs.FromString(args[0] if args else b"")
        except DecodeError as error:
            raise QueryRefused("failed to invoke backing implementation: bad argument") from error
        found = self._definitions.get(asked.name)
        if found is None:
            raise QueryRefused(
                "failed to invoke backing implementation of 'QueryChaincodeDefinition': "
                f"namespace {asked.name[:100]} is not defined"
            )
        return found.SerializeToString()

    def _all_definitions(self, _: PeerView, args: Sequence[bytes]) -> bytes:
        kind = lifecycle_pb2.QueryChaincodeDefinitionsResult.ChaincodeDefinition
        return lifecycle_pb2.QueryChaincodeDefinitionsResult(
            chaincode_definitions=[
                kind(
                    name=name,
                    sequence=definition.sequence,
                    version=definition.version,
                    endorsement_plugin=definition.endorsement_plugin,
                    validation_plugin=definition.validation_plugin,
                    validation_parameter=definition.validation_parameter,
                )
                for name, definition in sorted(self._definitions.items())
            ]
        ).SerializeToString()


def _definition(msp_ids: Sequence[str]) -> lifecycle_pb2.QueryChaincodeDefinitionResult:
    policy = peer_pb2.ApplicationPolicy(channel_config_policy_reference=ENDORSEMENT)
    return lifecycle_pb2.QueryChaincodeDefinitionResult(
        sequence=SEQUENCE,
        version=VERSION,
        endorsement_plugin="escc",
        validation_plugin="vscc",
        validation_parameter=policy.SerializeToString(),
        approvals=dict.fromkeys(msp_ids, True),
    )


def _whole_block(view: PeerView, number: int) -> bytes:
    block = view.block(number)
    if block is None:
        raise QueryRefused(f"Failed to get block number {number}, error no such block number")
    return block


def _function(args: Sequence[bytes]) -> str:
    return args[0].decode("utf-8", "replace")[:100] if args else ""
