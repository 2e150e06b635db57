"""A devnet under the papers' load test, and quotes from submission to commit.

To reach: the ramp of docs/market-rules.md section 9 (1,000 queries a row, 50 to 460 a second sent)
with none failed and an average below 20 ms; puts and quotes at 100 a second, none lost, on average
below the batch timeout plus 50 ms; less than 250 MB resident.

The client is this process, the devnet another one. Load is sent on schedule, whatever the answers
do, and latency counts from the scheduled instant, so that a stall is not hidden by sending less.
Like Fabric's official clients, this one signs but does not verify endorsements.
"""

import asyncio
import base64
import csv
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from light_node import jsonio
from light_node.devnet.certificates import Credential, issue_identity
from light_node.devnet.store import Store
from light_node.devnet.testing import DevnetClients, DevnetProcess
from light_node.fabric import crypto, methods
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import gateway_pb2, peer_pb2
from light_node.fabric.proposal import Proposal, build_proposal

ZHAO = Path(__file__).parents[1] / "data" / "paper" / "zhao_table1.csv"
PUTS = 1_000
QUOTES = 400
RATE = 100
SLOT = "2026-06-21T10:00Z/PT60M"


class Client:
    """A gateway client on one connection, without checks, for as many calls as there are."""

    def __init__(self, devnet: DevnetClients, msp_id: str = "Org1MSP") -> None:
        peer = devnet.profile.organization(msp_id).peers[0]
        credentials = grpc.ssl_channel_credentials(peer.tls_root_pem.encode())
        options = [("grpc.enable_http_proxy", 0)]
        self._channel = grpc.aio.secure_channel(peer.address, credentials, options)
        self._calls = {
            method: self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            for method in (methods.EVALUATE, methods.ENDORSE, methods.SUBMIT, methods.COMMIT_STATUS)
        }

    async def close(self) -> None:
        await self._channel.close()

    async def evaluate(self, identity: SigningIdentity, chaincode: str, *args: bytes) -> bytes:
        proposal = _propose(identity, chaincode, args)
        request = gateway_pb2.EvaluateRequest(**_fields(proposal))
        answer = await self._calls[methods.EVALUATE](request, timeout=30)
        payload: bytes = answer.result.payload
        return payload

    async def submit(self, identity: SigningIdentity, chaincode: str, *args: bytes) -> None:
        """Endorse, submit and wait for the commit; ``RuntimeError`` unless it is valid."""
        proposal = _propose(identity, chaincode, args)
        endorse, submit, status = (
            self._calls[m] for m in (methods.ENDORSE, methods.SUBMIT, methods.COMMIT_STATUS)
        )
        request = gateway_pb2.EndorseRequest(**_fields(proposal))
        envelope = (await endorse(request, timeout=30)).prepared_transaction
        envelope.signature = identity.sign(envelope.payload)
        await submit(
            gateway_pb2.SubmitRequest(
                transaction_id=proposal.transaction_id,
                channel_id=proposal.channel,
                prepared_transaction=envelope,
            ),
            timeout=30,
        )
        asked = gateway_pb2.CommitStatusRequest(
            transaction_id=proposal.transaction_id,
            channel_id=proposal.channel,
            identity=identity.serialized,
        ).SerializeToString()
        signed = gateway_pb2.SignedCommitStatusRequest(
            request=asked, signature=identity.sign(asked)
        )
        result = (await status(signed, timeout=30)).result
        if result != peer_pb2.VALID:
            raise RuntimeError(peer_pb2.TxValidationCode.Name(result))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Latencies in ms of what succeeded, how many failed, and how long all took in seconds."""

    latencies: tuple[float, ...]
    failed: int
    seconds: float

    @property
    def row(self) -> str:
        average = statistics.fmean(self.latencies)
        ordered = sorted(self.latencies)
        p99 = ordered[int(len(ordered) * 0.99)]
        rate = len(ordered) / self.seconds
        return f"{self.failed:8}{average:10.1f}{p99:10.1f}{ordered[-1]:10.1f}{rate:10.1f}"


HEAD = f"{'failed':>8}{'avg ms':>10}{'p99 ms':>10}{'max ms':>10}{'per s':>10}"


def run() -> None:
    asyncio.run(_run())


async def _run() -> None:
    gc.freeze()
    with tempfile.TemporaryDirectory() as directory:
        for timeout in (500, 100):
            with DevnetProcess(Path(directory, str(timeout)), f"--batch-timeout={timeout}") as net:
                client = Client(net)
                if timeout == 500:
                    await _queries(net, client)
                await _commits(net, client, timeout)
                await client.close()


async def _queries(net: DevnetProcess, client: Client) -> None:
    user = net.user("reader")
    await client.submit(user, "kv", b"put", b"key", b"value")
    print("1,000 queries a row; beside them what [Z] measured on Fabric 1.1\n")
    print(f"{'sent per s':>10}{HEAD}{'[Z] avg ms':>12}{'[Z] per s':>11}")
    with ZHAO.open(newline="") as file:
        rows = list(csv.DictReader(file))
    await paced(100, 100, lambda _: client.evaluate(user, "kv", b"get", b"key"))
    for row in rows:
        rate, count = int(row["send_rate_tps"]), int(row["succeeded"])
        outcome = await paced(count, rate, lambda _: client.evaluate(user, "kv", b"get", b"key"))
        paper = f"{row['avg_latency_ms']:>12}{row['throughput_tps']:>11}"
        print(f"{rate:10}{outcome.row}{paper}", flush=True)
    print(f"\nresident after the queries: {_resident(net):.0f} MB\n")


async def _commits(net: DevnetProcess, client: Client, timeout: int) -> None:
    print(f"submission to commit at {RATE} per second, batch timeout {timeout} ms\n")
    print(f"{'':24}{HEAD}{'allowed avg':>13}")
    user = net.user("operator")
    puts = await paced(
        PUTS, RATE, lambda i: client.submit(user, "kv", b"put", b"k%d" % i, b"value")
    )
    print(f"{f'{PUTS:,} puts':24}{puts.row}{timeout + 50:13}", flush=True)
    quotes = await _quote(net, client, user)
    print(f"{f'{QUOTES:,} quotes':24}{quotes.row}{timeout + 50:13}", flush=True)
    print(f"\nresident at the end: {_resident(net):.0f} MB\n")


async def _quote(net: DevnetProcess, client: Client, operator: SigningIdentity) -> Outcome:
    traders = traders_of(net.directory, QUOTES)
    admission = {"capacity_w": 5_000, "voltage_v": 230, "zone": "z1", "green": True}

    async def admit(i: int) -> None:
        fields = jsonio.canonical_dumps({**admission, "wallet_address": f"wallet-{i}"})
        await client.submit(traders[i], "market", b"Admit", fields)

    admitted = await paced(QUOTES, RATE, admit)
    if admitted.failed:
        raise RuntimeError(f"{admitted.failed} admissions failed")
    slot = {"slot": SLOT, "floor": 4_000, "cap": 11_080, "rounds": 3}
    await client.submit(operator, "market", b"OpenSlot", jsonio.canonical_dumps(slot))

    async def quote(i: int) -> None:
        await client.submit(traders[i], "market", b"SubmitQuote", signed_quote(traders[i], i, SLOT))

    return await paced(QUOTES, RATE, quote)


def signed_quote(trader: SigningIdentity, i: int, slot: str) -> bytes:
    """The argument of SubmitQuote by the trader of this number."""
    fields: dict[str, Any] = {
        "slot": slot,
        "round": 1,
        "participant": f"trader-{i}@{trader.msp_id}",
        "wallet_address": f"wallet-{i}",
        "side": "sell" if i % 2 else "buy",
        "energy_wh": 1_000 + i,
        "price": 5_000 + i,
    }
    signature = trader.sign(jsonio.canonical_dumps(fields))
    return jsonio.canonical_dumps({**fields, "signature": _base64(signature)})


def traders_of(keys: Path, count: int) -> list[SigningIdentity]:
    """Identities straight from Org1's root: the CA's own pace is not what is measured."""
    store = Store.open(keys)
    root = Credential.load(*store.credentials()["peer0.org1/ca"])
    store.close()
    after = datetime.now(UTC) + timedelta(days=1)
    found = []
    for i in range(count):
        key = crypto.generate_key()
        certificate = issue_identity(
            root,
            key.public_key(),
            f"trader-{i}",
            ["client"],
            after,
            attributes={
                "hf.EnrollmentID": f"trader-{i}",
                "market.user_type": "household",
                "market.permissions": "trade",
            },
        )
        pem = crypto.certificate_pem(certificate)
        found.append(SigningIdentity.from_key("Org1MSP", pem, key))
    return found


async def paced(count: int, rate: int, send: Callable[[int], Awaitable[object]]) -> Outcome:
    """Send ``count`` calls, ``rate`` a second, each at its instant whatever the others do."""
    latencies: list[float] = []
    failures: list[BaseException] = []
    start = time.perf_counter() + 0.05

    async def one(i: int) -> None:
        due = start + i / rate
        try:
            await send(i)
        except (grpc.RpcError, RuntimeError) as error:
            failures.append(error)
        else:
            latencies.append((time.perf_counter() - due) * 1e3)

    tasks = []
    for i in range(count):
        delay = start + i / rate - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        tasks.append(asyncio.ensure_future(one(i)))
    await asyncio.gather(*tasks)
    seconds = time.perf_counter() - start
    for failure in failures[:3]:
        print(f"  failed: {failure}")
    return Outcome(tuple(latencies), len(failures), seconds)


def _propose(identity: SigningIdentity, chaincode: str, args: Sequence[bytes]) -> Proposal:
    return build_proposal(
        identity, "market", chaincode, args, now=datetime.now(UTC), nonce=os.urandom(24)
    )


def _fields(proposal: Proposal) -> dict[str, Any]:
    return {
        "transaction_id": proposal.transaction_id,
        "channel_id": proposal.channel,
        "proposed_transaction": proposal.signed,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _resident(net: DevnetProcess) -> float:
    """Return the devnet's resident memory in MB (Linux; elsewhere not a number)."""
    try:
        text = Path(f"/proc/{net.pid}/status").read_text()
    except OSError:
        return float("nan")
    kilobytes = next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))
    return int(kilobytes) * 1024 / 1e6
