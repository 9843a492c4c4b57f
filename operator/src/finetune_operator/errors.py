"""What can go wrong between the operator and the cluster.

ClusterError
├── NotFoundError       the object is gone
├── ConflictError       the object exists already, or is no longer what the caller saw
├── RefusedError        the API server understood and said no; trying again unchanged seldom helps
└── UnavailableError    no answer, an error of the server, or too many requests: try again
StartupError            the operator cannot work in this cluster; the message says what to do
LeadershipLostError     another replica may act by now: this process has to end
"""


class ClusterError(Exception):
    """A request to the API server did not do what was asked."""


class NotFoundError(ClusterError):
    """The object is gone."""


class ConflictError(ClusterError):
    """The object exists already, or is no longer what the caller saw."""


class RefusedError(ClusterError):
    """The API server understood and said no: quota, admission, schema or rights."""


class UnavailableError(ClusterError):
    """No answer, an error of the server, or too many requests: try again."""


class StartupError(Exception):
    """The operator cannot work in this cluster; the message says what to do."""


class LeadershipLostError(Exception):
    """Another replica may act by now: nothing more may be written, and the process has to end."""
