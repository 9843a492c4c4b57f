"""Gathers the data report while rows stream by; rows are not kept.

What is cheap is counted on all rows: volumes, lengths, labels, odd characters, personal data. Near copies and languages
are judged on bounded samples. Memory is bounded by these, by the number of different lengths and by the bad rows that
are spelled out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.report.content import BadRow, BadRows, DataReport
from finetune_trainer.data.report.marks import Marks
from finetune_trainer.data.report.runs import Decode
from finetune_trainer.data.report.samples import Samples
from finetune_trainer.data.report.tailor import hide_values
from finetune_trainer.data.report.volumes import Volumes
from finetune_trainer.data.split import Repeats, Side

BAD_ROWS_SHOWN: Final = 1000
_LONGEST_PROBLEM: Final = 500


class ReportedRow(Protocol):
    """What the report needs of a row, whatever its objective."""

    @property
    def source(self) -> Source:
        """Where it comes from."""

    def digest(self) -> bytes:
        """Hash of its content."""

    def texts(self) -> Iterable[str]:
        """The user's text in it, piece by piece."""


class ReportBuilder:
    """Fed with every row once; `finish` then says what was found."""

    def __init__(self, *, show_rows: bool) -> None:
        """`show_rows` is `spec.data.showRows`: without it no text of rows gets into the report."""
        self._show_rows = show_rows
        self._volumes = Volumes()
        self._marks = Marks()
        self._samples = Samples(show_rows=show_rows)
        self._bad: list[BadRow] = []
        self._bad_total = 0

    def row(
        self,
        side: Side,
        dataset: int,
        row: ReportedRow,
        items: Sequence[Item],
        *,
        order: int,
        digest: bytes | None = None,
    ) -> None:
        """Take in a good row.

        Args:
            side: what it is for.
            dataset: index of its data set in the list of `spec.data` that it was read from.
            row: its text.
            items: what it became, as training will see it; at least one.
            order: larger than that of rows before it.
            digest: `row.digest()`, where it is known already.

        """
        text = "\n".join(row.texts())
        self._volumes.add(side, dataset, row.source, items, order)
        self._marks.add(text, row.source, order)
        self._samples.add(side, row.source, text, items, digest=digest or row.digest(), order=order)

    def another(self) -> "ReportBuilder":
        """An empty one, to be fed with a part of the rows somewhere else."""
        return ReportBuilder(show_rows=self._show_rows)

    def take_in(self, other: "ReportBuilder") -> None:
        """What another one was fed with. Its bad rows stay its own: whoever reads the files tells them, in order."""
        self._volumes.take_in(other._volumes)
        self._marks.take_in(other._marks)
        self._samples.take_in(other._samples)

    def bad(self, source: Source, error: RowError) -> None:
        """Take in a bad row, or a file that cannot be read from there on."""
        self._bad_total += 1
        if self._bad_total <= BAD_ROWS_SHOWN:
            problem = (error.problem if self._show_rows else hide_values(error.problem))[:_LONGEST_PROBLEM]
            self._bad.append(BadRow(place=str(source), problem=problem, remedy=error.remedy[:_LONGEST_PROBLEM]))

    def finish(
        self,
        *,
        names: Mapping[Side, Sequence[str]],
        labels: Sequence[str],
        max_tokens: int | None,
        repeats: Repeats,
        decode: Decode,
    ) -> DataReport:
        """The report, without what `tailor` adds for one job.

        Args:
            names: of the data sets that each side's rows were read from; those of train where a side was cut from it.
            labels: of a classifier, in the spec's order; else empty.
            max_tokens: the length that rows were cut to, if any.
            repeats: exact duplicates and overlaps over all rows, which the caller's digests tell.
            decode: text of token ids, with control tokens.

        """
        sides = self._volumes.sides()
        different = {side.side: side.rows - repeats.duplicates.get(side.side, 0) for side in sides}
        return DataReport(
            sides=sides,
            datasets=self._volumes.datasets(names),
            max_tokens=max_tokens,
            lengths=self._volumes.lengths(),
            repeats=repeats,
            near=self._samples.near(different),
            labels=self._volumes.labels(labels),
            oddities=self._marks.oddities(),
            pii=self._marks.pii(),
            languages=self._samples.languages(),
            longest=self._volumes.longest(),
            shown=self._samples.shown(decode, labels),
            bad=BadRows(total=self._bad_total, rows=self._bad),
        )
