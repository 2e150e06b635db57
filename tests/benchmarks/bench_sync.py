"""A light node far behind: headers fetched from a devnet over gRPC and TLS, verified and stored.

To reach: a million headers within three minutes and 200 MB, growing linearly. The devnet is given a
long chain first (every block signed by every consenter, as if it had run for months), then
``light-node sync`` runs as a process of its own; its progress is read off the size of its store,
its memory off ``/proc``. ``SYNC_HEADERS=1000000 make bench BENCH=sync`` does the whole million and
draws ``docs/images/sync-growth.svg``; without it, a tenth.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from light_node.chain import trust
from light_node.chain.store import HeaderStore
from light_node.clock import SystemClock
from light_node.devnet import network
from light_node.devnet.blocks import BlockSigner
from light_node.devnet.store import Store, StoredBlock
from light_node.devnet.testing import DevnetProcess
from light_node.fabric import commit_hash
from light_node.fabric.pb import common_pb2, peer_pb2
from light_node.fabric.profile import NetworkProfile
from light_node.plot import Line, Panel, figure

HEADERS = int(os.environ.get("SYNC_HEADERS", "100000"))
WHOLE = 1_000_000
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "sync-growth.svg"
_PART = 5_000
_RECORD_BYTES = 76
_LOOK_S = 0.5
_PROGRAM = "import sys; from light_node.cli import main; sys.exit(main())"


class Seen(NamedTuple):
    """The light node at one moment: seconds since its start, headers stored, resident MB."""

    seconds: float
    headers: int
    megabytes: float


def run() -> None:
    for kind in ("--raft", "") if HEADERS < WHOLE else ("",):
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), kind)


def _measure(directory: Path, kind: str) -> None:
    options = (kind,) if kind else ()
    with DevnetProcess(directory, *options):
        pass
    started = time.perf_counter()
    size = _fill(directory, HEADERS)
    filled = time.perf_counter() - started
    name = "Raft, one signature" if kind else "BFT, three signatures"
    print(f"{HEADERS:,} blocks ({name}) made in {filled:.0f} s; {size} bytes a header")
    with DevnetProcess(directory, *options, base_port=None) as net:
        seen = _sync(directory)
        served = _cpu_seconds(net.pid)
    last = seen[-1]
    rate = last.headers / last.seconds
    peak = max(moment.megabytes for moment in seen)
    print(f"{'headers':>12} {'seconds':>8} {'headers/s':>10} {'MB':>6}")
    for moment in _tenths(seen):
        print(
            f"{moment.headers:>12,} {moment.seconds:>8.1f} "
            f"{moment.headers / moment.seconds:>10,.0f} {moment.megabytes:>6.0f}"
        )
    print(f"{rate:,.0f} headers/s, at most {peak:.0f} MB; the devnet took {served:.0f} s of CPU\n")
    if last.headers >= WHOLE:
        PICTURE.write_text(_picture(seen), encoding="utf-8")


def _fill(directory: Path, count: int) -> int:
    """Append ``count`` signed blocks of one transaction each; return a header's size."""
    with closing(Store.open(directory)) as store:
        opened = network.open_network(
            directory, network.Options(), store, SystemClock().now(), secrets.token_bytes
        )
        consenters = [member.signing_identity() for member in opened.material.orderers]
        signer = BlockSigner(consenters, opened.layout.bft, secrets.token_bytes)
        flags = bytes((peer_pb2.INVALID_OTHER_REASON,))
        envelope = common_pb2.Envelope(payload=b"benchmark", signature=b"none").SerializeToString()
        data = common_pb2.BlockData(data=[envelope]).SerializeToString()
        tip, previous, number = opened.genesis.hash, b"", 1
        while number <= count:
            with store.transaction():
                for _ in range(min(_PART, count + 1 - number)):
                    block = signer.order(number, tip, [envelope], 0)
                    tip = block.hash
                    previous = commit_hash.commit_hash(flags, b"", previous)
                    stored = StoredBlock(
                        number,
                        block.hash,
                        block.previous_hash,
                        block.data_hash,
                        data,
                        0,
                        block.signatures,
                        flags,
                        previous,
                    )
                    store.insert_block(stored, [], {})
                    number += 1
        kept = 3 if opened.layout.bft else 1
        return len(block.signatures) * kept // len(consenters) + 120


def _sync(directory: Path) -> list[Seen]:
    headers = directory / "light-node" / "headers.bin"
    started = time.perf_counter()
    seen: list[Seen] = []
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _PROGRAM, "sync", "--json"),
            *("--profile", str(directory / network.PROFILE_FILE), "--timeout", "600"),
        ],
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None:
        time.sleep(_LOOK_S)
        count = headers.stat().st_size // _RECORD_BYTES if headers.exists() else 0
        if count:
            now = time.perf_counter() - started
            seen.append(Seen(now, count, _resident_mb(process.pid) or seen[-1].megabytes))
        if count >= HEADERS and len(seen) > 1 and seen[-2].headers >= HEADERS:
            break
    code = process.wait()
    if code != 0:
        raise RuntimeError(f"light-node sync ended with {code}")
    root = trust.from_profile(NetworkProfile.load(directory / network.PROFILE_FILE).trust_root)
    with HeaderStore(headers.parent, root, read_only=True) as store:
        if store.state.number < HEADERS:
            raise RuntimeError(f"only {store.state.number} headers were stored")
    return [moment for moment in seen if moment.headers < HEADERS] + [
        next(moment for moment in seen if moment.headers >= HEADERS)
    ]


def _tenths(seen: list[Seen]) -> list[Seen]:
    """Return the moments at which each tenth of the headers was first passed."""
    marks = [HEADERS * tenth // 10 for tenth in range(1, 11)]
    return [next(moment for moment in seen if moment.headers >= mark) for mark in marks]


def _picture(seen: list[Seen]) -> str:
    step = max(1, len(seen) // 40)
    shown = [*seen[::step], seen[-1]]
    time_taken = tuple((moment.headers / 1000, moment.seconds) for moment in shown)
    memory = tuple((moment.headers / 1000, moment.megabytes) for moment in shown)
    names = ("thousand headers", "time since the start, s", "resident, MB")
    return figure(
        [
            Panel("Time", names[0], names[1], (Line("light-node sync", time_taken),), x_log=False),
            Panel("Memory", names[0], names[2], (Line("light-node sync", memory),), x_log=False),
        ]
    )


def _resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just ended, or this is not Linux
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
