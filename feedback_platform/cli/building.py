"""`feedback compile`, `plan` and `rebuild`: versions made, foretold and made again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from feedback_platform.cli.finding import compiler_for, log_positions
from feedback_platform.cli.incoming import land_all
from feedback_platform.cli.screen import json_option, print_json, print_table, program, say, step_line, working
from feedback_platform.errors import ConfigError
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.compile.manifest import TableStep
    from feedback_platform.compile.plan import Plan
    from feedback_platform.compile.rebuild import Rebuilt
    from feedback_platform.compile.window import Compiler
    from feedback_platform.outputs import Compiled


@click.command("compile")
@click.argument("dataset")
@click.option("--dry-run", is_flag=True, help="Say what the next window would do, from what is landed; write nothing.")
@click.option("--abandon", "gives_up", is_flag=True, help="Give up the open window and free its dataset.")
@click.option("--trigger", default="manual", show_default=True, help="What the manifest notes as the cause.")
@click.option("--land/--no-land", "lands", default=True, show_default=True, help="Land waiting events first.")
@json_option
@click.pass_obj
def compile_command(
    settings: Settings, dataset: str, dry_run: bool, gives_up: bool, trigger: str, lands: bool, as_json: bool
) -> None:
    """Compile DATASET: cut or resume a window, advance every table, publish a version."""
    compiler = compiler_for(settings, dataset)
    if gives_up:
        _abandon(compiler, as_json)
        return
    if dry_run:
        _show_plan(settings, _plan(compiler, dataset, {}), as_json)
        return
    if lands and settings.log_path.exists():
        land_all(settings)
    from feedback_platform.outputs import compile_once

    result = compile_once(compiler, trigger, _progress)
    show_compiled(settings, dataset, result, as_json)


@click.command("plan")
@click.argument("dataset")
@click.option("--set", "changes", multiple=True, metavar="PATH=VALUE", help="Try another policy: resolve.agreement=0.8")
@json_option
@click.pass_obj
def plan_command(settings: Settings, dataset: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Show what the next window of DATASET would add, remove and relabel, under its policy or another."""
    wanted = dict(_assignment(text) for text in changes)
    _show_plan(settings, _plan(compiler_for(settings, dataset), dataset, wanted), as_json)


@click.command("rebuild")
@click.argument("dataset")
@click.option("--verify", is_flag=True, help="Only compare hashes; the tables stay as they are.")
@json_option
@click.pass_obj
def rebuild_command(settings: Settings, dataset: str, verify: bool, as_json: bool) -> None:
    """Replay every window of DATASET from the raw tables and compare hashes; then put the new tables in place.

    Exits with 1, and leaves the tables alone, when any hash differs.
    """
    from feedback_platform.compile.rebuild import rebuild
    from feedback_platform.compile.restore import restore
    from feedback_platform.outputs import after_publication

    compiler = compiler_for(settings, dataset)
    with working(f"rebuilding {dataset}") as progress:
        make = rebuild if verify else restore
        results = make(compiler, progress=lambda r: progress(f"window {r.window}, {'equal' if r.equal else 'DIFFERS'}"))
        differ = [r for r in results if not r.equal]
        if results and not verify and not differ:
            after_publication(compiler)
    _show_rebuilt(dataset, results, as_json, replaced=not verify and not differ)
    if differ:
        raise SystemExit(1)


def show_compiled(settings: Settings, dataset: str, result: "Compiled", as_json: bool) -> None:
    """What a compilation came to."""
    manifest = result.manifest
    if as_json:
        from feedback_platform.compile.manifest import summary

        facts = summary(manifest) if manifest is not None else {}
        print_json({"outcome": result.outcome, "skipped_formats": result.skipped_formats, **facts})
        return
    if result.outcome == "nothing_new" or manifest is None:
        waiting = sum(p.waiting for s, p in log_positions(settings).items() if s != "dead_letter")
        hint = f" {waiting:,} events wait to be landed: `feedback land`." if waiting else ""
        say(f"Nothing new to compile for {dataset}: no new events, the same policy.{hint}")
        return
    done = {"add": "added", "update": "updated", "remove": "removed"}
    changes = ", ".join(f"{n:,} {done[what]}" for what, n in manifest.changes.items() if n) or "no changes"
    if result.outcome == "empty":
        say(f"Window {manifest.window} of {dataset} is closed and publishes nothing ({changes}).")
        return
    rows = ", ".join(f"{n:,} {objective}" for objective, n in manifest.rows.items())
    say(f"Published {dataset} version {manifest.version}: {rows} ({changes}).", style="bold")
    for name in result.skipped_formats:
        say(f"No {name} export: the version has nothing for it.")
    say(f"See `{program()} diff`, `{program()} explain ID`, and the report in {settings.reports / dataset}.")


def _progress(name: str, step: "TableStep") -> None:
    step_line(name, f"+{step.added:,} ~{step.updated:,} -{step.removed:,}", step.seconds)


def _abandon(compiler: "Compiler", as_json: bool) -> None:
    from feedback_platform.compile.window import abandon

    with compiler.lease(what="abandon"):
        manifest = abandon(compiler, why="given up with `feedback compile --abandon`")
    if as_json:
        print_json({"abandoned": manifest.window if manifest else None})
        return
    if manifest is None:
        say(f"{compiler.policy.name} has no open window; there is nothing to give up.")
        return
    say(f"Window {manifest.window} is given up; its rows are gone and its number is never used again.")


def _assignment(text: str) -> tuple[str, Any]:
    import yaml

    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {text!r} is not understood. Write PATH=VALUE, such as resolve.agreement=0.8.")
    return path.strip(), yaml.safe_load(value)


def _plan(compiler: "Compiler", dataset: str, wanted: Mapping[str, Any]) -> "Plan":
    from feedback_platform.compile.datasets import find_dataset
    from feedback_platform.compile.plan import make_plan
    from feedback_platform.contracts.policies import resolve_policy

    policy = None
    if wanted:
        given: dict[str, Any] = dict(find_dataset(compiler.settings, dataset).given)
        for path, value in wanted.items():
            given = _with(given, path.split("."), value)
        policy = resolve_policy(given)
        if policy.name != dataset:
            raise ConfigError("--set name=... would be another dataset. Plan that one by its name.")
    with working(f"planning {dataset}"):
        return make_plan(compiler, policy)


def _with(given: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    inner = given.get(path[0]) or {}
    if len(path) == 1:
        return {**given, path[0]: value}
    return {**given, path[0]: _with(inner if isinstance(inner, Mapping) else {}, path[1:], value)}


def _show_plan(settings: Settings, plan: "Plan", as_json: bool) -> None:
    if as_json:
        print_json(plan.as_mapping())
        return
    waiting = sum(p.waiting for s, p in log_positions(settings).items() if s != "dead_letter")
    if waiting:
        say(f"{waiting:,} accepted events are not landed yet and not part of this.")
    if plan.nothing_to_do:
        say(f"Nothing to do for {plan.dataset}: no new events, the same policy.")
        return
    say(f"The next window of {plan.dataset} would be cut for the trigger {plan.trigger}; it is {plan.cost}.")
    for path, (before, after) in plan.policy_changes.items():
        say(f"  policy: {path} from {before} to {after}")
    kinds = ("add", "update", "remove")
    rows = [(objective, *(ops.get(k, 0) for k in kinds)) for objective, ops in sorted(plan.changes.items())]
    print_table(("objective", *kinds), rows) if rows else say("  No example would change.")
    for flip in plan.label_flips:
        say(f"  {flip['examples']:,} {flip['objective']} labels from {flip['from']} to {flip['to']}")
    for reason, n in plan.removal_reasons.items():
        say(f"  {n:,} removed: {reason}")
    say("Nothing was written. `feedback compile` does it, after a change of policy in the dataset's YAML.")


def _show_rebuilt(dataset: str, results: "list[Rebuilt]", as_json: bool, *, replaced: bool) -> None:
    if as_json:
        from dataclasses import asdict

        windows = [{**asdict(r), "equal": r.equal} for r in results]
        print_json({"equal": all(r.equal for r in results), "replaced": replaced, "windows": windows})
        return
    if not results:
        say(f"{dataset} has no closed window; there is nothing to rebuild.")
        return
    rows = [
        (r.window, r.version, r.state_hash[:12], r.rebuilt_state_hash[:12], _verdict(r)) for r in results
    ]  # fmt: skip
    print_table(("window", "version", "state hash", "rebuilt", ""), rows)
    if all(r.equal for r in results):
        say("Every version is the same again." + (" The rebuilt tables are in place." if replaced else ""))


def _verdict(result: "Rebuilt") -> str:
    if result.equal:
        return "equal"
    return "DIFFERS" if result.comparable else "differs: the stages have changed since"
