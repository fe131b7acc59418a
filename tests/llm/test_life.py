"""The life of a language model on a bare server: in this order, because each start of an engine takes a minute."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from panel.runs import remote
from sandbox.snapshot import difference
from tests.llm import tiny
from tests.llm.conftest import DOMAIN, KEY, NAME, Model, until

pytestmark = pytest.mark.sandbox
#: What stays after `remove`: downloaded weights would, and the Unix user who owns them. Packages belong to the server.
STAYS = re.compile(rf"\+ (user|group) wo-{NAME} |[+-] group webops-apps |"
                   r"[+-] file /etc/g?(passwd|group|shadow) ")
#: Of a sandbox server, new with each boot. Users and groups are compared by name, too.
BOOT = re.compile(r"[+-] file /etc/(machine-id|shadow) ")
PACKAGES = ["libnuma1", "python3-aiohttp"]
said: dict[str, str] = {}


@pytest.fixture(scope="module")
def before(model: Model) -> list[str]:
    model.ready.run("apt-get", "-qy", "install", "--no-install-recommends", *PACKAGES)
    return model.ready.snapshot()


def test_a_check_names_what_an_apply_does_and_the_model_answers(model: Model, before: list[str]) -> None:
    rehearsed = model.done(check=True)
    assert difference(before, model.ready.snapshot()) == [], "--check changed something"
    applied = model.done()
    assert applied.changed and rehearsed.changed == applied.changed, "--check did not name the steps that apply changed"
    assert model.states() == {"a": "active", "b": "inactive"} and model.serving() == "a"


def test_nobody_asks_without_a_key(model: Model) -> None:
    assert model.status() == "401"
    keep_key(model)
    assert model.status("/v1/models", "-H", f"Authorization: Bearer {KEY}") == "200"
    assert model.status("/metrics") == "404"
    listening = model.ready.run("ss", "-Hltnp")
    assert "vllm" not in listening.lower() and "python" not in listening, "an engine listens on the network"


def test_openais_client_gets_completions_chats_and_streams(model: Model) -> None:
    found = model.ask()
    assert found["models"] == [NAME] and found["tokens"] == 12 and found["chat"] == "assistant"
    said["one"] = found["completion"]
    # A busy engine begins late, and puts several tokens into one part; what was held back would come in one moment.
    assert found["parts"] > 200 and found["last"] - found["first"] > found["last"] / 5, "the stream came at its end"


def test_a_second_apply_changes_nothing(model: Model) -> None:
    assert model.done().changed == []
    assert model.done(check=True).changed == []
    # systemd, the gate and nginx obey a time-out by themselves, without a new engine.
    changed = model.done(request_timeout=300).changed
    assert changed and "Let the model answer, then let traffic go to it" not in changed and model.serving() == "a"
    model.values["vllm_model_request_timeout"] = 300


def test_a_swap_while_five_clients_stream_cuts_none(model: Model) -> None:
    with ThreadPoolExecutor() as beside:
        swapping = beside.submit(model.play, "swap", account="webops-deploy", model="/srv/models/two")
        # Streams that last longer than what is left until traffic moves; before, they would only slow the start down.
        until(lambda: "Starting vLLM server" in model.ready.run("journalctl", "-u", f"wo-{NAME}@b", "-o", "cat"),
              "the new engine is about to answer")
        clients = model.start("stream", "5")
        swapped = swapping.result()
    assert swapped.code == 0, swapped.words() or swapped.output
    assert swapped.changed == ["Let the model answer, then let traffic go to it"] and model.serving() == "b"
    output, errors = clients.communicate("", timeout=300)
    told = json.loads(output)
    assert told["wrong"] == [] and told["whole"] >= 5, errors or told
    assert model.states()["a"] != "failed"
    said["two"] = model.ask()["completion"]
    assert said["two"] != said["one"], "the model that was there before still answers"
    until(lambda: model.states() == {"a": "inactive", "b": "active"}, "the old engine ends")
    model.values["vllm_model_model"] = "/srv/models/two"
    assert model.done(check=True).changed == [], "what was swapped in looks like drift"


@pytest.mark.parametrize(("spoil", "values", "words"), [
    ("true", {"model": "/srv/models/none"}, "/srv/models/none"),
    ("mkdir -p -m 755 /srv/models/empty", {"model": "/srv/models/empty"}, "config.json"),
    ("cp -r /srv/models/one /srv/models/closed; chmod 700 /srv/models/closed", {"model": "/srv/models/closed"},
     "cannot be read"),
    ("cp -r /srv/models/one /root/one; chmod -R a+rX /root/one", {"model": "/root/one"}, "/root/one"),
])
def test_what_cannot_serve_is_refused_in_words_before_anything_changes(
        model: Model, spoil: str, values: dict[str, str], words: str) -> None:
    model.ready.run("sh", "-ec", spoil)
    refused = model.play("swap", account="webops-deploy", **values)
    assert refused.failed and refused.changed == [] and words in refused.words(), refused.words()
    assert model.states() == {"a": "inactive", "b": "active"} and model.serving() == "b"


def test_what_a_canceled_swap_was_starting_is_stopped(model: Model) -> None:
    with ThreadPoolExecutor() as beside:
        swapping = beside.submit(model.play, "swap", account="webops-deploy", model="/srv/models/one")
        until(lambda: model.states()["a"] == "activating", "the other slot starts")
        said = model.ready.run("runuser", "-u", "webops-deploy", "--", "sh", "-s", NAME, text=remote._SCRIPT)
        assert f"stopped wo-{NAME}@a.service" in said
        assert swapping.result().failed
    assert model.states() == {"a": "inactive", "b": "active"} and model.serving() == "b"
    assert model.ready.run("ls", f"/srv/webops/{NAME}/live").split() == ["b", "served", "serves", "sock"]


def test_an_engine_that_does_not_start_leaves_what_serves(model: Model) -> None:
    model.ready.run("sh", "-ec", "cp -r /srv/models/one /srv/models/broken; "
                    "truncate -s 200000 /srv/models/broken/model.safetensors")
    refused = model.play("swap", account="webops-deploy", model="/srv/models/broken")
    assert refused.failed and "The engine ended while it started:" in refused.words(), refused.words()
    assert "What served before goes on serving." in refused.error["next"]
    assert model.states() == {"a": "inactive", "b": "active"}
    assert model.ask()["completion"] == said["two"]


def test_killed_it_comes_back_and_nobody_says_meanwhile_that_it_serves(model: Model) -> None:
    model.ready.run("sh", "-ec", "pkill -KILL -u wo-chat -f VLLM::EngineCore || "
                    "kill -KILL $(pgrep -u wo-chat -f spawn_main | tail -1)")
    until(lambda: model.states()["b"] != "active", "systemd sees that the engine is gone", 60)
    # What the gate saw last holds for some seconds.
    until(lambda: health(model) == "503", "the front door says so", 30)
    assert model.states()["b"] != "active"
    assert model.status("/v1/models", "-H", f"Authorization: Bearer {KEY}") == "503"
    until(lambda: model.states()["b"] == "active", "it is back")
    assert health(model) == "200" and model.ask()["completion"] == said["two"]


def test_after_a_reboot_it_serves_what_it_served(model: Model) -> None:
    ready = model.ready
    ready.box.stop(ready.server)
    ready.box.up(ready.server.name)
    until(lambda: model.states() == {"a": "inactive", "b": "active"}, "the live slot is back, and only that one")
    assert model.ask()["completion"] == said["two"]


def test_without_room_for_two_a_restart_is_refused_unless_that_is_accepted(model: Model) -> None:
    live = f"/srv/webops/{NAME}/live"
    need = f"import json, os; path = os.path.realpath('{live}/serves'); one = json.load(open(path)); " \
        "one['needs'] = 10**13; json.dump(one, open(path, 'w'))"
    model.ready.run("runuser", "-u", "webops-deploy", "--", "python3", "-c", need)
    for check in (True, False):
        refused = model.play("restart", check=check, account="webops-deploy")
        assert refused.failed and "no room for the new engine beside the old one" in refused.words()
    assert model.serving() == "b" and model.ask()["completion"] == said["two"]
    model.done("restart", account="webops-deploy", accept_interruption=True)
    assert model.serving() == "a" and model.states() == {"a": "active", "b": "inactive"}
    assert model.ask()["completion"] == said["two"]


def test_stopped_it_says_so_and_stays_so(model: Model) -> None:
    assert model.done("stop", account="webops-deploy").changed
    assert model.states() == {"a": "inactive", "b": "inactive"} and health(model) == "503"
    headers = model.ready.curl("https://models.example.org/v1/models", "-k", "-i", "-H", f"Authorization: Bearer {KEY}")
    assert " 503" in headers and "retry-after:" in headers.lower() and '"error"' in headers
    assert model.done("stop", account="webops-deploy").changed == []
    model.done("start", account="webops-deploy")
    assert model.ask()["completion"] == said["two"]


def test_its_unit_is_hardened_and_keeps_its_secrets(model: Model) -> None:
    unit = f"wo-{NAME}@{model.serving()}.service"
    exposure = model.ready.run("systemd-analyze", "security", "--no-pager", unit, check=False)
    assert float(exposure.rsplit("exposure level for", 1)[1].split(":")[1].split()[0]) < 3, exposure
    pid = model.ready.run("systemctl", "show", "-p", "MainPID", "--value", unit).strip()
    inside = ["nsenter", "-t", pid, "-n", "--", "ip", "-br", "addr"]
    assert [line.split()[0] for line in model.ready.run(*inside).splitlines()] == ["lo"]
    known = model.ready.run("grep", "-rlsF", KEY, "/srv", "/etc", "/var/log", "/run", "/var/lib", check=False)
    assert known.strip() == "", "the key lies on the server in clear"
    assert KEY not in model.ready.run("journalctl", "--no-pager", "-o", "cat")


def test_a_model_that_only_embeds_is_ready_when_it_embeds(model: Model) -> None:
    # What serves says since a test before that it needs all memory there is, so this takes its place.
    model.done(arguments=[{"name": "runner", "value": "pooling"}, {"name": "convert", "value": "embed"}],
               accept_interruption=True)
    said = model.ready.curl(f"https://{DOMAIN}/v1/embeddings", "-k", "-H", f"X-Api-Key: {KEY}",
                            "-H", "Content-Type: application/json", "-d", json.dumps({"model": NAME, "input": "tide"}))
    assert len(json.loads(said)["data"][0]["embedding"]) == tiny.HIDDEN
    assert health(model) == "200"


def test_removed_nothing_is_left(model: Model, before: list[str]) -> None:
    model.ready.run("sh", "-ec", "rm -rf /srv/models/empty /srv/models/closed /srv/models/broken /root/one")
    left = model.done("remove")
    assert left.changed
    found = [line for line in difference(before, model.ready.snapshot()) if not BOOT.match(line)]
    rest = [line for line in found if not STAYS.match(line)]
    assert rest == [], "remove left these:\n" + "\n".join(rest)
    model.done("remove", remove_data=NAME)
    rest = [line for line in difference(before, model.ready.snapshot()) if not BOOT.match(line)]
    assert rest == [], "remove with its data left these:\n" + "\n".join(rest)


def health(model: Model) -> str:
    """What the front door says of the engine, asked as the link asks."""
    ask = f"""
import http.client, socket
one = http.client.HTTPConnection("x")
one.sock = socket.socket(socket.AF_UNIX)
one.sock.connect("/run/webops/{NAME}.desk.sock")
one.request("GET", "/health")
print(one.getresponse().status)
"""
    return model.ready.run("runuser", "-u", "webops-deploy", "--", "python3", "-c", ask).strip()


def keep_key(model: Model) -> None:
    """A key as the link writes it: its digest alone."""
    keys = {"keys": [{"name": "tests", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "prefix": KEY[:8],
                      "requests_per_minute": 0, "tokens_per_minute": 0, "created_at": "", "created_by": "tests"}]}
    write = "cd /srv/webops/chat/env; umask 027; cat > keys.new; mv keys.new keys.json"
    model.ready.run("runuser", "-u", "webops-deploy", "--", "sh", "-ec", write, text=json.dumps(keys))
