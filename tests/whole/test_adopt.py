"""Sites that somebody set up by hand become WebOps', visitors notice nothing, and the way back is open."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from panel.settings import ROOT
from tests.sandbox.roles.load import Load
from tests.watcher import Watcher
from tests.whole.test_plans_and_drift import applied, changed
from tests.world import World, wait

pytestmark = pytest.mark.sandbox
DOCS, SHOP, CLASSIC = "docs.whole.test", "shop.whole.test", "classic.whole.test"
SECRET = "by-hand-S3cret-value"
ENABLED = "/etc/nginx/sites-enabled"
LIVE, LIVE_CLASSIC = f"/etc/letsencrypt/live/{SHOP}", f"/etc/letsencrypt/live/{CLASSIC}"
BY_HAND = f'''
mkdir -p /var/www/docs /srv/shop {LIVE} /etc/nginx/sites-available
echo "read the docs" > /var/www/docs/index.html
cat > /etc/nginx/sites-available/docs <<'EOF'
# by hand
server {{
    listen 80;
    server_name {DOCS};
    root /var/www/docs;
    location / {{ try_files $uri $uri/ =404; }}
}}
EOF
ln -s ../sites-available/docs /etc/nginx/sites-enabled/docs
useradd --system shop
echo "SECRET_KEY={SECRET}" > /etc/shop.env; chmod 600 /etc/shop.env
cat > /srv/shop/shop.py <<'EOF'
import http.server
class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"shop for {{self.headers['Host']}} by {{self.headers['X-Forwarded-Proto']}}".encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8123), Shop).serve_forever()
EOF
cat > /etc/systemd/system/shop.service <<'EOF'
[Service]
User=shop
WorkingDirectory=/srv/shop
EnvironmentFile=/etc/shop.env
ExecStart=/usr/bin/python3 /srv/shop/shop.py
EOF
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={SHOP} -addext subjectAltName=DNS:{SHOP} \\
    -keyout {LIVE}/privkey.pem -out {LIVE}/fullchain.pem 2>/dev/null
cat > /etc/nginx/sites-enabled/shop.conf <<'EOF'
upstream the_shop {{ server 127.0.0.1:8123; }}
server {{ listen 80; server_name {SHOP}; return 301 https://$host$request_uri; }}
server {{
    listen 443 ssl;
    server_name {SHOP};
    ssl_certificate {LIVE}/fullchain.pem;
    ssl_certificate_key {LIVE}/privkey.pem;
    client_max_body_size 40m;
    location / {{ include proxy_params; proxy_pass http://the_shop; }}
}}
EOF
systemctl daemon-reload; systemctl start shop; systemctl reload nginx
'''
# A Django app as tutorials have it: clone, virtual environment, unit, environment file, database.
DJANGO = f'''
useradd --system --home /srv/classic classic; mkdir -p /srv/classic/static {LIVE_CLASSIC}
git clone -q REPOSITORY /srv/classic/app
/opt/webops/uv/bin/uv venv -q /srv/classic/venv
/opt/webops/uv/bin/uv pip install -q --python /srv/classic/venv/bin/python -r /srv/classic/app/requirements.txt gunicorn
systemctl start postgresql
runuser -u postgres -- psql -qc "create role classic login password '{SECRET}'" \\
    -c "create database classic owner classic"
cat > /etc/classic.env <<'EOF'
SECRET_KEY="{SECRET}-key"
DATABASE_URL=postgresql://classic:{SECRET}@127.0.0.1:5432/classic
ALLOWED_HOSTS={CLASSIC}
CSRF_TRUSTED_ORIGINS=https://{CLASSIC}
STATIC_ROOT=/srv/classic/static
EOF
chmod 600 /etc/classic.env
cd /srv/classic/app; set -a; . /etc/classic.env; set +a
../venv/bin/python manage.py migrate -v0; ../venv/bin/python manage.py collectstatic -v0 --noinput
echo "from book.models import Message; Message.objects.create(name='Ada', text='Here by hand')" |
    ../venv/bin/python manage.py shell
chown -R classic: /srv/classic
cat > /etc/systemd/system/classic.service <<'EOF'
[Service]
User=classic
Group=www-data
RuntimeDirectory=classic
WorkingDirectory=/srv/classic/app
EnvironmentFile=/etc/classic.env
ExecStart=/srv/classic/venv/bin/gunicorn --workers 2 --umask 7 --bind unix:/run/classic/gunicorn.sock guestbook.wsgi
EOF
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={CLASSIC} -addext subjectAltName=DNS:{CLASSIC} \\
    -keyout {LIVE_CLASSIC}/privkey.pem -out {LIVE_CLASSIC}/fullchain.pem 2>/dev/null
cat > /etc/nginx/sites-enabled/classic <<'EOF'
server {{
    listen 80; listen 443 ssl;
    server_name {CLASSIC};
    ssl_certificate {LIVE_CLASSIC}/fullchain.pem;
    ssl_certificate_key {LIVE_CLASSIC}/privkey.pem;
    location /static/ {{ alias /srv/classic/static/; }}
    location / {{ include proxy_params; proxy_pass http://unix:/run/classic/gunicorn.sock; }}
}}
EOF
systemctl daemon-reload; systemctl start classic
until [ -S /run/classic/gunicorn.sock ]; do sleep 0.1; done
systemctl reload nginx
'''
CLEAN_UP = '''
rm -f /etc/nginx/sites-enabled/classic; systemctl stop classic; rm -rf /etc/systemd/system/classic.service /srv/classic
rm -rf /etc/nginx/sites-enabled/shop.conf /etc/nginx/sites-enabled/docs /etc/nginx/sites-available/docs
systemctl stop shop; rm -rf /etc/systemd/system/shop.service /srv/shop /etc/shop.env; systemctl daemon-reload
systemctl reload nginx
'''


@pytest.fixture(scope="module")
def by_hand(world: World) -> Any:
    """The server, on which somebody was before."""
    world.named(DOCS, SHOP)
    world.root("sh", "-ec", BY_HAND)
    served(world, f"http://{DOCS}/", "read the docs")
    served(world, f"https://{SHOP}/a", "shop for")
    yield world
    world.root("sh", "-c", CLEAN_UP)


def adopt(world: World, *words: str) -> Any:
    said = world.webops("adopt", "web1", *words, "--json")
    assert said.returncode == 0, said.stdout + said.stderr
    return json.loads(said.stdout)


def planned(world: World, name: str, **values: Any) -> dict[str, Any]:
    made = world.ask("POST", f"/resources/{name}/plans", {"values": values})
    world.succeeded(made["run"]["id"])
    return dict(world.ask("GET", f"/plans/{made['plan']['id']}"))


def files(world: World) -> str:
    """What lies where nginx looks, with the content of each."""
    return world.root("sh", "-c", "cd /etc/nginx; find sites-enabled conf.d sites-available -printf '%p %l %m\\n' "
                                  "| sort; cat sites-enabled/*")


def served(world: World, url: str, text: str) -> None:
    """Seen once nginx, after a reload, no longer answers with the workers that it had."""
    wait(f"{text} at {url}", lambda: text in body_of(world, url))


def body_of(world: World, url: str) -> str:
    return world.ready.curl(url, "-k")


def test_what_is_there_is_listed_and_its_secrets_are_nowhere(by_hand: World) -> None:
    before = files(by_hand)
    found = {one["domain"]: one for one in adopt(by_hand)["sites"]}
    assert (found[DOCS]["serves"], found[SHOP]["serves"]) == ("/var/www/docs", "http://127.0.0.1:8123 (shop.service)")
    assert [one["kind"] for one in found[SHOP]["kinds"]] == ["nginx_vhost"]
    shown = by_hand.webops("adopt", "web1").stdout + by_hand.page("/servers/web1/sites") + json.dumps(found)
    shown += by_hand.page(f"/servers/web1/sites/{SHOP}")
    assert DOCS in shown and files(by_hand) == before
    key = by_hand.root("cat", f"{LIVE}/privkey.pem").splitlines()[3]
    for secret in (SECRET, key):
        assert secret not in shown
        assert Watcher([secret], by_hand.panel.state, by_hand.scratch).in_files() == []


def test_a_static_site_becomes_ours_and_is_given_back(by_hand: World) -> None:
    before, page = files(by_hand), body_of(by_hand, f"http://{DOCS}/")
    other = by_hand.apply("nginx_vhost", "other", {"domain": DOCS, "roots": ["/var/www"]}, mode="check")
    refused = by_hand.ended(other)
    assert "/etc/nginx/sites-enabled/docs" in refused["error"] and "nginx_vhost_replaces" in refused["next"]
    plan = adopt(by_hand, DOCS)["plans"][0]
    diff = json.dumps(plan["changes"])
    assert plan["resource"] == "docs" and "# by hand" in diff and "wo-docs.conf" in diff and files(by_hand) == before
    with Load(by_hand.ready.server.address, DOCS, "http") as load:
        run = applied(by_hand, plan)
    assert load.failed == {} and load.total > 50
    assert changed(by_hand, run["id"]) == sorted({one["name"] for one in plan["changes"]})
    assert body_of(by_hand, f"http://{DOCS}/") == page == "read the docs\n"
    assert planned(by_hand, "docs")["changes"] == []
    assert DOCS not in [one["domain"] for one in adopt(by_hand)["sites"]]

    with Load(by_hand.ready.server.address, DOCS, "http") as load:
        by_hand.succeeded(by_hand.act("docs", "remove"))
    assert load.failed == {}
    assert files(by_hand) == before and body_of(by_hand, f"http://{DOCS}/") == page


def documented(world: World) -> Iterator[tuple[str, str]]:
    """Each command of docs/adopt.md, done here, with what it printed."""
    text = (ROOT / "docs" / "adopt.md").read_text()
    numbers: list[str] = []
    for command in re.findall(r"^webops .*$", text, re.MULTILINE):
        words = command.replace("shop.example.org", SHOP).split()[1:]
        if words[:2] == ["plan", "apply"]:
            words[2] = numbers[int(words[2]) - 1]
        done = world.webops(*words)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        numbers += re.findall(r"^Plan (\d+):", done.stdout, re.MULTILINE)
        yield command, done.stdout


def test_an_app_with_its_certificate_becomes_ours_as_the_document_says(by_hand: World) -> None:
    before, page = files(by_hand), body_of(by_hand, f"https://{SHOP}/a")
    said = {}
    with Load(by_hand.ready.server.address, SHOP) as load:
        for command, output in documented(by_hand):
            said[command] = output
            assert "PRIVATE KEY" not in output and SECRET not in output
    print(f"{load.total} requests, the slowest {load.slowest * 1000:.0f} ms")
    assert load.failed == {} and load.total > 100
    _listed, adopted, smaller, _certificate, _vhost, again = said.values()
    assert "client_max_body_size 40M" in adopted and "client_max_body_size 20M" in smaller
    assert "nothing would change" in again
    assert body_of(by_hand, f"https://{SHOP}/a") == page == f"shop for {SHOP} by https"
    assert by_hand.ready.curl(f"http://{SHOP}/x", "-o", "/dev/null", "-w", "%{redirect_url}") == f"https://{SHOP}/x"
    theirs = by_hand.root("openssl", "x509", "-in", f"{LIVE}/fullchain.pem", "-noout", "-fingerprint")
    assert by_hand.root("openssl", "x509", "-in", "/etc/webops/certs/shop-cert/fullchain.pem", "-noout",
                        "-fingerprint") == theirs
    assert [planned(by_hand, name)["changes"] for name in ("shop-cert", "shop")] == [[], []]

    # Somebody, or certbot, writes it anew: seen, and nobody's file is lost.
    by_hand.root("cp", f"{ENABLED}/.webops-replaced.shop.shop.conf", f"{ENABLED}/shop.conf")
    again = by_hand.ended(by_hand.act("shop", "main"))
    assert "is there again" in again["error"], again
    by_hand.root("rm", f"{ENABLED}/shop.conf")

    with Load(by_hand.ready.server.address, SHOP) as load:
        by_hand.succeeded(by_hand.act("shop", "remove"))
    assert load.failed == {}
    by_hand.succeeded(by_hand.act("shop-cert", "remove"))
    assert files(by_hand) == before and body_of(by_hand, f"https://{SHOP}/a") == page


def test_it_is_taken_over_in_the_browser(by_hand: World) -> None:
    sent = by_hand.form("/servers/web1/sites", {})
    by_hand.succeeded(int(re.search(r"/runs/(\d+)", sent.headers["Location"])[1]))  # type: ignore[index]
    page = by_hand.page(f"/servers/web1/sites/{DOCS}")
    assert "Virtual host" in page and 'value="docs"' in page
    wrong = by_hand.form(f"/servers/web1/sites/{DOCS}", {"kind": "nginx_vhost", "name": "No Name"})
    assert wrong.status_code == 422 and "a-z, 0-9" in wrong.text
    sent = by_hand.form(f"/servers/web1/sites/{DOCS}", {"kind": "nginx_vhost", "name": "papers"})
    assert sent.status_code == 303 and "/plans/" in sent.headers["Location"]
    row = by_hand.ask("GET", "/resources/papers")
    assert row["applied_at"] is None and row["values"]["nginx_vhost_replaces"] == ["/etc/nginx/sites-enabled/docs"]
    by_hand.succeeded(by_hand.act("papers", "remove"))


def test_a_django_app_is_deployed_beside_the_old_one_and_keeps_its_data(by_hand: World) -> None:
    by_hand.named(CLASSIC)
    by_hand.root("sh", "-ec", DJANGO.replace("REPOSITORY", by_hand.repository("guestbook").address))
    served(by_hand, f"https://{CLASSIC}/", "Here by hand")
    before = files(by_hand)
    plan = adopt(by_hand, CLASSIC, "--kind", "django_app")["plans"][0]
    row = by_hand.ask("GET", "/resources/classic")
    assert row["secrets"]["django_app_secrets"] == ["SECRET_KEY", "DATABASE_URL"]
    assert SECRET not in json.dumps([plan, row])
    with Load(by_hand.ready.server.address, CLASSIC) as load:
        applied(by_hand, plan)
    assert load.failed == {} and load.total > 50
    by_hand.root("systemctl", "stop", "classic")
    assert "Here by hand" in body_of(by_hand, f"https://{CLASSIC}/")
    assert planned(by_hand, "classic")["changes"] == []

    by_hand.root("systemctl", "start", "classic")
    with Load(by_hand.ready.server.address, CLASSIC) as load:
        by_hand.succeeded(by_hand.act("classic", "remove"))
    assert load.failed == {}
    assert files(by_hand) == before and "Here by hand" in body_of(by_hand, f"https://{CLASSIC}/")
