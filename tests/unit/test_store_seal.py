"""Secrets at rest."""

from __future__ import annotations

import stat

import pytest
from cryptography.fernet import Fernet

from panel.store.seal import SecretContextError, key_file, renew, seal, unseal


def test_what_was_sealed_opens_in_its_place_only(database):
    blob = seal("server:web1:private_key", "hunter2")
    assert b"hunter2" not in blob
    assert unseal("server:web1:private_key", blob) == "hunter2"
    with pytest.raises(SecretContextError, match="moved"):
        unseal("server:web2:private_key", blob)


def test_a_mapping_comes_back_as_it_went_in(database):
    secrets = {"api_key": "é😀\n", "list": [{"name": "A", "value": None}]}
    assert unseal("x", seal("x", secrets)) == secrets


def test_the_key_is_made_once_and_is_private(database):
    seal("x", "y")
    file = database / "fernet.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key_file(file, "another") == file.read_text().strip()


def test_another_installation_cannot_open_it(database):
    with pytest.raises(SecretContextError, match="WEBOPS_FERNET_KEY"):
        unseal("x", Fernet(Fernet.generate_key()).encrypt(b"{}"))


def test_renewing_keeps_the_secret(database):
    blob = seal("x", "y")
    assert renew(blob) != blob
    assert unseal("x", renew(blob)) == "y"
