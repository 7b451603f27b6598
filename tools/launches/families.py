"""All of them."""

from __future__ import annotations

from launches.attention import ATTEND, WRITE
from launches.linear import LINEAR, ROUND
from launches.lora import LORA
from launches.ops import CHOOSE, GATE, NORM, TURN

FAMILIES = (LORA, LINEAR, ROUND, ATTEND, WRITE, NORM, GATE, TURN, CHOOSE)
