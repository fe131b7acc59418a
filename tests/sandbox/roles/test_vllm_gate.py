"""The gate under systemd and behind nginx, in front of a fake engine: who reaches what, and that streams stay whole.

Real vLLM stands behind it in tests/llm; what is looked at here is the same with any engine.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from panel.link import apikeys, remote
from tests.sandbox.roles.conftest import Ready

pytestmark = [pytest.mark.sandbox, pytest.mark.every_release]
NAME, DOMAIN, KEY = "chat", "chat.example.org", "sk-wo-test"
ENGINE = Path(__file__).parents[2] / "fake_engine.py"
#: What `main` has made by the time that it comes to the gate.
BEFORE = """
getent passwd wo-chat || useradd --system --comment "webops chat" --user-group --home-dir /srv/webops/chat wo-chat
cd /srv/webops && mkdir -p chat && cd chat
install -d -o webops-deploy -g webops-deploy -m 755 live
install -d -o webops-deploy -g wo-chat -m 2750 env
install -d -o wo-chat -g wo-chat -m 751 shared
ln -sfn /run/webops-chat-a/engine.sock live/sock
mkdir -p /etc/webops/resources
echo '{"kind": "vllm_model", "name": "chat"}' > /etc/webops/resources/chat.json
"""
START = ("systemd-run", "--unit=fake-engine", "--uid=wo-chat", "--gid=wo-chat", "-pRuntimeDirectory=webops-chat-a",
         "-pRuntimeDirectoryMode=0750", "-pUMask=0007", "python3", "/usr/local/lib/fake_engine.py",
         "/run/webops-chat-a/engine.sock")
#: What somebody on the server gets at a socket.
GET = """
import http.client, socket, sys
asked = http.client.HTTPConnection("x")
asked.sock = socket.socket(socket.AF_UNIX)
asked.sock.connect(sys.argv[1])
asked.request("GET", sys.argv[2])
print(asked.getresponse().read().decode())
"""
#: Passes on what the link's program says, and notes when so many requests have their answer.
HEARD = """
import json, pathlib, sys
note, left = pathlib.Path(sys.argv[1]), int(sys.argv[2])
for line in sys.stdin:
    print(line, end="", flush=True)
    left -= "seen" in (said := json.loads(line)) or "end" in said
    left or note.touch()
note.touch()
"""
DESK, FRONT = "/run/webops/chat.desk.sock", "/run/webops/chat.gate.sock"
VALUES = {"vllm_model_model": "/srv/models/tiny", "vllm_model_domain": DOMAIN, "vllm_model_max_body": "20K"}


def asked(ready: Ready, path: str, *options: str, body: object = None) -> str:
    """Over HTTPS, as a client; the status follows the answer."""
    data = ("-d", json.dumps(body), "-H", "Content-Type: application/json") if body is not None else ()
    return ready.curl(f"https://{DOMAIN}{path}", "-k", "-w", "\n%{http_code}", *options, *data)


def got(ready: Ready, user: str, socket: str, path: str) -> str:
    return ready.run("runuser", "-u", user, "--", "python3", "-c", GET, socket, path, check=False)


@pytest.fixture(scope="module")
def gate(ready: Ready) -> Ready:
    rehearsed = ready.play("vllm_model", NAME, VALUES, action="gate", check=True)
    assert rehearsed.code == 0, rehearsed.words() or rehearsed.output
    ready.run("sh", "-ec", BEFORE)
    played = ready.play("vllm_model", NAME, VALUES, action="gate")
    assert played.code == 0, played.words() or played.output
    assert played.changed == rehearsed.changed
    again = ready.play("vllm_model", NAME, VALUES, action="gate")
    assert again.code == 0 and not again.changed, again.changed
    ready.run("sh", "-c", "cat > /usr/local/lib/fake_engine.py", text=ENGINE.read_text())
    ready.run(*START)
    made = ready.play("ssl_cert", f"{NAME}-cert", {"ssl_cert_domain": DOMAIN, "ssl_cert_source": "self_signed"})
    assert made.code == 0, made.words()
    served = ready.play("nginx_vhost", f"{NAME}-vhost", {
        "nginx_vhost_domain": DOMAIN, "nginx_vhost_certificate": f"{NAME}-cert",
        "nginx_vhost_upstream": f"unix:{FRONT}", "nginx_vhost_max_body_size": "20K",
        "nginx_vhost_streams": True, "nginx_vhost_errors": "json"})
    assert served.code == 0, served.words()
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    ready.run("runuser", "-u", "webops-deploy", "--", "sh", "-c", "cat > /srv/webops/chat/env/keys.json",
              text=json.dumps({"keys": [{"name": "test", "sha256": digest}]}))
    return ready


def test_a_client_is_let_in_by_its_key_alone(gate: Ready) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "low water"}], "max_tokens": 2}
    assert "low water" in asked(gate, "/v1/chat/completions", "-H", f"Authorization: Bearer {KEY}", body=body)
    refused = asked(gate, "/v1/chat/completions", body=body)
    assert refused.endswith("\n401") and "invalid_api_key" in refused
    assert asked(gate, "/health") == '{"status": "ok"}\n200'
    assert asked(gate, "/metrics").endswith("\n404")


def test_a_stream_comes_through_nginx_as_it_is_written(gate: Ready) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "tide"}], "max_tokens": 4, "stream": True,
                       "pause": 0.5})
    argv = ["curl", "-skN", "--max-time", "30", "--resolve", f"{DOMAIN}:443:{gate.server.address}", "-d", body,
            "-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json",
            "-H", "Accept-Encoding: gzip", f"https://{DOMAIN}/v1/chat/completions"]
    times, last = [], ""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        for line in client.stdout or ():
            if line.startswith("data:"):
                times.append(time.monotonic())
                last = line.strip()
    assert len(times) == 5 and last == "data: [DONE]"
    assert all(later - earlier > 0.3 for earlier, later in pairwise(times[:4])), times


def test_another_program_reaches_each_model_with_its_own_apply_and_cuts_no_answer(gate: Ready) -> None:
    def pid(name: str) -> str:
        return gate.run("systemctl", "show", f"wo-{name}.gate.service", "-p", "MainPID", "--value").strip()

    gate.run("sh", "-ec", BEFORE.replace("chat", "other"))
    assert gate.play("vllm_model", "other", VALUES, action="gate").code == 0
    got(gate, "webops-deploy", DESK.replace("chat", "other"), "/webops/figures")  # it starts when it is asked
    # As if both had been made with another program.
    gate.run("sh", "-ec", "cd /etc/systemd/system; echo '# older' >> /usr/local/lib/webops/gate/answers.py; "
             "sed -i 's/^# Its program.*/# Its program: older/' wo-chat.gate.service wo-other.gate.service")
    before = {name: pid(name) for name in ("chat", "other")}
    body = json.dumps({"messages": [{"role": "user", "content": "tide"}], "max_tokens": 20, "stream": True, "pause": 1})
    with ThreadPoolExecutor() as beside:
        stream = beside.submit(asked, gate, "/v1/chat/completions", "-m", "60", "-H", f"Authorization: Bearer {KEY}",
                               "-H", "Content-Type: application/json", "-d", body)
        played = gate.play("vllm_model", NAME, VALUES, action="gate")
        assert played.code == 0 and played.changed == ["Install the gate"], played.words() or played.changed
        assert stream.result().rstrip().endswith("data: [DONE]\n\n\n200")
    assert pid("chat") != before["chat"] and pid("other") == before["other"] != "0"
    assert gate.play("vllm_model", "other", VALUES, action="gate", check=True).changed == ["Install the gate"]
    removed = gate.play("vllm_model", "other", {"vllm_model_remove_data": "other"}, action="remove")
    assert removed.code == 0, removed.words() or removed.output


def test_what_nginx_says_itself_is_json(gate: Ready) -> None:
    large = asked(gate, "/v1/completions", "-H", f"Authorization: Bearer {KEY}", body={"prompt": "x" * 30_000})
    assert large.endswith("\n413") and json.loads(large.rpartition("\n")[0])["error"]["code"] == "request_too_large"
    gate.run("systemctl", "stop", f"wo-{NAME}.gate.socket", f"wo-{NAME}.desk.socket", f"wo-{NAME}.gate.service")
    away = asked(gate, "/v1/models")
    assert json.loads(away.rpartition("\n")[0])["error"]["code"] == "unavailable" and away.endswith("\n502")
    gate.run("systemctl", "start", f"wo-{NAME}.gate.socket", f"wo-{NAME}.desk.socket")


def test_the_desk_is_webops_deploys_alone_and_the_gate_nobodys(gate: Ready) -> None:
    def may(user: str, path: str) -> bool:
        done = got(gate, user, path, "/v1/models")
        return "tiny" in done or "invalid_api_key" in done

    assert may("webops-deploy", DESK)
    assert not may("wo-chat", DESK) and not may("www-data", DESK) and not may("nobody", FRONT)
    assert may("www-data", FRONT)
    unit = gate.run("systemctl", "show", f"wo-{NAME}.gate.service", "-p", "MainPID,StateDirectory", "--value").split()
    status = gate.run("cat", f"/proc/{unit[0]}/status")
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    user = gate.run("ps", "-o", "user=", "-p", unit[0]).strip()
    assert user not in ("root", "wo-chat", "www-data", "webops-deploy")
    score = gate.run("systemd-analyze", "security", "--no-pager", f"wo-{NAME}.gate.service").splitlines()[-1]
    assert float(score.split(":")[1].split()[0]) < 1.5, score


def linked(ready: Ready, *asked: dict[str, object]) -> list[dict[str, object]]:
    """What the link's program says on the server, as webops-deploy, to these requests."""
    record = {"kind": "vllm_model", "name": NAME, "desk": DESK, "keys": f"/srv/webops/{NAME}/env/keys.json"}
    ready.run("sh", "-c", f"mkdir -p /etc/webops/resources; cat > /etc/webops/resources/{NAME}.json",
              text=json.dumps(record))
    lines = [remote.bundle("/etc/webops/resources").decode(), *(json.dumps(one) + "\n" for one in asked)]
    # It ends with its input, so that stays open until everything was said.
    talk = ('note=$(mktemp -u); (cat; until [ -e "$note" ]; do sleep 0.1; done) | python3 -I -S -c "$1" '
            '| python3 -c "$2" "$note" "$3"; rm "$note"')
    told = ready.run("runuser", "-u", "webops-deploy", "--", "sh", "-c", talk, "sh", remote.BOOT, HEARD,
                     str(len(asked)), text="".join(lines))
    return [json.loads(line) for line in told.splitlines()][1:]


def test_the_link_changes_keys_chats_and_reads_figures(gate: Ready) -> None:
    text, key = apikeys.make("linked", None, None, "ada")
    chat = {"messages": [{"role": "user", "content": "low water"}], "max_tokens": 2}
    told = linked(gate, {"do": "keys", "id": 1, "name": NAME, "change": {"add": key}},
                  {"do": "chat", "id": 2, "name": NAME, "asked": chat})
    keys = next(one for one in told if one["id"] == 1)["seen"]["keys"]
    assert [one["name"] for one in keys] == ["test", "linked"]
    words = [piece for one in told if one["id"] == 2 for piece in one.get("lines", [])]
    assert words[:2] == [["text", "low "], ["text", "water "]] and words[2][0] == "done"
    seen = linked(gate, {"do": "observe", "id": 3})[-1]["seen"]["desks"][NAME]
    assert seen["engine"]["kv_cache"] == 0.25 and "linked" in seen["keys"]
    assert gate.run("stat", "-c", "%U:%G %a", f"/srv/webops/{NAME}/env/keys.json") == "webops-deploy:wo-chat 640\n"
    assert asked(gate, "/v1/models", "-H", f"Authorization: Bearer {text}").endswith("\n200")
    linked(gate, {"do": "keys", "id": 1, "name": NAME, "change": {"revoke": "linked"}})
    assert asked(gate, "/v1/models", "-H", f"Authorization: Bearer {text}").endswith("\n401")


def test_figures_survive_a_restart_and_go_with_the_resource(gate: Ready) -> None:
    gate.run("systemctl", "restart", f"wo-{NAME}.gate.service")
    assert json.loads(got(gate, "webops-deploy", DESK, "/webops/figures"))["keys"]["test"]["requests"] >= 1
    gate.run("systemctl", "stop", "fake-engine")
    removed = gate.play("vllm_model", NAME, {"vllm_model_remove_data": NAME}, action="remove")
    assert removed.code == 0, removed.words() or removed.output
    left = gate.run("sh", "-c", "ls -d /var/lib/webops-chat* /var/lib/private/webops-chat* /run/webops/chat* "
                                "/etc/systemd/system/*chat* /etc/systemd/system/*/*chat* /srv/webops/chat "
                                "/usr/local/lib/webops/gate 2>/dev/null || true")
    assert left.strip() == ""
