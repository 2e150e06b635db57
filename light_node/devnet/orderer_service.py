"""The AtomicBroadcast service of one orderer: Broadcast and Deliver."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from light_node.devnet.access import CHANNEL_READERS, AccessControl
from light_node.devnet.deliver_service import SeekReader, block_response, streaming
from light_node.devnet.rpc import Context
from light_node.devnet.views import OrdererView
from light_node.fabric import methods
from light_node.fabric.pb import common_pb2, orderer_pb2


def behaviours(
    view: OrdererView, access: AccessControl
) -> Mapping[methods.Method, Callable[..., Any]]:
    """Return the gRPC behaviours of one orderer."""

    async def broadcast(
        requests: AsyncIterator[common_pb2.Envelope], _: Context
    ) -> AsyncIterator[orderer_pb2.BroadcastResponse]:
        async for envelope in requests:
            answer = view.broadcast(envelope)
            yield orderer_pb2.BroadcastResponse(
                status=common_pb2.Status.Name(answer.status), info=answer.info
            )

    reader = SeekReader(view, access, CHANNEL_READERS)
    return {
        methods.BROADCAST: broadcast,
        methods.ORDERER_DELIVER: streaming(
            "orderer.AtomicBroadcast", view, reader, block_response(view)
        ),
    }
