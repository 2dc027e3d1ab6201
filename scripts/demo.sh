#!/bin/sh
# Index a repository through a real background job, then search it.
set -eu
repo=$(cd "$1" && pwd)
queries=$2

show() {
    printf '\n\033[1m› %s\033[0m\n' "$1"
    "$BIN/codebase-mcp" search "$1" --repo "$repo" --limit 3 --max-tokens 900
}

"$BIN/codebase-mcp" index "$repo"
if [ -n "$queries" ]; then
    show "$queries"
elif [ -f "$repo/src/codebase_mcp/jobs/queries.sql" ]; then
    show "how does a worker take over a job whose worker died"
    show "where are files split into chunks"
    show "JobRunner"
else
    show "main entry point"
    show "how are errors handled"
    show "read the configuration"
fi
printf '\nThe index stays: search it with `%s search "…"`, or connect an assistant (see README.md).\n' "$BIN/codebase-mcp"
