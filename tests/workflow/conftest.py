"""Fixtures: a fresh checkout, and one in which everything has been made."""

import json
from dataclasses import astuple

import pytest
from checkouts import ROOT, Outcome, Project, checkout

from muonlab.io.locks import exclusive

__all__ = ["ROOT", "Outcome", "Project", "checkout"]


@pytest.fixture
def project(tmp_path):
    """A fresh checkout."""
    return checkout(tmp_path / "project")


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory, worker_id):
    """A checkout in which everything has been made; shared, so tests must copy it.

    With several test processes the first to come makes it and the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    record = folder.with_suffix(".json")
    with exclusive(folder.with_suffix(".lock"), poll_seconds=0.2):
        if not record.exists():
            outcome = checkout(folder).snakemake()
            record.write_text(json.dumps(astuple(outcome)))
    project = Project(folder)
    project.first = Outcome(*json.loads(record.read_text()))
    assert project.first.code == 0, project.first.err
    return project


@pytest.fixture
def finished(finished_once, tmp_path):
    """A copy of a finished project of one's own."""
    return finished_once.copy_to(tmp_path / "project")
