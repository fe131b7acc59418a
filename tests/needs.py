"""What the tests need of this machine beside .venv: `python -m tests.needs` installs what is missing."""

from sandbox.debian import install
from sandbox.host import Requirement, requirements

BROWSER = [Requirement("chromium", "chromium", "is the browser that the browser tests drive"),
           Requirement("libnss3-tools", "certutil", "tells that browser of the sandbox's certificate authority")]

VISITORS = [Requirement("hey", "hey", "visits sites while they are deployed")]

if __name__ == "__main__":
    install([*requirements(), *BROWSER, *VISITORS])
