# Part of WebOps. Settings of gunicorn that do not differ between apps; what differs is on its command line.
# A file, because gunicorn passes over names in it that its version does not know yet.
worker_class = "gthread"
# Heartbeats in memory: a busy disk never makes a worker look dead.
worker_tmp_dir = "/dev/shm"  # noqa: S108
# Only nginx can reach the socket, so what it says about the visitor is true.
forwarded_allow_ips = "*"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
accesslog = None
errorlog = "-"
control_socket_disable = True
