(module_declaration name: (_) @name) @namespace
(type_declaration name: (_) @name) @type
(type_alias_declaration name: (_) @name) @type
(file (value_declaration functionDeclarationLeft: (function_declaration_left . (_) @name)) @function)
(port_annotation name: (_) @name) @function.declaration
