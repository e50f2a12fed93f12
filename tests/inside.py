"""What tests see of a workspace below its public face, and how they set its clock: here alone they reach inside."""


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
    """Let its time be told by another clock from now on."""
    ws._clock = clock


def waiting_in(shared):
    """Return how many threads wait for a shared commit."""
    return len(shared._queue)
