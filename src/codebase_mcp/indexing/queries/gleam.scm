(type_definition (type_name name: (_) @name)) @type
(type_alias . (visibility_modifier)? . (type_name name: (_) @name)) @type
(function name: (_) @name) @function
(constant name: (_) @name) @constant
