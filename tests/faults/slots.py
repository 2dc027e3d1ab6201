"""How many jobs ran side by side, by the ledger."""

from __future__ import annotations

from tests.support.processes import Site

_MOST = """
SELECT coalesce(max(running), 0) AS most FROM (
  SELECT sum(CASE WHEN operation <> 'DELETE' AND status = 'running' THEN 1 ELSE 0 END
    - CASE WHEN old_status = 'running' THEN 1 ELSE 0 END) OVER (ORDER BY id) AS running
  FROM ledger.transitions) AS moments"""


async def most_running_at_once(site: Site) -> int:
    """Exact, unlike samples and unlike the times in the rows: a claim may wait for the slot after it noted the time."""
    return int((await site.rows(_MOST))[0]["most"])
