"""`python -m codebase_mcp` is the command."""

from codebase_mcp.entry import main

if __name__ == "__main__":
    main()
