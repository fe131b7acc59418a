"""What is stored of a text: no secret, no control character, no flood."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from panel.link.remote import mask
from panel.runs.redact import FIELD_LIMIT, MASK, Cutter, Redactor, texts

SECRET = 'pa"ss\\wörd\'s'
KEY = "-----BEGIN X-----\nabcdefghijklmnop\nqrstuvwxyz012345\n-----END X-----\n"


@pytest.mark.parametrize("form", [
    SECRET, json.dumps(SECRET), json.dumps(json.dumps(SECRET)), json.dumps(SECRET, ensure_ascii=False),
    repr(SECRET), quote(SECRET, safe=""), f"postgresql://u:{quote(SECRET, safe='')}@h/db", f"x{SECRET}y"])
def test_a_secret_is_masked_in_every_form(form):
    masked = Redactor([SECRET]).text(form)
    assert MASK in masked and "rd" not in masked


def test_lines_of_a_long_secret_are_masked_one_by_one():
    redactor = Redactor([KEY])
    assert redactor.text(KEY) == MASK
    assert redactor.text("saw abcdefghijklmnop here") == f"saw {MASK} here"


def test_a_secret_is_found_in_keys_and_depths():
    value = {f"a {SECRET}": [{"b": (SECRET, 1, None)}]}
    assert Redactor([SECRET]).value(value) == {f"a {MASK}": [{"b": [MASK, 1, None]}]}


def test_a_secret_cannot_hide_behind_control_characters():
    assert Redactor(["topsecret"]).text("top\x00sec\x1b]0;x\x07ret") == MASK


def test_short_words_are_left_alone():
    assert Redactor(["a", "no", "", "   "]).text("no, a banana") == "no, a banana"


@pytest.mark.parametrize("raw,kept", [
    ("a\tb\nc", "a\tb\nc"), ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"), ("\x1b]0;title\x07x", "x"),
    ("\x1b]8;;javascript:1\x1b\\y\x1b]8;;\x1b\\", "y"), ("\x1b[2Jz", "z"), ("\x9b31mq", "q"), ("a\x00\x08\x7fb", "ab"),
    ("50%\r100%\r\nend", "50%\n100%\nend"), ("\x1bP1;2|x\x1b\\y", "y"), ("\ud800k", "k")])
def test_of_control_characters_only_newline_tab_and_colours_stay(raw, kept):
    assert Redactor([]).text(raw) == kept


def test_what_is_too_long_keeps_its_beginning_and_its_end():
    cutter = Cutter()
    text = cutter.value({"x": ["begin" + "é" * FIELD_LIMIT + "end"]})["x"][0]
    assert text.startswith("begin") and text.endswith("end")
    assert len(text.encode()) < FIELD_LIMIT + 100
    assert cutter.left_out == 8 + 2 * FIELD_LIMIT - len(text.encode()) + len(
        f"\n[… {cutter.left_out:,} bytes left out …]\n".encode())


def test_many_long_fields_share_the_room_of_one_event():
    cutted = Cutter().value([("x" * FIELD_LIMIT) for _ in range(100)])
    assert len(json.dumps(cutted)) < 6 * FIELD_LIMIT


def test_of_named_secrets_only_the_values_are_secret():
    found = list(texts([{"name": "API_KEY", "value": "k"}, "x", {"a": "b"}, None, True, 12345]))
    assert found == ["k", "x", "b", "12345"]


def test_what_a_server_made_for_an_app_is_masked_there(tmp_path):
    """The password of its address and the secret key; host, names and port are no secret."""
    env = tmp_path / "shop" / "env"
    env.mkdir(parents=True)
    bindings = {"DATABASE_URL": "postgresql://shop_db:p%40ss-w0rd@127.0.0.1:5432/shop_db", "KEY": "k3y-of-the-shop",
                "REDIS_URL": "unix:///run/webops/shop-cache/redis.sock", "DB_HOST": "127.0.0.1", "DB_PORT": "5432",
                "DB_NAME": "shop_db", "DB_USER": "shop_db", "DB_PASSWORD": "p@ss-w0rd"}
    (env / "bindings.json").write_text(json.dumps(bindings))
    masked = mask.bound("shop", str(tmp_path)).mask(repr(bindings))
    assert "ss-w0rd" not in masked and "k3y" not in masked
    assert f"postgresql://shop_db:{MASK}@127.0.0.1:5432/shop_db" in masked and "shop-cache/redis.sock" in masked
    assert "5432" in masked
    (env / "bindings.json").write_text(json.dumps({"KEY": "another key of it"}))
    assert mask.bound("shop", str(tmp_path)).mask("it is another key of it") == f"it is {MASK}"
    for text in ("[]", "{"):
        (env / "bindings.json").write_text(text)
        assert mask.bound("shop", str(tmp_path)).mask("as it is") == "as it is"
    assert mask.bound("none", str(tmp_path)).mask("as it is") == "as it is"
