"""What the sandbox asks of this machine, and what it hands on of how registries are reached."""

import pytest

from sandbox import host, registries

A = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
B = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n"


def test_only_certificates_that_a_fresh_debian_lacks_are_handed_on(tmp_path):
    (tmp_path / "stock").mkdir()
    (tmp_path / "stock" / "a.crt").write_text(A.replace("\n", "\r\n"))
    (tmp_path / "bundle").write_text(f"# a comment\n{A}\n{B}")
    assert host.own_certificates(tmp_path / "bundle", tmp_path / "stock") == [B]
    assert host.own_certificates(tmp_path / "none", tmp_path / "stock") == []


def test_why_not_says_what_to_do_and_what_works_instead(monkeypatch):
    monkeypatch.setattr(host.platform, "system", lambda: "Darwin")
    assert "Darwin" in host.why_not()
    assert "make run" in host.why_not()
    monkeypatch.setattr(host.platform, "system", lambda: "Linux")
    monkeypatch.setattr(host.os, "geteuid", lambda: 1000)
    assert "root" in host.why_not()
    monkeypatch.setattr(host.os, "geteuid", lambda: 0)
    monkeypatch.setattr(host, "has_overlay", lambda: True)
    monkeypatch.setattr(host, "missing", lambda to_boot: [host.Requirement("debootstrap", "debootstrap", "builds")])
    assert "apt-get install --no-install-recommends debootstrap" in host.why_not()


def test_a_missing_test_authority_keeps_no_server_from_booting(monkeypatch):
    monkeypatch.setattr(host.shutil, "which", lambda command, path: None if command == "pebble" else command)
    assert "pebble" in {need.package for need in host.missing()}
    assert "pebble" not in {need.package for need in host.missing(to_boot=True)}


def test_every_requirement_says_why():
    assert all(len(need.reason) > 20 for need in host.requirements())


def test_a_missing_program_is_named_with_the_way_out():
    with pytest.raises(host.SandboxError, match="doctor"):
        host.call(["no-such-program-at-all"])


def test_pips_settings_come_from_its_files_and_its_environment(tmp_path):
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text("[global]\nindex-url = https://one.example/simple\n"
                                                   "find-links =\n  /srv/wheels\n  /srv/more\n")
    found = host.pip_settings({"PIP_INDEX_URL": "https://two.example/simple", "PIP_DEFAULT_TIMEOUT": "9"}, tmp_path)
    assert found["index-url"] == "https://two.example/simple"
    assert found["find-links"] == "/srv/wheels /srv/more"
    assert found["timeout"] == "9"


def test_without_an_index_for_pip_the_one_for_uv_counts(tmp_path):
    (tmp_path / ".config/uv").mkdir(parents=True)
    (tmp_path / ".config/uv/uv.toml").write_text('[[index]]\nurl = "https://three.example/simple"\ndefault = true\n')
    assert host.pip_settings({"PIP_INDEX_URL": "https://two.example/s"}, tmp_path)["index-url"] == "https://two.example/s"
    assert host.uv_index({}, tmp_path) == "https://three.example/simple"
    assert host.uv_index({"UV_DEFAULT_INDEX": "own=https://four.example/s"}, tmp_path) == "https://four.example/s"


def test_images_come_from_where_the_host_gets_its_own_packages():
    described = ("Docker|https://docker.example/debian/|bookworm|stable\n"
                 "Tools|https://tools.example/|bookworm|main\n|https://other.example/apt/|bookworm|main\n"
                 "Debian|http://mirror.example/debian-security/|bookworm-security|main\n"
                 "Debian|https://me:secret@mirror.example/debian/|bookworm|main\n"
                 "Debian|http://mirror.example/debian/|bookworm-updates|main\n"
                 "Debian|http://mirror.example/debian/|bookworm|main\n")
    assert host.debian_archive("", described) == "http://mirror.example/debian"
    assert host.debian_archive("-security", described) == "http://mirror.example/debian-security"
    assert host.debian_archive("", "|http://new.example/debian/|trixie|main") == "http://new.example/debian"
    assert host.debian_archive("", "Ubuntu|http://archive.example/ubuntu/|noble|main") is None


def test_directories_that_pip_names_are_lent_to_servers(tmp_path):
    for name in ("pypi/simple", "wheels"):
        (tmp_path / name).mkdir(parents=True)
    settings = {"extra-index-url": f"file://{tmp_path}/pypi/simple https://x.example/simple",
                "find-links": f"{tmp_path}/wheels {tmp_path}/gone"}
    assert host.local_indexes(settings) == [tmp_path / "pypi", tmp_path / "wheels"]


def test_pip_and_uv_ask_the_cache_on_the_bridge():
    settings = registries.through_cache({"timeout": "60"}, "10.77.0.1")
    assert "index-url = http://10.77.0.1:3142/simple/\n" in registries.pip_conf(settings)
    assert "trusted-host = 10.77.0.1\n" in registries.pip_conf(settings)
    assert 'url = "http://10.77.0.1:3142/simple/"\ndefault = true' in registries.uv_toml(settings)
    assert "native-tls" not in registries.uv_toml(settings)


@pytest.mark.parametrize("index", ["https://me:secret@x.example/simple", "file:///srv/pypi/simple"])
def test_an_index_that_cannot_be_mirrored_is_asked_by_the_server_itself(index):
    settings = registries.through_cache({"index-url": index}, "10.77.0.1")
    assert settings["index-url"] == index
    assert "3142" not in registries.uv_toml(settings)
