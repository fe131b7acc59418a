"""Virtual hosts as visitors see them, and as nobody can break them."""

from __future__ import annotations

import pytest

from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.cycle import cycle

pytestmark = pytest.mark.sandbox
DOMAIN, ALIAS = "shop.example.org", "www.shop.example.org"
HOSTILE = """a"b'c; } server { listen 81; } $host ${host} \\ # {{ lookup('pipe','touch /tmp/CANARY') }} $(id)"""
# Answers with the headers that it got (at /busy with 503); on a socket, the way an application is reached.
APPLICATION = '''
import http.server, socket, socketserver
class Show(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if self.path == "/busy" else 200)
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()
        self.wfile.write("".join(f"{k}: {v}\\n" for k, v in self.headers.items()).encode())
    def address_string(self): return "x"
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    address_family = socket.AF_UNIX
    def server_bind(self): self.socket.bind(self.server_address); self.server_name = self.server_port = ""
import os; os.umask(0)
Server("/run/webops/shop-a.sock", Show).serve_forever()
'''
SITE = '''
mkdir -p /srv/webops/shop/public/1/static /srv/webops/shop/public/2/static /srv/webops/shop/public/2/docs
cd /srv/webops/shop; mkdir -p live shared/media
ln -sfn ../public/2 live/current; ln -sfn ../public/1 live/previous
echo old > public/1/static/old.css; echo new > public/2/static/new.css; echo home > public/2/index.html
echo docs > public/2/docs/index.html; echo before > public/1/gone.html; echo picture > shared/media/p.png
'''


def self_signed(ready: Ready) -> None:
    made = ready.play("ssl_cert", "shop-cert", {"ssl_cert_domain": DOMAIN, "ssl_cert_aliases": [ALIAS],
                                                "ssl_cert_source": "self_signed"})
    assert made.code == 0, made.words()


@pytest.mark.every_release
def test_life_of_a_static_site(ready: Ready) -> None:
    self_signed(ready)
    ready.run("sh", "-ec", SITE)
    live = "/srv/webops/shop/live"
    values = {
        "nginx_vhost_domain": DOMAIN, "nginx_vhost_aliases": [ALIAS], "nginx_vhost_certificate": "shop-cert",
        "nginx_vhost_hsts": True, "nginx_vhost_roots": [f"{live}/current", f"{live}/previous"],
        "nginx_vhost_static": [
            {"location": "/assets/", "directories": [f"{live}/current/static", f"{live}/previous/static"], "cache": 60},
            {"location": "/media/", "directories": ["/srv/webops/shop/shared/media"]}],
        "nginx_vhost_headers": [{"name": "X-Odd", "value": HOSTILE}],
    }

    def works() -> None:
        def get(path: str) -> str:
            return ready.curl(f"https://{DOMAIN}{path}", "-k", "-w", " %{http_code} %{http_version}").replace("\n", "")

        assert get("/") == "home 200 2" and get("/docs/") == "docs 200 2" and get("/gone.html") == "before 200 2"
        assert get("/assets/old.css") == "old 200 2" and get("/assets/new.css") == "new 200 2"
        assert get("/media/p.png") == "picture 200 2" and " 404 2" in get("/no") and " 404 2" in get("/assets/no")
        head = ready.curl(f"https://{DOMAIN}/assets/new.css", "-kI").splitlines()
        assert f"x-odd: {HOSTILE}" in head and "cache-control: public, max-age=60" in head
        assert "strict-transport-security: max-age=31536000" in head and "x-frame-options: SAMEORIGIN" in head
        for url in (f"http://{DOMAIN}/a?b=1", f"http://{ALIAS}/a?b=1", f"https://{ALIAS}/a?b=1"):
            assert ready.curl(url, "-k", "-o", "/dev/null", "-w", "%{redirect_url}") == f"https://{DOMAIN}/a?b=1"
        ready.run("tee", "/var/lib/webops/acme/.well-known/acme-challenge/token", text="answer")
        assert ready.curl(f"http://{ALIAS}/.well-known/acme-challenge/token") == "answer"
        ready.run("rm", "/var/lib/webops/acme/.well-known/acme-challenge/token")
        assert ready.curl("http://unknown.example.org/", "-o", "/dev/null", "-w", "%{http_code}") == "404"
        assert "CANARY" not in ready.run("ls", "/tmp")

    cycle(ready, "nginx_vhost", "shop-vhost", values, works=works, by_hand=(
        "sed -i 's/^server {/server { add_header X-By Hand;/' /etc/nginx/sites-enabled/wo-shop-vhost.conf"))


@pytest.mark.every_release
def test_an_application_gets_what_it_needs_to_know(ready: Ready) -> None:
    ready.run("systemd-run", "--unit=shown", "python3", "-c", APPLICATION)
    ready.run("sh", "-c", "mkdir -p /srv/webops/shop/live; ln -sfn /run/webops/shop-a.sock /srv/webops/shop/live/sock")
    self_signed(ready)
    made = ready.play("nginx_vhost", "app-vhost", {
        "nginx_vhost_domain": DOMAIN, "nginx_vhost_certificate": "shop-cert",
        "nginx_vhost_upstream": "unix:/srv/webops/shop/live/sock"})
    assert made.code == 0, made.words()
    said = ready.curl(f"https://{DOMAIN}/", "-k", "--http1.1", "-i", "-H", "X-Forwarded-For: 6.6.6.6", "-H",
                      "X-Forwarded-Proto: ftp", "-H", "Upgrade: websocket", "-H", "Connection: upgrade")
    lines = [line.lower() for line in said.splitlines()]
    assert f"host: {DOMAIN}" in lines and "x-forwarded-proto: https" in lines and f"x-forwarded-host: {DOMAIN}" in lines
    assert "upgrade: websocket" in lines and "connection: upgrade" in lines and "6.6.6.6" not in said
    # What the application says itself is not said twice.
    assert [line for line in lines if line.startswith("x-frame-options")] == ["x-frame-options: deny"]
    assert "x-content-type-options: nosniff" in lines
    # Its own errors reach visitors as they are; where it does not answer, nginx says so in words of its own.
    busy = ready.curl(f"https://{DOMAIN}/busy", "-k", "-w", "%{http_code}")
    assert f"Host: {DOMAIN}" in busy and busy.endswith("503")
    ready.run("systemctl", "stop", "shown")
    silent = ready.curl(f"https://{DOMAIN}/busy", "-k", "-i", "--data", "a=b", "-w", "%{http_code}")
    assert "This site is not available at the moment" in silent and silent.endswith("502")
    assert "content-type: text/html; charset=utf-8" in silent and "cache-control: no-store" in silent
    ready.play("nginx_vhost", "app-vhost", {}, action="remove")


def test_what_nginx_refuses_replaces_nothing(ready: Ready) -> None:
    values = {"nginx_vhost_domain": "a.example.org", "nginx_vhost_roots": ["/usr/share/doc/nginx"]}
    assert ready.play("nginx_vhost", "first", values).code == 0
    file = "/etc/nginx/sites-enabled/wo-first.conf"
    before = ready.run("cat", file)
    same = {"location": "/x/", "directories": ["/srv"]}
    refused = ready.play("nginx_vhost", "first", values | {"nginx_vhost_static": [same, same]})
    assert "nginx does not accept the new configuration" in refused.words() and "duplicate location" in refused.words()
    assert ready.run("cat", file) == before
    taken = ready.play("nginx_vhost", "second", values)
    assert "a.example.org is served on this server by the vhost 'first' already" in taken.words()
    ready.run("tee", "/etc/nginx/sites-enabled/wo-third.conf", text="# of a person\n")
    foreign = ready.play("nginx_vhost", "third", values | {"nginx_vhost_domain": "b.example.org"})
    assert "was not written by WebOps" in foreign.words()
    kept = ready.play("nginx_vhost", "third", {}, action="remove")
    assert kept.failed and ready.run("cat", "/etc/nginx/sites-enabled/wo-third.conf") == "# of a person\n"
    ready.run("rm", "/etc/nginx/sites-enabled/wo-third.conf")
    ready.run("nginx", "-qt")
    ready.play("nginx_vhost", "first", {}, action="remove")


def test_bad_values_are_refused_in_words(ready: Ready) -> None:
    good = {"nginx_vhost_domain": "a.example.org", "nginx_vhost_roots": ["/srv"]}
    breakout = "a.com; } server { listen 81; location / { alias /etc/; } server_name x"
    for other, words in (({"domain": breakout}, "Write one full domain"),
                         ({"roots": ["/srv/../etc"]}, "Write a full path"), ({"roots": []}, "Say what is served"),
                         ({"upstream": "unix:/run/x:; }"}, "Write a full path"),
                         ({"upstream": "-http://x"}, "Write unix:"),
                         ({"max_body_size": "1; }"}, "Write a size"),
                         ({"headers": [{"name": "X; }", "value": ""}]}, "name of an HTTP header"),
                         ({"headers": [{"name": "X-A", "value": "a\nb"}]}, "one line of ASCII"),
                         ({"static": [{"location": "/x {", "directories": ["/srv"]}]}, "Write a path")):
        values = good | {f"nginx_vhost_{key}": value for key, value in other.items()}
        refused = ready.play("nginx_vhost", "bad", values)
        assert refused.failed and words in refused.words(), refused.output
