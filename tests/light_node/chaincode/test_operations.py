"""What can be seen of a server from outside: metrics, health, log lines, pauses."""

import asyncio
import gc
import io
import json
import logging
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from light_node.chaincode import logs, pauses
from light_node.chaincode.metrics import Metrics
from light_node.chaincode.operations import OperationsServer
from light_node.clock import SystemClock
from light_node.fabric.identity import SigningIdentity

WAIT = 20.0


@pytest.fixture
def health() -> list[bool]:
    return [True]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def operations(metrics: Metrics, health: list[bool]) -> Iterator[OperationsServer]:
    server = OperationsServer("127.0.0.1", 0, metrics.text, lambda: health[0])
    yield server
    server.close()


def fetch(server: OperationsServer, path: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{server.address}{path}", timeout=WAIT) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_healthz_follows_the_server(operations: OperationsServer, health: list[bool]) -> None:
    assert fetch(operations, "/healthz") == (200, "ok\n")
    health[0] = False
    assert fetch(operations, "/healthz") == (503, "stopping\n")
    assert fetch(operations, "/elsewhere")[0] == 404


def test_metrics_are_prometheus_text(operations: OperationsServer, metrics: Metrics) -> None:
    metrics.finished("SubmitQuote", "ok", 0.003)
    status, text = fetch(operations, "/metrics")
    assert status == 200
    assert 'chaincode_transactions_total{function="SubmitQuote",outcome="ok"} 1.0' in text
    assert 'chaincode_transaction_seconds_bucket{function="SubmitQuote",le="0.005"} 1.0' in text
    assert "# TYPE chaincode_transaction_seconds histogram" in text


def test_a_server_counts_transactions_streams_and_state_calls(
    serve: Any, dial: Any, new_trader: Callable[..., SigningIdentity]
) -> None:
    server = serve("kv")
    peer, trader = dial(server), new_trader("Ada")
    peer.call(trader, "put", "k", "v")
    peer.call(trader, "get", "absent")
    value = server.metrics.registry.get_sample_value
    outcome = {"function": "put", "outcome": "ok"}
    assert value("chaincode_transactions_total", outcome) == 1
    refused = {"function": "get", "outcome": "refused"}
    assert value("chaincode_transactions_total", refused) == 1
    assert value("chaincode_state_calls_total", {"type": "PUT_STATE"}) == 1
    assert value("chaincode_streams") == 1
    assert 0 < server.metrics.longest("step") < WAIT
    assert value("chaincode_transactions_running") == 0


def test_log_lines_are_json_whatever_is_in_them() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    log = logging.Logger("test")
    log.addHandler(handler)
    log.warning("two\nlines %s", "简体", extra={"tx": "t\n1", "peer": "p", "message_id": 1})
    try:
        raise ValueError("no\n good")
    except ValueError:
        log.exception("failed")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["message"] == "two\nlines 简体"
    assert (first["level"], first["tx"], first["peer"]) == ("warning", "t\n1", "p")
    assert datetime.fromisoformat(first["time"]).tzinfo == UTC
    assert "ValueError: no\n good" in second["exception"]


def test_the_collector_is_tamed_for_as_long_as_it_is_asked_for(metrics: Metrics) -> None:
    before = gc.get_threshold(), sys.getswitchinterval(), len(gc.callbacks)
    with pauses.tamed(SystemClock()) as collections:
        assert gc.get_freeze_count() > 10_000
        gc.collect()
        (generation, seconds) = collections[-1]
        assert generation == 2
        assert seconds >= 0

        async def sampled() -> None:
            sampler = asyncio.create_task(pauses.sample(metrics, SystemClock(), collections))
            while collections or not metrics.longest("gc"):
                await asyncio.sleep(0.01)
            sampler.cancel()

        asyncio.run(asyncio.wait_for(sampled(), WAIT))
    assert gc.get_freeze_count() == 0
    assert (gc.get_threshold(), sys.getswitchinterval(), len(gc.callbacks)) == before
    assert metrics.longest("gc") > 0
