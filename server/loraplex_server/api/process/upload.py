"""A file that is uploaded as a form: read as it comes, to the disk, never whole in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from loraplex_server.api.errors import ApiError, bad_request

MOST_FIELDS = 16
LONGEST_FIELD = 4096  # bytes
BLOCK = 1 << 20  # bytes written at once
READ_ON = 16 << 20  # bytes of a refused form that are read and dropped


@dataclass
class Upload:
    """Args: fields: of the form. filename: as the client calls it; None where the form has no file. size: in bytes."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    size: int = 0


async def receive_upload(request: Request, path: Path, limit: int, take: Callable[[int], None]) -> Upload:
    """The form's fields; its file is at `path`, on the disk.

    Args:
        request: with the form. path: must not exist. limit: bytes of the file.
        take: called before so many bytes are written; may raise against it.

    Raises:
        ApiError: it is no form, or too large. ClientDisconnect: it broke off. OSError: it cannot be written.
            Whatever is raised, what has been written is left to the caller to remove.
    """
    boundary = _boundary(request, limit)
    form = _Form(limit)
    stream = request.stream()
    with path.open("xb") as file:
        try:
            await _read(stream, boundary, form, lambda: asyncio.to_thread(_write, file, form.take_waiting(), take))
        except (ApiError, OSError):
            await _read_on(stream)
            raise
        await asyncio.to_thread(_sync, file)
    return form.upload


async def _read(
    stream: AsyncIterator[bytes], boundary: bytes, form: _Form, write: Callable[[], Awaitable[None]]
) -> None:
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for chunk in stream:
            parser.write(chunk)
            if form.waiting >= BLOCK:
                await write()
        parser.finalize()
    except FormParserError as error:
        raise bad_request(f"The form cannot be read: {str(error)[:200]}", code="invalid_form") from None
    await write()
    if not form.ended:
        raise bad_request("The form breaks off", code="invalid_form")


async def _read_on(stream: AsyncIterator[bytes]) -> None:
    """Many clients look at no answer before they have sent everything; what is not much more is let in for that."""
    left = READ_ON
    async for chunk in stream:
        left -= len(chunk)
        if left < 0:
            return


def _boundary(request: Request, limit: int) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        message = "Send a form with a file: 'Content-Type: multipart/form-data; boundary=...'"
        raise ApiError(415, message, code="unsupported_media_type")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit + READ_ON:
        raise too_large(limit)
    return boundary


def too_large(limit: int) -> ApiError:
    """413; closing spares both sides the rest of a file that is much larger."""
    message = f"The file is larger than {limit} bytes"
    return ApiError(413, message, param="file", code="file_too_large", headers={"connection": "close"})


class _Form:
    """What the parser's callbacks gather. Args: limit: bytes of the file."""

    def __init__(self, limit: int) -> None:
        self.upload = Upload()
        self.ended = False
        self.waiting = 0  # bytes of the file that are not written yet
        self._limit = limit
        self._blocks: list[bytes] = []
        self._header = [b"", b""]  # name and value of the one being read
        self._disposition = b""
        self._name = ""
        self._value: bytearray | None = None  # of a field; None in the file

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """For the parser."""
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in (*names, "headers_finished", "end")}

    def take_waiting(self) -> list[bytes]:
        """What is to be written."""
        blocks, self._blocks, self.waiting = self._blocks, [], 0
        return blocks

    def _part_begin(self) -> None:
        self._header, self._disposition = [b"", b""], b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = [b"", b""]

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")[:LONGEST_FIELD]
        if self._name in self.upload.fields or (self._name == "file" and self.upload.filename is not None):
            raise bad_request(f"'{self._name[:200]}' is in the form twice", param=self._name[:200])
        if self._name == "file":
            if b"filename" not in options:
                raise bad_request("'file' must be a file", param="file")
            self.upload.filename = os.path.basename(options[b"filename"].decode("utf-8", "replace"))[:255]
            self._value = None
            return
        if len(self.upload.fields) == MOST_FIELDS:
            raise bad_request(f"The form has more than {MOST_FIELDS} fields", code="invalid_form")
        self._value = bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._value is None:
            self.upload.size += end - start
            self.waiting += end - start
            self._blocks.append(data[start:end])
            if self.upload.size > self._limit:
                raise too_large(self._limit)
            return
        self._value += data[start:end]
        if len(self._value) > LONGEST_FIELD:
            raise bad_request(f"'{self._name[:200]}' is longer than {LONGEST_FIELD} bytes", param=self._name[:200])

    def _part_end(self) -> None:
        if self._value is not None:
            self.upload.fields[self._name] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True


def _write(file: BinaryIO, blocks: list[bytes], take: Callable[[int], None]) -> None:
    take(sum(map(len, blocks)))
    file.writelines(blocks)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
