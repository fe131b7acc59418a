#!/usr/bin/python
"""A PostgreSQL database with its owner, marked as ours, never taken over from somebody else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_database
short_description: Make a PostgreSQL database with its owner, or remove it
description:
  - Database and role carry the comment C(webops <name>). What is there without it is refused.
  - The owner's password is read from C(/etc/webops/secrets/<name>/password), and made where there is none.
options:
  name:
    description: Name of the resource.
    type: str
    required: true
  state:
    description: C(present) makes it, C(absent) forgets it, and drops it where C(drop) names the database.
    type: str
    choices: [present, absent]
    default: present
  database:
    description: Name of the database.
    type: str
    default: ""
  owner:
    description: Name of the role that owns it.
    type: str
    default: ""
  extensions:
    description: Extensions that it has.
    type: list
    elements: str
    default: []
  encoding:
    description: Encoding of a new database.
    type: str
    default: UTF8
  locale:
    description: Locale of a new database.
    type: str
    default: C.UTF-8
  drop:
    description: For C(absent), name of the database whose data shall go.
    type: str
    default: ""
  record:
    description: >-
      Kind and name, for what this server tells about the resource, as in M(webops_files); the cluster's unit is added.
    type: dict
author: WebOps
"""
EXAMPLES = r"""
- name: Make the database
  webops_database:
    name: shop-db
    database: shop
    owner: shop
    record: {kind: postgres_db, name: shop-db}
"""
RETURN = r"""
port:
  description: Where the cluster listens.
  type: int
  returned: always
"""

from ansible.module_utils import webops_kept
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_lock import Locked, held
from ansible.module_utils.webops_place import Entry, Refused, Seen, put
from ansible.module_utils.webops_postgresql import find_cluster, identifier, literal, matches, verifier
from ansible.module_utils.webops_record import Record

ROLE = """SELECT json_build_object('mark', shobj_description(oid, 'pg_authid'), 'login', rolcanlogin,
 'super', rolsuper, 'verifier', rolpassword) FROM pg_authid WHERE rolname = {owner};"""
DATABASE = """SELECT json_build_object('mark', shobj_description(d.oid, 'pg_database'),
 'owner', pg_get_userbyid(datdba),
 'owner_mark', shobj_description(datdba, 'pg_authid'), 'encoding', pg_encoding_to_char(encoding), 'locale', datcollate,
 'open', has_database_privilege('public', d.oid, 'CONNECT')) FROM pg_database d WHERE datname = {database};"""
OURS = """SELECT json_build_object('database', datname) FROM pg_database
 WHERE shobj_description(oid, 'pg_database') = {mark};
SELECT json_build_object('role', rolname) FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = {mark};"""


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "database": {"type": "str", "default": ""},
            "owner": {"type": "str", "default": ""},
            "extensions": {"type": "list", "elements": "str", "default": []},
            "encoding": {"type": "str", "default": "UTF8"},
            "locale": {"type": "str", "default": "C.UTF-8"},
            "drop": {"type": "str", "default": ""},
            "record": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**settle(module))
    except (Refused, Locked, ValueError) as error:
        module.fail_json(msg=str(error), next=getattr(error, "next", "Correct the value, then apply again."),
                         journal=getattr(error, "journal", []))


def settle(module):
    cluster, wish, check = find_cluster(), module.params, module.check_mode
    record = record_of(wish["record"], cluster.unit if cluster else "postgresql.service")
    if wish["state"] == "absent":
        stays = ours(wish, cluster)[0] if cluster and not wish["drop"] else []
        changed = carry_out(cluster, absent, wish, check) if cluster else False
        return {"changed": forget(wish["name"], record, check) or changed,
                "webops_summary": f"its data stays: database {stays[0]}" if stays else ""}
    if cluster is None and not check:
        raise Refused("PostgreSQL is not installed on this server.", "Apply this again: its package comes first.")
    changed = carry_out(cluster, present, wish, check) if cluster else True
    return {"changed": record.keep(check) or changed, "port": cluster.port if cluster else 5432}


def record_of(facts, unit):
    if not facts or facts.get("state") == "absent":
        return Record(facts)
    return Record({**facts, "url": "", "probes": [{"type": "unit", "units": [unit]}], "journal": [unit]})


def carry_out(cluster, plan, wish, check):
    """Say to PostgreSQL what `plan` finds to be said; whether that is anything."""
    with held("postgresql"):
        steps = plan({**wish, "check": check}, cluster)
        for database, sql in [] if check else steps:
            cluster.rows(sql, database)
    return bool(steps)


def forget(name, record, check):
    secrets = Seen(webops_kept.directory_of(name))
    if secrets.kind != "absent" and not check:
        put(Entry({"path": secrets.path, "state": "absent"}))
    return record.keep(check) or secrets.kind != "absent"


def mark_of(wish):
    return "webops " + wish["name"]


def present(wish, cluster):
    """Pairs of a database and what is to be said to it, in order."""
    role = first(cluster.rows(ROLE.format(owner=literal(wish["owner"]))))
    database = first(cluster.rows(DATABASE.format(database=literal(wish["database"]))))
    refuse_strangers(wish, role, database)
    refuse_second(wish, ours(wish, cluster))
    refuse_unchangeable(wish, database)
    lacking = lacking_extensions(wish, cluster, database)
    steps = [*for_role(wish, role), *for_database(wish, database)]
    return steps + [(wish["database"], f"CREATE EXTENSION IF NOT EXISTS {identifier(name)};") for name in lacking]


def first(rows):
    return rows[0] if rows else None


def refuse_strangers(wish, role, database):
    """Nothing of somebody else is taken over. A database of our own role is ours, even if a crash lost its comment."""
    for word, name, found in (("role", wish["owner"], role), ("database", wish["database"], database)):
        marks = {found["mark"], found.get("owner_mark") if found["mark"] is None else None} if found else set()
        if found and (mark_of(wish) not in marks or found.get("super")):
            raise Refused(f"The {word} '{name}' exists in PostgreSQL and was not made by WebOps for {wish['name']}.",
                          "Choose another name, or remove it there yourself. Nothing was changed.")


def ours(wish, cluster):
    """Names of the databases and of the roles that carry this resource's mark."""
    rows = cluster.rows(OURS.format(mark=literal(mark_of(wish))))
    return [row["database"] for row in rows if "database" in row], [row["role"] for row in rows if "role" in row]


def refuse_second(wish, found):
    """A new name would leave the data behind under the old one."""
    for word, wanted, names in (("database", wish["database"], found[0]), ("owner", wish["owner"], found[1])):
        if names and wanted not in names:
            raise Refused(f"The {word} of {wish['name']} is called '{names[0]}', which stays for its life.",
                          f"Use '{names[0]}' again, or make another resource for '{wanted}'.")


def refuse_unchangeable(wish, database):
    if not database:
        return
    for word in ("owner", "encoding", "locale"):
        if database[word].lower().replace("-", "") != wish[word].lower().replace("-", ""):
            raise Refused(f"The database '{wish['database']}' has the {word} {database[word]}, which stays.",
                          f"Leave the {word} as it is, or use a new database.")


def for_role(wish, role):
    name, password = identifier(wish["owner"]), webops_kept.read_or_make(wish["name"], "password", wish["check"])
    if role and role["login"] and matches(role["verifier"], password):
        return []
    verb = "ALTER" if role else "CREATE"
    return [("postgres", f"BEGIN; {verb} ROLE {name} LOGIN PASSWORD {literal(verifier(password))};"
                         f" COMMENT ON ROLE {name} IS {literal(mark_of(wish))}; COMMIT;")]


def for_database(wish, database):
    name, steps = identifier(wish["database"]), []
    if not database:
        steps.append(f"CREATE DATABASE {name} OWNER {identifier(wish['owner'])} TEMPLATE template0"
                     f" ENCODING {literal(wish['encoding'])} LC_COLLATE {literal(wish['locale'])}"
                     f" LC_CTYPE {literal(wish['locale'])};")
    if not database or database["mark"] != mark_of(wish):
        steps.append(f"COMMENT ON DATABASE {name} IS {literal(mark_of(wish))};")
    if not database or database["open"]:
        # Owners of other databases on this server shall not even connect.
        steps.append(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC;")
    return [("postgres", "\n".join(steps))] if steps else []


def lacking_extensions(wish, cluster, database):
    wanted = list(dict.fromkeys(wish["extensions"]))
    if not wanted:
        return []
    names = "SELECT json_build_object('name', {}) FROM {};"
    known = {row["name"] for row in cluster.rows(names.format("name", "pg_available_extensions"))}
    for name in wanted:
        if name not in known:
            raise Refused(f"PostgreSQL on this server has no extension '{name}'.",
                          f"Install its Debian package there (apt-cache search postgresql-{cluster.version}), "
                          "then apply again.")
    if not database:
        return wanted
    there = {row["name"] for row in cluster.rows(names.format("extname", "pg_extension"), wish["database"])}
    return [name for name in wanted if name not in there]


def absent(wish, cluster):
    """Data goes only when its name is given; found by our mark, so that nothing else can be named."""
    if not wish["drop"]:
        return []
    databases, roles = ours(wish, cluster)
    if databases and databases != [wish["drop"]]:
        raise Refused(f"The database of {wish['name']} is called '{databases[0]}', not '{wish['drop']}'.",
                      "Give exactly its name to remove its data. Nothing was changed.")
    steps = [("postgres", f"DROP DATABASE {identifier(name)} WITH (FORCE);") for name in databases]
    return steps + [("postgres", f"DROP ROLE {identifier(name)};") for name in roles]


if __name__ == "__main__":
    main()
