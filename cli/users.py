"""`webops user …` and `webops db …`: on the panel's own machine, straight to its database."""

from __future__ import annotations

import re

import click

from cli import asking, tables
from cli.exits import Exit, Stop
from cli.processes import configured


@click.group()
def user() -> None:
    """People who may sign in. Runs on the panel's machine, with its settings."""


def _password(name: str, file: str | None) -> tuple[str, bool]:
    """The password, and whether it was made here."""
    from panel.web import passwords

    if file is None:
        return passwords.random_password(), True
    given = asking.from_stdin() if file == "-" else asking.from_file(file)
    if why := passwords.problem(given):
        raise Stop(f"This password for {name} cannot be used.", Exit.REFUSED, next_step=why)
    return given, False


_FILE = click.option("--password-file", metavar="FILE", help="Take the password from a file ('-': stdin) instead of "
                                                             "making one and showing it once.")


@user.command("add")
@click.argument("name")
@click.option("--admin", is_flag=True, help="May add people and servers.")
@_FILE
def add(name: str, admin: bool, password_file: str | None) -> None:
    """Add a person; the password is made here and shown once."""
    from sqlalchemy.exc import IntegrityError

    from panel.store import db
    from panel.store.models import User
    from panel.web import passwords

    configured()
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?", name):
        raise Stop(f"'{name}' cannot be the name of a person.", Exit.REFUSED,
                   next_step="use 1-64 characters: a-z, 0-9 and . _ @ - inside")
    password, made = _password(name, password_file)
    db.upgrade()
    with db.session() as session:
        session.add(User(name=name, password_hash=passwords.hashed(password), is_admin=admin))
        try:
            session.commit()
        except IntegrityError:
            raise Stop(f"There is a user '{name}' already.", Exit.REFUSED,
                       next_step=f"webops user password {name} gives a new password") from None
    _tell(name, password if made else None)


def _tell(name: str, password: str | None) -> None:
    if password is None:
        click.echo(f"{name} can sign in.")
    else:
        click.echo(f"{name} can sign in. The password is shown this once:", err=True)
        click.echo(password)


@user.command("list")
def list_users() -> None:
    """Everybody who may sign in."""
    from sqlalchemy import select

    from panel.store import db
    from panel.store.models import User

    configured()
    db.upgrade()
    with db.session() as session:
        rows = [(one.name, "yes" if one.is_admin else "no", f"{one.created_at:%Y-%m-%d}")
                for one in session.scalars(select(User).order_by(User.name))]
    tables.table(("NAME", "ADMIN", "SINCE"), rows, "Nobody yet. Next: webops user add NAME --admin")


@user.command("password")
@click.argument("name")
@_FILE
def password(name: str, password_file: str | None) -> None:
    """Give a new password; every browser and every token of this person is signed out."""
    from sqlalchemy import select

    from panel.store import db
    from panel.store.models import User
    from panel.web import auth, passwords

    configured()
    db.upgrade()
    with db.session() as session:
        row = session.scalar(select(User).where(User.name == name))
        if row is None:
            raise Stop(f"There is no user '{name}'.", Exit.REFUSED, next_step="webops user list")
        new, made = _password(name, password_file)
        row.password_hash = passwords.hashed(new)
        auth.end_access(session, row)
        session.commit()
    _tell(name, new if made else None)


@click.group("db")
def db() -> None:
    """The panel's database. Runs on the panel's machine, with its settings."""


@db.command("upgrade")
def upgrade() -> None:
    """Bring the tables to the newest form. `webops up` does it by itself."""
    from panel.store import db as store

    configured()
    store.upgrade()
    click.echo("The database is up to date.")
