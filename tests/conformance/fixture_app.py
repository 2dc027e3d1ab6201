"""`python -m tests.conformance.fixture_app PORT`: what the conformance suite calls, on the product's stack.

The suite tests a server by tools, prompts and resources of fixed names, which a product does not have. Served here with
the same library, the same middleware around a call and over the same HTTP server, they show that our part of the stack
leaves the protocol intact.
"""

from __future__ import annotations

import asyncio
import sys

from fastmcp import FastMCP

# Sets FastMCP's environment before it is imported.
import codebase_mcp.server.app  # noqa: F401
from codebase_mcp.server.failures import FailureMapper
from tests.conformance.content import add_prompts, add_resources, add_tools
from tests.conformance.dialogues import add_requests_to_the_client, add_unfinished_results


class AnyTool(dict[str, list[str]]):
    """Argument names for messages about wrong arguments, of which the suite sends none."""

    def __missing__(self, _name: str) -> list[str]:
        return []


def build_app() -> FastMCP[None]:
    app: FastMCP[None] = FastMCP(
        "conformance-fixture", version="1", middleware=[FailureMapper(AnyTool())], mask_error_details=True
    )
    add_tools(app)
    add_resources(app)
    add_prompts(app)
    add_requests_to_the_client(app)
    add_unfinished_results(app)
    return app


def main() -> None:
    asyncio.run(
        build_app().run_http_async(
            show_banner=False,
            host="127.0.0.1",
            port=int(sys.argv[1]),
            host_origin_protection="auto",
            uvicorn_config={"log_config": None, "access_log": False},
        )
    )


if __name__ == "__main__":
    main()
