"""The process of a rank that follows: started by rank 0's engine process, and gone as soon as that is."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from typing import NoReturn

from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.parallel.channel import Receiver, Sender
from loraplex_server.engine.parallel.follower import Follower
from loraplex_server.engine.parallel.messages import Command, FollowerLaunch, StartFailed
from loraplex_server.engine.parallel.pulse import beat
from loraplex_server.logs.configure import configure_logging
from loraplex_server.logs.process import log_everything
from loraplex_server.logs.redaction import know_secrets
from loraplex_server.models.errors import ModelError

logger = logging.getLogger(__name__)


def main() -> NoReturn:
    """Follow rank 0 until it has nothing more to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # see engine.process
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    launch = Receiver[FollowerLaunch](sys.stdin.fileno(), FollowerLaunch).receive()
    if launch is None:
        sys.exit("no rank 0 has said what to follow")
    know_secrets()
    configure_logging(launch.config.log_level, launch.config.log_format, f"rank {launch.rank}")
    log_everything()
    try:
        _follow(launch)
    except Exception:
        logger.critical("rank %d ends", launch.rank, exc_info=True)
        _leave(1)
    _leave(0)


def _follow(launch: FollowerLaunch) -> None:
    talk = Sender(launch.channel)
    follower = Follower(launch, talk)
    threading.Thread(target=_listen, args=(follower, launch.channel), name="rank-0", daemon=True).start()
    threading.Thread(target=beat, args=(talk,), name="pulse", daemon=True).start()
    try:
        follower.start()
    except (EngineStartError, ModelError, ValueError) as error:
        talk.send(StartFailed(str(error)))
        _leave(1)
    gc.collect()
    gc.freeze()  # see engine.process
    follower.run(Receiver[Command](sys.stdin.fileno(), Command))
    follower.close()


def _listen(follower: Follower, channel: int) -> None:
    """What comes beside the steps. Without rank 0 there is nothing to wait for, not even for a collective to end."""
    follower.listen(channel)
    _leave(0)


def _leave(code: int) -> NoReturn:
    """At once: to take everything apart takes seconds, in which rank 0 would wait or not know."""
    logging.shutdown()
    os._exit(code)
