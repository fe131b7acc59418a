"""Deploy keys through every door: made before the first apply, never shown but for their public half."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from panel.catalog import formats
from panel.runs import keys, parts
from panel.store import db
from panel.store.models import Resource, Run
from tests.programs import api, problem  # noqa: F401


def ssh_keygen(path: Path, *options: str) -> str:
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "", "-f", str(path), *options], check=True)
    return path.read_text()


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_the_public_half_is_what_ssh_keygen_says(tmp_path: Path, kind: str) -> None:
    private = ssh_keygen(tmp_path / "key", "-t", kind)
    public = (tmp_path / "key.pub").read_text().strip()
    assert formats.public_half(private) == public
    assert formats.problem("deploy_key", private) is None
    assert formats.problem("deploy_key", private.replace("\n", "\r\n")) is None


def test_a_key_that_nobody_can_use_is_refused(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "passphrase", "-f", str(locked)], check=True)
    old = ssh_keygen(tmp_path / "old", "-t", "rsa", "-m", "PEM")
    for text, code in ((locked.read_text(), "key_has_passphrase"), (old, "invalid_deploy_key"),
                       ((tmp_path / "old.pub").read_text(), "invalid_deploy_key"), ("x", "invalid_deploy_key"),
                       (keys.pair().replace("b3Blb", "AAAAA"), "invalid_deploy_key"),
                       (keys.pair()[:200] + "\n-----END OPENSSH PRIVATE KEY-----", "invalid_deploy_key")):
        found = formats.problem("deploy_key", text)
        assert found is not None and found.code == code, text


def test_what_is_made_here_is_a_key_for_ssh(tmp_path: Path) -> None:
    file = tmp_path / "made"
    file.touch(mode=0o600)
    file.write_text(keys.pair())
    said = subprocess.run(["ssh-keygen", "-y", "-f", str(file)], check=True, capture_output=True, text=True).stdout
    assert said.split()[:2] == keys.public_line(file.read_text(), "shop").split()[:2]


def kept(name: str) -> dict[str, Any]:
    with db.session() as session:
        row = session.query(Resource).filter_by(name=name).one()
        return {"values": row.values, "secrets": parts.secrets_of(row),
                "runs": session.query(Run).filter_by(resource_name=name).count()}


def test_a_key_is_made_before_there_is_anything(api: Any) -> None:  # noqa: F811
    made = api("POST", "/resources/new-shop/keys", {"kind": "static_site", "server": "web1"})
    assert made.status_code == 201, made.get_json()
    public = made.get_json()["public_key"]
    assert public.startswith("ssh-ed25519 AAAA") and public.endswith(" webops-new-shop")
    assert set(made.get_json()) == {"resource", "parameter", "public_key"}
    shown = api("GET", "/resources/new-shop").get_json()
    assert shown["public_keys"] == {"static_site_repo_key": public} and shown["applied_at"] is None
    assert shown["secrets"] == {"static_site_repo_key": True}
    stored = kept("new-shop")
    assert stored["runs"] == 0 and stored["secrets"]["static_site_repo_key"] not in api("GET", "/resources").text
    again = api("POST", "/resources/new-shop/keys", {}).get_json()["public_key"]
    assert again != public


@pytest.mark.parametrize(("name", "body", "code"), [
    ("new-shop", {}, "unknown"),
    ("new-shop", {"kind": "static_site"}, "unknown"),
    ("new-shop", {"kind": "static_site", "server": "none"}, "unknown"),
    ("new-shop", {"kind": "none", "server": "web1"}, "unknown"),
    ("New", {"kind": "static_site", "server": "web1"}, "invalid_values"),
    ("new-shop", {"kind": "postgres_db", "server": "web1"}, "invalid_values"),
    ("new-shop", {"kind": "static_site", "server": "web1", "values": {"repo": "file:///etc"}}, "invalid_values"),
])
def test_what_cannot_have_a_key_is_told(api: Any, name: str, body: dict[str, Any], code: str) -> None:  # noqa: F811
    answer = api("POST", f"/resources/{name}/keys", body)
    assert answer.status_code in (404, 422) and problem(answer)["code"] == code, answer.get_json()
    assert api("GET", f"/resources/{name}").status_code == 404
