# webops
"""What openssl says and makes: dates, self-signed pairs, and whether somebody's own pair is any good."""

import ssl
import tempfile
import time
from pathlib import Path

from machine import Refused, run, telling, write

SELF_SIGNED_DAYS = "820"


def self_signed(domains):
    with tempfile.TemporaryDirectory() as place:
        names = ",".join(f"DNS:{domain}" for domain in domains)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                SELF_SIGNED_DAYS, "-subj", f"/O=WebOps self-signed/CN={domains[0][:64]}", "-addext",
                f"subjectAltName={names}", "-keyout", f"{place}/key", "-out", f"{place}/chain")
        return Path(place, "chain").read_text(), Path(place, "key").read_text()


def check_own(own, domains):
    """A person's certificate is judged before it replaces anything."""
    if not own["certificate"].strip() or not own["key"].strip():
        raise Refused("A certificate of your own needs the certificate and its key.",
                      "Give both as PEM text: the certificate first, then its chain.")
    with tempfile.TemporaryDirectory() as place:
        chain, key = Path(place, "chain"), Path(place, "key")
        write(chain, own["certificate"], 0o600)
        write(key, own["key"], 0o600)
        public = openssl("x509", "-in", str(chain), "-noout", "-pubkey", sentence="The certificate cannot be read.")
        secret = openssl("pkey", "-in", str(key), "-pubout", "-passin", "pass:", sentence="The key cannot be read.")
        if public != secret:
            raise Refused("The key does not belong to the certificate.",
                          "Give the key that the certificate was asked with.")
        end = dates(chain)[1]
        if end < time.time():
            day = time.strftime("%Y-%m-%d", time.gmtime(end))
            raise Refused(f"The certificate expired on {day}.", "Give a current one.")
        for domain in domains:
            # Newer versions of openssl also end with an error where a name does not match: only the words count.
            if "does match" not in run(["openssl", "x509", "-in", str(chain), "-noout", "-checkhost", domain]).stdout:
                raise Refused(f"The certificate does not cover {domain}.", f"Give one that names {domain}.")


def dates(chain):
    text = openssl("x509", "-in", str(chain), "-noout", "-startdate", "-enddate")
    return tuple(ssl.cert_time_to_seconds(line.partition("=")[2]) for line in text.splitlines())


def openssl(*arguments, sentence="openssl could not do its part."):
    ended = run(["openssl", *arguments])
    if ended.returncode:
        raise Refused(sentence, "Give PEM text, beginning with -----BEGIN.", telling(ended)[-3:])
    return ended.stdout
