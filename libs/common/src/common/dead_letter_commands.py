"""The commands for dead letters, the same in every service: list them, have them replayed, or close one."""

import argparse
from typing import Any

from common.db import Database
from common.dead_letters import DeadLetters

LIST, REPLAY, DISCARD = "dead-letters", "replay-dead-letters", "discard-dead-letter"
NAMES = (LIST, REPLAY, DISCARD)


def add_commands(commands: Any) -> None:
    """Add the commands to a parser's subcommands (`argparse`'s type for them is private)."""
    commands.add_parser(LIST, help="list the events that no consumer could handle")
    replay: argparse.ArgumentParser = commands.add_parser(
        REPLAY, help="let the worker handle dead letters again, all or one"
    )
    replay.add_argument("--id", type=int, help="one letter's id, as the list shows it; all without it")
    discard: argparse.ArgumentParser = commands.add_parser(
        DISCARD, help="close a dead letter that nothing will ever handle"
    )
    discard.add_argument("--id", type=int, required=True, help="the letter's id, as the list shows it")


async def run_command(database: Database, options: argparse.Namespace) -> list[str]:
    """Run one of the commands; return the lines to show."""
    letters = DeadLetters(database)
    if options.command == LIST:
        found = await letters.unresolved()
        return [
            f"{one.id}\t{one.created_at:%Y-%m-%dT%H:%M:%SZ}\t{one.consumer}\t{one.subject}\t{one.tries} tries\t"
            f"{'replay asked for' if one.replay_at else 'waits for you'}\t{one.error}"
            for one in found
        ] or ["there are no dead letters"]
    if options.command == DISCARD:
        closed = await letters.discard(options.id)
        return [f"letter {options.id} is closed" if closed else f"there is no open letter {options.id}"]
    asked = await letters.ask_replay(options.id)
    return [f"the worker replays {asked} within seconds; `{LIST}` shows what failed again"]
