"""The streaming join as one call, for comparison with the other algorithm."""

from tinymlops.kernels.streaming import Stream


def latest_unsorted(key, time, record_key, event, available, created, *, keys, strict, ttl=None):
    """What `tinymlops.kernels.asof.latest` finds, from records in any order: int64[m] record rows, -1 for none."""
    stream = Stream(key, time, keys=keys, strict=strict, delay=None, created=created is not None)
    stream.add(record_key, event, available, created)
    return stream.winners(ttl)
