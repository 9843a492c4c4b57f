"""How tests are divided among processes: those that share something go to one, and run there one after the other."""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

LOCAL_CLUSTER: Final = "the local cluster"
_ON_IT: Final = ("tests/cluster/", "tests/e2e/", "tests/examples/")


class Division(LoadScopeScheduling):
    """pytest-xdist's scheduler, but for which tests belong together."""

    def _split_scope(self, nodeid: str) -> str:
        return shared(nodeid)


def shared(nodeid: str) -> str:
    """What a test shares with others: the one local cluster, or what its file makes once."""
    return LOCAL_CLUSTER if nodeid.startswith(_ON_IT) else nodeid.partition("::")[0]
