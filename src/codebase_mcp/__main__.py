"""`python -m codebase_mcp` is the command."""

if __name__ == "__main__":
    from codebase_mcp.interpreter import leave_working_directory

    leave_working_directory()
    from codebase_mcp.entry import main

    main()
