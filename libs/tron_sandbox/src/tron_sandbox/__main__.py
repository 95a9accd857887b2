"""A Tron node for tests and development, in one process. Nothing of it is worth anything.

Unmodified tronpy and tronweb work against it:

    Tron(HTTPProvider("http://127.0.0.1:9090"))             # tronpy
    new TronWeb({ fullHost: "http://127.0.0.1:9090" })      // tronweb

A page for people is at http://127.0.0.1:9090/. A first payment:

    curl http://127.0.0.1:9090/admin/faucet -d '{"address": "T...", "trx": "10", "usdt": "100.5"}'

USDT is TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t, as on mainnet. What else a test may want:

    /admin/mine {"blocks": 3}                        blocks now
    /admin/fork {"depth": 2, "drop": true}           other blocks instead of the newest
    /admin/faults {"endpoint": "getnowblock", "kind": "429", "count": 3}
    /admin/parameters {"getEnergyFee": 420}          fees
    /admin/token {"pause": true}                     what the token's owner may do
    /admin/clock, /admin/resources, /admin/stop_solid, /admin/requests

and each of them says what it takes when it is called wrongly.
"""

import argparse
import sys
from pathlib import Path

import uvicorn

from tron_sandbox.chain import Chain
from tron_sandbox.journal import Journal
from tron_sandbox.node import Node
from tron_sandbox.server import create_app


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tron_sandbox",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=9090, help="(9090)")
    parser.add_argument(
        "--block-interval", type=float, default=3.0, metavar="SECONDS", help="0: blocks only by /admin/mine (3)"
    )
    parser.add_argument(
        "--solid", type=int, default=18, metavar="N", help="how many blocks make a block solid (18)"
    )
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="keep the chain in this file; it is whole even after kill -9"
    )
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
