"""Where a sandbox keeps its things, and that two never meet."""

import pytest

from sandbox import network
from sandbox.errors import SandboxError
from sandbox.place import REPOSITORY, check_name, check_subnet, find_place


def test_the_repository_is_the_place_unless_the_environment_names_another():
    assert find_place(environ={}).state == REPOSITORY / "var" / "sandbox"
    named = find_place(environ={"WEBOPS_SANDBOX_STATE": "/srv/a", "WEBOPS_SANDBOX_SUBNET": "10.9.0.0/24"})
    assert (str(named.state), named.subnet) == ("/srv/a", "10.9.0.0/24")
    assert find_place("/srv/b", environ={"WEBOPS_SANDBOX_STATE": "/srv/a"}).state.name == "b"


def test_two_places_share_no_name_on_the_machine():
    one, other = find_place("/srv/a", environ={}), find_place("/srv/b", environ={})
    assert one.tag != other.tag
    assert network.namespace(one, "web1") != network.namespace(other, "web1")
    assert network.cable(one, "10.77.0.10") != network.cable(other, "10.77.0.10")


def test_the_kernel_takes_every_cable_name():
    place = find_place("/srv/a", environ={})
    cables = {network.cable(place, address) for address in ("10.77.0.10", "10.77.255.254", "192.168.1.10")}
    assert len(cables) == 3
    assert all(len(name) <= 15 for name in cables)


@pytest.mark.parametrize("state", ["/srv/a:b", "/srv/a,b", "/srv/a\\b"])
def test_a_path_that_overlayfs_cannot_read_is_refused(state):
    with pytest.raises(SandboxError, match="overlayfs"):
        find_place(state, environ={})


@pytest.mark.parametrize("name", ["", "Web1", "-a", "a-", "a--b", "a_b", "a.b", "a/b", "..", "a" * 40, "a\n"])
def test_a_name_that_is_no_hostname_is_refused(name):
    with pytest.raises(SandboxError, match="like web1"):
        check_name(name)


@pytest.mark.parametrize("subnet", ["8.8.8.0/24", "10.0.0.0/8", "10.77.0.0/30", "10.77.0.1/24", "ten", "fd00::/64"])
def test_a_subnet_that_is_not_private_or_not_fit_is_refused(subnet):
    with pytest.raises(SandboxError, match=r"like 10\.77\.3\.0/24"):
        check_subnet(subnet)


def test_a_bridge_name_is_checked():
    with pytest.raises(SandboxError, match="bridge"):
        find_place(environ={"WEBOPS_SANDBOX_BRIDGE": "x; reboot"})


def test_a_free_subnet_is_chosen_and_a_taken_one_refused(monkeypatch):
    taken = [check_subnet("10.77.0.0/24"), check_subnet("10.77.1.0/24")]
    monkeypatch.setattr(network, "taken_subnets", lambda ignore: taken)
    assert network.choose(find_place("/srv/a", environ={})).gateway == "10.77.2.1"
    with pytest.raises(SandboxError, match="in use on this machine"):
        network.choose(find_place("/srv/a", "10.77.1.0/24", environ={}))
