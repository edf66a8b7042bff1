"""No Docker engine runs in CI: these tests hold the deployment's files to what can be read off them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

BASE = "docker-compose.yml"
LAYER = "deploy/docker-compose.two-tier.yml"
SINGLE = "collector-config.yaml"
TIER1 = "deploy/collector-tier1.yaml"
TIER2 = "deploy/collector-tier2.yaml"
JAEGER = "deploy/jaeger.yaml"


def load(path: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / path).read_text())


def merge_service(base: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Merge as compose does: maps by key, volumes by target, ports appended, the rest replaced."""
    merged = {**base, **layer}
    for key in ("environment", "depends_on"):
        merged[key] = {**base.get(key, {}), **layer.get(key, {})}
    by_target = {volume.split(":")[1]: volume for volume in [*base.get("volumes", []), *layer.get("volumes", [])]}
    merged["volumes"] = list(by_target.values())
    merged["ports"] = [*base.get("ports", []), *layer.get("ports", [])]
    return merged


def compose(*paths: str) -> dict[str, Any]:
    merged: dict[str, Any] = {"services": {}, "volumes": {}}
    for document in map(load, paths):
        for name, service in document["services"].items():
            merged["services"][name] = merge_service(merged["services"].get(name, {}), service)
        merged["volumes"].update(document["volumes"])
    return merged


STACKS = {"one": compose(BASE), "two-tier": compose(BASE, LAYER)}


def volumes(service: dict[str, Any]) -> dict[str, str]:
    """Map each target of a service to the named volume or the file that is mounted there."""
    return {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}


def published(service: dict[str, Any]) -> set[int]:
    """Return the ports inside the container that can be reached from the host."""
    return {int(port.split(":")[2]) for port in service["ports"]}


def emitted_attributes() -> dict[str, str]:
    """Read every attribute clew emits, with its description, without importing it."""
    tree = ast.parse((ROOT / "src/clew/attributes.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 2]
    names = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "_name"]
    return {ast.literal_eval(call.args[0]): ast.literal_eval(call.args[1]) for call in names}
