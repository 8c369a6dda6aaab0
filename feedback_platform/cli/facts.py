"""`feedback status`, `versions`, `diff` and `config`: what is there, without changing it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from feedback_platform.cli.finding import all_names, compiled, log_positions, positions_mapping
from feedback_platform.cli.screen import json_option, print_json, print_table, say
from feedback_platform.errors import NotFoundError
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.compile.window import Compiler

MOST_EXAMPLES = 10


@click.command("status")
@click.argument("dataset", required=False)
@json_option
@click.pass_obj
def status_command(settings: Settings, dataset: str | None, as_json: bool) -> None:
    """Where every accepted event is: the logs, and each dataset's ledger at its last window.

    Exits with 1 when an event is unaccounted for.
    """
    names = [dataset] if dataset else all_names(settings)
    facts = status_facts(settings, names)
    if as_json:
        print_json(facts)
    else:
        _show_status(facts)
    if facts["unaccounted"]:
        raise SystemExit(1)


@click.command("versions")
@click.argument("dataset")
@json_option
@click.pass_obj
def versions_command(settings: Settings, dataset: str, as_json: bool) -> None:
    """Published versions of DATASET, oldest first."""
    from feedback_platform.compile.manifest import summary

    published = [dict(summary(m)) for m in compiled(settings, dataset).store.versions()]
    if as_json:
        print_json(published)
        return
    if not published:
        say(f"{dataset} has no version yet. `feedback compile {dataset}` makes one.")
        return
    rows = [
        (v["version"], (v["published_at"] or "")[:19], v["trigger"], counts(v["rows"]), counts(v["changes"]),
         v["state_hash"][:12], v["yanked"] or "")
        for v in published
    ]  # fmt: skip
    print_table(("version", "published (UTC)", "trigger", "rows", "changes", "state hash", "yanked"), rows)


@click.command("diff")
@click.argument("dataset")
@click.argument("older", type=int)
@click.argument("newer", type=int)
@json_option
@click.pass_obj
def diff_command(settings: Settings, dataset: str, older: int, newer: int, as_json: bool) -> None:
    """What changed in DATASET from version OLDER to version NEWER, and why."""
    from feedback_platform.compile.changes import changes_between

    if older >= newer:
        raise NotFoundError(f"version {older} is not earlier than {newer}. Name the earlier version first.")
    changes = changes_between(compiled(settings, dataset), older, newer)
    if as_json:
        print_json(asdict(changes))
        return
    if not changes.counts:
        say(f"Versions {older} and {newer} of {dataset} hold the same.")
        return
    print_table(
        ("objective", "change", "reason", "examples"),
        [(c.objective, c.change, c.reason, c.examples) for c in changes.counts[:30]],
        title=f"{dataset}: version {older} to version {newer}",
    )
    if changes.flips:
        rows = [(f.objective, f.before, f.after, f.examples) for f in changes.flips]
        print_table(("objective", "label before", "label after", "examples"), rows)
    for example in changes.samples[:MOST_EXAMPLES]:
        say(f"  {example.change}: {example.objective} example of {example.request_id} ({example.reason})")


@click.command("config")
@click.argument("dataset")
@json_option
@click.pass_obj
def config_command(settings: Settings, dataset: str, as_json: bool) -> None:
    """The full policy of DATASET as YAML, each value with where it comes from."""
    from feedback_platform.compile.datasets import find_dataset
    from feedback_platform.contracts.policies import policy_mapping

    source = find_dataset(settings, dataset)
    policy = policy_mapping(source.policy)
    origins = _origins(policy, source.given, str(source.path))
    if as_json:
        print_json({"file": str(source.path), "policy": policy, "origins": origins})
        return
    for line in _yaml_lines(policy, origins):
        click.echo(line)


def status_facts(settings: Settings, names: list[str]) -> dict[str, Any]:
    """Positions of the logs and the ledger of each dataset; top-level `unaccounted` is their sum."""
    positions = log_positions(settings)
    heads = (positions["inference"].accepted, positions["feedback"].accepted)
    datasets = {name: _dataset_facts(compiled(settings, name), heads) for name in names}
    return {
        "unaccounted": sum(facts["unaccounted"] for facts in datasets.values()),
        "tenant": settings.tenant,
        "home": str(settings.home),
        "logs": positions_mapping(positions),
        "datasets": datasets,
    }


def counts(numbers: dict[str, int]) -> str:
    """`name 1, other 2` without the zeros."""
    return ", ".join(f"{name} {n:,}" for name, n in numbers.items() if n) or "none"


def _dataset_facts(compiler: "Compiler", heads: tuple[int, int]) -> dict[str, Any]:
    from feedback_platform.compile.ledger import Account, Ledger, take_ledger

    store = compiler.store
    last, unfinished, published = store.last_closed(), store.open_one(), store.versions()
    if last is None:
        inference, feedback = (Account(accepted=head, not_yet_compiled=head) for head in heads)
        ledger = Ledger(inference, feedback)
    else:
        with compiler.engine() as engine:
            ledger = take_ledger(compiler.lake, last, engine, heads)
    facts = ledger.as_mapping()
    for kind, account in (("inference", ledger.inference), ("feedback", ledger.feedback)):
        facts[kind]["sum"] = sum(account.states.values()) + account.not_yet_compiled
    return {
        "window": last.window if last else None,
        "open_window": unfinished.window if unfinished else None,
        "version": published[-1].version if published else None,
        **facts,
    }


def _show_status(facts: dict[str, Any]) -> None:
    logs = [(name, log["accepted"], log["landed"], log["waiting"]) for name, log in facts["logs"].items()]
    print_table(("log", "accepted", "landed", "waiting"), logs, title=f"Tenant {facts['tenant']} in {facts['home']}")
    for name, dataset in facts["datasets"].items():
        if dataset["window"] is None:
            say(f"{name}: never compiled. `feedback compile {name}` makes the first version.")
            continue
        version = f"version {dataset['version']}" if dataset["version"] else "no version"
        still = f", window {dataset['open_window']} is open" if dataset["open_window"] else ""
        print_table(
            ("events", "state", "reason", "count"),
            [row for kind in ("inference", "feedback") for row in account_rows(kind, dataset[kind])],
            title=f"{name}: {version}, window {dataset['window']}{still}",
        )
        sums = ", ".join(f"{dataset[k]['sum']:,} of {dataset[k]['accepted']:,} {k}" for k in ("inference", "feedback"))
        say(f"Accounted for: {sums} events. Unaccounted: {dataset['unaccounted']}.")


def account_rows(kind: str, account: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    """One row per state and reason of one log."""
    rows = []
    for state, n in sorted(account["states"].items(), key=lambda item: -item[1]):
        reasons = account["reasons"].get(state) or {"": n}
        rows += [(kind, state, reason, count) for reason, count in sorted(reasons.items(), key=lambda i: -i[1])]
    if account["not_yet_compiled"]:
        rows.append((kind, "not yet compiled", "", account["not_yet_compiled"]))
    return rows


def _origins(policy: Any, given: Any, file: str, path: str = "") -> dict[str, str]:
    """Dotted path of each value -> `given in <file>` or `default`."""
    found: dict[str, str] = {}
    for key, value in policy.items():
        here = f"{path}{key}"
        told = given.get(key) if isinstance(given, dict) else None
        if isinstance(value, dict) and value:
            found |= _origins(value, told, file, f"{here}.")
        else:
            found[here] = f"given in {file}" if isinstance(given, dict) and key in given else "default"
    return found


def _yaml_lines(policy: dict[str, Any], origins: dict[str, str], path: str = "", depth: int = 0) -> list[str]:
    import yaml

    lines = []
    for key, value in policy.items():
        here, indent = f"{path}{key}", "  " * depth
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", *_yaml_lines(value, origins, f"{here}.", depth + 1)]
        else:
            shown = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
            lines.append(f"{f'{indent}{key}: {shown}':<58} # {origins[here]}")
    return lines
