"""The served API holds what its document promises, whatever is sent: no fault, no status or form that is not described.

Cases come from schemathesis, the same at each run; how many there were and what they got is read off the server's own
counters. About five minutes on two cores.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from feedback_platform.api.openapi import document
from feedback_platform_tests.api.serving import Served, served
from feedback_platform_tests.publish.builders import Book, pair, sft

CASES = 10_000
EXAMPLES = 400
STRANGER_EXAMPLES = 15
SECONDS = 480
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "allow_header_conformance",
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path):
    """A server with a good and a yanked version to export."""
    book = Book(tmp_path / "home")
    book.publish([sft("a"), pair("p")])
    book.yank(book.publish([sft("a"), sft("c")]))
    with served(book.settings.home, "--dev") as running:
        yield running


def fuzz(server: Served, folder: Path, examples: int, *options: str) -> None:
    """Run the fuzzer; its report is the message of a failure."""
    command = [str(Path(sys.executable).with_name("st")), "--no-color", "run", f"{server.url}/openapi.json",
               "--max-examples", str(examples), "--generation-deterministic", "--continue-on-failure",
               "--checks", ",".join(CHECKS), "--warnings", "off", *options]  # fmt: skip
    project = Path(__file__).parents[2]
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "feedback_platform_tests.api.fuzz_hooks", "PYTHONPATH": str(project)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def answered(server: Served) -> Counter[tuple[str, str]]:
    """How many requests each endpoint answered with each status."""
    text = server.get("/metrics").body.decode()
    lines = re.findall(r'^feedback_requests_total{endpoint="(.+?)",status="(\d+)"} ([\d.]+)$', text, re.MULTILINE)
    return Counter({(endpoint, status): int(float(count)) for endpoint, status, count in lines})


def test_whatever_is_sent_the_answer_is_one_of_those_described(server, tmp_path):
    fuzz(server, tmp_path, EXAMPLES, "--phases", "examples,coverage,fuzzing",
         "--generation-with-security-parameters", "false")  # fmt: skip
    counts = answered(server)
    assert counts.total() >= CASES
    assert {endpoint for endpoint, _ in counts} == set(document()["paths"]), "an endpoint was never asked"
    assert not [(e, s) for e, s in counts if s >= "500"]
    described = {
        (path, status)
        for path, methods in document()["paths"].items()
        for operation in methods.values()
        for status in operation["responses"]
    }
    assert set(counts) <= described
    seen = Counter[str]()
    for (_, status), n in counts.items():
        seen[status] += n
    assert {"200", "202", "204", "207", "400", "404", "405", "409", "413", "415", "422"} <= set(seen)
    assert server.get("/readyz").status == 200, "the server is as well as before"


def test_keys_and_tokens_that_nobody_made_open_nothing(server, tmp_path):
    fuzz(server, tmp_path, STRANGER_EXAMPLES, "--phases", "fuzzing", "--header", "Authorization: Bearer fp_stranger")
    counts = answered(server)
    open_paths = {p for p, methods in document()["paths"].items() for o in methods.values() if not o["security"]}
    let_in = {(e, s) for e, s in counts if e not in open_paths | {"/metrics"} and s not in ("401", "405")}
    assert not let_in
    assert counts.total() > 100
