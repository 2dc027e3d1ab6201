(package_body name: (_) @name) @module
(package_declaration name: (_) @name) @module
(subprogram_body [(procedure_specification name: (_) @name) (function_specification name: (_) @name)]) @function
(subprogram_declaration [(procedure_specification name: (_) @name) (function_specification name: (_) @name)]) @function.declaration
(expression_function_declaration (function_specification name: (_) @name)) @function
(full_type_declaration . (identifier) @name (record_type_definition)) @struct
(full_type_declaration . (identifier) @name) @type
(task_body (identifier) @name) @class
