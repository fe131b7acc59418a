"""What the link asks at a desk, with a real gate in front of a fake engine: chats, measurements, figures, keys."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from panel.link import apikeys, chats, client, keyring, measured, talk
from panel.link.client import LinkError
from panel.link.keyring import Half, Where
from panel.link.remote import desks
from tests.linked import wait
from tests.modelled import Modelled, model

__all__ = ["model"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="records of resources must belong to root")


def asked(words: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": words}], **more}


def test_a_chat_comes_word_by_word_and_says_how_fast(model: Modelled) -> None:
    pieces = [one for one in talk.chat(model.resource_id, asked("low water", max_tokens=4)) if one]
    assert pieces[:4] == [["text", "low "], ["text", "water "]] * 2
    kind, told = pieces[-1]
    assert kind == "done" and (told["tokens_in"], told["tokens_out"]) == (2, 4)
    assert 0 < told["first_token"] < told["seconds"] and told["tokens_per_second"] > 0


def test_a_chat_that_nobody_reads_ends_at_the_engine(model: Modelled) -> None:
    model.gate.control(pause=0.1)
    try:
        coming = talk.chat(model.resource_id, asked("long", max_tokens=1000))
        next(coming)
        wait("it writes", lambda: model.gate.control()["running"] == 1)
        coming.close()
        wait("it ends", lambda: model.gate.control()["running"] == 0, seconds=30)
    finally:
        model.gate.control(pause=0)


@pytest.mark.parametrize(("given", "code"), [
    ({"messages": []}, "invalid_messages"), ({"messages": [{"role": "root", "content": "x"}]}, "invalid_messages"),
    ({"messages": [{"role": "user", "content": 1}]}, "invalid_messages"), ([], "invalid_messages"),
    (asked("x", temperature=9), "invalid_temperature"), (asked("x", max_tokens=0), "invalid_max_tokens"),
    (asked("x" * 600_000), "invalid_messages"), (asked("x", top_p=True), "invalid_top_p")])
def test_nobody_is_asked_what_cannot_be_asked(given: Any, code: str) -> None:
    with pytest.raises(LinkError) as wrong:
        chats.question(given)
    assert wrong.value.code == code


def test_what_the_engine_refuses_is_told_in_its_words(model: Modelled) -> None:
    model.gate.control(broken=True)
    try:
        with pytest.raises(LinkError, match="EngineCore encountered an issue"):
            list(talk.chat(model.resource_id, asked("hello")))
    finally:
        model.gate.control(broken=False)


def test_a_question_is_nowhere_in_clear_in_redis(model: Modelled) -> None:
    redis, seen = client._redis(), []
    watching = redis.monitor()
    with watching as monitor:
        thread = threading.Thread(target=lambda: seen.extend(
            str(monitor.next_command()["command"]) for _ in range(30)), daemon=True)
        thread.start()
        list(talk.chat(model.resource_id, asked("floodgates", max_tokens=20)))
        thread.join(20)
    assert len(seen) == 30 and any("webops:chat" in one for one in seen)
    assert not any("floodgates" in one for one in seen)


def test_a_model_writes_no_escapes_into_a_terminal() -> None:
    assert chats.piece(["text", "a\x1b[31mb\n\tc\x00\x9b\ud800"]) == ["text", "a[31mb\n\tc"]
    assert chats.piece(["done", {"seconds": float("nan"), "reason": "x\ny", "odd": 1}]) == [
        "done", {"seconds": None, "reason": "x y"}]
    assert chats.piece({"odd": 1}) == ["text", ""]


def test_a_measurement_asks_as_many_at_a_time_as_it_says(model: Modelled) -> None:
    pieces = [one for one in talk.measure(model.resource_id, {"levels": [1, 4], "seconds": 1, "tokens_out": 8}) if one]
    assert [kind for kind, _ in pieces] == ["row", "row"]
    one, four = (row for _, row in pieces)
    assert (one["clients"], four["clients"]) == (1, 4) and one["failed"] == four["failed"] == 0
    assert one["tokens_per_second"] > 8 and one["first_token_p50"] <= one["first_token_p95"]
    assert four["requests"] >= 4 and four["between_p50"] is not None


def test_figures_are_kept_while_the_link_looks(model: Modelled) -> None:
    before = len(model.figures())
    client.ask("observe", server_id=model.server_id)
    client.ask("observe", server_id=model.server_id)
    found = model.figures()
    assert len(found) >= before + 2
    assert found[-1]["engine"]["kv_cache"] == 0.25 and found[-1]["keys"]["webops"]["requests"] > 0
    assert found[-1]["gpus"] is None or shutil.which("nvidia-smi")


def test_figures_of_an_engine_that_is_away_are_not_known(model: Modelled) -> None:
    (model.gate.place / "live" / "sock").unlink()
    try:
        client.ask("observe", server_id=model.server_id)
        assert model.figures()[-1]["engine"] is None and model.figures()[-1]["keys"]["webops"]["requests"] > 0
    finally:
        model.gate.point_to("a")


def test_the_gpus_of_a_model_are_those_that_it_serves_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = tmp_path / "chat" / "live"
    (live / "served").mkdir(parents=True)
    (live / "served" / "2.json").write_text(json.dumps({"id": "2", "gpus": [1]}))
    (live / "serves").symlink_to("served/2.json")
    monkeypatch.setattr(desks, "_ROOT", tmp_path)
    monkeypatch.setattr(desks, "gpus", lambda: [{"index": 0}, {"index": 1}])
    found = desks.Looking({name: {"desk": str(tmp_path / "away")} for name in ("chat", "other")}).result()
    assert found == {"chat": {"gpus": [{"index": 1}]}, "other": {"gpus": [{"index": 0}, {"index": 1}]}}


def test_hostile_figures_are_made_plain() -> None:
    told = {"engine": {"running": "many", "waiting": float("inf"), "kv_cache": 0.5, "first_token": [[1, 2], "x"]},
            "keys": {"a\x1b[31m": {"requests": -1, "tokens_in": 3}, "b": 7}, "gpus": [{"name": 3, "busy": True}, 1]}
    found = measured.figures(told)
    assert found == {"engine": {"kv_cache": 0.5, "first_token": [[1, 2]]}, "problem": "", "gpus": [
        {"name": "3", "index": None, "memory_used": None, "memory_total": None, "busy": None}],
        "keys": {"a": {"requests": None, "refused": None, "tokens_in": 3, "tokens_out": None, "last_used": None}}}
    assert measured.figures("x") is None and measured.figures({"gpus": None}) is None


# Keys.

def test_a_key_is_added_used_and_revoked(model: Modelled) -> None:
    text, key = apikeys.make("website", 10, None, "ada")
    model.held({"add": key})
    shown = next(one for one in model.held() if one["name"] == "website")
    assert shown == {"name": "website", "sha256": key["sha256"], "prefix": text[:10],
                     "requests_per_minute": 10, "tokens_per_minute": None,
                     "created_at": key["created_at"], "created_by": "ada"}
    assert model.gate.chat(text).status == 200
    with pytest.raises(LinkError, match="There is a key 'website' already"):
        model.held({"add": apikeys.make("website", None, None, "ada")[1]})
    model.held({"revoke": "website"})
    assert model.gate.chat(text).status == 401
    with pytest.raises(LinkError, match="There is no key 'website'"):
        model.held({"revoke": "website"})


def test_the_file_of_the_keys_holds_digests_for_its_group_alone(model: Modelled) -> None:
    text, key = apikeys.make("quiet", None, None, "ada")
    model.held({"add": key})
    file = model.gate.place / "env" / "keys.json"
    assert text not in file.read_text() and stat.S_IMODE(file.stat().st_mode) == 0o640


def test_changes_at_the_same_time_lose_nothing(model: Modelled) -> None:
    def add(number: int) -> None:
        model.held({"add": apikeys.make(f"at-once-{number}", None, None, "ada")[1]})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"at-once-{number}" for number in range(12)} <= {one["name"] for one in model.held()}


def test_a_damaged_file_is_not_written_over(model: Modelled) -> None:
    file = model.gate.place / "env" / "keys.json"
    before = file.read_text()
    file.write_text(before[:-20])
    try:
        with pytest.raises(LinkError, match="is damaged, so nothing was changed"):
            model.held({"add": apikeys.make("late", None, None, "ada")[1]})
        assert file.read_text() == before[:-20]
    finally:
        file.write_text(before)


def test_who_looks_at_keys_does_not_wait_for_a_server_that_is_known_to_be_away(model: Modelled) -> None:
    model.answers("web2", "refuse")
    server_id = model.add_server("web2")
    resource_id = model.add_resource("far", server_id, "vllm_model")
    model.until(lambda: model.server(server_id), "failed")
    model.answers("web2", "hangs")
    with pytest.raises(LinkError, match="web2 cannot be reached: connection refused"):
        client.ask("keys", timeout=15, resource_id=resource_id)


@pytest.mark.parametrize("change", [{"add": {}}, {"add": {"name": "x", "sha256": "y", "prefix": "sk-wo-"}}, {"odd": 1},
                                    {"revoke": "a\nb"}, {"revoke": "webops"}, {"revoke": "x", "add": {}}, "x"])
def test_a_change_is_looked_at(change: Any) -> None:
    with pytest.raises(LinkError) as wrong:
        apikeys.change(change)
    assert wrong.value.code.startswith("invalid_")


class Held:
    """A server's keys, without a server: what is looked at is what happens over several of them."""

    def __init__(self, name: str) -> None:
        self.name, self.keys, self.is_away = name, {}, False
        self.refuses = self.late = 0
        self.beside: threading.Barrier | None = None

    def where(self) -> Where:
        return Where(self.name, self.ask)

    def ask(self, change: dict[str, Any]) -> list[dict[str, Any]]:
        if self.beside:
            self.beside.wait(10)
        if self.is_away or (change and self.refuses):
            raise LinkError(f"{self.name} cannot be reached.", "silent")
        if "add" in change and change["add"]["name"] in self.keys:
            raise LinkError("There is such a key already.", "key_taken")
        if "add" in change:
            self.keys[change["add"]["name"]] = change["add"]
        if "revoke" in change and not self.keys.pop(change["revoke"], None):
            raise LinkError("There is no such key.", "unknown_key")
        if change and self.late:
            self.late -= 1
            raise client.LinkDown("The link did not answer within 20 seconds.")
        return list(self.keys.values())


@pytest.fixture
def two() -> tuple[Held, Held]:
    return Held("web1"), Held("web2")


def test_a_key_is_on_every_server_or_on_none(two: tuple[Held, Held]) -> None:
    places, (one, other) = [each.where() for each in two], two
    key = apikeys.make("site", None, None, "ada")[1]
    other.is_away = True
    with pytest.raises(LinkError, match="Nothing was added, because a key has to be on every server: web2"):
        keyring.add(places, key)
    other.is_away, other.refuses = False, 1
    with pytest.raises(LinkError, match="Nothing was added"):
        keyring.add(places, key)
    assert not one.keys
    other.refuses = 0
    keyring.add(places, key)
    assert [found["on"] for found in keyring.listed(places).keys] == [["web1", "web2"]]


def test_a_key_that_was_written_after_all_is_taken_back(two: tuple[Held, Held]) -> None:
    places, (one, other) = [each.where() for each in two], two
    other.late = 1
    with pytest.raises(LinkError, match=r"Nothing was added\. web2: The link did not answer within 20 seconds"):
        keyring.add(places, apikeys.make("site", None, None, "ada")[1])
    assert not one.keys and not other.keys
    other.late = 2  # nor is it known then whether it was taken back
    with pytest.raises(Half, match=r"may be on web2\. Nobody was shown it; revoke it when web2 can be reached"):
        keyring.add(places, apikeys.make("site", None, None, "ada")[1])
    other.late = 1
    with pytest.raises(client.LinkDown):
        keyring.add(places[1:], apikeys.make("alone", None, None, "ada")[1])
    assert not one.keys and not other.keys


def test_a_key_of_somebody_else_is_not_taken_back(two: tuple[Held, Held]) -> None:
    places, (one, other) = [each.where() for each in two], two
    theirs = apikeys.make("site", None, None, "bob")[1]
    keyring.add(places[1:], theirs)
    with pytest.raises(LinkError, match=r"Nothing was added\. web2: There is such a key already"):
        keyring.add(places, apikeys.make("site", None, None, "ada")[1])
    assert not one.keys and other.keys == {"site": theirs}


def test_servers_are_asked_side_by_side(two: tuple[Held, Held]) -> None:
    places = [each.where() for each in two]
    two[0].beside = two[1].beside = threading.Barrier(2)  # each waits until the other is asked, too
    keyring.add(places, apikeys.make("site", None, None, "ada")[1])
    assert keyring.listed(places).keys[0]["on"] == ["web1", "web2"]
    keyring.revoke(places, "site")


def test_without_a_link_that_is_what_is_said() -> None:
    def ask(change: dict[str, Any]) -> list[dict[str, Any]]:
        raise client.LinkDown

    places = [Where("web1", ask), Where("web2", ask)]
    for do in (lambda: keyring.listed(places), lambda: keyring.revoke(places, "site")):
        with pytest.raises(client.LinkDown, match="The link is not running"):
            do()


def test_a_server_that_came_later_is_given_the_keys(two: tuple[Held, Held]) -> None:
    places, (one, other) = [each.where() for each in two], two
    keyring.add(places[:1], apikeys.make("site", 5, None, "ada")[1])
    assert [found["on"] for found in keyring.listed(places).keys] == [["web1"]]
    assert keyring.spread(places) == 1 and other.keys == one.keys
    assert keyring.spread(places) == 0
    other.is_away = True
    with pytest.raises(LinkError, match="Nothing was copied"):
        keyring.spread(places)


def test_a_key_that_still_works_somewhere_is_said_to(two: tuple[Held, Held]) -> None:
    places, (one, other) = [each.where() for each in two], two
    keyring.add(places, apikeys.make("site", None, None, "ada")[1])
    other.is_away = True
    with pytest.raises(Half, match=r"still works on web2\. It is revoked on web1"):
        keyring.revoke(places, "site")
    found = keyring.listed(places)
    assert not found.keys and "web2" in found.trouble
    other.is_away = False
    keyring.revoke(places, "site")
    assert not one.keys and not other.keys
    with pytest.raises(LinkError) as wrong:
        keyring.revoke(places, "site")
    assert wrong.value.code == "unknown_key"
