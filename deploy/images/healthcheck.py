"""healthcheck.py PORT PATH: does the server of this container answer 200? It runs often, so it imports little."""

import socket
import sys

TIMEOUT_S = 4


def main() -> None:
    """Ask; the exit code is 0 for a 200."""
    port, path = int(sys.argv[1]), sys.argv[2]
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        answer = connection.recv(64).split()
    if answer[1:2] != [b"200"]:
        sys.exit(f"{path} answers {answer[:2]}")


if __name__ == "__main__":
    main()
