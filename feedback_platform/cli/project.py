"""`feedback init`: a folder with a dataset of one's own, outside this repository."""

import re
from pathlib import Path

import click

from feedback_platform.cli.screen import say
from feedback_platform.errors import ConfigError
from feedback_platform.settings import Settings

_YAML = """\
# A dataset is one component. Every policy has a default: `feedback config {name}` shows them all and where they
# come from; `feedback plan {name} --set resolve.agreement=0.8` tells what another value would change.
type: feedback_platform.components.FeedbackDataset
attributes:
  name: {name}
  select: {{models: [{model}]}}       # also versions, tasks, environments, variants, where
  objectives: [preference]         # sft, preference, unpaired, classification
"""
_README = """\
# {name}

`defs.yaml` declares the dataset; the `feedback` command and Dagster both find it here (this folder is remembered in
`FEEDBACK_HOME/projects.json`).

```
feedback import jsonl --inferences inferences.jsonl --feedback feedback.jsonl
feedback compile {name}
feedback status {name}
feedback export {name} --format dpo --out dpo
```

One JSON object per line. An inference has at least `request_id`, `timestamp`, `model`, `model_version`, `input` and
`output`; feedback has `feedback_type`, `feedback_value` and a target such as `request_id`. Lines that break the
contract are refused one by one, each with its reason.
"""


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", help="Name of the dataset; from the folder's name by default.")
@click.option("--model", help="Model whose inferences it selects; from the name by default.")
@click.pass_obj
def init_command(settings: Settings, folder: Path, name: str | None, model: str | None) -> None:
    """Make a project in DIR: a dataset of your own in a defs.yaml of five lines."""
    from feedback_platform.compile.datasets import find_datasets, remember_project
    from feedback_platform.contracts.policies import resolve_policy
    from feedback_platform.lake.files import make_folder, write_atomically

    name = name or re.sub(r"[^a-z0-9]+", "_", folder.absolute().name.lower()).strip("_")
    resolve_policy({"name": name})
    files = {folder / "defs.yaml": _YAML, folder / "README.md": _README}
    for path in files:
        if path.exists():
            raise ConfigError(f"{path} exists and is not overwritten. Name another folder, or delete it first.")
    taken = find_datasets(settings).get(name)
    if taken is not None:
        raise ConfigError(f"dataset {name!r} is declared in {taken.path}. Choose another with --name.")
    make_folder(folder.absolute())
    for path, text in files.items():
        write_atomically(path.absolute(), text.format(name=name, model=model or name.replace("_", "-")).encode())
    remember_project(settings, folder)
    say(f"Dataset {name} is declared in {folder / 'defs.yaml'}. Next: edit it, import events, then")
    say(f"  feedback compile {name}")
