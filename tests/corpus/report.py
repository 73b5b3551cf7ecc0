"""The page that people read: how many compile, by source, and why the others do not, each reason counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.corpus.trying import Result

HEAD = """\
# {title}

Made by `make corpus`. Each file is compiled as it is, without a `leoflow.yaml`. *Waits* are files that use what a later
release brings (assets, callbacks); they are left out of the share.

| source | files | compile | waits | refused | share |
|---|---|---|---|---|---|
"""


def table(results: Sequence[Result], *, title: str) -> str:
    by_source: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_source[result.file.source].append(result)
    lines = [_row(source, by_source[source]) for source in sorted(by_source)]
    return HEAD.format(title=title) + "".join([*lines, _row("**all**", results)]) + _reasons(results)


def _row(source: str, results: Sequence[Result]) -> str:
    compiled = sum(result.is_compiled for result in results)
    waits = sum(result.is_for_later for result in results)
    counted = len(results) - waits
    share = f"{100 * compiled / counted:.0f} %" if counted else "-"
    return f"| {source} | {len(results)} | {compiled} | {waits} | {counted - compiled} | {share} |\n"


def _reasons(results: Sequence[Result]) -> str:
    refused = [result for result in results if not result.is_compiled]
    if not refused:
        return ""
    counts = Counter((result.is_for_later, result.reason) for result in refused)
    example = {result.reason: result.file.shown for result in reversed(refused)}
    lines = ["\n## Why files are refused\n\n| files | reason | for example |\n|---|---|---|\n"]
    for (is_for_later, reason), count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0][1])):
        waits = " (waits)" if is_for_later else ""
        lines.append(f"| {count} | {_cell(reason)}{waits} | `{_cell(example[reason])}` |\n")
    return "".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
