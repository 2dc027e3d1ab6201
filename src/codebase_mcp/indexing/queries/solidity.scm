(contract_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(library_declaration name: (_) @name) @class
(struct_declaration name: (_) @name) @struct
(enum_declaration name: (_) @name) @enum
(event_definition name: (_) @name) @type
(error_declaration name: (_) @name) @type
(modifier_definition name: (_) @name) @function
(constructor_definition "constructor" @name) @constructor
(function_definition name: (_) @name body: (_)) @function
(function_definition name: (_) @name) @function.declaration
