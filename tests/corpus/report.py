"""The page that people read: how many compile, by source, and why the others do not, each reason counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.corpus.trying import Result, Verdict

HEAD = """\
# {title}

Made by `make corpus`. Each file is compiled as it is, without a `leoflow.yaml`. Apart, and not in the share, are files
that

- *waits*: use what a later release brings (assets, callbacks, mails, dbt);
- *absent*: import a module that its repository does not hold, not published or not installed where this ran;
- *owner's*: read what only their owner has: a variable of the process, a file, the fields of a Variable. (One that is
  only read as text or number has a made-up value here);
- *Airflow's*: fail under Airflow's own packages as well, as they are installed where this ran.

| source | files | compile | waits | absent | owner's | Airflow's | refused | share |
|---|---|---|---|---|---|---|---|---|
"""
APART = (Verdict.WAITS, Verdict.ABSENT, Verdict.OWNERS, Verdict.AIRFLOWS)
ORDER = (Verdict.REFUSED, *reversed(APART))


def table(results: Sequence[Result], *, title: str) -> str:
    by_source: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_source[result.file.source].append(result)
    lines = [_row(source, by_source[source]) for source in sorted(by_source)]
    return HEAD.format(title=title) + "".join([*lines, _row("**all**", results)]) + _reasons(results)


def _row(source: str, results: Sequence[Result]) -> str:
    compiled = sum(result.is_compiled for result in results)
    count = Counter(result.verdict for result in results)
    counted = compiled + count[Verdict.REFUSED]
    share = f"{100 * compiled / counted:.0f} %" if counted else "-"
    cells = [source, len(results), compiled, *(count[one] for one in (*APART, Verdict.REFUSED)), share]
    return f"| {' | '.join(map(str, cells))} |\n"


def _reasons(results: Sequence[Result]) -> str:
    refused = [result for result in results if not result.is_compiled]
    if not refused:
        return ""
    counts = Counter((result.verdict, result.reason) for result in refused)
    example = {result.reason: result.file.shown for result in reversed(refused)}
    lines = ["\n## Why files do not compile\n\n| files | | reason | for example |\n|---|---|---|---|\n"]
    for (verdict, reason), count in sorted(
        counts.items(), key=lambda item: (ORDER.index(item[0][0] or Verdict.REFUSED), -item[1], item[0][1])
    ):
        shown = "" if verdict is None else verdict.value
        lines.append(f"| {count} | {shown} | {_cell(reason)} | `{_cell(example[reason])}` |\n")
    return "".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
