"""Processes: the server's two, HTTP and engine, and when they began anew."""

from __future__ import annotations

from panels.kinds import About, Panel, lines, listing
from panels.queries import EACH, SERVER, WINDOW, Target, rate, series, total

ENGINE = "loraplex_engine_process"


def panels() -> list[Panel]:
    """In their order."""
    return [
        lines(
            About("Restarts", "Of engines, and of whole servers, around each moment.", "none"),
            Target(
                total(f"increase({series('loraplex_engine_restarts_total')}[{WINDOW}])", *EACH), f"engine, {SERVER}"
            ),
            Target(total(f"changes({series('process_start_time_seconds')}[{WINDOW}])", *EACH), f"server, {SERVER}"),
        ),
        lines(
            About("Memory", "Resident; the engine's does not count what is on the GPU.", "bytes"),
            Target(total(series("process_resident_memory_bytes"), *EACH), f"HTTP, {SERVER}"),
            Target(total(series(f"{ENGINE}_resident_memory_bytes"), *EACH), f"engine, {SERVER}"),
        ),
        lines(
            About("CPU", "Cores in use.", "none"),
            Target(total(rate("process_cpu_seconds_total"), *EACH), f"HTTP, {SERVER}"),
            Target(total(rate(f"{ENGINE}_cpu_seconds_total"), *EACH), f"engine, {SERVER}"),
        ),
        lines(
            About(
                "Since the last token",
                "How long ago each server generated one; while answers wait, that is for how long it stands still.",
                "s",
            ),
            Target(f"time() - {series('loraplex_last_token_timestamp_seconds')}", SERVER),
        ),
        lines(
            About("Open files", "Of the HTTP process, sockets among them, and how many it may open.", "none"),
            Target(total(series("process_open_fds"), *EACH), f"open, {SERVER}"),
            Target(total(series("process_max_fds"), *EACH), f"limit, {SERVER}"),
        ),
        listing(
            About("Versions", "Of each server.", "none"),
            Target(series("loraplex_build_info"), "", instant=True),
            {"instance": "server", "replica": "replica", "version": "version"},
        ),
    ]
