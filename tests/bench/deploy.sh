# The guestbook, deployed by a script of one's own: all of it as root, over one SSH connection.
#
#   (same.sh; deploy.sh) | ssh webops-admin@server sudo bash -s -- first|again|back REPOSITORY DOMAIN
#
# same.sh gives the texts of same/ as variables: slot_service, slot_socket, vhost_conf, health_py.
set -euo pipefail
repo=$2 domain=$3
name=guestbook user=wo-guestbook home=/srv/webops/guestbook

as_app() {
  (cd "$home"
   exec setpriv --reuid "$user" --regid "$user" --init-groups env -i \
     PATH=/usr/local/lib/webops:/usr/local/bin:/usr/bin:/bin HOME="$home/shared" LANG=C.UTF-8 UV_CACHE_DIR="$home/shared/cache/uv" "$@")
}

# put PATH MODE OWNER:GROUP < content: says with its exit code whether something changed
put() {
  local new
  new=$(mktemp "$(dirname "$1")/.new.XXXXXX")
  cat > "$new"; chmod "$2" "$new"; chown "$3" "$new"
  if cmp -s "$new" "$1"; then rm "$new"; return 1; fi
  mv "$new" "$1"
}

packages() {
  local missing=() one
  for one in git nginx openssl postgresql; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$one" 2>/dev/null)" = installed ] || missing+=("$one")
  done
  [ ${#missing[@]} = 0 ] || { apt-get -q update; apt-get -qy install --no-install-recommends "${missing[@]}"; }
}

account() {
  id "$user" >/dev/null 2>&1 || useradd --system --comment "webops $name" --home-dir "$home/shared" \
    --shell /usr/sbin/nologin --groups webops-apps --user-group --no-create-home "$user"
  install -d -m 0755 "$home" "$home/live" "$home/slots"
  install -d -m 0750 -o "$user" -g "$user" "$home/releases"
  install -d -m 0755 -o "$user" -g "$user" "$home/public" "$home/shared/media"
  install -d -m 0751 -o "$user" -g "$user" "$home/shared"
  install -d -m 0700 -o "$user" -g "$user" "$home/shared/cache"
  install -d -m 0750 -g "$user" "$home/env"
}

database() {
  install -d -m 0700 /etc/webops/secrets/guestbook-db
  local file=/etc/webops/secrets/guestbook-db/password
  [ -s "$file" ] || (umask 077; openssl rand -hex 24 > "$file")
  local sql=(runuser -u postgres -- psql -qtAX -v ON_ERROR_STOP=1)
  cd /
  [ "$("${sql[@]}" -c "SELECT 1 FROM pg_roles WHERE rolname = 'guestbook_db'")" = 1 ] ||
    echo "CREATE ROLE guestbook_db LOGIN PASSWORD '$(cat "$file")'" | "${sql[@]}"
  if [ "$("${sql[@]}" -c "SELECT 1 FROM pg_database WHERE datname = 'guestbook_db'")" != 1 ]; then
    "${sql[@]}" -c "CREATE DATABASE guestbook_db OWNER guestbook_db ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0"
    "${sql[@]}" -c "REVOKE CONNECT ON DATABASE guestbook_db FROM PUBLIC"
  fi
}

environment() {
  install -d -m 0700 /etc/webops/secrets/guestbook
  local key=/etc/webops/secrets/guestbook/secret_key
  [ -s "$key" ] || (umask 077; openssl rand -hex 32 > "$key")
  put "$home/env/app" 0640 "root:$user" <<END || true
DATABASE_URL=postgresql://guestbook_db:$(cat /etc/webops/secrets/guestbook-db/password)@127.0.0.1/guestbook_db
SECRET_KEY=$(cat "$key")
ALLOWED_HOSTS=$domain
CSRF_TRUSTED_ORIGINS=https://$domain
DJANGO_SETTINGS_MODULE=guestbook.settings
END
}

units() {
  local changed=no
  put "/etc/systemd/system/$user@.socket" 0644 root:root <<< "$slot_socket" && changed=yes
  put "/etc/systemd/system/$user@.service" 0644 root:root <<< "$slot_service" && changed=yes
  [ $changed = no ] || systemctl daemon-reload
}

# The code, its environment, static files, migrations; then it serves.
release() {
  local mirror=$home/shared/repo.git
  [ -d "$mirror" ] || as_app git init -q --bare "$mirror"
  as_app git --git-dir="$mirror" fetch -q --force --no-tags -- "$repo" +main:refs/wanted
  local commit id
  commit=$(as_app git --git-dir="$mirror" rev-parse refs/wanted)
  [ "$commit" = "$(cat "$home/live/commit" 2>/dev/null)" ] && { echo "nothing new: $commit"; return; }
  id=$(date -u +%Y%m%d-%H%M%S)-${commit:0:7}
  local to=$home/releases/$id
  as_app mkdir -p "$to/app" "$home/public/$id/static"
  as_app git --git-dir="$mirror" archive "$commit" | as_app tar -x -C "$to/app"
  as_app uv venv -q --no-project --python /usr/bin/python3 "$to/venv"
  as_app uv pip install -q --python "$to/venv/bin/python" -r "$to/app/requirements.txt" gunicorn
  as_app tee "$to/places" > /dev/null <<< "STATIC_ROOT=$home/public/$id/static
MEDIA_ROOT=$home/shared/media"
  local settings
  mapfile -t settings < <(cat "$home/env/app" "$to/places")
  (cd "$to/app"
   as_app "${settings[@]}" "$to/venv/bin/python" "$to/app/manage.py" collectstatic --noinput -v0
   as_app "${settings[@]}" "$to/venv/bin/python" "$to/app/manage.py" migrate --noinput -v0)
  switch "$id"
  echo "$commit" > "$home/live/commit"
}

# The release before: what lies there still serves again.
back() {
  switch "$(ls "$home/releases" | grep -Fxv "$(cat "$home/live/id")" | tail -n 1)"
}

# The other slot, asked for its health, then the traffic.
switch() {
  local id=$1 old new=a
  old=$(cat "$home/live/slot" 2>/dev/null || true)
  [ "$old" = a ] && new=b
  ln -sfnT "$home/releases/$id" "$home/slots/$new"
  # It may still be finishing what it began when it was left.
  systemctl stop "$user@$new.socket" "$user@$new.service"
  systemctl start "$user@$new.socket" "$user@$new.service"
  python3 - "/run/webops/$name-$new.sock" "$domain" / <<< "$health_py"
  ln -sfnT "../public/$id" "$home/live/new" && mv -fT "$home/live/new" "$home/live/current"
  ln -sfnT "/run/webops/$name-$new.sock" "$home/live/new" && mv -fT "$home/live/new" "$home/live/sock"
  echo "$new" > "$home/live/slot"
  echo "$id" > "$home/live/id"
  [ -z "$old" ] || systemctl stop --no-block "$user@$old.socket" "$user@$old.service"
}

certificate() {
  local at=/etc/webops/certs/guestbook-cert
  [ -s "$at/fullchain.pem" ] && return
  install -d -m 0755 "$at"
  (umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=$domain" \
    -addext "subjectAltName=DNS:$domain" -keyout "$at/privkey.pem" -out "$at/fullchain.pem" 2>/dev/null)
  chmod 0644 "$at/fullchain.pem"
}

vhost() {
  put /etc/nginx/sites-enabled/wo-guestbook-vhost.conf 0644 root:root <<< "$vhost_conf" || return 0
  nginx -q -t
  systemctl reload nginx
}

if [ "$1" = first ]; then
  packages; account; database; environment; units; release; certificate; vhost
elif [ "$1" = back ]; then
  back
else
  release
fi
