"""Exit code 0 where the server in this container is alive; the image's HEALTHCHECK.

Where that listens is asked of the kernel: an option, a variable and a file of settings all move the check. Where that
cannot be seen, its variables tell, LORAPLEX_HOST and LORAPLEX_PORT. With LORAPLEX_SSL_CERTFILE nothing is tried
without TLS.
"""

import contextlib
import http.client
import os
import socket
import ssl
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

LISTENS = "0A"
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main(proc: Path = Path("/proc")) -> str | None:
    """Why it is not; None where it is. Args: proc: what the kernel says of processes."""
    found = next(listening(proc), None)
    host, port = found or (os.environ.get("LORAPLEX_HOST", "127.0.0.1"), int(os.environ.get("LORAPLEX_PORT", "8000")))
    address = (ANY.get(host, host), port)
    try:
        said = ask(address)
    except (OSError, http.client.HTTPException) as error:
        return f"/health of port {port}: {error}"
    return None if said.status == 200 else f"/health: {said.status} {said.read(200).decode(errors='replace')}"


def ask(address: tuple[str, int]) -> http.client.HTTPResponse:
    """The server's answer, with TLS where it hangs up on words without. Raises OSError, HTTPException."""
    if not os.environ.get("LORAPLEX_SSL_CERTFILE"):
        with contextlib.suppress(ConnectionResetError, http.client.BadStatusLine):
            return answer(http.client.HTTPConnection(*address, timeout=4))
    # The certificate is for the name that clients use, not for this address.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return answer(http.client.HTTPSConnection(*address, timeout=4, context=context))


def answer(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """To the question whether it is alive."""
    connection.request("GET", "/health")
    return connection.getresponse()


def listening(proc: Path) -> Iterator[tuple[str, int]]:
    """Addresses at which processes listen that are called `loraplex`; the engine's, for its own ranks, are not.

    Nor are those of other containers, which are seen where a pod or the host has one table of processes for all.
    """
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            named = any(os.path.basename(each) == b"loraplex" for each in arguments[:3])
            if named and os.path.samefile(process / "root", "/"):
                own = sockets(process)
                yield from (address for inode, address in listeners(process) if f"socket:[{inode}]" in own)


def sockets(process: Path) -> set[str]:
    """What its file descriptors are links to."""
    links = set()
    for each in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.add(os.readlink(each))
    return links


def listeners(process: Path) -> Iterator[tuple[str, tuple[str, int]]]:
    """All of its network: inode, and address and port. See proc(5), /proc/net/tcp."""
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        path = process / "net" / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, _, state, *others = line.split()
            host, port = local.split(":")
            if state == LISTENS:
                words = bytes.fromhex(host)  # each of 32 bits in the machine's order
                packed = struct.pack(f"={len(words) // 4}I", *struct.unpack(f">{len(words) // 4}I", words))
                yield others[5], (socket.inet_ntop(family, packed), int(port, 16))


if __name__ == "__main__":
    sys.exit(main())
