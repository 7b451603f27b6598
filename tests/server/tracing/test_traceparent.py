from __future__ import annotations

import pytest

from loraplex_server.tracing.traceparent import TraceParent, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("flags", ["00", "01", "03"])
def test_ids_and_flags_are_read_and_written(flags: str) -> None:
    read = parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}")
    assert read == TraceParent(TRACE, SPAN, flags != "00")
    assert read.header == f"00-{TRACE}-{SPAN}-{'00' if flags == '00' else '01'}"


def test_a_later_version_may_say_more() -> None:
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-01-and-more") == TraceParent(TRACE, SPAN, True)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_what_is_malformed_is_ignored(header: str | None) -> None:
    assert parse_traceparent(header) is None
