"""What is done with the record of a stream that has ended; the relay tells this one place."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unbuffer.judgement import Judgement, Verdict
from unbuffer.observe.access_log import AccessLog
from unbuffer.observe.causes import explained, note
from unbuffer.observe.recent import Recent
from unbuffer.observe.turns import Turns
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
    turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", Turns(self.totals))

    def ended(self, record: Record) -> None:
        """Take one record. On the event loop; never blocks, never raises."""
        judgement = judge(record)
        if judgement is not None:
            if waited := self.turns.waited(record):
                judgement = Judgement(Verdict.BLOCKED_LOOP, f"for {waited:.1f} s")
            elif record.first_at < self.totals.stood_still_at <= record.last_at:
                judgement = Judgement(Verdict.BLOCKED_LOOP, "together with the others")
            verdict = judgement.verdict
            key = record.route, record.kind
            sure = verdict is not Verdict.WHOLE and self.totals.latest.get(key) is verdict
            self.totals.latest[key] = verdict
            self.totals.verdicts[record.route, verdict] += 1
            record.judgement = explained(judgement, record, self.totals, sure)
            note(record, verdict, self.totals)
        self.access_log.log(record)
        self.recent.add(record)
        if self.spans is not None:
            self.spans.add(record)
        if self.durations is not None:
            self.durations.add(record)
