(struct_item name: (_) @name) @struct
(enum_item name: (_) @name) @enum
(trait_item name: (_) @name) @trait
(mod_item name: (_) @name) @module
(impl_item . (type_identifier) @name) @extension
(function_definition . (identifier) @name) @function
(function_signature . (identifier) @name) @function.declaration
