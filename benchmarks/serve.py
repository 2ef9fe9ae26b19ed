"""Loads a server of images and tells its throughput and latency, and whether every image came, with its right bytes.

    python -m benchmarks.serve pretrained/earth32.safetensors [--replicas 2 [--kill]] [--clients 16] [--seconds 20]

Without --replicas it starts `stylegan serve`, with it Ray Serve on this machine (the extra `serve`). --kill sends
SIGKILL to a replica at half time. A client that gets no image asks again, which is counted; an image is lost if so many
tries fail. The clients share the processors with the server, so a server of its own does better.
"""

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from pipelines.cluster.connection import connect
from pipelines.params import load
from stylegan.drawing.requested import check_request, draw
from stylegan.generators import load_any_generator

SEEDS, AGAIN = 64, 100  # different images; tries for one
BACK_SEC = 120.0  # that a killed replica may be missing


@dataclass
class Load:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)  # of each image, from the first try on
    repeated: int = 0
    wrong: int = 0
    lost: int = 0


async def client(number: int, address: str, expected: list[bytes], end: float, load: Load) -> None:
    """Ask for one image after the other until the end."""
    seed = number
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        while time.monotonic() < end:
            seed = (seed + 1) % SEEDS
            begin = time.monotonic()
            png = await one(session, f"{address}/image?seed={seed}", load)
            if png is None:
                load.lost += 1
                continue
            load.seconds.append(time.monotonic() - begin)
            load.wrong += png != expected[seed]


async def one(session: aiohttp.ClientSession, address: str, load: Load) -> bytes | None:
    """An image, asked for again after an error; None if that did not help"""
    for _ in range(AGAIN):
        try:
            async with session.get(address) as answer:
                if answer.status == 200:
                    return await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            pass
        load.repeated += 1
        await asyncio.sleep(0.1)
    return None


@contextmanager
def one_process(generator: Path, batch_size: int) -> Iterator[str]:
    """`stylegan serve`"""
    command = [sys.executable, "-m", "pipelines.serve", str(generator), "--port", "0", "--batch-size", str(batch_size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield "http://" + server.stdout.readline().partition(": http://")[2].partition("/")[0]
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 143, server.returncode


@contextmanager
def replicas(generator: Path, batch_size: int, num: int) -> Iterator[str]:
    """Ray Serve on this machine"""
    from pipelines.serve.on_ray import running

    cluster = load().cluster.model_copy(update={"address": None, "num_workers": num + 1, "cpus_per_worker": 1})
    changes = {
        "http_options": {"port": free_port()}, "deployment": {"num_replicas": num},
        "args": {"model": str(generator), "images_at_once": batch_size},
    }  # fmt: skip
    with connect(cluster), running(Path("infra/serve/ray.yaml"), changes) as address:
        yield address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def replica_pids() -> list[int]:
    """Processes of replicas that this one has started, by Ray"""
    found = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended in the meantime
            found += [each.pid] if "ServeReplica:" in " ".join(each.cmdline()) else []
    return sorted(found)


async def kill_at(moment: float) -> str:
    """SIGKILL to the first replica; says when there were as many as before"""
    await asyncio.sleep(max(moment - time.monotonic(), 0))
    before, begin = replica_pids(), time.monotonic()
    os.kill(before[0], signal.SIGKILL)
    while len({*replica_pids()} - {before[0]}) < len(before):
        if time.monotonic() - begin > BACK_SEC:
            sys.exit(f"the killed replica was not there again after {BACK_SEC:g} s")
        await asyncio.sleep(0.5)
    return f"1 of {len(before)} replicas killed; a new one had started after {time.monotonic() - begin:.0f} s."


async def run(address: str, expected: list[bytes], clients: int, seconds: float, kill: bool) -> tuple[Load, str]:
    """All clients for so many seconds"""
    load, end = Load(), time.monotonic() + seconds
    killing = asyncio.create_task(kill_at(end - seconds / 2)) if kill else None
    await asyncio.gather(*(client(number * 7, address, expected, end, load) for number in range(clients)))
    return load, await killing if killing else ""


def main() -> None:
    """Print one line; exit code 1 if an image was lost or had other bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("generator", type=Path)
    parser.add_argument("--replicas", type=int, default=0)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--batch-size", type=int, default=1)
    options = parser.parse_args()
    G, class_names = load_any_generator(options.generator)
    requests = [check_request(G, class_names, seed=seed) for seed in range(SEEDS)]
    expected = draw(G, requests, batch_size=1)
    started = (
        replicas(options.generator, options.batch_size, options.replicas)
        if options.replicas
        else one_process(options.generator, options.batch_size)
    )
    with started as address:
        asyncio.run(run(address, expected, options.clients, 2, False))
        found, killed = asyncio.run(run(address, expected, options.clients, options.seconds, options.kill))
    cuts = statistics.quantiles(found.seconds, n=100)
    print(
        f"{len(found.seconds) / options.seconds:.0f} images a second, {1000 * cuts[49]:.0f} ms (median), "
        f"{1000 * cuts[98]:.0f} ms (p99), {1000 * max(found.seconds):.0f} ms (longest); {found.repeated} asked for "
        f"again, {found.lost} lost, {found.wrong} with other bytes. {killed}"
    )
    sys.exit(bool(found.lost or found.wrong))


if __name__ == "__main__":
    main()
