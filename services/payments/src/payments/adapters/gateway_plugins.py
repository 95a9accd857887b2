"""Gateways are plugins: whatever installed package names a function under the entry point `garant.gateways`.

    [project.entry-points."garant.gateways"]
    tron_usdt = "payments.adapters.tron_gateway:usdt"

The function takes a `Host` and returns the gateways it makes; docs/gateways.md shows how to write one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from payments.domain.model import GatewayInfo
from payments.domain.ports import Gateway

GROUP = "garant.gateways"


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
        PluginError: when a plugin is not installed or fails, or two gateways have one id or one asset.
    """
    installed = {point.name: point for point in entry_points(group=GROUP)}
    found: dict[str, Gateway] = {}
    taken: set[tuple[str, str]] = set()
    for name in wanted:
        point = installed.get(name)
        if point is None:
            names = ", ".join(sorted(installed))
            raise PluginError(f"the setting GATEWAYS names {name!r}; installed are {names}")
        for gateway in _made(point, host):
            place = (gateway.info.network, gateway.asset)
            if gateway.info.id in found or place in taken:
                raise PluginError(f"the gateway {gateway.info.id} of {point.value} is there already (GATEWAYS)")
            taken.add(place)
            found[gateway.info.id] = gateway
    return found


def _made(point: EntryPoint, host: Host) -> Sequence[Gateway]:
    try:
        plugin: Plugin = point.load()
        return plugin(host)
    except Exception as error:  # a stranger's code: whatever it raises is told with its name
        raise PluginError(f"the gateway plugin {point.value} failed: {type(error).__name__}: {error}") from error
