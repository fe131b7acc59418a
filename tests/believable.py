"""Rows as an installation has them after some weeks: for tests of pages, and for looking at them.

`python -m tests.believable FOLDER` fills an empty state folder and prints how to sign in.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from panel.runs.hosts import Hosts, in_words
from panel.store.models import Event, Mode, Observed, PartState, Resource, Run, RunServer, Server, State, User
from panel.store.places import Group, Place
from panel.store.planned import Drift, DriftState, Plan, PlanState
from panel.store.seal import seal
from panel.store.surveyed import Survey
from panel.web import passwords
from tests.surveyed import GUARDED, LOSING, PROXIED, STATIC, dump, survey

PASSWORD = "correct horse battery"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMgzq1dQk0M8mJmZ2pYw0pO1rS4f5uV6wX7yZ8aB9cD0"
NOW = datetime.now(UTC)

#: (name, role, state, seconds, data): the deploy of an app as its run shows it.
DEPLOY: list[tuple[str, str, str, float, dict[str, Any]]] = [
    ("Check the values", "django_app", "ok", 0.1, {}),
    ("Own the database", "postgres_db", "ok", 0.4, {"summary": "guestbook, PostgreSQL 15"}),
    (
        "Fetch the code into a new release",
        "django_app",
        "changed",
        0.9,
        {"summary": "4f1c9aa · Pin messages to the top"},
    ),
    (
        "Install the requirements",
        "django_app",
        "changed",
        2.3,
        {
            "summary": "23 requirements installed, 21 of them kept ready",
            "stdout": "Resolved 23 packages in 12ms\nInstalled 23 packages in 41ms\n + django==5.2.8",
        },
    ),
    ("Bring system packages", "django_app", "skipped", 0.0, {}),
    ("Collect static files", "django_app", "ok", 0.7, {"summary": "134 files, none new"}),
    ("Apply migrations", "django_app", "changed", 0.8, {"summary": "1 migration: 0007_message_pinned"}),
    (
        "Write the environment",
        "django_app",
        "changed",
        0.3,
        {
            "diff": [
                {
                    "before": "DEBUG=\nWEB_CONCURRENCY=2\nDJANGO_SETTINGS_MODULE=config.settings\n",
                    "after": "DEBUG=\nWEB_CONCURRENCY=3\nDJANGO_SETTINGS_MODULE=config.settings\nSENTRY=production\n",
                    "before_header": "env/20261122-140312.json",
                    "after_header": "env/20261122-140312.json",
                }
            ]
        },
    ),
    (
        "Start the new release and wait for /healthz",
        "django_app",
        "changed",
        1.6,
        {"summary": "answered 200 after 1.2 s"},
    ),
    ("Move the traffic", "django_app", "changed", 0.2, {"summary": "slot a → b"}),
    ("Let the old release drain", "django_app", "changed", 1.1, {}),
    ("Keep the last 5 releases", "django_app", "ok", 0.2, {}),
]
BROKEN = [
    *DEPLOY[:6],
    (
        "Apply migrations",
        "django_app",
        "failed",
        3.4,
        {
            "msg": 'Migration 0031_prices raised IntegrityError: column "price" contains null values.',
            "next": "Give price a default in the migration, push, and deploy again. "
            "The old release serves; the database was not changed.",
            "journal": [
                "Running migrations:",
                "  Applying catalogue.0031_prices...Traceback (most recent call last):",
                '  File "/srv/webops/shop/releases/20261122-134901/venv/lib/django/db/utils.py", line 105, in _execute',
                "    return self.cursor.execute(sql, params)",
                'psycopg.errors.NotNullViolation: column "price" of relation "catalogue_product" contains null values',
            ],
            "rc": 1,
        },
    ),
]


def add_run(
    session: Session,
    *,
    resource: Resource | None,
    server: Server,
    action: str,
    state: State,
    started: datetime,
    steps: list[tuple[str, str, str, float, dict[str, Any]]] = DEPLOY,
    actor: str = "ada",
    door: str = "browser",
    mode: Mode = Mode.APPLY,
    reached: int | None = None,
    **more: Any,
) -> Run:
    """A run with its events; `reached`: so many steps are done and the next one is running."""
    kind = resource.kind if resource else "server"
    name = resource.name if resource else server.name
    host = f"{name}@{server.name}" if resource else name
    run = Run(
        lock=f"resource:{resource.id}" if resource else f"server:{server.id}",
        kind=kind,
        resource_name=name,
        resource=resource,
        action=action,
        mode=mode,
        state=state,
        actor=actor,
        door=door,
        timeout=3600,
        values=dict(resource.values) if resource else {},
        created_at=started - timedelta(seconds=0.3),
        started_at=None if state is State.QUEUED else started,
        roles_version="9c31f0e2ab41",
        **more,
    )
    run.servers = [RunServer(server=server, server_name=server.name, host=host, state=PartState(state.value))]
    session.add(run)
    session.flush()
    if state is not State.QUEUED:
        _add_events(session, run, host, steps, started, reached)
    if not state.is_active:
        run.ended_at = started + timedelta(seconds=0.4 + sum(one[3] for one in steps))
    session.commit()
    return run


def _add_events(
    session: Session,
    run: Run,
    host: str,
    steps: list[tuple[str, str, str, float, dict[str, Any]]],
    started: datetime,
    reached: int | None,
) -> None:
    number, at = 1, started + timedelta(seconds=0.3)
    session.add(Event(run_id=run.id, number=1, type="play", at=at, name="Django app"))
    for place, (name, role, result, took, data) in enumerate(steps, 1):
        number += 1
        session.add(Event(run_id=run.id, number=number, type="task", at=at, step=place, name=name, role=role))
        at += timedelta(seconds=took)
        if reached is not None and place > reached:
            break
        number += 1
        session.add(
            Event(
                run_id=run.id,
                number=number,
                type=result,
                at=at,
                step=place,
                host=host,
                name=name,
                role=role,
                seconds=took,
                data=data,
            )
        )
    run.last_event = number


def _server(session: Session, name: str, address: str, **more: Any) -> Server:
    server = Server(
        name=name,
        address=address,
        public_key=f"{KEY} webops:{name}",
        private_key=seal(f"server:{name}:private_key", "x"),
        **more,
    )
    session.add(server)
    session.flush()
    return server


def _resource(session: Session, kind: str, name: str, server: Server, values: dict[str, Any], **more: Any) -> Resource:
    secrets = more.pop("hidden", None)
    seen = {key: more.pop(key) for key in list(more) if key.startswith("observed")}
    resource = Resource(
        kind=kind,
        name=name,
        places=[Place(server=server, applied_at=more.get("applied_at"), **seen)],
        values=values,
        secrets=seal(f"resource:{name}:secrets", secrets) if secrets else None,
        **more,
    )
    session.add(resource)
    session.flush()
    return resource


def _seen(text: str, observed: Observed = Observed.OK, **data: Any) -> dict[str, Any]:
    return {
        "observed": observed,
        "observed_text": text,
        "observed_at": NOW - timedelta(seconds=20),
        "observed_data": data,
        "applied_at": NOW - timedelta(days=3),
    }


@cache
def _hash() -> str:
    return passwords.hashed(PASSWORD)


def fill_people(session: Session) -> None:
    for name, is_admin in (("ada", True), ("grace", False)):
        session.add(User(name=name, password_hash=_hash(), is_admin=is_admin))
    session.commit()


def kept_releases(live: int = 1) -> list[dict[str, Any]]:
    """As the link reads them: the `live`-th newest serves; the first of all deploys that failed is there too."""
    commits = [("4f1c9aa", "Pin messages to the top", "Grace Hopper"), ("81aa0de", "Fix typo", "Ada Lovelace"),
               ("81aa0de", "Fix typo", "Ada Lovelace"), ("77b1e04", "Answer in the visitor's language", "Ada Lovelace"),
               ("0c5d2b1", "Let messages be longer than two lines, and wrap them where a word is longer than the page",
                "Grace Hopper")]
    found: list[dict[str, Any]] = []
    for place, (short, subject, author) in enumerate(commits):
        at = NOW - timedelta(days=(0.02, 1, 3, 5, 9)[place])
        one: dict[str, Any] = {"id": f"{at:%Y%m%d-%H%M%S}-{short}", "commit": short + "0" * 33, "subject": subject,
                               "author": author, "served": place > 0, "live": place == live}
        if place == 1:
            one["build"] = "the one before"
        if place > 0:
            one.update(went_live=at.isoformat(), seconds=(0, 12.4, 3.1, 15.9, 44.0)[place],
                       **({"run": 5 - place, "actor": "grace"} if place < 4 else {}))
        if place == live and live > 1:
            one["back"] = {"at": (NOW - timedelta(minutes=6)).isoformat(), "run": 4, "actor": "ada", "from": ""}
        if place == 1 and live > 1:
            one["newest"] = {"commits": 2 if live > 2 else 0,
                             "environment": {"added": ["SENTRY"], "removed": [], "changed": ["WEB_CONCURRENCY"]}}
        found.append(one)
    return found


def _servers(session: Session) -> tuple[Server, Server, Server]:
    ready = {
        "host_key": KEY,
        "ready_at": NOW - timedelta(days=12),
        "observed": Observed.OK,
        "observed_text": "Reached in 4 ms. Load 0.12, 61 % of memory and 38 % of the disk in use.",
        "observed_at": NOW - timedelta(seconds=20),
    }
    web1 = _server(
        session,
        "web1",
        "10.77.0.11",
        facts={"distribution_name": "Debian GNU/Linux 12 (bookworm)", "architecture": "x86_64", "processors": 2,
               "memory_mb": 3920, "disk_mb": 40960, "disk_free_mb": 25600, "python_version": "3.11.2"},
        **ready,
    )
    web2 = _server(
        session,
        "web2",
        "web2.example.org",
        port=2222,
        facts={"distribution_name": "Debian GNU/Linux 13 (trixie)", "architecture": "x86_64", "processors": 4,
               "memory_mb": 7961, "disk_mb": 81920, "disk_free_mb": 61440, "python_version": "3.13.5"},
        **ready,
    )
    db1 = _server(session, "db1", "10.77.0.21", offered_host_key=KEY)
    return web1, web2, db1


def _app(session: Session, name: str, server: Server, domain: str, **more: Any) -> Resource:
    app = _resource(
        session,
        "django_app",
        name,
        server,
        {
            "django_app_repo": f"https://git.example.org/{name}.git",
            "django_app_domain": domain,
            "django_app_health_path": "/healthz",
            "django_app_workers": 3,
            "django_app_environment": [
                {"name": "DJANGO_SETTINGS_MODULE", "value": "config.settings"},
                {"name": "SENTRY_ENVIRONMENT", "value": "production"},
            ],
        },
        hidden={"django_app_secrets": [{"name": "SENTRY_DSN", "value": "https://k@sentry.example.org/1"}]},
        **more,
    )
    for kind, suffix, key, text in (
        ("nginx_vhost", "vhost", "nginx_vhost_domain", "Serving: answered 200 in 11 ms."),
        ("ssl_cert", "cert", "ssl_cert_domain", "Certificate valid until 2027-02-14 (Let's Encrypt E7)."),
        ("postgres_db", "db", "postgres_db_database", "Running: postgresql@15-main is active."),
    ):
        _resource(
            session,
            kind,
            f"{name}-{suffix}",
            server,
            {key: domain if suffix != "db" else name},
            parent=app,
            **_seen(text),
        )
    return app


def fill(session: Session) -> None:
    """Two people, three servers, a handful of resources with their parts, and runs in every state."""
    fill_people(session)
    web1, web2, _ = _servers(session)
    found = survey(dump(docs=STATIC, shop_conf=PROXIED, staff=GUARDED, old=LOSING))
    session.add(Survey(server_id=web2.id, at=NOW - timedelta(minutes=4), found=seal(f"survey:{web2.id}", found)))
    guestbook = _app(
        session,
        "guestbook",
        web1,
        "guestbook.example.org",
        **_seen(
            "Serving: answered 200 in 21 ms. Certificate valid until 2027-02-14 (Let's Encrypt E7).",
            url="https://guestbook.example.org/",
            releases=kept_releases(),
        ),
    )
    shop = _app(
        session,
        "shop",
        web2,
        "shop.example.org",
        **_seen("Serving: answered 200 in 38 ms.", url="https://shop.example.org/"),
    )
    docs = _resource(
        session,
        "static_site",
        "docs",
        web1,
        {"static_site_repo": "https://git.example.org/docs.git", "static_site_domain": "docs.example.org"},
        **_seen("Serving: answered 200 in 3 ms.", url="https://docs.example.org/"),
    )
    stats = _resource(
        session,
        "postgres_db",
        "stats",
        web2,
        {},
        **_seen("Stopped: postgresql@17-main is not running.", Observed.STOPPED),
    )
    wiki = _resource(session, "static_site", "wiki", web2, {"static_site_domain": "wiki.example.org"})
    for days in (9, 5, 3, 1):
        add_run(
            session,
            resource=guestbook,
            server=web1,
            action="deploy",
            state=State.SUCCEEDED,
            started=NOW - timedelta(days=days),
            door="cli",
            actor="grace",
        )
    add_run(
        session,
        resource=None,
        server=web1,
        action="main",
        state=State.SUCCEEDED,
        started=NOW - timedelta(days=12),
        steps=DEPLOY[:3],
    )
    add_run(
        session,
        resource=docs,
        server=web1,
        action="main",
        mode=Mode.CHECK,
        state=State.SUCCEEDED,
        started=NOW - timedelta(hours=20),
        steps=DEPLOY[:6],
    )
    add_run(
        session,
        resource=stats,
        server=web2,
        action="main",
        state=State.CANCELED,
        started=NOW - timedelta(hours=7),
        steps=DEPLOY[:3],
        cancel_asked_by="grace",
    )
    add_run(
        session,
        resource=docs,
        server=web1,
        action="main",
        state=State.SUCCEEDED,
        started=NOW - timedelta(hours=5),
        steps=[(name, "static_site", "ok", took, {}) for name, _, _, took, _ in DEPLOY[:5]],
    )
    add_run(
        session,
        resource=shop,
        server=web2,
        action="deploy",
        state=State.FAILED,
        started=NOW - timedelta(minutes=14),
        steps=BROKEN,
        error=BROKEN[-1][4]["msg"],
        next_step=BROKEN[-1][4]["next"],
        journal=BROKEN[-1][4]["journal"],
        actor="push to main",
        door="api",
    )
    add_run(
        session,
        resource=wiki,
        server=web2,
        action="main",
        state=State.QUEUED,
        started=NOW,
        waits_for="It waits for run 9 on web2: both need its packages.",
    )
    add_run(
        session,
        resource=guestbook,
        server=web1,
        action="deploy",
        state=State.RUNNING,
        started=NOW - timedelta(seconds=8.2),
        reached=8,
    )
    _plans(session, guestbook, shop)


def _plans(session: Session, guestbook: Resource, shop: Resource) -> None:
    """A plan that can be applied, with a migration that takes something away, and one that moved; a look at drift."""
    commit = {"id": "4f1c9aa" + "0" * 33, "short": "4f1c9aa", "author": "Grace", "at": "",
              "subject": "Pin messages to the top"}
    before = {"id": "81aa0de" + "0" * 33, "short": "81aa0de", "author": "Ada", "at": "", "subject": "Fix typo"}
    changes = [{"host": "guestbook@web1", "step": place, "name": name, "role": role, "hidden": False, "items": [],
                "summary": data.get("summary", ""), "msg": data.get("msg", ""), "diff": data.get("diff", [])}
               for place, (name, role, state, _, data) in enumerate(DEPLOY, 1) if state == "changed"]
    language = {**before, "id": "77b1e04" + "0" * 33, "short": "77b1e04", "subject": "Answer in the visitor's language"}
    facts = {
        "commit": commit, "from": before, "commits": [commit, language],
        "migrations": [{"name": "guestbook.0007_message_pinned", "takes_away": []},
                       {"name": "guestbook.0008_no_ip", "takes_away": ["drops column guestbook_message.ip"]}],
        "environment": {"added": ["SENTRY"], "removed": [], "changed": ["WEB_CONCURRENCY"]}}
    common: dict[str, Any] = {"kind": "django_app", "action": "deploy", "timeout": 3600, "actor": "ada",
                              "door": "browser", "steps": 12}
    session.add(Plan(resource=guestbook, resource_name="guestbook", server=guestbook.server, server_name="web1",
                     state=PlanState.READY, changes=changes, facts=facts, created_at=NOW - timedelta(minutes=4),
                     fingerprint={"commit": commit["id"]}, **common))
    session.add(Plan(resource=shop, resource_name="shop", server=shop.server, server_name="web2",
                     state=PlanState.REFUSED, changes=changes[:2], facts={}, created_at=NOW - timedelta(hours=9),
                     refusal="Plan 2 does not hold any more: the role django_app has changed; 'workers' of shop was "
                             "changed from '3' to '4'.", **common))
    session.add(Drift(resource=shop, state=DriftState.IN_SYNC, text="43 steps were looked at; nothing would change.",
                      at=NOW - timedelta(hours=3)))
    session.commit()


def drifted(session: Session) -> None:
    """The guestbook was changed by hand, and the look at it was this."""
    guestbook = session.query(Resource).filter_by(name="guestbook").one()
    change = {"host": "guestbook@web1", "step": 31, "name": "Let nginx serve the app", "role": "nginx_vhost",
              "summary": "", "msg": "", "hidden": False, "items": [], "diff": [{
                  "before_header": "/etc/nginx/sites-enabled/wo-guestbook-vhost.conf",
                  "after_header": "/etc/nginx/sites-enabled/wo-guestbook-vhost.conf",
                  "before": "# webops: guestbook-vhost\nclient_max_body_size 900m;\nserver {\n",
                  "after": "# webops: guestbook-vhost\nclient_max_body_size 20m;\nserver {\n"}]}
    session.add(Drift(resource=guestbook, state=DriftState.DRIFTED, at=NOW - timedelta(minutes=9), changes=[change],
                      text="1 of 43 steps would change something: Let nginx serve the app.",
                      facts={"newer": {"id": "4f1c9aa" + "0" * 33, "short": "4f1c9aa", "subject": ""}}))
    session.commit()


def fleet(session: Session, count: int = 3, failing: int | None = 1, batch: int = 1) -> Run:
    """An app `market` on a group `edge` of so many servers, and a deploy that failed on the `failing`-th of them."""
    ready = {"host_key": KEY, "ready_at": NOW - timedelta(days=12), "observed": Observed.OK,
             "observed_text": "Reached: load 0.12.", "observed_at": NOW - timedelta(seconds=20)}
    servers = [_server(session, f"edge{number}", f"10.77.1.{number}", **ready) for number in range(1, count + 1)]
    group = Group(name="edge", batch=str(batch))
    group.servers = servers
    seen = {"observed": Observed.OK, "observed_at": NOW - timedelta(seconds=20), "applied_at": NOW - timedelta(days=3),
            "observed_text": "Serving: answered 200 in 21 ms."}
    market = Resource(kind="django_app", name="market", group=group, values={"django_app_domain": "market.example.org"},
                      applied_at=NOW - timedelta(days=3), places=[Place(server=one, **seen) for one in servers])
    session.add_all([group, market])
    session.flush()
    run = Run(lock=f"resource:{market.id}", kind="django_app", resource_name="market", resource=market,
              action="deploy", state=State.SUCCEEDED if failing is None else State.FAILED, actor="ada", door="cli",
              timeout=3600, values={}, batch=str(batch), created_at=NOW - timedelta(minutes=3),
              started_at=NOW - timedelta(minutes=3), roles_version="9c31f0e")
    run.servers = [RunServer(server=one, server_name=one.name, host=f"market@{one.name}") for one in servers]
    session.add(run)
    session.flush()
    _roll_over(session, run, [one.host for one in run.servers], failing, batch)
    session.commit()
    return run


def _roll_over(session: Session, run: Run, hosts: list[str], failing: int | None, batch: int) -> None:
    """Its events as Ansible gives them, batch by batch, and what its servers came to."""
    number, step, at = 0, 0, run.started_at or NOW
    hosts_so_far = Hosts()

    def say(kind: str, **more: Any) -> None:
        nonlocal number
        number += 1
        event = Event(run_id=run.id, number=number, type=kind, at=at, **more)
        session.add(event)
        hosts_so_far.add(kind, event.host or "", event.name or "", event.data or {})

    for first in range(0, len(hosts), batch):
        batch_hosts = hosts[first:first + batch]
        bad = hosts[failing] if failing is not None and hosts[failing] in batch_hosts else ""
        say("play", name="Django apps")
        for name, role, state, took, data in BROKEN if bad else DEPLOY:
            step += 1
            say("task", step=step, name=name, role=role)
            at += timedelta(seconds=took)
            for host in batch_hosts:
                ended = "changed" if state == "failed" and host != bad else state
                say(ended, step=step, host=host, name=name, role=role, seconds=took,
                    data=data if ended == state else {})
        if bad:
            run.error, run.next_step = f"{bad.partition('@')[2]}: {BROKEN[-1][4]['msg']}", BROKEN[-1][4]["next"]
            break
    run.last_event, run.ended_at = number, at
    for one in run.servers:
        one.state = hosts_so_far.at_end(one.host, run.state)
    if said := in_words(run.servers):
        run.next_step = f"{said} {run.next_step}".strip() if run.error else ""


if __name__ == "__main__":
    os.environ["WEBOPS_STATE"] = str(Path(sys.argv[1]).resolve())
    from panel.store import db

    db.upgrade()
    with db.session() as opened:
        fill(opened)
    print(f"Sign in as ada, {PASSWORD}")
