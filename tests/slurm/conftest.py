"""Clusters for the tests."""

import os

import pytest
from cluster import Cluster, Unavailable
from submitted import end_all

CPUS = int(os.environ.get("MUONLAB_TEST_CPUS", "2"))


@pytest.fixture(autouse=True)
def no_driver_is_left():
    yield
    end_all()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts clusters, one after the other; skips the test where that is impossible."""
    running: list[Cluster] = []

    def started(**settings) -> Cluster:
        while running:
            running.pop().stop()
        try:
            cluster = Cluster(tmp_path_factory.mktemp("slurm"), cpus=CPUS, **settings).start()
        except Unavailable as reason:
            pytest.skip(str(reason))
        running.append(cluster)
        return cluster

    yield started
    while running:
        running.pop().stop()
