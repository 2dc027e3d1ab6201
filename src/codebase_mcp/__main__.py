"""`python -m codebase_mcp` is the command line."""

from codebase_mcp.cli.app import main

if __name__ == "__main__":
    main()
