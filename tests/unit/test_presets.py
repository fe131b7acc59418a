"""Values to begin with: read from the role, offered as links, sources shown; and a catalogue whose figures hold."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from flask.testing import FlaskClient

from panel.catalog import BrokenRole, Kind, catalog, clean, read_kind
from panel.catalog.described import described
from tests.panels import send
from tests.unit.sized import GIB, MODELS, ROOT, model, shape

CATALOGUE = yaml.safe_load((ROOT / "roles" / "vllm_model" / "meta" / "presets.yml").read_text())
each = pytest.mark.parametrize("one", CATALOGUE["presets"], ids=lambda one: one["name"])
SPEC = """
argument_specs:
  main:
    short_description: Serve
    options:
      shop_name: {type: str, description: [Name]}
      shop_size: {type: str, default: "", description: [Size]}
      shop_colour: {type: str, default: "", description: [Colour]}
      shop_token: {type: str, no_log: true, default: "", description: [Token]}
"""
PRESETS = """
label: Shops
dated: 2026-11-23
presets:
- {name: large, label: Large, values: {size: big}, facts: [{label: Rooms, value: 9, source: "https://example.org/"}]}
- {name: red, label: Red, values: {shop_colour: red}}
"""


def role(place: Path, presets: str) -> Kind:
    (place / "shop" / "meta").mkdir(parents=True)
    for name, text in (("argument_specs.yml", SPEC), ("kind.yml", "presets: presets.yml\n"), ("presets.yml", presets)):
        (place / "shop" / "meta" / name).write_text(text)
    return read_kind(place / "shop", place / "shop.yml")


def test_a_preset_is_read_with_full_names(tmp_path: Path) -> None:
    presets = role(tmp_path, PRESETS).presets
    assert [(one.name, dict(one.values)) for one in presets.all] == [
        ("large", {"shop_size": "big"}), ("red", {"shop_colour": "red"})]
    assert (presets.label, presets.dated, presets.all[0].facts[0].value) == ("Shops", "2026-11-23", "9")


def test_another_preset_takes_back_what_the_last_one_decided(tmp_path: Path) -> None:
    presets = role(tmp_path, PRESETS).presets
    red = presets.find("red")
    assert red and presets.begin({"shop_size": "big", "shop_other": 1}, red) == {"shop_other": 1, "shop_colour": "red"}


@pytest.mark.parametrize(("presets", "words"), [
    ("presets: [{name: x, label: X, values: {nothing: 1}}]", "a value for 'nothing', which is no parameter"),
    ("presets: [{name: x, label: X, values: {token: abc}}]", "a value for 'token'"),
    ("presets: [{name: x, label: X, values: {}}, {name: x, label: Y, values: {}}]", "two presets are called 'x'"),
    ("presets: [{name: x}]", "needs name, label and values"), ("dated: 1", "needs name, label and values")])
def test_a_preset_that_cannot_be_offered_says_why(tmp_path: Path, presets: str, words: str) -> None:
    with pytest.raises(BrokenRole, match=words):
        role(tmp_path, presets)


@each
def test_values_of_the_catalogue_are_accepted(one: dict) -> None:
    kind = catalog().kind("vllm_model")
    preset = kind.presets.find(one["name"])
    assert preset and clean(kind, "main", preset.values).values["vllm_model_model"] == one["values"]["model"]


@each
def test_every_figure_of_the_catalogue_has_its_source_or_is_unknown(one: dict) -> None:
    for fact in one["facts"]:
        source = fact.get("source")
        assert source == "computed" or str(source).startswith("https://") or fact["value"] == "unknown", fact
        assert not (source and fact["value"] == "unknown"), fact
    assert {"On disk", "Memory", "Licence", "Gated"} <= {fact["label"] for fact in one["facts"]}


@each
def test_bytes_and_memory_of_the_catalogue_are_what_is_computed(one: dict) -> None:
    said, published = one["repository"], MODELS[one["repository"]["family"]]
    facts = {fact["label"]: fact for fact in one["facts"]}
    found = shape(said["family"])
    if said["quantization"]:
        if facts["On disk"]["source"] == "computed":
            assert said["bytes"] == model().quantized(found, model().parameters(found), said["quantization"])
        found = replace(found, quantization=said["quantization"])
    else:
        assert (said["bytes"], facts["On disk"]["source"]) == (published["bytes"], published["source"])
        assert one["values"]["model"] == published["id"]
    assert facts["On disk"]["value"] == f"{said['bytes'] / 1e9:.1f} GB"
    values = one["values"]
    wish = model().Wish(engine=values.get("engine", "gpu"), max_length=values["max_length"],
                        kv_cache=GIB if "kv_cache" in values else 0, tensor_parallel=values.get("tensor_parallel", 1))
    needed = model().size(model().need(found, said["bytes"], wish, model().Room(48 * GIB, 48 * GIB, 9.0)).total)
    assert facts["Memory"]["value"].startswith(needed) and needed in one["summary"]
    assert f"for {values['max_length']:,} tokens" in facts["Memory"]["value"]
    if size := re.search(r"GPUs? of (\d+) GB", one["why"]):
        assert float(needed.split()[0]) <= 0.9 * int(size[1]), "it would not fit where it says that it does"


def test_quantized_models_of_the_same_family_are_known() -> None:
    found = model().siblings("Qwen/Qwen3-8B", CATALOGUE["presets"])
    assert [one.repository for one in found] == ["Qwen/Qwen3-8B-FP8", "Qwen/Qwen3-8B-AWQ"]
    assert not model().siblings("Nobody/Nothing", CATALOGUE["presets"])


def test_the_form_begins_with_a_preset(ada: FlaskClient) -> None:
    plain = ada.get("/new/vllm_model").text
    assert 'href="/new/vllm_model?preset=qwen3-8b"' in plain and "2026-11-23" in plain
    page = ada.get("/new/vllm_model?preset=qwen3-8b&server=web1").text
    assert 'name="vllm_model_model" aria-required="true"' in page and 'value="Qwen/Qwen3-8B"' in page
    assert re.search(r'name="vllm_model_max_length"[^>]*value="16384"', page)
    assert "A general model for one GPU of 24 GB." in page
    assert 'href="https://huggingface.co/Qwen/Qwen3-8B/raw/main/model.safetensors.index.json"' in page
    assert re.search(r'preset=qwen3-8b" data-preset aria-current="true"', page)
    assert "server=web1&amp;preset=qwen3-4b" in page, "what was chosen already stays"


def test_a_preset_that_nobody_knows_is_none(ada: FlaskClient) -> None:
    assert ada.get("/new/vllm_model?preset=none").status_code == 200
    assert 'id="presets"' not in ada.get("/new/django_app").text


def test_what_is_there_begins_anew_with_a_preset(ada: FlaskClient) -> None:
    send(ada, "/new/vllm_model", name="chat", server="web1", vllm_model_model="Qwen/Qwen2.5-0.5B-Instruct",
         vllm_model_engine="cpu", vllm_model_kv_cache="1G", vllm_model_served_name="mine")
    page = ada.get("/resources/chat/edit?preset=qwen3-8b").text
    assert 'value="Qwen/Qwen3-8B"' in page and 'value="mine"' in page
    assert not re.search(r'name="vllm_model_kv_cache"[^>]*value="1G"', page)


def test_programs_learn_of_presets_too() -> None:
    said = described(catalog().kind("vllm_model"))
    one = next(one for one in said["presets"] if one["name"] == "qwen3-8b")
    assert one["values"] == {"vllm_model_model": "Qwen/Qwen3-8B", "vllm_model_max_length": 16384}
    assert said["presets_dated"] == "2026-11-23" and described(catalog().kind("django_app"))["presets"] == []
