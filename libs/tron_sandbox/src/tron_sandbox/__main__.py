"""python -m tron_sandbox: run the node.

Unmodified tronpy and tronweb work against http://HOST:PORT. Money: POST /admin/faucet
{"address": "T…", "trx": "10", "usdt": "100.5"}. Blocks: POST /admin/mine {"blocks": 1}; POST /admin/fork
{"depth": 2}. Faults: POST /admin/faults {"endpoint": "getnowblock", "kind": "429", "count": 3}.
"""

import argparse
import sys
from pathlib import Path

import uvicorn

from tron_sandbox.chain import Chain
from tron_sandbox.journal import Journal
from tron_sandbox.node import Node
from tron_sandbox.server import create_app

EXIT_BAD_SETTING = 2


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tron_sandbox",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument(
        "--block-interval", type=float, default=3.0, metavar="SECONDS", help="0: only /admin/mine (3)"
    )
    parser.add_argument("--solid", type=int, default=18, metavar="N", help="blocks until solid (18)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep the chain in this file")
    parser.add_argument(
        "--accounts", type=int, default=0, metavar="N", help="accounts with 10,000 TRX each from genesis (0)"
    )
    options = parser.parse_args(arguments)
    if options.block_interval < 0 or options.solid < 1 or not 1 <= options.port <= 65535 or options.accounts < 0:
        parser.error("--block-interval and --accounts must be 0 or more, --solid 1 or more, --port 1 to 65535")
    return options


def main() -> None:
    """Run the node until a signal."""
    options = parse(sys.argv[1:])
    journal = Journal(options.state) if options.state else None
    node = Node(Chain(options.solid, journal, accounts=options.accounts), options.block_interval)
    print(f"Tron sandbox on http://{options.host}:{options.port}, block {node.chain.head.number}", flush=True)
    uvicorn.run(
        create_app(node),
        host=options.host,
        port=options.port,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
