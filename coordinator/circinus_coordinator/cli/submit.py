"""``circinus submit`` and ``circinus withdraw``."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import click

from circinus_coordinator.cli.connection import with_api
from circinus_coordinator.cli.output import as_json, print_json

if TYPE_CHECKING:
    from circinus.pipeline import Pipeline

__all__ = ["submit", "withdraw"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only check it, against the fleet too.")
@with_api
@as_json
def submit(file: Path, dry_run: bool, api: str, as_json: bool) -> None:
    """Submit the pipelines and queries in FILE (YAML or JSON).

    Relative folders in it, data sets and inputs, are packed and sent along; an absolute path
    means a folder on the device. A query may name a pipeline that was submitted before.
    """
    from circinus.declared import check_declared
    from circinus.errors import InvalidInput
    from circinus.scenario import decode_submission, encode_submission, load_submission
    from circinus_coordinator.api.client import Client
    from circinus_coordinator.api.packing import with_artifacts

    client = Client(api, timeout_s=60.0)
    served: dict[str, Pipeline] = {}

    def known(name: str) -> Pipeline | None:
        """A pipeline the coordinator has; it is asked only where the file lacks one."""
        served.update(decode_submission(client.get_bytes("/v1/pipelines")).pipelines)
        return served.get(name)

    submission = load_submission(file, known=known)
    brought = {n: p for n, p in submission.pipelines.items() if p is not served.get(n)}
    try:
        check_declared(brought, [file.parent])
    except InvalidInput as error:
        raise error.within(file=str(file)) from None
    packed = with_artifacts(submission, file.parent, client.put_artifact, name=str(file))
    document = encode_submission(packed, known=packed.pipelines.keys() - brought.keys())
    query = "?dry_run=1" if dry_run else ""
    try:
        answer = client.post(f"/v1/queries{query}", document)
    except InvalidInput as error:
        # What the coordinator calls the submission is this file.
        raise InvalidInput(
            error.problem, file=str(file), key=error.key, remedy=error.remedy
        ) from None
    if as_json:
        print_json(answer)
        return
    names = ", ".join(answer["queries"]) or "none"
    click.echo(f"{'valid' if dry_run else 'accepted'}: {names}")
    if not dry_run:
        click.echo("follow them with: circinus watch", err=True)


@click.command()
@click.argument("id_", metavar="ID")
@with_api
@as_json
def withdraw(id_: str, api: str, as_json: bool) -> None:
    """Withdraw the query ID."""
    from circinus_coordinator.api.client import Client

    answer = Client(api).delete(f"/v1/queries/{urllib.parse.quote(id_, safe='')}")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"withdrawn: {id_}")
