"""The laws, stated again on the data of the open (else the last) window. A check never catches an exception."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from feedback_platform.compile.ledger import Account, take_ledger
from feedback_platform.compile.manifest import CLOSED, Manifest
from feedback_platform.compile.publication import flagged_findings
from feedback_platform.compile.rebuild import rebuild
from feedback_platform.compile.steps import latest_window
from feedback_platform.compile.verify import contract_faults, stored_state_hash
from feedback_platform.compile.window import Compiler
from feedback_platform.components.assets import PUBLICATION, asset_key
from feedback_platform.components.metadata import counts_table
from feedback_platform.components.platform import Platform
from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.contracts.table import TableContract

_NOTHING = dg.AssetCheckResult(passed=True, description="The dataset has not been compiled yet: nothing to judge.")


def contract_check(policy: DatasetPolicy, contract: TableContract) -> dg.AssetChecksDefinition:
    """One aggregate query over the files that the window wrote."""

    @dg.asset_check(
        asset=asset_key(policy.name, contract.name),
        blocking=True,
        description="Every row that the window wrote keeps the table's contract. A failure means that the file was "
        "changed after its commit, or that the contract moved without `semantics`.",
    )
    def rows_keep_their_contract(platform: Platform) -> dg.AssetCheckResult:
        compiler = platform.compiler(policy)
        window = latest_window(compiler)
        if window is None or contract.name not in window.tables:
            return _NOTHING
        rows, faults = contract_faults(compiler, window, contract.name)
        worst = "; ".join(f"{n:,} rows break {rule!r}" for rule, n in faults.items())
        return dg.AssetCheckResult(
            passed=not faults,
            description=worst or f"All {rows:,} change rows of window {window.window} keep the contract.",
            metadata={"window": window.window, "rows": rows, "rules": len(contract.row_faults_sql())},
        )

    return rows_keep_their_contract


def ledger_check(policy: DatasetPolicy) -> dg.AssetChecksDefinition:
    """Law 2: nothing lost, nothing invented."""

    @dg.asset_check(
        asset=asset_key(policy.name, "sampled_dataset"),
        additional_deps=[asset_key(policy.name, "feedback_events")],
        blocking=True,
        description="Every accepted event up to the window's cuts is in exactly one state. A failure means that a "
        "stage loses or invents events; nothing is published until it is mended.",
    )
    def every_event_is_accounted_for(platform: Platform) -> dg.AssetCheckResult:
        compiler = platform.compiler(policy)
        window = latest_window(compiler)
        if window is None or not {"sampled_dataset", "feedback_events"} <= window.tables.keys():
            return _NOTHING
        with compiler.engine() as engine:
            ledger = take_ledger(compiler.lake, window, engine)
        sums = f"{_sum('inferences', ledger.inference)} {_sum('feedback events', ledger.feedback)}"
        left = f" {ledger.unaccounted:,} are not accounted for." if ledger.unaccounted else ""
        return dg.AssetCheckResult(
            passed=ledger.unaccounted == 0,
            description=f"{sums}{left}",
            metadata={
                "window": window.window,
                "unaccounted": ledger.unaccounted,
                "inferences": counts_table("state", ledger.inference.states),
                "inference reasons": counts_table("reason", _reasons(ledger.inference)),
                "feedback": counts_table("state", ledger.feedback.states),
                "feedback reasons": counts_table("reason", _reasons(ledger.feedback)),
            },
        )

    return every_event_is_accounted_for


def bias_check(policy: DatasetPolicy) -> dg.AssetChecksDefinition:
    """The bias report's verdict. Not blocking: a gate that blocks does so in publication, which closes the window."""
    gate = policy.bias.gate

    @dg.asset_check(
        asset=asset_key(policy.name, "bias_report"),
        description="No segment is given clearly more or less weight than it has among inferences. A finding is a "
        f"warning unless the policy blocks on it (bias.gate: {gate}).",
    )
    def bias_is_within_bounds(platform: Platform) -> dg.AssetCheckResult:
        compiler = platform.compiler(policy)
        window = latest_window(compiler)
        if window is None or "bias_report" not in window.tables:
            return _NOTHING
        flagged = flagged_findings(compiler, window)
        return dg.AssetCheckResult(
            passed=flagged == 0 or gate == "off",
            severity=dg.AssetCheckSeverity.ERROR if gate == "block" else dg.AssetCheckSeverity.WARN,
            description=f"{flagged} findings in window {window.window}; the gate is {gate!r}.",
            metadata={"window": window.window, "findings": flagged, "gate": gate},
        )

    return bias_is_within_bounds


def reproducible_check(policy: DatasetPolicy) -> dg.AssetChecksDefinition:
    """Law 4: always the state hash; the whole history again while it is small."""

    @dg.asset_check(
        asset=asset_key(policy.name, PUBLICATION),
        description="The stored rows add up to the recorded state hash and, while the history is small "
        "(FEEDBACK_REPLAY_EVENTS), replaying it from the raw tables gives the same hashes. A failure means that "
        "stored rows were changed, or that a stage is no pure function.",
    )
    def versions_are_reproducible(platform: Platform) -> dg.AssetCheckResult:
        compiler = platform.compiler(policy)
        window = compiler.store.last_closed()
        if window is None:
            return _NOTHING
        stored = stored_state_hash(compiler, window)
        wrong = [] if stored == window.state_hash else [f"stored rows of window {window.window} sum to {stored[:16]}"]
        replayed, faults = _replay(compiler, window)
        wrong += faults
        too_large = "history too large to replay here, see `feedback rebuild --verify`"
        how = f"{replayed} windows replayed" if replayed else too_large
        return dg.AssetCheckResult(
            passed=not wrong,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(wrong) or f"State hash {window.state_hash[:16]} matches the stored rows; {how}.",
            metadata={"window": window.window, "windows replayed": replayed, "state hash": window.state_hash},
        )

    return versions_are_reproducible


def _replay(compiler: Compiler, window: Manifest) -> tuple[int, list[str]]:
    """Windows replayed and what differs; none when the work would exceed the setting."""
    closed = [m for m in compiler.store.all() if m.status in CLOSED]
    events = sum(m.cuts.inference + m.cuts.feedback for m in closed)
    if events > compiler.settings.replay_events:
        return 0, []
    results = [r for r in rebuild(compiler) if r.comparable]
    return len(results), [f"window {r.window} replays to {r.rebuilt_state_hash[:16]}" for r in results if not r.equal]


def _sum(what: str, account: Account) -> str:
    parts = " + ".join(f"{n:,} {state}" for state, n in sorted(account.states.items(), key=lambda s: -s[1]))
    return f"{account.accepted:,} {what} = {parts or 0}."


def _reasons(account: Account) -> Mapping[str, int]:
    pairs: dict[str, Any] = {}
    for state, reasons in account.reasons.items():
        for reason, n in reasons.items():
            pairs[f"{state}: {reason}"] = n
    return pairs
