"""Gateways are plugins: whatever installed package names a function under the entry point `garant.gateways`.

    [project.entry-points."garant.gateways"]
    tron_usdt = "payments.adapters.tron_gateway:usdt"

The function takes a `Host` and returns the gateways it makes; docs/gateways.md shows how to write one.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from payments.domain.model import GatewayInfo
from payments.domain.ports import Gateway

GROUP = "garant.gateways"
_NAME = re.compile(r"[a-z0-9_]{1,40}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z][A-Z0-9]{1,11}", re.ASCII)
_ASSET = re.compile(r"\S{1,100}")


class PluginError(Exception):
    """A gateway can't be loaded; the text names the setting or the package to change."""


@dataclass(frozen=True, slots=True)
class Host:
    """What a plugin may use.

    Attributes:
        environment: the process's environment, where a plugin's settings are.
        tron: makes a gateway for an asset on Tron, which shares the node, the scanner, the wallets and the sweeps
            with the others there.
    """

    environment: Mapping[str, str]
    tron: Callable[[GatewayInfo, str], Gateway]

    def setting(self, name: str, default: str) -> str:
        """Return a setting of the environment."""
        return self.environment.get(name) or default


Plugin = Callable[[Host], Sequence[Gateway]]


def load_gateways(host: Host, wanted: Collection[str]) -> dict[str, Gateway]:
    """Return the gateways of the wanted plugins, by id, in the order that they are wanted in.

    Raises:
        PluginError: when a plugin is not installed or fails, or two gateways have one id, or one network and asset
            or currency.
    """
    found: dict[str, Gateway] = {}
    for name in wanted:
        for gateway in _made(name, _installed(name), host):
            for other in found.values():
                if clash := _clash(gateway, other):
                    what = f"whose gateway {gateway.info.id} has the {clash} of {other.info.id}"
                    raise PluginError(f"GATEWAYS names {name!r}, {what}")
            found[gateway.info.id] = gateway
    return found


def _installed(name: str) -> EntryPoint:
    """Return the one plugin of this name."""
    points = {point.value: point for point in entry_points(group=GROUP, name=name)}
    if not points:
        names = ", ".join(sorted({point.name for point in entry_points(group=GROUP)}))
        raise PluginError(f"GATEWAYS names {name!r}, which no installed package gives; installed are {names}")
    if len(points) > 1:
        raise PluginError(f"GATEWAYS names {name!r}, which is in several packages: {', '.join(sorted(points))}")
    return next(iter(points.values()))


def _made(name: str, point: EntryPoint, host: Host) -> Sequence[Gateway]:
    try:
        plugin: Plugin = point.load()
        gateways = list(plugin(host))
        for gateway in gateways:
            _check(gateway)
    except Exception as error:  # a stranger's code: whatever it raises is told with its name
        what = f"{type(error).__name__}: {error}"
        raise PluginError(f"GATEWAYS names {name!r}, whose plugin {point.value} failed: {what}") from error
    return gateways


def _check(gateway: Gateway) -> None:
    """Refuse names that the ledger's accounts and keys could not hold."""
    info = gateway.info
    for what, text, pattern in (
        ("id", info.id, _NAME),
        ("network", info.network, _NAME),
        ("currency", info.currency, _CURRENCY),
        ("asset", gateway.asset, _ASSET),
    ):
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is no {what} of a gateway")


def _clash(gateway: Gateway, other: Gateway) -> str | None:
    """Return what two gateways share that they may not."""
    if gateway.info.id == other.info.id:
        return "id"
    if gateway.info.network != other.info.network:
        return None
    if gateway.asset == other.asset:
        return "asset"
    return "currency" if gateway.info.currency == other.info.currency else None
