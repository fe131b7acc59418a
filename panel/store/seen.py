"""What is seen of a resource, read off its places: on one server what was seen there, on a group the worst of all."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from panel.store.states import Observed

if TYPE_CHECKING:
    from panel.store.models import Server
    from panel.store.places import Group, Place

#: From well to worst. What nobody could look at is not said to be broken.
_WORSE = ("ok", "unknown", "stopped", "missing", "failed")


class Seen:
    """Of a resource with `places` and perhaps a `group`; all of it is read, nothing is kept."""

    if TYPE_CHECKING:
        group: Any
        places: Any

    @property
    def servers(self) -> list[Server]:
        """The servers that it is on, or is to be on; of a group in its order."""
        found = [place.server for place in self.places]
        order = [one.id for one in self.group.servers] if self.group else []
        return sorted(found, key=lambda one: order.index(one.id) if one.id in order else len(order))

    @property
    def server(self) -> Server | None:
        """Its one server; None: it lives on a group."""
        return self.places[0].server if self.group is None and self.places else None

    @server.setter
    def server(self, server: Server) -> None:
        from panel.store.places import Place

        self.places = [Place(server=server)]

    @property
    def where(self) -> Server | Group:
        """What it lives on. A row that is being made has nothing yet: AssertionError."""
        found = self.group or self.server
        assert found is not None
        return found

    def place_on(self, server: Server | None) -> Place | None:
        return next((one for one in self.places if server is not None and one.server_id == server.id), None)

    @property
    def worst(self) -> Place | None:
        """The place that somebody should look at first; None: there is none yet."""
        return max(self.places, key=lambda one: _WORSE.index(one.observed.value), default=None)

    @property
    def observed(self) -> Observed:
        return self.worst.observed if self.worst else Observed.UNKNOWN

    @property
    def observed_text(self) -> str:
        worst = self.worst
        if worst is None:
            return "Not looked at yet."
        if len(self.places) == 1 or all(one.observed_text == worst.observed_text for one in self.places):
            return worst.observed_text
        if worst.observed.value == "ok":
            word = worst.observed_text.partition(":")[0]
            return f"{word}: on all of its {len(self.places)} servers." if len(word) <= 20 else worst.observed_text
        # The word that opens a sentence stays in front: pages take it for the badge.
        word, colon, rest = worst.observed_text.partition(": ")
        said = f"{word}: on {worst.server.name}, {rest[:1].lower()}{rest[1:]}" if colon and len(word) <= 20 \
            else f"{worst.server.name}: {worst.observed_text}"
        same = sum(one.observed is worst.observed for one in self.places)
        return said + (f" The same on {same - 1} more." if same > 1 else "")

    @property
    def observed_at(self) -> datetime | None:
        """When it was looked at last, everywhere: None while one of its servers was not."""
        moments = [one.observed_at for one in self.places]
        return None if None in moments or not moments else min(one for one in moments if one)

    @property
    def observed_data(self) -> dict[str, Any]:
        """What the link read: of the first of its servers on which it read anything."""
        return next((one.observed_data for one in self.places if one.observed_data), {})
