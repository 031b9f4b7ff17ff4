"""What is done with the record of a stream that has ended; the relay tells this one place."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unbuffer.observe.access_log import AccessLog
from unbuffer.observe.causes import explained, note
from unbuffer.observe.recent import Recent
from unbuffer.observe.verdict import judge
from unbuffer.record import Record
from unbuffer.totals import Totals

if TYPE_CHECKING:
    from unbuffer.observe.request_durations import RequestDurations
    from unbuffer.observe.spans import Spans


@dataclass(frozen=True, slots=True)
class Observer:
    """Everybody who reads records."""

    totals: Totals
    access_log: AccessLog
    recent: Recent
    spans: "Spans | None" = None
    durations: "RequestDurations | None" = None

    def ended(self, record: Record) -> None:
        """Take one record. On the event loop; never blocks, never raises."""
        judgement = judge(record)
        if judgement is not None:
            verdict = judgement.verdict
            self.totals.verdicts[record.route, verdict] += 1
            record.judgement = explained(judgement, record, self.totals)
            note(record, verdict, self.totals)
        self.access_log.log(record)
        self.recent.add(record)
        if self.spans is not None:
            self.spans.add(record)
        if self.durations is not None:
            self.durations.add(record)
