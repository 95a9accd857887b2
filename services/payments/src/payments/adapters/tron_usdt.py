"""The gateway `tron_usdt`: USDT as a TRC-20 token on Tron."""

from dataclasses import dataclass

from payments.domain.model import GatewayInfo
from payments.domain.ports import Addresses, Chain

INFO = GatewayInfo(id="tron_usdt", name="USDT (TRC-20)", network="tron", currency="USDT")


@dataclass(frozen=True, slots=True)
class TronUsdt:
    """See `payments.domain.ports.Gateway`."""

    chain: Chain
    addresses: Addresses
    main_address: str
    fuel_address: str
    token: str
    info: GatewayInfo = INFO
