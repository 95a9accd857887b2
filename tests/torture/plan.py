"""What is done to whom, and when: all of it follows from the seed."""

import random
from dataclasses import dataclass

VICTIMS = ("accounts", "deals", "payments", "signer", "chat", "gateway", "nats", "postgres", "tron")
KILL, STOP, BACKENDS = "kill", "stop", "backends"
GAP_S = (0.5, 6.0)
STOP_S = (0.5, 15.0)
MOST_BACKENDS = 8


@dataclass(frozen=True, slots=True)
class Blow:
    """One blow: kill -9, a sleep of `pause_s`, or the end of `count` connections of PostgreSQL."""

    at_s: float
    victim: str
    kind: str
    pause_s: float = 0.0
    count: int = 0

    def __str__(self) -> str:
        more = {KILL: "", STOP: f" for {self.pause_s:.1f} s", BACKENDS: f" ({self.count})"}[self.kind]
        return f"{self.at_s:6.1f} s  {self.kind} {self.victim}{more}"


def plan(seed: int, seconds: float) -> list[Blow]:
    """Return the blows of a run in their order."""
    dice = random.Random(seed)
    blows, at_s = list[Blow](), 0.0
    while True:
        at_s += dice.uniform(*GAP_S)
        if at_s >= seconds:
            return blows
        victim = dice.choice(VICTIMS)
        kind = dice.choice((KILL, STOP, BACKENDS) if victim == "postgres" else (KILL, STOP))
        pause_s, count = dice.triangular(*STOP_S, mode=STOP_S[0]), dice.randint(1, MOST_BACKENDS)
        blows.append(Blow(at_s, victim, kind, pause_s if kind == STOP else 0.0, count if kind == BACKENDS else 0))
