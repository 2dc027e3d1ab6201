(function_definition name: (_) @name) @function
(module (expression_statement (assignment left: (identifier) @name) @variable))
