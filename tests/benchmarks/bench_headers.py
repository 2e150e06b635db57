"""How fast headers are verified: hash links, signatures beside bare cryptography, the store.

With ``ELECTRUM_PYTHON`` naming an interpreter that can import Electrum, its header verification is
timed beside ours.

The links run over synthetic headers (real metadata, so that parsing costs what it costs); the
signatures are those of the live channels in ``tests/data/fabric``. Every row states its work.
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from light_node.chain import received, trust, verify
from light_node.chain.follower import BATCH_BLOCKS
from light_node.chain.received import Received
from light_node.chain.store import HeaderStore
from light_node.chain.verify import TrustedState, Verified
from light_node.fabric import block as blocks
from light_node.fabric.pb import common_pb2, msp_pb2

DATA = Path(__file__).parent.parent / "data" / "fabric"
HEADERS = 50_000
ROUNDS = 5


def run() -> None:
    """Print the table."""
    print(f"{HEADERS:,} headers, medians of {ROUNDS} rounds, one thread\n")
    for kind in ("raft", "bft"):
        _links(kind)
    if "ELECTRUM_PYTHON" in os.environ:
        _electrum(os.environ["ELECTRUM_PYTHON"])
    for kind in ("raft", "bft"):
        _signatures(kind)
    _store()


def _per_second(work: Callable[[], None], count: int) -> float:
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        rates.append(count / (time.perf_counter() - started))
    return statistics.median(rates)


def _row(what: str, rate: float, note: str = "") -> None:
    print(f"{what:58} {rate:>12,.0f} /s  {note}")


def _chain(kind: str) -> tuple[TrustedState, list[bytes]]:
    """Headers after block 0 with a live block's metadata; linked, not signed."""
    root = trust.load((DATA / kind / "full" / "0000.block").read_bytes())
    model = blocks.parse_block((DATA / kind / "headers" / "0005.block").read_bytes())
    previous, raws = root.hash, []
    for number in range(1, HEADERS + 1):
        digest = number.to_bytes(32, "big")
        raw = blocks.encode_block(number, previous, None, model.metadata, header_data_hash=digest)
        previous = blocks.block_hash(number, previous, digest)
        raws.append(raw)
    return root.state, raws


def _links(kind: str) -> None:
    start, raws = _chain(kind)
    size = sum(map(len, raws)) // len(raws)

    def parse() -> None:
        for raw in raws:
            verify.parse(raw)

    def singly() -> None:
        state = start
        for raw in raws:
            state = verify.apply(
                state, verify.verify_block(state, verify.parse(raw), attested=False)
            )

    def together() -> None:
        # What verify_received does of a batch but for its last block, which is signed.
        state = start
        for at in range(0, HEADERS, BATCH_BLOCKS):
            found = received.verify_usual(state, raws[at : at + BATCH_BLOCKS])
            state = TrustedState(state.config, state.number + len(found), found[-1][1])
        assert state.number == HEADERS

    _row(f"{kind}: parse and hash ({size} bytes each)", _per_second(parse, HEADERS))
    _row(f"{kind}: parse, hash, link, index, one by one", _per_second(singly, HEADERS))
    _row(f"{kind}: the same in batches", _per_second(together, HEADERS), "goal 300,000")


_ELECTRUM = """
import struct, sys, time
from electrum import blockchain, constants
constants.BitcoinRegtest.set_as_network()  # hash links, as here, without proof of work
count, rounds = int(sys.argv[1]), int(sys.argv[2])
raws, previous = [], bytes(32)
for number in range(count):
    raw = struct.pack("<I32s32sIII", 1, previous, number.to_bytes(32, "little"), 0, 0, number)
    previous = bytes.fromhex(blockchain.hash_raw_header(raw))[::-1]
    raws.append(raw)
rates = []
for _ in range(rounds):
    started, link = time.perf_counter(), "00" * 32
    for height, raw in enumerate(raws):  # as Blockchain.verify_chunk does
        header = blockchain.deserialize_header(raw, height)
        blockchain.Blockchain.verify_header(header, link, 0)
        link = blockchain.hash_header(header)
    rates.append(count / (time.perf_counter() - started))
print(sorted(rates)[rounds // 2])
"""


def _electrum(python: str) -> None:
    """Hash links of as many headers by Electrum, which ``python`` can import, in the same run."""
    found = subprocess.run(
        [python, "-c", _ELECTRUM, str(HEADERS), str(ROUNDS)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    _row("Electrum: deserialize, hash, link (80 bytes each)", float(found.stdout))


def _signatures(kind: str) -> None:
    """Check the signatures of blocks 1 to 10, as the light node does and bare."""
    config = trust.load((DATA / kind / "full" / "0000.block").read_bytes()).config
    parsed = [
        blocks.parse_block((DATA / kind / "headers" / f"{n:04}.block").read_bytes())
        for n in range(1, 11)
    ]
    algorithm = ec.ECDSA(hashes.SHA256())
    bare: list[tuple[ec.EllipticCurvePublicKey, bytes, bytes]] = []
    for block in parsed:
        entry = blocks.signature_entry(block)
        for item in entry.signatures:
            header = item.signature_header or item.identifier_header
            key = config.msps.parse(_signer(config, item)).certificate.public_key
            assert isinstance(key, ec.EllipticCurvePublicKey)
            bare.append((key, item.signature, blocks.signed_bytes(entry.value, header, block.der)))
    repeat = 20

    def ours() -> None:
        for _ in range(repeat):
            for block in parsed:
                verify.verify_attestation(config, block)

    def library() -> None:
        for _ in range(repeat):
            for key, signature, message in bare:
                key.verify(signature, message, algorithm)

    bare_rate, our_rate, share = _side_by_side(library, ours, repeat * len(bare))
    _row(f"{kind}: signatures, bare cryptography", bare_rate)
    _row(
        f"{kind}: signatures with identities and policy",
        our_rate,
        f"{share:.0%} of bare (goal 80 %)",
    )


def _side_by_side(
    first: Callable[[], None], second: Callable[[], None], count: int
) -> tuple[float, float, float]:
    """Return both rates and the median ratio of rounds taken in turn, which load evens out."""
    rates: list[tuple[float, float]] = []
    for _ in range(3 * ROUNDS):
        pair = []
        for work in (first, second):
            started = time.perf_counter()
            work()
            pair.append(count / (time.perf_counter() - started))
        rates.append((pair[0], pair[1]))
    one, two = (statistics.median(column) for column in zip(*rates, strict=True))
    return one, two, statistics.median(b / a for a, b in rates)


def _signer(config: object, item: blocks.BlockSignature) -> bytes:
    from light_node.fabric.channel_config import ChannelConfig

    assert isinstance(config, ChannelConfig)
    if item.signature_header:
        return common_pb2.SignatureHeader.FromString(item.signature_header).creator
    header = common_pb2.IdentifierHeader.FromString(item.identifier_header)
    consenter = config.consenter(header.identifier)
    assert consenter is not None
    assert msp_pb2.SerializedIdentity.FromString(consenter.serialized).mspid == consenter.msp_id
    return consenter.serialized


def _store() -> None:
    start, raws = _chain("bft")
    root = trust.load((DATA / "bft" / "full" / "0000.block").read_bytes())
    parts, state = [], start
    for at in range(0, HEADERS, BATCH_BLOCKS):
        found = received.verify_usual(state, raws[at : at + BATCH_BLOCKS])
        state = TrustedState(state.config, state.number + len(found), found[-1][1])
        data_hashes, digests = ([pair[i] for pair in found] for i in (0, 1))
        last = Verified(verify.parse(raws[at + len(found) - 1]))
        parts.append((Received(data_hashes, digests, {}, last, 0), state))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        started = time.perf_counter()
        with HeaderStore(path, root) as store:
            for part, after in parts:
                store.append(part, after)
            size = store.size_bytes()
        appended = HEADERS / (time.perf_counter() - started)

        def reopen() -> None:
            HeaderStore(path, root).close()

        _row("store: append in batches", appended, f"{size / HEADERS:.0f} bytes each")
        _row("store: open and check every record", _per_second(reopen, HEADERS))
        with HeaderStore(path, root, read_only=True) as store:
            links = _per_second(lambda: _all_linked(store), HEADERS)
        _row("store: recompute every hash link", links, "goal 300,000")


def _all_linked(store: HeaderStore) -> None:
    assert store.verify_links() == HEADERS
