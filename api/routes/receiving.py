"""A submission on its way in: parts of one POST, read piece by piece with bounded memory.

The answers stay in memory, because they are small; files go to disk as they come. A sender that
is too slow, sends too much or something else than it says is cut off, and nothing of it stays.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from survey.forms import IncomingFile, SubmissionStore

__all__ = ["Limits", "Parts", "RefusedBodyError", "receive"]

XML_PART = "xml_submission_file"
_INCOMPLETE = "*isIncomplete*"
_MAX_XML = 5_000_000
_MAX_FIELD = 1_000
_MAX_PARTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one phone may do.

    Attributes
    ----------
    request_bytes : int
        One POST. Phones split a submission with more files; a larger file cannot come.
    phone_bytes, total_bytes : int
        What one phone, and all together, may have in the store.
    reserve_bytes : int
        Space on the disk that stays free.
    pause_seconds : float
        Longest wait for the next piece of a body.
    grace_seconds, least_rate : float
        A body must have come within the first plus its size by the second, bytes a second.
    header_seconds : float
        Longest wait for the head of a request.
    connections : int
        Connections at once.
    """

    request_bytes: int = 100_000_000
    phone_bytes: int = 20_000_000_000
    total_bytes: int = 1_000_000_000_000
    reserve_bytes: int = 200_000_000
    pause_seconds: float = 30.0
    grace_seconds: float = 60.0
    least_rate: float = 500.0
    header_seconds: float = 20.0
    connections: int = 500


class RefusedBodyError(Exception):
    """A body that is not taken: HTTP status and a text for the phone."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(slots=True)
class Parts:
    """What came in one POST."""

    xml: bytes = b""
    files: list[IncomingFile] = field(default_factory=list)
    is_incomplete: bool = False

    def discard(self) -> None:
        """Forget files that the store has not taken over."""
        for each in self.files:
            each.discard()


async def receive(request: Request, store: SubmissionStore, limits: Limits) -> Parts:
    """Read a POST; its files lie in the store's `incoming` folder until they are taken over.

    Raises
    ------
    RefusedBodyError
        No multipart submission, too large or too slow.
    ClientDisconnect
        The line was cut.
    OSError
        The disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise RefusedBodyError(400, "no multipart/form-data with a boundary")
    reader = _Reader(store)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin_part,
                "on_header_field": reader.header_name,
                "on_header_value": reader.header_value,
                "on_header_end": reader.end_header,
                "on_headers_finished": reader.end_headers,
                "on_part_data": reader.data,
                "on_part_end": reader.end_part,
                "on_end": reader.end,
            },
        )
        async for piece in _pieces(request, limits):
            parser.write(piece)
        reader.check()
    except FormParserError as error:
        reader.parts.discard()
        raise RefusedBodyError(400, "this is no multipart body") from error
    except BaseException:
        reader.parts.discard()
        raise
    return reader.parts


async def _pieces(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body, whatever length was declared: phones send in chunks."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.request_bytes:
        raise _too_large(limits)
    begin = time.monotonic()
    total = 0
    while True:
        left = begin + limits.grace_seconds + total / limits.least_rate - time.monotonic()
        try:
            async with asyncio.timeout(min(limits.pause_seconds, left)):
                message = await request.receive()
        except TimeoutError as error:
            raise RefusedBodyError(408, "the line is too slow; it is tried again later") from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        total += len(piece)
        if total > limits.request_bytes:
            raise _too_large(limits)
        yield piece
        if not message.get("more_body", False):
            return


def _too_large(limits: Limits) -> RefusedBodyError:
    return RefusedBodyError(413, f"send at most {limits.request_bytes // 1_000_000} MB at once")


class _Reader:
    """Callbacks of the parser."""

    def __init__(self, store: SubmissionStore) -> None:
        self.parts = Parts()
        self._is_whole = False
        self._has_xml = False
        self._store = store
        self._n_parts = 0
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._field = ""
        self._text = bytearray()
        self._file: IncomingFile | None = None

    def begin_part(self) -> None:
        self._n_parts += 1
        if self._n_parts > _MAX_PARTS:
            raise RefusedBodyError(400, f"more than {_MAX_PARTS} parts at once")
        self._headers = {}
        self._text = bytearray()
        self._file = None

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if self._field == XML_PART:
            if self._has_xml:
                raise RefusedBodyError(400, f"{XML_PART} comes twice")
            self._has_xml = True
        elif b"filename" in options:
            name = options[b"filename"].decode("utf-8", "replace") or self._field
            self._file = self._store.receive(name)
            self.parts.files.append(self._file)

    def data(self, data: bytes, start: int, end: int) -> None:
        piece = memoryview(data)[start:end]
        if self._file is not None:
            self._file.write(piece)
            return
        self._text += piece
        if len(self._text) > (_MAX_XML if self._field == XML_PART else _MAX_FIELD):
            raise RefusedBodyError(413, f"the part {self._field[:40]!r} is too large")

    def end_part(self) -> None:
        if self._file is not None:
            self._file.finish()
        elif self._field == XML_PART:
            self.parts.xml = bytes(self._text)
        elif self._field == _INCOMPLETE:
            self.parts.is_incomplete = bytes(self._text).strip().lower() in (b"yes", b"true")

    def end(self) -> None:
        self._is_whole = True

    def check(self) -> None:
        """Refuse a body that is not whole."""
        if not self._is_whole:
            raise RefusedBodyError(400, "the body ends in the middle of a part")
        if not self._has_xml:
            raise RefusedBodyError(400, f"{XML_PART} is missing")
