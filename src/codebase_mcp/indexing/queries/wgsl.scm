(struct_declaration name: (_) @name) @struct
(function_declaration name: (_) @name) @function
(global_variable_declaration (variable_declaration (variable_identifier_declaration name: (_) @name))) @variable
