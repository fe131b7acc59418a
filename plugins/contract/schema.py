"""What a repository may say in webops.yml: the one home of it, in the words of JSON Schema.

The check (check.py) and the table in docs/contract.md are made from this structure. Beside JSON Schema's own words:
`format` is one of plugins/test/formats.py (or `command`), `also` lists other words that people write for a key, and
`kinds` names the kinds that a key is for (missing: all of them).
"""

from __future__ import annotations

from typing import Any

RUNNING = ["django_app"]
WORD = {"type": "string", "maxLength": 2000}
COMMAND: dict[str, Any] = {"type": ["string", "array"], "format": "command", "items": WORD, "maxItems": 100}

PROCESS: dict[str, Any] = {
    "type": "object",
    "required": ["command"],
    "properties": {
        "command": {
            **COMMAND,
            "description": "What is started.",
            "examples": ["celery -A shop worker"],
            "also": ["cmd", "run"],
        },
        "count": {
            "type": "integer",
            "minimum": 0,
            "maximum": 50,
            "default": 1,
            "description": "How many of them run at once.",
            "examples": [2],
            "also": ["scale", "replicas", "number"],
        },
        "memory": {
            "type": "string",
            "format": "size",
            "description": "One that would take more is ended and started anew. Left out, as `limits.memory`.",
            "examples": ["512M"],
        },
    },
}

CRON: dict[str, Any] = {
    "type": "object",
    "required": ["name", "schedule", "command"],
    "properties": {
        "name": {
            "type": "string",
            "format": "part_name",
            "description": "What the job is called.",
            "examples": ["nightly"],
        },
        "schedule": {
            "type": "string",
            "format": "schedule",
            "also": ["when", "calendar", "oncalendar", "time"],
            "description": "When it runs, in systemd's calendar form, in the server's time.",
            "examples": ["*-*-* 03:15"],
        },
        "command": {
            **COMMAND,
            "description": "What is run.",
            "examples": ["python manage.py clearsessions"],
            "also": ["cmd", "run"],
        },
    },
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {
            "type": "string",
            "format": "name",
            "examples": ["shop"],
            "description": "A name for the resource. It is offered, the name in WebOps holds.",
        },
        "kind": {
            "type": "string",
            "enum": ["django_app", "static_site"],
            "also": ["type"],
            "examples": ["django_app"],
            "description": "What the repository is. Left out, the kind that was chosen in WebOps.",
        },
        "python": {
            "type": "string",
            "format": "python_version",
            "also": ["python_version", "runtime"],
            "description": "Version of Python. Left out, the server's own.",
            "examples": ["3.12"],
        },
        "packages": {
            "type": "array",
            "items": {"type": "string", "format": "debian_package"},
            "maxItems": 100,
            "description": "Debian packages that the app or its build needs; those given in WebOps are added.",
            "examples": [["libmagic1"]],
            "also": ["apt", "apt_packages", "system_packages"],
        },
        "requirements": {
            "type": "string",
            "format": "relative_path",
            "also": ["dependencies"],
            "description": "File of the Python requirements. Left out, it is found.",
            "examples": ["requirements/production.txt"],
        },
        "django": {
            "type": "object",
            "kinds": RUNNING,
            "description": "Where the Django project is. Left out, it is found.",
            "properties": {
                "directory": {
                    "type": "string",
                    "format": "relative_path",
                    "examples": ["backend"],
                    "also": ["root", "path"],
                    "description": "Where `manage.py` lies.",
                },
                "settings": {
                    "type": "string",
                    "format": "python_module",
                    "examples": ["config.settings.production"],
                    "description": "Settings module.",
                    "also": ["settings_module"],
                },
                "wsgi": {
                    "type": "string",
                    "format": "wsgi_module",
                    "examples": ["config.wsgi:application"],
                    "description": "WSGI application.",
                    "also": ["wsgi_application", "application"],
                },
            },
        },
        "build": {
            "type": "array",
            "items": COMMAND,
            "maxItems": 20,
            "also": ["build_commands", "assets"],
            "description": "Commands that make the release, after the requirements are there and before static files "
            "are collected.",
            "examples": [["npm ci", "npm run build"]],
        },
        "publish": {
            "type": "string",
            "format": "relative_path",
            "kinds": ["static_site"],
            "examples": ["public"],
            "description": "The directory that visitors see, after the build. Left out, it is found.",
            "also": ["output", "public", "publish_directory"],
        },
        "release": {
            "type": "array",
            "items": COMMAND,
            "maxItems": 20,
            "kinds": RUNNING,
            "also": ["release_commands", "predeploy"],
            "description": "Commands before traffic goes to the release, after the migrations.",
            "examples": [["python manage.py warm_cache"]],
        },
        "processes": {
            "type": "object",
            "propertyNames": {"format": "process_name"},
            "additionalProperties": PROCESS,
            "maxProperties": 20,
            "kinds": RUNNING,
            "also": ["process", "workers", "services", "procs"],
            "description": "What runs beside the web process, each as units of its own.",
            "examples": [{"worker": {"command": "celery -A shop worker"}}],
        },
        "cron": {
            "type": "array",
            "items": CRON,
            "maxItems": 50,
            "kinds": RUNNING,
            "also": ["crons", "cronjobs", "schedule", "jobs", "timers"],
            "description": "Commands at set times.",
            "examples": [[{"name": "nightly", "schedule": "daily", "command": "python manage.py clearsessions"}]],
        },
        "health": {
            "type": "object",
            "kinds": RUNNING,
            "also": ["healthcheck", "health_check"],
            "description": "What a new release must answer before traffic goes to it.",
            "properties": {
                "path": {
                    "type": "string",
                    "format": "url_path",
                    "default": "/",
                    "examples": ["/healthz"],
                    "description": "The path that is asked.",
                    "also": ["url"],
                },
                "status": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 100, "maximum": 599},
                    "maxItems": 20,
                    "minItems": 1,
                    "default": [200, 204, 301, 302],
                    "examples": [[200]],
                    "also": ["statuses", "codes"],
                    "description": "Statuses that count as healthy.",
                },
                "timeout": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 300,
                    "default": 10,
                    "examples": [10],
                    "description": "Seconds to wait for one answer.",
                },
                "tries": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 600,
                    "default": 20,
                    "examples": [20],
                    "description": "How often it is asked, about once a second.",
                    "also": ["retries", "attempts"],
                },
            },
        },
        "environment": {
            "type": "object",
            "also": ["env", "variables", "envs"],
            "description": "Names of variables; values are given in WebOps.",
            "properties": {
                "required": {
                    "type": "array",
                    "items": {"type": "string", "format": "env_name"},
                    "maxItems": 200,
                    "examples": [["STRIPE_KEY"]],
                    "also": ["needed", "must"],
                    "description": "A deploy is refused before anything is built while one of them has no value.",
                },
                "optional": {
                    "type": "array",
                    "items": {"type": "string", "format": "env_name"},
                    "maxItems": 200,
                    "examples": [["SENTRY_DSN"]],
                    "description": "Offered, and may stay empty.",
                },
            },
        },
        "needs": {
            "type": "object",
            "kinds": RUNNING,
            "also": ["requires", "addons"],
            "description": "Resources beside the app.",
            "properties": {
                "database": {
                    "type": "boolean",
                    "examples": [True],
                    "also": ["db", "postgres", "postgresql"],
                    "description": "A PostgreSQL database.",
                },
                "cache": {"type": "boolean", "examples": [True], "also": ["redis"], "description": "A Redis cache."},
            },
        },
        "limits": {
            "type": "object",
            "kinds": RUNNING,
            "also": ["limit", "resources"],
            "description": "What the app may use at most.",
            "properties": {
                "memory": {
                    "type": "string",
                    "format": "size",
                    "default": "1G",
                    "examples": ["512M"],
                    "also": ["ram", "mem"],
                    "description": "Of the web process, and of each other process that names none.",
                },
                "cpu": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 100000,
                    "default": 200,
                    "examples": [150],
                    "also": ["cpus"],
                    "description": "Percent of one processor.",
                },
                "tasks": {
                    "type": "integer",
                    "minimum": 8,
                    "maximum": 100000,
                    "default": 256,
                    "examples": [256],
                    "description": "Processes and threads at once.",
                    "also": ["pids", "threads"],
                },
            },
        },
    },
}
