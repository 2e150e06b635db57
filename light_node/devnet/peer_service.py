"""The services of one peer beside its gateway: Endorser, Deliver, DeliverFiltered."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc

from light_node.devnet.access import READERS, AccessControl
from light_node.devnet.deliver_service import (
    MAX_CONCURRENT,
    BlockWriter,
    SeekReader,
    SeekRefused,
    block_response,
    streaming,
)
from light_node.devnet.endorser import Endorser, ProposalRefused
from light_node.devnet.ledger import CommittedBlock
from light_node.devnet.rpc import Limit, RpcFailure, unary
from light_node.devnet.validation import TransactionResult
from light_node.devnet.views import PeerView
from light_node.fabric import methods
from light_node.fabric.pb import common_pb2, peer_pb2

DELIVER_METHODS = (
    methods.PEER_DELIVER,
    methods.PEER_DELIVER_FILTERED,
    methods.PEER_DELIVER_WITH_PRIVATE_DATA,
)
"""Those that answer with serialized messages."""
_SERVICE = "protos.Deliver"


def behaviours(
    endorser: Endorser, access: AccessControl
) -> Mapping[methods.Method, Callable[..., Any]]:
    """Return the gRPC behaviours of one peer's Endorser and Deliver services."""
    view = endorser.view
    reader = SeekReader(view, access, READERS)

    async def process_proposal(signed: peer_pb2.SignedProposal) -> peer_pb2.ProposalResponse:
        try:
            return await endorser.process(signed)
        except ProposalRefused as refusal:
            raise RpcFailure(grpc.StatusCode.UNKNOWN, str(refusal)) from refusal

    writers = (block_response(view), filtered_response(view, access.channel), _with_private(view))
    return {
        methods.PROCESS_PROPOSAL: unary(Limit("protos.Endorser", MAX_CONCURRENT), process_proposal),
        **{
            method: streaming(_SERVICE, view, reader, write)
            for method, write in zip(DELIVER_METHODS, writers, strict=True)
        },
    }


def filtered_response(view: PeerView, channel: str) -> BlockWriter:
    """Return a writer of filtered blocks: ids, types, verdicts and event names, nothing signed."""

    def write(number: int, _: bool) -> bytes:
        block = view.committed(number)
        if block is None:
            raise SeekRefused(common_pb2.NOT_FOUND)
        filtered = _filtered(channel, block)
        return peer_pb2.DeliverResponse(filtered_block=filtered).SerializeToString()

    return write


def _with_private(view: PeerView) -> BlockWriter:
    def write(number: int, _: bool) -> bytes:
        block = view.block(number)
        if block is None:
            raise SeekRefused(common_pb2.NOT_FOUND)
        private = peer_pb2.BlockAndPrivateData(block=common_pb2.Block.FromString(block))
        return peer_pb2.DeliverResponse(block_and_private_data=private).SerializeToString()

    return write


def _filtered(channel: str, block: CommittedBlock) -> peer_pb2.FilteredBlock:
    return peer_pb2.FilteredBlock(
        channel_id=channel,
        number=block.number,
        filtered_transactions=[_filtered_transaction(result) for result in block.results],
    )


def _filtered_transaction(result: TransactionResult) -> peer_pb2.FilteredTransaction:
    filtered = peer_pb2.FilteredTransaction(
        txid=result.transaction_id,
        type=common_pb2.HeaderType.Name(result.type),
        tx_validation_code=peer_pb2.TxValidationCode.Name(result.code),
    )
    if result.type == common_pb2.ENDORSER_TRANSACTION:
        filtered.transaction_actions.SetInParent()
        if result.event is not None:
            event = peer_pb2.ChaincodeEvent(
                chaincode_id=result.event.chaincode,
                tx_id=result.event.transaction_id,
                event_name=result.event.name,
            )
            filtered.transaction_actions.chaincode_actions.add(chaincode_event=event)
    return filtered
