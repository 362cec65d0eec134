"""Certificates for tests, made by openssl; those that have ended are made by its oldest way."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path


def make_certificate(place: Path, *, days: int = 400) -> tuple[Path, Path]:
    """(certificate, key) of localhost, which ends ``days`` from now, -1 for yesterday."""
    cert, key = place / "cert.pem", place / "key.pem"
    now = time.time()
    form = "%Y%m%d%H%M%SZ"
    start = time.strftime(form, time.gmtime(now - 10 * 86_400))
    end = time.strftime(form, time.gmtime(now + days * 86_400))
    config = place / "ca.cnf"
    config.write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={place}/index\nnew_certs_dir={place}\n"
        f"serial={place}/serial\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
    )
    (place / "index").write_text("")
    (place / "serial").write_text("01")
    request = place / "request.pem"
    _openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(request),
        "-subj", "/CN=localhost",
    )  # fmt: skip
    _openssl(
        "ca", "-batch", "-selfsign", "-config", str(config), "-keyfile", str(key),
        "-in", str(request), "-out", str(cert), "-startdate", start, "-enddate", end, "-notext",
    )  # fmt: skip
    return cert, key


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
