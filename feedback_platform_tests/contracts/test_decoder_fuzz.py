"""Whatever comes in, a decoder takes it or refuses it with a documented error; a million inputs did neither more nor less.

`FEEDBACK_FUZZ_INPUTS` sets how many (1,000,000), `FEEDBACK_FAULT_SEED` which. A failure names its input's number, and
`python -m feedback_platform_tests.contracts.fuzzing NUMBER 1 SEED` repeats it.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from feedback_platform.contracts.refusals import REASONS
from feedback_platform.errors import ContractViolation
from feedback_platform.intake.door import Door
from feedback_platform_tests.contracts.fuzz_targets import Targets
from feedback_platform_tests.contracts.fuzzing import KINDS, made

INPUTS = int(os.environ.get("FEEDBACK_FUZZ_INPUTS", "1000000"))
SEED = int(os.environ.get("FEEDBACK_FAULT_SEED", "1"))
PROCESSES = 2
SLOWEST_SECONDS = 5.0  # on a machine with other things to do; alone, none takes a second
# What the door refuses for other reasons than its form.
NOT_OF_THE_FORM = {"rate_limited", "personal_data", "not_mapped", "id_conflict", "event_too_large", "string_too_long"}


def test_a_few_thousand_inputs_are_taken_or_refused() -> None:
    counts, landed = fuzzed(3_000, processes=1)
    assert counts.total() == 3_000
    assert {name.split()[0] for name in counts} == {name for name, *_ in KINDS}
    assert landed > 200


@pytest.mark.slow
def test_a_million_inputs_are_taken_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    counts, landed = fuzzed(INPUTS, PROCESSES)
    with capsys.disabled():
        sys.stdout.write(f"\nseed {SEED}: {counts.total():,} inputs, {landed:,} events accepted and landed\n")
    assert counts.total() == INPUTS
    assert landed > INPUTS // 20, "hardly anything was good enough to go further than the parser"
    never_met = REASONS.keys() - NOT_OF_THE_FORM - {name.split()[1] for name in counts}
    assert not never_met or INPUTS < 10**6, "inputs that are refused for these reasons were never made"


def test_the_same_number_is_the_same_input() -> None:
    assert [made(n, 1) for n in range(50)] == [made(n, 1) for n in range(50)]
    assert made(1, 1) != made(1, 2)


def test_a_key_with_half_a_surrogate_pair_is_refused_in_words_that_can_be_sent(tmp_path: Path) -> None:
    assert Targets(tmp_path).feed("inference", b'{"a\\ud800":1,"a\\ud800":2}', 0) == "duplicate_key"


def test_a_decoder_that_raises_something_else_is_found(tmp_path: Path) -> None:
    targets = Targets(tmp_path)
    targets.doors = [Door(targets.log, "default", iter(()).__next__)]
    with pytest.raises(StopIteration):
        targets.feed("inference", b"{}", 0)


def test_an_accepted_event_that_cannot_be_landed_is_found(tmp_path: Path) -> None:
    targets = Targets(tmp_path)
    targets.rows["feedback"] = [(n, b'{"schema_version":1}') for n in range(3)]
    with pytest.raises(ContractViolation, match="null"):
        targets.land()


def fuzzed(inputs: int, processes: int) -> tuple[Counter[str], int]:
    """Run fuzzers side by side; what became of their inputs, and how many accepted events were landed."""
    share = -(-inputs // processes)
    command = [sys.executable, "-m", "feedback_platform_tests.contracts.fuzzing"]
    running = [
        subprocess.Popen(
            [*command, str(first), str(min(share, inputs - first)), str(SEED)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for first in range(0, inputs, share)
    ]  # fmt: skip
    counts: Counter[str] = Counter()
    landed = 0
    try:
        for process in running:
            said, errors = process.communicate()
            assert process.returncode == 0, errors[-4_000:]
            facts = json.loads(said)
            counts.update(facts["counts"])
            landed += facts["landed"]
            assert facts["slowest"][0] < SLOWEST_SECONDS, (
                f"input {facts['slowest'][1]} took {facts['slowest'][0]:.1f} s"
            )
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return counts, landed
