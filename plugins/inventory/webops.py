"""The servers and resources of a WebOps panel as an inventory: one host per resource, NAME@SERVER."""

from __future__ import annotations

DOCUMENTATION = """
name: webops
short_description: Servers and resources of a WebOps panel
description:
  - Reads the panel that C(webops login) signed in to. A server is a host of the group C(server), and of the groups that
    it is in; a resource is a host C(NAME@SERVER) in the group of its kind, on each of its servers, with its values as
    variables.
  - Values reach Ansible as text, never as templates.
options:
  plugin:
    description: Must be C(webops).
    required: true
    choices: [webops]
  config:
    description: File that C(webops login) wrote; by default C(~/.config/webops/config.json).
    type: path
    env: [{name: WEBOPS_CONFIG}]
  secrets:
    description: Whether secrets that people typed into the panel become variables, too.
    type: bool
    default: true
  parts:
    description:
      - Whether parts (an app's virtual host, certificate, database) become hosts, too, for actions of their own such as
        C(renew). They follow what they are parts of, so C(playbooks/site.yml) wants them left out.
    type: bool
    default: false
  user:
    description: Remote user of every host. Left empty, your own configuration decides.
    type: str
"""

EXAMPLES = """
# inventory/panel.webops.yml
plugin: webops
user: webops-admin
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit

from ansible.errors import AnsibleParserError
from ansible.module_utils.urls import open_url
from ansible.plugins.inventory import BaseInventoryPlugin

#: Whatever a panel answers, nothing else becomes the name of a host, a group or a variable.
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}")


class InventoryModule(BaseInventoryPlugin):
    """`-i inventory/panel.webops.yml`"""

    NAME = "webops"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith((".webops.yml", ".webops.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        panel = Panel(_login(self.get_option("config")))
        for server in panel.all("/servers", "servers"):
            self._add("server", server["name"], server["address"], server["port"], {})
        for group in panel.all("/groups", "groups"):
            self.inventory.add_group(_named(group["name"]))
            for server in group["servers"]:
                self.inventory.add_child(group["name"], _named(server))
        for resource in panel.all("/resources", "resources"):
            if self.get_option("parts") or not resource["parent"]:
                self._add_resource(panel, resource)

    def _add_resource(self, panel: Panel, resource: dict[str, Any]) -> None:
        name, wants = _named(resource["name"]), self.get_option("secrets")
        found = resource
        if wants and resource["secrets"]:
            found = panel.get(f"/resources/{quote(name, safe='')}/values", secrets=1)
        for place in resource["places"]:
            host = f"{name}@{_named(place['server'])}"
            self._add(resource["kind"], host, place["address"], place["port"], found["values"])

    def _add(self, group: str, host: str, address: str, port: int, values: dict[str, Any]) -> None:
        for part in host.split("@"):
            _named(part)
        if not _ADDRESS.fullmatch(address):
            raise AnsibleParserError(f"The panel gives {host} the address {address!r}, which cannot be used.")
        self.inventory.add_group(_named(group))
        self.inventory.add_host(host, group=group)
        facts = {"ansible_host": address, "ansible_port": int(port)}
        if self.get_option("user"):
            facts["ansible_user"] = self.get_option("user")
        for name, value in {**values, **facts}.items():
            self.inventory.set_variable(host, _named(name), value)


def _named(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise AnsibleParserError(f"The panel gives something the name {text!r}, which cannot be used.")
    return text


def _login(path: str | None) -> dict[str, str]:
    """What `webops login` wrote."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    file = Path(path or f"{home}/webops/config.json").expanduser()
    try:
        found: dict[str, str] = json.loads(file.read_text())
        return found
    except (OSError, ValueError) as wrong:
        raise AnsibleParserError(f"{file} cannot be used ({wrong}). Sign in first: webops login URL") from wrong


class Panel:
    """A panel's API, read only."""

    def __init__(self, login: dict[str, str]) -> None:
        self._url, self._token, self._ca = login["url"], login["token"], login.get("ca") or None

    def all(self, path: str, key: str) -> Iterator[dict[str, Any]]:
        """All pages of a list."""
        after = ""
        while after is not None:
            page = self.get(path, limit=500, **({"after": after} if after else {}))
            yield from page[key]
            after = page["next"]

    def get(self, path: str, **query: Any) -> Any:
        address = f"{self._url}/api/v1{path}?{urlencode(query)}"
        is_own = urlsplit(self._url).hostname in ("127.0.0.1", "::1", "localhost")
        try:
            answer = open_url(address, headers={"Authorization": f"Bearer {self._token}"}, ca_path=self._ca,
                              use_proxy=not is_own, follow_redirects="none", timeout=30, use_netrc=False)
        except HTTPError as wrong:
            raise AnsibleParserError(f"{self._url} answers {wrong.code}: {_detail(wrong)}") from wrong
        except (URLError, OSError) as wrong:
            raise AnsibleParserError(f"The panel at {self._url} does not answer: {wrong}") from wrong
        return json.loads(answer.read())


def _detail(wrong: HTTPError) -> str:
    try:
        return str(json.loads(wrong.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return str(wrong.reason)
