"""`feedback import` and `feedback pseudonym` when something is wrong: what is in is told, and nothing is made up."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from feedback_platform.cli import main
from feedback_platform.intake.privacy.pseudonyms import Pseudonyms
from feedback_platform.intake.tenants import open_tenant, pseudonym_key
from feedback_platform.settings import Settings
from feedback_platform_tests.builders import inference
from feedback_platform_tests.cli.events import write_lines
from feedback_platform_tests.intake.otlp.exports import as_json, span


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments], catch_exceptions=False)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("FEEDBACK_TENANT", raising=False)
    return tmp_path / "home"


def test_a_later_file_of_another_format_takes_nothing_from_the_earlier(home, tmp_path):
    good, bad = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    good.write_bytes(b"\n".join(as_json(span(id=f"{n:016x}")) for n in range(1, 101)))
    bad.write_text('{"question": "what is this?"}\n')
    result = run(home, "import", "otlp", str(good), str(bad))
    assert result.exit_code == 2
    assert "Accepted 100 inferences" in result.stdout
    assert "b.jsonl is not OTLP JSON" in result.stderr
    again = run(home, "import", "otlp", str(good), str(bad), "--json")
    assert again.exit_code == 2
    told = json.loads(again.stdout)
    assert (told["inferences_accepted"], told["duplicates"]) == (0, 100)
    assert "b.jsonl is not OTLP JSON" in again.stderr


def test_where_nothing_was_taken_only_the_error_is_told(home, tmp_path):
    bad = tmp_path / "b.jsonl"
    bad.write_text('{"question": "what is this?"}\n')
    result = run(home, "import", "otlp", str(bad))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "b.jsonl is not OTLP JSON" in result.stderr


def test_a_damaged_file_of_ours_tells_what_is_in_before_the_error(home, tmp_path):
    plain = write_lines(tmp_path / "i.jsonl", *(inference(f"r{n}") for n in range(5)))
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(plain.read_bytes())[:-8])
    result = run(home, "import", "jsonl", "--inferences", str(plain), "--inferences", str(cut))
    assert result.exit_code == 2
    assert "Accepted 5 inferences" in result.stdout
    assert "What could be read is imported" in result.stderr


def test_pseudonym_reads_the_key_and_never_makes_one(home):
    fresh = run(home, "pseudonym", "user-1")
    assert (fresh.exit_code, fresh.stdout) == (2, "")
    assert "tenant 'default' has accepted no event in this home" in fresh.stderr
    assert not home.exists()
    settings = Settings(home=home)
    open_tenant(settings).close()
    expected = Pseudonyms(pseudonym_key(settings)).of("person", "user-1")
    assert run(home, "pseudonym", "user-1").stdout == f"{expected}\n"
    path = settings.log_path.with_name("pseudonym.key")
    path.unlink()
    lost = run(home, "pseudonym", "user-1")
    assert (lost.exit_code, lost.stdout) == (2, "")
    assert "restore the key from the backup" in lost.stderr
    assert not path.exists()
