"""The metrics of resumable streams."""

from operator import attrgetter

from unbuffer.observe.family import Family, alone, by_label

RESUME_FAMILIES = (
    Family(
        "unbuffer_resumable_streams",
        "gauge",
        (),
        "Streams that a client can come back to: they run, or their window is not over.",
        "at the scrape",
        alone(attrgetter("totals.resume_streams")),
    ),
    Family(
        "unbuffer_resume_held_bytes",
        "gauge",
        (),
        "Memory that these streams take, about; bounded by resume.total.",
        "at the scrape",
        alone(attrgetter("totals.resume_held")),
    ),
    Family(
        "unbuffer_resume_attaches_total",
        "counter",
        ("result",),
        "Requests for a resumable stream: hit = it was there; expired = it is over, or its events are kept no more; "
        "foreign = it belongs to other credentials, or another path or method; unknown = no such name.",
        "at the request",
        by_label(lambda totals: totals.resume_attaches),
    ),
    Family(
        "unbuffer_resume_replayed_events_total",
        "counter",
        (),
        "Events that clients had missed and got when they came back.",
        "at the request",
        alone(attrgetter("totals.resume_replayed")),
    ),
    Family(
        "unbuffer_resume_store_errors_total",
        "counter",
        ("reason",),
        "What resume.store could not do: unreachable, slow = no answer in time, full, read_only, denied, refused; gone "
        "= it had lost a stream, which was written anew; overflow = more came than it took; total = resume.total.",
        "at the error",
        by_label(lambda totals: totals.resume_store_errors),
    ),
    Family(
        "unbuffer_resume_store_delay_seconds",
        "histogram",
        (),
        "From when the first event of a batch may have come until resume.store had all of it.",
        "at the answer of the store",
        alone(attrgetter("totals.resume_store_delay")),
    ),
)
