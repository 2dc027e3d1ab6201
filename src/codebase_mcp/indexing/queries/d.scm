(class_declaration (identifier) @name) @class
(struct_declaration (identifier) @name) @struct
(union_declaration (identifier) @name) @struct
(interface_declaration (identifier) @name) @interface
(enum_declaration (identifier) @name) @enum
(template_declaration (identifier) @name) @module
(alias_declaration (alias_initializer . (identifier) @name)) @type
(constructor (this) @name) @constructor
(function_declaration (identifier) @name (function_body (block_statement))) @function
(function_declaration (identifier) @name) @function.declaration
