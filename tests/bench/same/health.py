"""Asks a slot for its page until it answers 200, as nginx would: health.py SOCKET HOST PATH."""

import http.client
import socket
import sys
import time

path, host, target = sys.argv[1:]
for _attempt in range(50):
    try:
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(path)
        connection.request("GET", target, headers={"X-Forwarded-Proto": "https"})
        if connection.getresponse().status == 200:
            sys.exit()
    except OSError:
        pass
    time.sleep(0.1)
sys.exit("The new release is not healthy.")
