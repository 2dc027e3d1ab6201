(function_definition (_ (function_signature . (identifier) @name))) @function
(constant_definition . (identifier) @name) @constant
(variable_definition . (identifier) @name) @variable
(mapping_definition . (identifier) @name) @variable
