"""A process of its own that uses a disk cache: `python -m support.cache_worker FOLDER HOW BUDGET ROUNDS SEED`."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from loraplex_adapters.errors import DiskFullError
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.sources import Address, DiskCache, Fetcher, SizeLimits, parse_address
from loraplex_adapters.sources.listing import Listing, RemoteFile
from support.adapter_files import adapter_files

PLACES = 8


class SeedRemote:
    """`s3://seeds/N` has the adapter of seed N; `stuck` sends half a file and then nothing."""

    def __init__(self, log: Path, stuck: bool) -> None:
        self._log, self._stuck = log, stuck

    async def list(self, address: Address) -> Listing:
        files = adapter_files(int(address.path))
        return Listing("1", tuple(RemoteFile(name, len(content)) for name, content in files.items()))

    async def read(self, address: Address, listing: Listing, file: RemoteFile) -> AsyncGenerator[bytes, None]:
        content = adapter_files(int(address.path))[file.name]
        if file.name == TENSOR_FILE:
            with self._log.open("a") as log:
                log.write(f"{address.path}\n")
        if self._stuck and file.name == TENSOR_FILE:
            sys.stdout.write("stuck\n")
            sys.stdout.flush()
            await asyncio.sleep(600)
        yield content

    async def close(self) -> None:
        pass


async def hammer(root: Path, how: str, budget: int, rounds: int, seed: int) -> None:
    cache = DiskCache(root / "cache", budget)
    fetcher = Fetcher({"s3": SeedRemote(root / "log", how == "stuck")}, cache, SizeLimits(), revalidate_s=1000)
    choose = random.Random(seed)

    async def one(place: int) -> None:
        try:
            held = await fetcher.open(parse_address(f"s3://seeds/{place}"))
        except DiskFullError:
            return
        await asyncio.sleep(choose.random() * 0.004)
        if (Path(held.path) / TENSOR_FILE).read_bytes() != adapter_files(place)[TENSOR_FILE]:
            sys.exit(f"wrong content for {place}")
        held.release()

    for _ in range(rounds):
        await asyncio.gather(*(one(choose.randrange(PLACES)) for _ in range(4)))
    await fetcher.close()


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    asyncio.run(hammer(Path(sys.argv[1]), sys.argv[2], *(int(each) for each in sys.argv[3:])))
