"""How a try ended, from what the runner wrote, what the agent decided, and what the kernel said. Pure."""

from __future__ import annotations

import signal as signals
from datetime import UTC, datetime

import msgspec

from leoflow_agent.spool import Stop, StoredOutcome
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.agent_wire import fault_of
from leoflowd.contract.wait_spec import Deferral


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """End of the try's main process. `lost` is set when nobody saw it end, and says why."""

    code: int | None = None
    signal: int | None = None
    lost: str | None = None


def decide_outcome(
    *, runner: StoredOutcome | None, stop: Stop | None, exit_: Exit, started_at: datetime, now: datetime
) -> StoredOutcome:
    """The one outcome that is reported. The agent sets `stop` only while the runner has not written an outcome."""
    if runner is not None and runner.complete:
        return runner
    if stop is not None:
        kind, because = stop.kind, stop.because
    elif runner is not None and runner.kind is not OutcomeKind.TERMINATED:
        return msgspec.structs.replace(runner, exit_code=exit_.code, signal=exit_.signal, complete=True)
    else:
        kind, because = _unexplained_end(exit_, was_terminated=runner is not None)
    return StoredOutcome(
        kind=kind,
        because=because,
        start_date=runner.start_date if runner is not None else started_at,
        end_date=runner.end_date if runner is not None else now,
        exit_code=exit_.code,
        signal=exit_.signal,
        complete=True,
    )


def _unexplained_end(exit_: Exit, *, was_terminated: bool) -> tuple[OutcomeKind, str]:
    if exit_.lost is not None:
        return OutcomeKind.LOST, exit_.lost
    if was_terminated:
        return OutcomeKind.FAILED, "The task process got SIGTERM, and not from leoflow; look for what sent it."
    if exit_.signal is not None:
        return OutcomeKind.FAILED, _killed_by(exit_.signal)
    return (
        OutcomeKind.FAILED,
        f"The task process ended with exit code {exit_.code} without a result; "
        "os._exit, a crash in native code, or closing descriptors that are not the task's own does that.",
    )


def _killed_by(number: int) -> str:
    try:
        name = signals.Signals(number).name
    except ValueError:
        name = "a signal"
    hints: dict[int, str] = {
        signals.SIGKILL: "; the kernel does that when memory runs out",
        signals.SIGSEGV: "; native code crashed",
        signals.SIGABRT: "; native code aborted",
    }
    hint = hints.get(number, "")
    return f"The task process was killed by {name} ({number}){hint}."


def as_message(outcome: StoredOutcome) -> Outcome:
    """What the daemon is told. One that cannot be sent would be offered for ever: the try has failed instead."""
    message = _message(outcome)
    fault = fault_of(message)
    if fault is None:
        return message
    because, now = f"The outcome of the try is refused: {fault}.", datetime.now(UTC)
    return Outcome(kind=OutcomeKind.FAILED_FOR_GOOD, because=because, start_date=now, end_date=now)


def _message(outcome: StoredOutcome) -> Outcome:
    deferral = outcome.deferral
    return Outcome(
        kind=outcome.kind,
        because=outcome.because,
        start_date=outcome.start_date,
        end_date=outcome.end_date,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        xcoms=outcome.xcoms,
        skips=outcome.skips,
        assets=outcome.assets,
        reschedule_at=outcome.reschedule_at,
        deferral_json=deferral if deferral is None or isinstance(deferral, str) else _text(deferral),
    )


def _text(deferral: Deferral) -> str:
    return msgspec.json.encode(deferral).decode()
