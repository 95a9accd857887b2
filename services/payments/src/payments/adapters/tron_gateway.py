"""The gateways on Tron: a TRC-20 token, or TRX itself; and the two that come with Garant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from payments.adapters.gateway_plugins import Host
from payments.domain.intents import NATIVE
from payments.domain.model import GatewayInfo
from payments.domain.ports import Addresses, Chain, Gateway

NETWORK = "tron"
USDT_MAINNET = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
USDT = GatewayInfo(id="tron_usdt", name="USDT (TRC-20)", network=NETWORK, currency="USDT")
TRX = GatewayInfo(id="tron_trx", name="TRX", network=NETWORK, currency="TRX")


@dataclass(frozen=True, slots=True)
class TronGateway:
    """See `payments.domain.ports.Gateway`."""

    info: GatewayInfo
    asset: str
    chain: Chain
    addresses: Addresses
    main_address: str
    fuel_address: str

    def data(self, address: str) -> Mapping[str, str]:
        """See the port."""
        found = {"address": address, "network": self.info.network}
        return found if self.asset == NATIVE else found | {"token_contract": self.asset}


def usdt(host: Host) -> Sequence[Gateway]:
    """USDT as a TRC-20 token."""
    return [host.tron(USDT, host.setting("TRON_USDT_CONTRACT", USDT_MAINNET))]


def trx(host: Host) -> Sequence[Gateway]:
    """TRX itself, which also pays what the other gateways burn."""
    return [host.tron(TRX, NATIVE)]
