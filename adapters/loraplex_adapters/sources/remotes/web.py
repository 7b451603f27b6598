"""A folder on a web server, over https."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import httpx

from loraplex_adapters.errors import SourceNotAllowedError, SourceUnavailableError
from loraplex_adapters.fingerprint import FILES
from loraplex_adapters.sources.address import Address
from loraplex_adapters.sources.listing import Listing, RemoteFile, revision_of
from loraplex_adapters.sources.remotes.http import IDENTITY, TIMEOUT, broken, failure, require_identity
from loraplex_adapters.sources.remotes.trace import trace_headers
from loraplex_adapters.sources.threads import together
from loraplex_adapters.sources.wanted import TOKENIZER_FILES


class WebRemote:
    """The files lie beside each other under their names; HEAD says which are there, and how large.

    A host is looked up here, once a request, and the connection goes to the very address that was checked: a name that
    leads to this machine or into its network, now or between two look-ups, reaches nothing there unless the settings
    say that it may. A pattern that spells an address itself has said so. The certificate must be the host's; redirects
    and proxies are not followed.

    Args:
        ca_file: certificates to trust besides the usual ones, as PEM.
        private_hosts: whether names may lead to private addresses.
    """

    def __init__(self, ca_file: Path | None = None, *, private_hosts: bool = False) -> None:
        context = httpx.create_ssl_context()
        if ca_file is not None:
            context.load_verify_locations(ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._private_hosts = private_hosts
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=4, keepalive_expiry=5)
        self._client = httpx.AsyncClient(
            verify=context, timeout=TIMEOUT, trust_env=False, headers=IDENTITY, limits=limits
        )

    async def list(self, address: Address) -> Listing:
        """See Remote."""
        target = await self._target(address)
        found = await together(self._look(address, target, name) for name in FILES)
        if None not in found:  # else it is no adapter, whatever lies beside
            found += await together(self._look(address, target, name) for name in TOKENIZER_FILES)
        files = tuple(file for file in found if file is not None)
        return Listing(revision_of(files), files)

    async def read(self, address: Address, listing: Listing, file: RemoteFile) -> AsyncGenerator[bytes, None]:
        """See Remote."""
        request = self._request("GET", address, await self._target(address), file.name)
        try:
            async with AsyncExitStack() as stack:
                response = await self._client.send(request, stream=True)
                stack.push_async_callback(response.aclose)
                if response.status_code != 200:
                    raise failure(address, response.status_code)
                if _tag(response) != file.tag:
                    raise SourceUnavailableError(f"'{address.text}' changed while it was being fetched")
                require_identity(response)
                async for piece in response.aiter_raw():
                    yield piece
        except httpx.HTTPError as error:
            raise broken(address, error) from error

    async def close(self) -> None:
        """See Remote."""
        await self._client.aclose()

    async def _look(self, address: Address, target: str, name: str) -> RemoteFile | None:
        try:
            response = await self._client.send(self._request("HEAD", address, target, name))
        except httpx.HTTPError as error:
            raise broken(address, error) from error
        if response.status_code in (404, 410):
            return None
        if response.status_code != 200:
            raise failure(address, response.status_code)
        length = response.headers.get("content-length", "")
        if not length.isascii() or not length.isdecimal():
            raise SourceUnavailableError(f"'{address.text}' does not say how large {name} is")
        return RemoteFile(name, int(length), _tag(response))

    def _request(self, method: str, address: Address, target: str, name: str) -> httpx.Request:
        host, port = _split(address.place)
        path = "/".join(quote(part) for part in (*address.path.split("/"), name) if part)
        url = f"https://{target}{port}/{path}"
        # httpx checks the certificate against the name that it asks for, not against the address.
        extensions = {"sni_hostname": host.strip("[]")}
        headers = {"host": address.place, **trace_headers()}
        return self._client.build_request(method, url, headers=headers, extensions=extensions)

    async def _target(self, address: Address) -> str:
        """The host as an address, `[]` around the colons of IPv6, that may be asked."""
        host, _ = _split(address.place)
        literal = host.strip("[]")
        try:
            ipaddress.ip_address(literal)
        except ValueError:
            pass  # a name, as most hosts are
        else:
            return host
        try:
            found = await asyncio.get_running_loop().getaddrinfo(literal, None, proto=6)
        except OSError as error:
            raise SourceUnavailableError(f"'{address.text}': there is no host of that name") from error
        addresses = [str(each[4][0]) for each in found]
        if not self._private_hosts and not all(_is_public(each) for each in addresses):
            raise SourceNotAllowedError(
                f"'{address.text}' leads into a private network, which the settings do not allow"
            )
        return f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]


def _split(place: str) -> tuple[str, str]:
    """The host, and the port with its colon, if one is given."""
    host, colon, port = place.rpartition(":")
    return (host, colon + port) if colon and not port.endswith("]") else (place, "")


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    return found.is_global and not found.is_multicast and (mapped is None or mapped.is_global)


def _tag(response: httpx.Response) -> str:
    return str(response.headers.get("etag") or response.headers.get("last-modified") or "")
