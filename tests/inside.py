"""Access for tests to a workspace below its public face, and to its clock: only this module reaches inside."""


def environment_of(ws):
    """Return the stores that a workspace has open."""
    return ws._environment


def database_of(ws):
    """Return its database."""
    return ws._environment.database


def online_of(ws):
    """Return its online store."""
    return ws._environment.online


def context_of(ws):
    """Return its state, by the definitions in force."""
    return ws._context()


def log_of(ws):
    """Return its log of predictions."""
    return ws._log


def clock_of(ws):
    """Return its clock."""
    return ws._clock


def set_clock(ws, clock):
    """Replace its clock."""
    ws._clock = clock


def set_fence(ws, fence):
    """Let this process work for an attempt at a job, or for none."""
    ws._environment.database._fence = fence


def waiting_in(shared):
    """Return how many threads wait for a shared commit."""
    return len(shared._queue)


def look_now(runner):
    """Let a runner of jobs look at everything in its next step, not only once a second."""
    runner._looked = 0.0
