"""The guestbook, deployed by pyinfra: the steps of deploy.sh, by pyinfra's own operations where it has them.

    pyinfra -y --data step=first --data repo=… --data domain=… inventory.py with_pyinfra.py
"""

import io
import time
from pathlib import Path

from pyinfra import config, host
from pyinfra.operations import apt, files, git, postgres, server, systemd

config.SUDO = True
SAME = Path(__file__).resolve().parent / "same"
HOME, USER = "/srv/webops/guestbook", "wo-guestbook"
REPO, DOMAIN = host.data.repo, host.data.domain
CERTIFICATE = "/etc/webops/certs/guestbook-cert"
# Known before anything runs, as pyinfra wants it: here a release is named by the moment alone.
RELEASE = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
UV = "/usr/local/lib/webops/uv"
TO = f"{HOME}/releases/{RELEASE}"
AS_APP = {"_sudo_user": USER, "_env": {"HOME": f"{HOME}/shared", "UV_CACHE_DIR": f"{HOME}/shared/cache/uv"}}
ENVIRONMENT = f"""DATABASE_URL=postgresql://guestbook_db:{host.data.password}@127.0.0.1/guestbook_db
SECRET_KEY={host.data.secret_key}
ALLOWED_HOSTS={DOMAIN}
CSRF_TRUSTED_ORIGINS=https://{DOMAIN}
DJANGO_SETTINGS_MODULE=guestbook.settings
"""


def first():
    apt.packages(name="Install the packages", packages=["git", "nginx", "openssl", "postgresql"])
    server.user(name="Make the Unix user", user=USER, home=f"{HOME}/shared", shell="/usr/sbin/nologin", system=True,
                groups=["webops-apps"], comment="webops guestbook", ensure_home=False)
    for path, owner, mode in (
        (HOME, "root", "755"), (f"{HOME}/live", "root", "755"), (f"{HOME}/slots", "root", "755"),
        (f"{HOME}/releases", USER, "750"), (f"{HOME}/public", USER, "755"), (f"{HOME}/shared", USER, "751"),
        (f"{HOME}/shared/media", USER, "755"), (f"{HOME}/shared/cache", USER, "700"), (f"{HOME}/env", "root", "755"),
    ):
        files.directory(name=f"Make {path}", path=path, user=owner, group=owner, mode=mode)
    postgres.role(name="Make the role", role="guestbook_db", password=host.data.password,
                  _sudo_user="postgres", _chdir="/")
    postgres.database(name="Make the database", database="guestbook_db", owner="guestbook_db", encoding="UTF8",
                      template="template0", _sudo_user="postgres", _chdir="/")
    files.put(name="Write the variables", src=io.StringIO(ENVIRONMENT), dest=f"{HOME}/env/app", user="root",
              group=USER, mode="640")
    units = [files.put(name=f"Install the {kind}", src=str(SAME / f"slot.{kind}"),
                       dest=f"/etc/systemd/system/{USER}@.{kind}", user="root", group="root", mode="644")
             for kind in ("socket", "service")]
    systemd.daemon_reload(name="Let systemd read the units", _if=lambda: any(unit.did_change() for unit in units))
    files.put(name="Install the health check", src=str(SAME / "health.py"), dest="/usr/local/lib/webops/health.py")
    release()
    files.directory(name="Make the directory of the certificate", path=CERTIFICATE, mode="755")
    server.shell(name="Make a self-signed certificate", commands=[
        f"[ -s {CERTIFICATE}/fullchain.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        f"-days 90 -subj /CN={DOMAIN} -addext subjectAltName=DNS:{DOMAIN} -keyout {CERTIFICATE}/privkey.pem "
        f"-out {CERTIFICATE}/fullchain.pem"])
    vhost = files.put(name="Install the virtual host", src=str(SAME / "vhost.conf"),
                      dest="/etc/nginx/sites-enabled/wo-guestbook-vhost.conf", user="root", group="root", mode="644")
    server.shell(name="Let nginx judge it", commands=["nginx -q -t"], _if=vhost.did_change)
    systemd.service(name="Let nginx read it", service="nginx", reloaded=True, _if=vhost.did_change)


def release():
    code = git.repo(name="Fetch the code", src=REPO, dest=f"{HOME}/shared/checkout", branch="main", **AS_APP)
    steps = {
        "Write the code of the release": [
            f"mkdir -p {TO}/app {HOME}/public/{RELEASE}/static",
            f"git -C {HOME}/shared/checkout archive HEAD | tar -x -C {TO}/app",
            f"printf 'STATIC_ROOT=%s\\nMEDIA_ROOT=%s\\n' {HOME}/public/{RELEASE}/static {HOME}/shared/media "
            f"> {TO}/places"],
        "Install its requirements": [
            f"{UV} venv -q --no-project --python /usr/bin/python3 {TO}/venv",
            f"{UV} pip install -q --python {TO}/venv/bin/python -r {TO}/app/requirements.txt gunicorn"],
        "Collect static files": [managed("collectstatic --noinput -v0")],
        "Migrate the database": [managed("migrate --noinput -v0")],
    }
    for name, commands in steps.items():
        server.shell(name=name, commands=commands, _if=code.did_change, **AS_APP)
    server.shell(name="Let traffic go to the other slot", _if=code.did_change, commands=[switch(RELEASE)])


def back():
    """The release before: what lies there still serves again."""
    before = f"$(ls {HOME}/releases | grep -Fxv $(cat {HOME}/live/id) | tail -n 1)"
    server.shell(name="Let traffic go back", commands=[switch(before)])


def managed(command):
    return f"set -a; . {HOME}/env/app; . {TO}/places; {TO}/venv/bin/python {TO}/app/manage.py {command}"


def switch(release):
    return f"""set -e
id={release}
old=$(cat {HOME}/live/slot 2>/dev/null || true)
new=a
[ "$old" = a ] && new=b
ln -sfnT {HOME}/releases/$id {HOME}/slots/$new
systemctl stop {USER}@$new.socket {USER}@$new.service
systemctl start {USER}@$new.socket {USER}@$new.service
python3 /usr/local/lib/webops/health.py /run/webops/guestbook-$new.sock {DOMAIN} /
ln -sfnT ../public/$id {HOME}/live/new && mv -fT {HOME}/live/new {HOME}/live/current
ln -sfnT /run/webops/guestbook-$new.sock {HOME}/live/new && mv -fT {HOME}/live/new {HOME}/live/sock
echo $new > {HOME}/live/slot
echo $id > {HOME}/live/id
[ -z "$old" ] || systemctl stop --no-block {USER}@$old.socket {USER}@$old.service
"""


{"first": first, "again": release, "back": back}[host.data.step]()
