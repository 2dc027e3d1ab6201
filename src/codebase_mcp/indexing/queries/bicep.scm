(parameter_declaration . (identifier) @name) @variable
(variable_declaration . (identifier) @name) @variable
(resource_declaration . (identifier) @name) @class
(module_declaration . (identifier) @name) @module
(output_declaration . (identifier) @name) @variable
(user_defined_function name: (_) @name) @function
(type_declaration . (identifier) @name) @type
