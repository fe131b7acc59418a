"""The network of a sandbox: one bridge with a private subnet, and a namespace with a veth pair per server."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.host import call
from sandbox.place import Place, check_subnet, locked, write_whole

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
MACHINE_LOCK = "locks/machine"
PREFIX = "wosb"


@dataclass(frozen=True)
class Network:
    """What a sandbox's servers are connected to: `gateway` is this machine's address on the bridge."""

    bridge: str
    subnet: str
    gateway: str

    @property
    def prefix(self) -> int:
        return ipaddress.IPv4Network(self.subnet).prefixlen


def ensure(place: Place) -> Network:
    """The network of this sandbox, made now if need be.

    Raises SandboxError where the wished subnet is taken, or no free one is left.
    """
    with locked(place.cache / MACHINE_LOCK):
        network = read(place)
        if not network or not exists(network.bridge):
            # After a reboot another sandbox may hold the subnet that was ours.
            network = choose(place)
        place.state.mkdir(parents=True, exist_ok=True)
        # Written first: whatever is made after these lines is found again by cleaning.
        place.record().parent.mkdir(parents=True, exist_ok=True)
        write_whole(place.record(), str(place.state))
        write_whole(place.state / "network.json", json.dumps(asdict(network)))
        connect(place, network)
        return network


def read(place: Place) -> Network | None:
    """The network that was chosen before, or None."""
    path = place.state / "network.json"
    return Network(**json.loads(path.read_text())) if path.exists() else None


def exists(link: str) -> bool:
    return Path(f"/sys/class/net/{link}").exists()


def choose(place: Place) -> Network:
    bridge = place.bridge or f"{PREFIX}{place.tag}"
    taken = taken_subnets(ignore=bridge)
    wishes = [place.subnet] if place.subnet else [f"10.77.{third}.0/24" for third in range(256)]
    for wish in wishes:
        subnet = check_subnet(wish)
        if not any(subnet.overlaps(other) for other in taken):
            return Network(bridge, str(subnet), str(next(subnet.hosts())))
    raise SandboxError(f"The subnet {wishes[0]} is in use on this machine: stop the sandbox that holds it, "
                       "or set WEBOPS_SANDBOX_SUBNET to another one, like 10.78.3.0/24.")


def taken_subnets(ignore: str) -> list[ipaddress.IPv4Network]:
    """Every subnet that this machine has an address in or a route to."""
    found = []
    for link in json.loads(call(["ip", "-json", "-4", "address"])):
        for address in link.get("addr_info", []):
            if link.get("ifname") != ignore:
                found.append(ipaddress.IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False))
    for route in json.loads(call(["ip", "-json", "-4", "route"])):
        if route["dst"] != "default" and route.get("dev") != ignore:
            found.append(ipaddress.IPv4Network(route["dst"], strict=False))
    return found


def connect(place: Place, network: Network) -> None:
    if not exists(network.bridge):
        call(["ip", "link", "add", network.bridge, "mtu", str(outward_mtu()), "type", "bridge"])
    call(["ip", "address", "replace", f"{network.gateway}/{network.prefix}", "dev", network.bridge])
    call(["ip", "link", "set", network.bridge, "up"])
    if FORWARD.read_text().strip() == "0":
        (place.cache / "ip_forward.was_off").touch()
        FORWARD.write_text("1")
    if len(rules(place)) != 3:
        # Only where one is missing: a connection that begins between the two would hang for ever.
        drop_rules(place)
        add_rules(place, network)


def add_rules(place: Place, network: Network) -> None:
    remark = ["-m", "comment", "--comment", f"webops-sandbox-{place.tag}"]
    call(["iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-s", network.subnet, "!", "-d", network.subnet,
          *remark, "-j", "MASQUERADE"])
    for direction in ("-i", "-o"):
        # Hosts with Docker or a firewall drop what is forwarded unless a rule says otherwise.
        call(["iptables", "-w", "-I", "FORWARD", direction, network.bridge, *remark, "-j", "ACCEPT"])


def outward_mtu() -> int:
    """The MTU of the way out: larger packets from servers would vanish where ICMP is filtered."""
    for route in json.loads(call(["ip", "-json", "-4", "route", "show", "default"])):
        return int(Path(f"/sys/class/net/{route['dev']}/mtu").read_text())
    return 1500


def rules(place: Place) -> list[tuple[str, list[str]]]:
    """Every iptables rule that carries this sandbox's remark: its table and its words."""
    return [(table, shlex.split(line)[1:]) for table in ("nat", "filter")
            for line in call(["iptables", "-w", "-t", table, "-S"]).splitlines()
            if re.match(rf"-A .*webops-sandbox-{place.tag}\b", line)]


def drop_rules(place: Place) -> None:
    for table, words in rules(place):
        call(["iptables", "-w", "-t", table, "-D", *words])


def remove(place: Place) -> None:
    """Take the sandbox's network away: namespaces, bridge, rules; and forwarding, if no other sandbox is left."""
    with locked(place.cache / MACHINE_LOCK):
        network = read(place)
        for link in Path("/sys/class/net").glob(f"wv{place.tag}*"):
            call(["ip", "link", "delete", link.name])
        for name in namespaces(place):
            call(["ip", "netns", "delete", name])
        drop_rules(place)
        bridge = network.bridge if network else place.bridge or f"{PREFIX}{place.tag}"
        if exists(bridge):
            call(["ip", "link", "delete", bridge])
        (place.state / "network.json").unlink(missing_ok=True)
        restore_forwarding(place)


def restore_forwarding(place: Place) -> None:
    was_off = place.cache / "ip_forward.was_off"
    if was_off.exists() and "webops-sandbox-" not in call(["iptables", "-w", "-t", "nat", "-S"]):
        FORWARD.write_text("0")
        was_off.unlink()


def namespaces(place: Place) -> list[str]:
    """The names of this sandbox's network namespaces."""
    listed = call(["ip", "netns", "list"]).splitlines()
    return [line.split()[0] for line in listed if line.startswith(f"{PREFIX}-{place.tag}-")]


def namespace(place: Place, server: str) -> str:
    return f"{PREFIX}-{place.tag}-{server}"


def cable(place: Place, address: str) -> str:
    """The host's end of the veth pair of the server at this address (15 characters at most)."""
    return f"wv{place.tag}{int(ipaddress.IPv4Address(address)) & 0xffff:x}"


def attach(place: Place, network: Network, server: str, address: str) -> None:
    """Give a server its namespace, cable and address; what an earlier life of it left is replaced."""
    detach(place, server, address)
    space, end = namespace(place, server), cable(place, address)
    call(["ip", "netns", "add", space])
    mtu = str(outward_mtu())
    call(["ip", "link", "add", end, "mtu", mtu, "type", "veth",
          "peer", "name", "host0", "address", hardware_address(address), "mtu", mtu, "netns", space])
    call(["ip", "link", "set", end, "master", network.bridge, "up"])
    commands = (f"link set lo up\nlink set host0 up\naddress add {address}/{network.prefix} dev host0\n"
                f"route add default via {network.gateway}\n")
    call(["ip", "-n", space, "-batch", "-"], text=commands)


def hardware_address(address: str) -> str:
    """The MAC address that goes with an IP address.

    Always the same: with a new one, this machine would talk to the earlier server of the address for seconds.
    """
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x77, *ipaddress.IPv4Address(address).packed))


def detach(place: Place, server: str, address: str) -> None:
    """Delete a server's cable and namespace. Nothing happens where there are none."""
    # The cable first: deleting the namespace takes it away only some time later.
    if exists(end := cable(place, address)):
        call(["ip", "link", "delete", end])
    if (space := namespace(place, server)) in namespaces(place):
        call(["ip", "netns", "delete", space])


def set_cable(place: Place, address: str, up: bool) -> None:
    """Pull or plug the server's cable: connections hang, as they do when a real server drops off the network."""
    call(["ip", "link", "set", cable(place, address), "up" if up else "down"])
