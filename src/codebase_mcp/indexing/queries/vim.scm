(function_definition (function_declaration name: (_) @name)) @function
(command_statement name: (command_name) @name) @macro
(script_file (let_statement . (scoped_identifier (identifier) @name)) @variable)
