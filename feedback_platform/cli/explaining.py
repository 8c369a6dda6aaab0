"""`feedback explain`: the story of one id, told."""

from typing import TYPE_CHECKING

import click

from feedback_platform.cli.finding import all_names, compiled, existing_log
from feedback_platform.cli.screen import json_option, print_json, say
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.compile.explain import Accepted, Explanation, Subject


@click.command("explain")
@click.argument("event_id", metavar="ID")
@click.option("--dataset", help="Only this dataset; all of them otherwise.")
@json_option
@click.pass_obj
def explain_command(settings: Settings, event_id: str, dataset: str | None, as_json: bool) -> None:
    """Where ID is, why, by which rule, in which versions, and what would change that.

    ID is a request_id, a feedback_id or an example_id. Exits with 2 when nothing has it.
    """
    explanation = explanation_of(settings, event_id, dataset)
    if as_json:
        print_json({"known": explanation.is_known, **explanation.as_mapping()})
    else:
        tell(explanation)
    if not explanation.is_known:
        raise SystemExit(2)


def explanation_of(settings: Settings, event_id: str, dataset: str | None = None) -> "Explanation":
    """The explanation, with what the log has under the id."""
    from feedback_platform.compile.explain import explain

    if dataset is not None:
        compiled(settings, dataset)  # refuses a name that nobody knows
    names = [dataset] if dataset else all_names(settings)
    return explain(settings, event_id, names, accepted_in_log(settings, event_id))


def accepted_in_log(settings: Settings, event_id: str) -> "list[Accepted]":
    """Entries of the event log with that id."""
    from feedback_platform.compile.explain import Accepted

    found = []
    with existing_log(settings) as log:
        if log is None:
            return []
        for stream in ("inference", "feedback"):
            receipt = log.receipt(stream, event_id)
            if receipt is not None:
                found.append(Accepted(stream, receipt.log_seq, receipt.received_at))
    return found


def tell(explanation: "Explanation") -> None:
    """Print an explanation."""
    for number, subject in enumerate(explanation.subjects):
        if number:
            say()
        _tell_subject(subject)


def _tell_subject(subject: "Subject") -> None:
    for line in subject.facts:
        say(line)
    if subject.would_change:
        say(f"What would change that: {subject.would_change}")
    for story in subject.stories:
        reason = f" ({story.reason})" if story.reason else ""
        say()
        say(f"In {story.dataset}: {story.state}{reason}", style="bold")
        say(f"  {story.why}")
        for line in story.lines:
            say(f"  {line}")
        say(f"  What would change that: {story.would_change}")
