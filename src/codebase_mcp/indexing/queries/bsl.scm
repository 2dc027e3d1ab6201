(procedure_definition name: (_) @name) @function
(function_definition name: (_) @name) @function
