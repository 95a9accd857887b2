"""What the socket side of chat tells at `/metrics`."""

from prometheus_client import Counter, Gauge

from common.metrics import REGISTRY

CONNECTIONS = Gauge("garant_chat_connections", "Engine.IO connections of this process", registry=REGISTRY)
LINKS = Gauge("garant_chat_clients", "Clients that were admitted to a chat, of this process", registry=REGISTRY)
ROOMS = Gauge("garant_chat_live_rooms", "Chats with a client of this process", registry=REGISTRY)
REFUSED = Counter(
    "garant_chat_refused", "What a limit or a check refused, by its name", ["limit"], registry=REGISTRY
)
ENDED = Counter("garant_chat_ended", "Connections that the server ended, by reason", ["reason"], registry=REGISTRY)
FILLED = Counter(
    "garant_chat_filled", "Gaps that were filled from the database, by what lacked", ["kind"], registry=REGISTRY
)
