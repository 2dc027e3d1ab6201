(function_declaration name: (_) @name) @function
(type_declaration . (identifier) @name) @type
