"""What link and askers agree on: the keys in Redis, how long they live, how much they may hold.

A request is a key of its own that expires with the asker's patience, and its id on a list: a link that comes
back later finds the id without the key and leaves it alone.
"""

from __future__ import annotations

#: List of ids of requests that nobody has taken yet.
REQUESTS = "webops:link:requests"
#: Exists as long as a link is running.
ALIVE = "webops:link:alive"
ALIVE_SECONDS = 15
#: Channel per server: "a run ended, look again"; also rung for a server that is new or gone.
OBSERVE = "webops:observe:"
#: Channel: something observed has changed; the message is {"server": id, "resources": [ids]}.
OBSERVED = "webops:observed"

#: Seconds that an answer waits for its asker.
REPLY_SECONDS = 60

#: Seconds without a sign of the reader of a journal after which the link stops following.
READER_SECONDS = 60
#: Seconds without a sign of the link after which a reader gives up.
WRITER_SECONDS = 30
#: Lines that may wait for their reader; the journal is held back on the server beyond that.
WAITING_LINES = 2000
#: Longest text of a line; the rest is cut with a note.
LINE_CHARACTERS = 8000
#: Most lines from before "now" that one request may ask for.
MOST_LINES = 10_000


def request_key(number: str) -> str:
    return f"webops:link:request:{number}"


def reply_key(number: str) -> str:
    return f"webops:link:reply:{number}"


def keys_key(stream: str) -> str:
    """List of what was typed into a terminal and has not reached the server yet."""
    return f"webops:terminal:{stream}:keys"


def owner_key(stream: str) -> str:
    """The id of the person whose terminal it is."""
    return f"webops:terminal:{stream}:owner"


def asked_key(stream: str) -> str:
    """What was asked of a desk and has not reached the server yet."""
    return f"webops:chat:{stream}:asked"


def lines_key(stream: str) -> str:
    return f"webops:journal:{stream}"


def reader_key(stream: str) -> str:
    return f"webops:journal:{stream}:reader"


def writer_key(stream: str) -> str:
    return f"webops:journal:{stream}:writer"
