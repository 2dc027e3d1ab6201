(class_declaration name: (_) @name) @class
(record_declaration name: (_) @name) @class
(struct_declaration name: (_) @name) @struct
(interface_declaration name: (_) @name) @interface
(enum_declaration name: (_) @name) @enum
(delegate_declaration name: (_) @name) @type
(namespace_declaration name: (_) @name) @namespace
(constructor_declaration name: (_) @name) @constructor
(method_declaration name: (_) @name body: (_)) @method
(method_declaration name: (_) @name !body) @method.declaration
(local_function_statement name: (_) @name) @function
