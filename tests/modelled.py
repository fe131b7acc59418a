"""An installation with a link, a server, and a model on it: a real gate in front of a fake engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from panel.link import client
from tests.gates import Gate
from tests.linked import Linked
from tests.processes import short_folder


class Modelled(Linked):
    """An installation with a link, a server, and a model `chat` on it."""

    gate: Gate
    server_id: int
    resource_id: int

    def held(self, change: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return list(client.ask("keys", resource_id=self.resource_id, change=change or {})["keys"])

    def figures(self) -> list[Any]:
        from panel.store import db
        from panel.store.figures import Figure

        with db.session() as session:
            return [row.data for row in session.query(Figure).order_by(Figure.at)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modelled]:
    from panel.settings import settings
    from panel.store import db, seal

    patch = pytest.MonkeyPatch()
    folder, place = tmp_path_factory.mktemp("linked"), short_folder("desk")
    patch.setenv("WEBOPS_STATE", str(folder / "state"))
    cached = (settings, db.engine, db._sessions, seal._fernet)
    for one in cached:
        one.cache_clear()
    db.upgrade()
    made = Modelled(folder)
    made.gate = Gate(place)
    made.gate.engine()
    made.gate.point_to("a")
    made.gate.start()
    made.fake_ssh()
    made.start_redis()
    made.answers("web1", "ok")
    made.server_id = made.add_server("web1")
    made.resource_id = made.add_resource("chat", made.server_id, "vllm_model")
    made.record("chat", "vllm_model", desk=str(made.gate.desk), keys=str(place / "env" / "keys.json"))
    made.start_link()
    yield made
    made.gate.close()
    made.close()
    patch.undo()
    db.engine().dispose()
    for one in cached:
        one.cache_clear()
    shutil.rmtree(place)
