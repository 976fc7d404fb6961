"""From a jobflow Flow to the FireWorks Workflow that is stored, or to a file that ``lpad add`` takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from fireworks import Workflow
from jobflow import Flow, Job
from jobflow.managers.fireworks import flow_to_workflow

from mlip_autopipe.launch.firetask import make_resilient
from mlip_autopipe.launch.project_files import write_atomically


def to_workflow(
    flow: Flow | Job,
    *,
    run_id: str,
    project_name: str,
    goal: str,
    formula: str,
    metadata: Mapping[str, Any] | None = None,
) -> Workflow:
    """Convert a Flow to a Workflow that belongs to a run.

    Parameters
    ----------
    flow
        Any jobflow Flow or Job.
    run_id
        Goes into the Workflow's metadata and every Firework's spec (also of those created later), so that rockets
        can be told to run this run only.
    project_name, goal, formula
        Shown by ``mlip-auto status``.
    metadata
        More keys for the Workflow's metadata.

    Returns
    -------
    fireworks.Workflow
        Not stored yet. It holds no connection details.
    """
    labels = {"run_id": run_id, "project_name": project_name, "goal": goal, "formula": formula}
    workflow = flow_to_workflow(flow, metadata={**(metadata or {}), **labels})
    make_resilient(workflow, {"run_id": run_id})
    return workflow


def write_workflow_yaml(workflow: Workflow, path: Path) -> Path:
    """Write a Workflow as a YAML file that the stock ``lpad add FILE`` takes.

    Strings that some YAML version would read as something else (``no``, ``1e5``, ``2024-01-01``) are quoted.
    """
    document = workflow.to_dict()
    document.setdefault("metadata", {})
    text = yaml.dump(document, Dumper=_StringSafeDumper, sort_keys=False, allow_unicode=True, width=110)
    write_atomically(path, text)
    return path


class _StringSafeDumper(yaml.SafeDumper):
    """Quotes every string that is not plainly a word, for readers of YAML 1.1 and 1.2 alike."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_WORD = re.compile(r"[A-Za-z@_][A-Za-z@_./-]*[A-Za-z_]")
_NOT_STRINGS = {"null", "true", "false", "yes", "no", "on", "off", "inf", "nan"}


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _WORD.fullmatch(text) is not None and text.lower() not in _NOT_STRINGS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_StringSafeDumper.add_representer(str, _represent_str)
