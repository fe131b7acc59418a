#!/usr/bin/python
"""Give nginx new configuration, or take some away, without ever breaking what it serves."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_nginx
short_description: Give nginx new configuration without breaking what it serves
description:
  - A copy of the whole configuration with the new files is tested first; then they are replaced and nginx reloads.
  - Under a lock of ours, since two vhosts must not be tested without each other.
  - Writes C(http2 on) and IPv6 listeners so that this server's nginx and kernel understand them.
  - WebOps' own default server stands back on each socket where somebody else's answers for all names, and so does
    what WebOps says to nginx as a whole where another file says it.
options:
  files:
    description:
      - "A list of C({path, content | state}), paths below C(conf.d) or C(sites-enabled) of C(/etc/nginx)."
      - With C(of), the package that it came with, a file is switched off (C(state=absent)) only as that package
        wrote it, and kept beside its place. C(state=back) brings back what was switched off so, and nothing else.
    type: list
    elements: dict
    required: true
  domains:
    description: Names that the files serve; refused where another file of this server serves one of them.
    type: list
    elements: str
    default: []
  certificate:
    description: Name of the certificate (below C(/etc/webops/certs)) that the files need.
    type: str
    default: ""
  replaces:
    description:
      - Files below C(conf.d) or C(sites-enabled) that somebody wrote by hand and that serve nothing but C(domains).
      - They are moved aside in the same step, and are back when the record is taken away.
    type: list
    elements: str
    default: []
  record:
    description: What this server tells about the resource, as in M(webops_files). Written after the files.
    type: dict
author: WebOps
"""
EXAMPLES = r"""
- name: Serve the domain
  webops_nginx:
    files:
      - {path: sites-enabled/wo-shop.conf, content: "{{ lookup('template', 'vhost.conf.j2') }}"}
    domains: [shop.example.org]
    certificate: shop
    record: {kind: nginx_vhost, name: shop, url: "https://shop.example.org/", probes: []}
"""
RETURN = r"""
paths:
  description: Files that were (or would be) changed.
  type: list
  returned: always
"""

import contextlib
import os
import re
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_default import SERVER, is_changed, leaving_out, main_texts, off, on, stepping_back
from ansible.module_utils.webops_lock import Locked, held
from ansible.module_utils.webops_place import Entry, Refused, Seen, ask, bring_back, put
from ansible.module_utils.webops_record import Record
from ansible.module_utils.webops_replaced import brought_back, is_kept, kept_as, moved_aside, served, text_of
from ansible.module_utils.webops_stage import test
from ansible.module_utils.webops_unbroken import is_due, until_felt

ROOT = "/etc/nginx"
CERTIFICATES = "/etc/webops/certs"
FOLDERS = ("conf.d", "sites-enabled")


def main():
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True},
            "domains": {"type": "list", "elements": "str", "default": []},
            "certificate": {"type": "str", "default": ""},
            "replaces": {"type": "list", "elements": "str", "default": []},
            "record": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    try:
        with held("nginx"):
            late = is_due("nginx")
            changes = settle(module, late)
    except (Refused, Locked) as refused:
        module.fail_json(msg=str(refused), next=getattr(refused, "next", "Run this again."),
                         journal=getattr(refused, "journal", []))
    module.exit_json(
        changed=bool(changes) or late, paths=[entry.path for entry, _seen in changes],
        webops_summary=in_words(changes, module.params["files"], late),
        diff=[difference(entry, seen) for entry, seen in changes if not is_kept(entry.path)] if module._diff else [],
    )


def settle(module, late):
    """What changes. `late`: files were replaced before, by a run that was killed, and nginx does not know."""
    record = Record(module.params["record"])
    version = nginx_version(module.check_mode)
    wishes = [wish for wish in module.params["files"] if not is_a_site(wish)]
    others = replaced(module.params) + packaged(wishes, "absent", off)
    entries = [entry_of(wish, version) for wish in wishes if not wish.get("of")]
    texts = strangers(entries, others) + main_texts(ROOT, [os.path.join(ROOT, folder) for folder in FOLDERS])
    entries = leaving_out(stepping_back(entries, texts), texts)
    others += packaged(wishes, "back", lambda path: on(path, texts))
    changes = [(entry, seen) for entry in entries if (seen := Seen(entry.path)).differs(entry)]
    refuse_strangers(changes)
    refuse_taken(module.params["domains"], {entry.path for entry in entries} | {entry.path for entry, _seen in others})
    # What is new comes first: at no moment is there a configuration that lacks the domain.
    changes += others
    if (changes or late) and not module.check_mode:
        refuse_without_certificate(module.params["certificate"])
        test(changes, ROOT, FOLDERS)
        replace(changes)
    return changes + ([(record.entry, record.seen)] if record.keep(module.check_mode) else [])


def replaced(params):
    """What happens to the files that the vhost takes the place of."""
    record = params["record"] or {}
    folders = [os.path.join(ROOT, folder) for folder in FOLDERS]
    if record.get("state") == "absent":
        return brought_back(record["name"], folders)
    return moved_aside(params["replaces"], record.get("name", ""), folders, params["domains"])


def packaged(wishes, state, change):
    return [one for wish in wishes if wish.get("of") and wish["state"] == state
            for one in change(os.path.join(ROOT, wish["path"]))]


def in_words(changes, wishes, late):
    """What becomes of files of somebody else's, for a person who looks at the steps."""
    moved = [entry.path for entry, _seen in changes if is_kept(entry.path) and entry.state != "absent"]
    changed = {entry.path for entry, _seen in changes}
    stay = [os.path.join(ROOT, wish["path"]) for wish in wishes if is_a_site(wish)]
    ours = [os.path.join(ROOT, wish["path"]) for wish in wishes if wish.get("state") == "back"]
    gone = [path for path in ours if path not in changed and kept_as(path, SERVER) in changed]
    back = [entry.path for entry, _seen in changes if is_kept(entry.path) and entry.state == "absent"
            and entry.path not in [kept_as(path, SERVER) for path in gone]]
    return "; ".join([*(["nginx had not taken up the files of a run that was killed"] if late else []),
                      *(f"what was there is kept as {path}" for path in moved),
                      *(f"what was kept as {path} is back" for path in back),
                      *(f"{path} stays off: nginx would not take it beside what is there now" for path in gone),
                      *(f"{path} stays on: somebody made a site of it" for path in stay)])


def nginx_version(check_mode):
    """Such as (1, 22, 1). Without nginx a check goes on as if it were a current one."""
    try:
        ended = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        if check_mode:
            return (1, 26, 0)
        raise Refused("nginx is not installed on this server.", "Apply the server first, then this again.") from None
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", ended.stderr)
    return tuple(map(int, found.groups())) if found else (1, 18, 0)


def is_a_site(wish):
    """Whether somebody wrote a site into the file that a package brought."""
    return bool(wish.get("of")) and is_changed(os.path.join(ROOT, wish["path"]), wish["of"])


def entry_of(wish, version):
    path = os.path.normpath(os.path.join(ROOT, wish["path"]))
    if os.path.dirname(path) not in [os.path.join(ROOT, folder) for folder in FOLDERS]:
        raise Refused(f"{wish['path']} is no place for configuration of nginx.")
    if wish.get("state") == "absent":
        return Entry({"path": path, "state": "absent"})
    content = for_this_nginx(wish["content"], version, os.path.exists("/proc/net/if_inet6"))
    return Entry({"path": path, "content": content, "owner": "root", "group": "root", "mode": "0644"})


def for_this_nginx(content, version, ipv6):
    """Older versions say http2 on the listening socket; a kernel without IPv6 cannot listen on [::]."""
    if version < (1, 25, 1) and re.search(r"^ *http2 on;\n", content, re.MULTILINE):
        content = re.sub(r"^ *http2 on;\n", "", content, flags=re.MULTILINE)
        content = re.sub(r"^( *listen [^;\n]*\bssl\b[^;\n]*);", r"\1 http2;", content, flags=re.MULTILINE)
    if not ipv6:
        content = re.sub(r"^ *listen \[::\][^;\n]*;\n", "", content, flags=re.MULTILINE)
    return content


def refuse_strangers(changes):
    for entry, seen in changes:
        if seen.kind not in ("absent", "link") and not seen.is_ours():
            raise Refused(f"{entry.path} was not written by WebOps, so it is left alone.",
                          "Move it away or choose another name, then apply again.")


def strangers(entries, others):
    """What somebody else wrote, as far as nginx reads it afterwards."""
    ours = {entry.path for entry in entries} | {entry.path for entry, _seen in others}
    staying = [Seen(path) for path in configured() if path not in ours]
    coming = [seen for entry, seen in others if entry.state == "absent" and is_kept(entry.path)]
    return [text for text in map(text_of, staying + coming) if not text.startswith("# webops")]


def refuse_taken(domains, own):
    wanted = set(domains)
    for path in configured():
        if path in own or not wanted:
            continue
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
            for domain in sorted(wanted & served(text)):
                raise Refused(f"{domain} is served on this server by {owner(path, text)} already.",
                              "Remove the domain there, or use another one here. To take over what is there, name the "
                              "file in nginx_vhost_replaces: webops adopt proposes it.")


def configured():
    for folder in FOLDERS:
        directory = os.path.join(ROOT, folder)
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(directory)):
                if not name.startswith(".") and (folder != "conf.d" or name.endswith(".conf")):
                    yield os.path.join(directory, name)


def owner(path, text):
    found = re.match(r"# webops: ([a-z0-9-]+)\n", text)
    return f"the vhost '{found[1]}'" if found else f"{path}, which WebOps did not write,"


def refuse_without_certificate(name):
    if name and not os.path.exists(f"{CERTIFICATES}/{name}/fullchain.pem"):
        raise Refused(f"There is no certificate '{name}' on this server.",
                      f"Apply the certificate '{name}' first, then this again.")


def replace(changes):
    done = []
    with until_felt("nginx"):
        try:
            for entry, seen in changes:
                put(entry)
                done.append(seen)
            reload()
        except BaseException:
            for seen in reversed(done):
                bring_back(seen)
            raise


def reload():
    """Let nginx take it up; wait until only new workers accept, so that whoever asks next gets what is new."""
    before = workers()
    verb = "reload" if before else "start"
    ask(["systemctl", verb, "nginx.service"], f"nginx did not {verb}; the old configuration is back in place.")
    until = time.monotonic() + 30
    while time.monotonic() < until and (not workers() - before or any(map(accepts, before))):
        time.sleep(0.02)


def workers():
    try:
        with open("/run/nginx.pid", encoding="ascii") as file:
            master = int(file.read())
        with open(f"/proc/{master}/task/{master}/children", encoding="ascii") as file:
            return set(file.read().split())
    except (OSError, ValueError):
        return set()


def accepts(worker):
    """An old worker takes new connections until it says in its title that it is shutting down, or is gone."""
    try:
        with open(f"/proc/{worker}/cmdline", encoding="ascii", errors="replace") as file:
            return "worker process" in (title := file.read()) and "shutting down" not in title
    except OSError:
        return False


def difference(entry, seen):
    after = entry.content.decode() if entry.state == "file" else f"-> {entry.link}\n" if entry.link else ""
    return {"before_header": entry.path, "after_header": entry.path, "before": text_of(seen), "after": after}


if __name__ == "__main__":
    main()
