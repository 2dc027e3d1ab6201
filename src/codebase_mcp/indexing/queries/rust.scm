(struct_item name: (_) @name) @struct
(union_item name: (_) @name) @struct
(enum_item name: (_) @name) @enum
(trait_item name: (_) @name) @trait
(type_item name: (_) @name) @type
(mod_item name: (_) @name body: (_)) @module
(function_item name: (_) @name) @function
(function_signature_item name: (_) @name) @function.declaration
(macro_definition name: (_) @name) @macro
(impl_item type: [(type_identifier) @name (generic_type type: (_) @name) (scoped_type_identifier name: (_) @name)]) @scope
(source_file [(const_item name: (_) @name) (static_item name: (_) @name)] @constant)
(mod_item body: (declaration_list [(const_item name: (_) @name) (static_item name: (_) @name)] @constant))
