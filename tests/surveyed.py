"""Servers that people set up by hand, as webops_survey reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

MAIN = """
user www-data; events { worker_connections 768; }
http {
    include /etc/nginx/mime.types; log_format main '$remote_addr "$request" {$status}'; client_max_body_size 8m;
    include /etc/nginx/conf.d/*.conf;
    include /etc/nginx/sites-enabled/*;
}
"""
STATIC = """
server {
    listen 80; listen [::]:80;
    server_name docs.example.org www.docs.example.org;   # both
    root /var/www/docs;
    index index.html;
    location / { try_files $uri $uri/ =404; }
    location /assets/ { expires 30d; access_log off; }
}
"""
# As the documentation of gunicorn and certbot write it.
PROXIED = """
upstream shop_app { server unix:/run/shop/gunicorn.sock fail_timeout=0; }
server {
    if ($host = shop.example.org) { return 301 https://$host$request_uri; } # managed by Certbot
    listen 80; server_name shop.example.org; return 404; # managed by Certbot
}
server {
    server_name shop.example.org;
    client_max_body_size 50m;
    add_header X-Robots-Tag "noindex; nofollow" always;
    location = /favicon.ico { access_log off; log_not_found off; }
    location /static/ { alias /srv/shop/static/; expires max; }
    location /media/ { root /srv/shop; }
    location / { include proxy_params; proxy_pass http://shop_app; proxy_read_timeout 2m; }
    listen 443 ssl; # managed by Certbot
    ssl_certificate /etc/letsencrypt/live/shop.example.org/fullchain.pem; # managed by Certbot
    ssl_certificate_key /etc/letsencrypt/live/shop.example.org/privkey.pem; # managed by Certbot
    include /etc/letsencrypt/options-ssl-nginx.conf;
}
server { listen 443 ssl; server_name www.shop.example.org; return 301 https://shop.example.org$request_uri;
    ssl_certificate /etc/letsencrypt/live/shop.example.org/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/shop.example.org/privkey.pem; }
"""
GUARDED = "server { server_name staff.example.org; root /srv/staff; auth_basic Staff; auth_basic_user_file users; }"
LOSING = """
server {
    server_name old.example.org;
    location / { proxy_pass http://127.0.0.1:8000; proxy_buffering off; proxy_set_header X-Shop $host; }
    location /api/ { proxy_pass http://127.0.0.1:9000; }
    rewrite ^/a-very-long-path/that-nobody-knows/(.*)$ /b/$1 permanent;
}
"""
PARAMS = """proxy_set_header Host $http_host;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
"""
SECRETS = {"SECRET_KEY": "s3cr3t-of-the-shop", "DATABASE_URL": "postgres://shop:pa55word@localhost/shop"}
SHOP = {
    "unit": "shop.service", "settings": 'LEVEL=3 "GREETING=dear reader" DEBUG=true',
    "directory": "/srv/shop/app",
    "command": ["/srv/shop/venv/bin/python3", "/srv/shop/venv/bin/gunicorn", "-w", "3", "--bind",
                "unix:/run/shop/gunicorn.sock", "shop.wsgi"],
    "environment": ["PATH=/usr/bin", "LANG=C", "INVOCATION_ID=1", "DJANGO_SETTINGS_MODULE=shop.settings", "DEBUG=false",
                    "PATH_INFO_MODE=on", "STATIC_ROOT=/srv/shop/static",
                    *(f"{name}={value}" for name, value in SECRETS.items())],
    "listens": ["/run/shop/gunicorn.sock"],
    "files": {"manage.py": "import os\n", ".env": "# mine\nEMAIL_URL='smtp://u:p@mail'  # out\nDEBUG=true\n",
              "EnvironmentFile": "# mine\nLEVEL=4\nQUEUE=\"redis://:pw@h\"\n",
              "pyvenv.cfg": "home = /usr/bin\nversion = 3.12.4\n"},
}
GIT = """[core]
\trepositoryformatversion = 0
\tfsmonitor = touch /tmp/CANARY
[remote "origin"]
\turl = https://ada:ghp_token@git.example.org/ada/shop.git
\tfetch = +refs/heads/*:refs/remotes/origin/*
"""


def dump(**sites: str) -> str:
    """What `nginx -T` prints with these files in sites-enabled."""
    files = {"/etc/nginx/nginx.conf": MAIN, "/etc/nginx/mime.types": "types { text/html html; }\n",
             "/etc/nginx/proxy_params": PARAMS, "/etc/letsencrypt/options-ssl-nginx.conf": "ssl_protocols TLSv1.2;\n",
             **{f"/etc/nginx/sites-enabled/{name.replace('_', '.')}": text for name, text in sites.items()}}
    return "\n".join(f"# configuration file {path}:\n{text}" for path, text in files.items())


@cache
def pair(domain: str = "shop.example.org", days: int = 40) -> tuple[str, str]:
    """A certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = datetime.now(UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
            .sign(key, hashes.SHA256()))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return made.public_bytes(Encoding.PEM).decode(), private


def survey(nginx: str, **more: Any) -> dict[str, Any]:
    """What webops_survey says of a server that serves this."""
    chain, key = pair()
    live = "/etc/letsencrypt/live/shop.example.org"
    return {"nginx": nginx, "services": [SHOP], "files": {f"{live}/fullchain.pem": chain, f"{live}/privkey.pem": key},
            "repositories": {"/srv/shop/app": {"place": "/srv/shop/app", "within": ".", "config": GIT,
                                               "head": "ref: refs/heads/main\n"}}, **more}
