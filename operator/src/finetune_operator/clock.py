"""Time as Kubernetes writes it. Nothing here or in the pure core reads a clock; `now` is an argument."""

from datetime import datetime

from finetune_api.base import Timestamp


def stamp(moment: datetime) -> Timestamp:
    """RFC 3339 in UTC with whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(timestamp: Timestamp) -> datetime:
    """The moment of a timestamp; with or without fractions of a second."""
    return datetime.fromisoformat(timestamp)


def seconds_between(start: Timestamp, end: Timestamp) -> int:
    """Whole seconds from start to end, never negative: clocks of two machines may disagree."""
    return max(0, int((parse(end) - parse(start)).total_seconds()))


def duration(seconds: int) -> str:
    """`2m10s`, as kubectl writes ages."""
    hours, rest = divmod(max(0, seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
