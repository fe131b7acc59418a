"""Files written above the layers before a server boots, and what a saved layer must not carry."""

import os

from sandbox import identity, image, layer, snapshot
from sandbox.place import find_place


def test_a_file_lies_above_and_directories_keep_the_modes_below(tmp_path):
    base, upper = tmp_path / "base", tmp_path / "upper"
    (base / "root" / ".ssh").mkdir(parents=True)
    (base / "root").chmod(0o700)
    upper.mkdir()
    disk = identity.Disk(upper, [base])
    disk.write("root/.ssh/authorized_keys", "key\n", 0o600)
    assert (upper / "root").stat().st_mode & 0o777 == 0o700
    assert (upper / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert not (base / "root/.ssh/authorized_keys").exists()


def test_the_uppermost_layer_that_has_a_file_is_read(tmp_path):
    for name in ("upper", "layer", "base"):
        (tmp_path / name / "etc").mkdir(parents=True)
    (tmp_path / "base/etc/group").write_text("base")
    (tmp_path / "layer/etc/group").write_text("layer")
    disk = identity.Disk(tmp_path / "upper", [tmp_path / "layer", tmp_path / "base"])
    assert disk.read("etc/group") == "layer"
    disk.write("etc/group", "upper")
    assert disk.read("etc/group") == "upper"


def test_a_layer_carries_nothing_of_the_server_that_it_was_saved_from(tmp_path):
    own = ("etc/machine-id", "etc/hostname", "etc/ssh/ssh_host_ed25519_key", "root/.ssh/authorized_keys")
    for path in (*own, "etc/nginx/nginx.conf", "etc/shadow"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("debian:$6$salt$hash:1:0::::\nroot:*:1:0::::\n")
    layer.make_common(tmp_path)
    assert not [path for path in own if (tmp_path / path).exists()]
    assert (tmp_path / "etc/nginx/nginx.conf").exists()
    assert (tmp_path / "etc/shadow").read_text() == "debian:!:1:0::::\nroot:*:1:0::::\n"


def test_another_recipe_gives_another_stamp(monkeypatch):
    monkeypatch.setattr(image.host, "own_certificates", lambda: [])
    before = image.stamp("bookworm")
    assert before != image.stamp("trixie")
    monkeypatch.setattr(image, "PACKAGES", (*image.PACKAGES, "curl"))
    assert image.stamp("bookworm") != before


def test_an_image_that_is_too_old_is_not_found(tmp_path, monkeypatch):
    monkeypatch.setattr(image.host, "own_certificates", lambda: [])
    place = find_place("/srv/a", environ={"WEBOPS_SANDBOX_CACHE": str(tmp_path)})
    built = place.images() / f"bookworm-{image.stamp('bookworm')}-20260101" / "built"
    built.parent.mkdir(parents=True)
    built.write_text("")
    assert image.find(place, "bookworm").root == built.parent / "root"
    os.utime(built, (0, 0))
    assert image.find(place, "bookworm") is None


def test_a_difference_names_what_came_and_what_went():
    assert snapshot.difference(["file /a", "user x"], ["file /a", "file /b"]) == ["+ file /b", "- user x"]
