"""The README's walk-through, run as it stands in a fresh folder; and the generated tables page is current."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from feedback_platform.contracts.docs import tables_page

ROOT = Path(__file__).parent.parent


SERVE = "<!-- serve:"


def blocks(text: str) -> list[str]:
    """The `sh` blocks of a text."""
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def walk_through() -> str:
    """All `sh` blocks after the marker but the one that serves, one script."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- walk-through", 1)[1]
    before, served = text.split(SERVE, 1)
    return "\n".join([*blocks(before), *blocks(served)[1:]])


def pasted(script: str, folder: Path) -> str:
    """What a shell prints when the script is pasted into it, in a fresh folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "FEEDBACK_HOME": str(folder / "home"), "FEEDBACK_THREADS": "1"}
    env.pop("FEEDBACK_TENANT", None)
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_walk_through_works_as_pasted(tmp_path):
    script = walk_through()
    assert script.count("feedback compile support_bot") == 3
    told = pasted(script, tmp_path)
    assert "Accepted 4 inferences and 3 feedback events; 0 were here already," in told
    assert "Published support_bot version 1: 2 preference (2 added)." in told
    assert "Accepted 0 inferences and 1 feedback events; 3 were here already" in told
    assert "Published support_bot version 2: 1 preference (1 removed)." in told
    assert "Every version is the same again." in told
    assert "Unaccounted: 0." in told
    assert "All is well." in told


@pytest.mark.skipif(shutil.which("curl") is None, reason="the block is for a shell with curl")
def test_the_serve_block_works_as_pasted(tmp_path):
    script = blocks((ROOT / "README.md").read_text(encoding="utf-8").split(SERVE, 1)[1])[0]
    with socket.socket() as probe:  # only the port differs, since 8700 may be taken here
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = pasted(script.replace("8700", str(port)).replace("serve --dev", f"serve --port {port} --dev"), tmp_path)
    assert '{"id":"chat-1","log_seq":1,"durable":true,"duplicate":false}' in told
    assert "Published help_bot version 1: 1 preference (1 added)." in told
    assert "Choose Forgot password on the sign-in page." in told
    assert '"in_dataset"' in told


def test_the_readme_shows_the_smallest_dataset_that_init_writes(tmp_path):
    from click.testing import CliRunner

    from feedback_platform.cli import main

    folder = tmp_path / "support_bot"
    made = CliRunner().invoke(main, ["--home", str(tmp_path / "home"), "init", str(folder)])
    assert made.exit_code == 0, made.output
    written = [line.split("  #")[0].rstrip() for line in (folder / "defs.yaml").read_text().splitlines()]
    shown = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)[0]
    assert [line for line in written if line and not line.startswith("#")] == shown.splitlines()


def test_the_tables_page_is_current():
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    assert page == tables_page(), "run: python -m feedback_platform.contracts.docs > docs/tables.md"
