(class_declaration name: (_) @name) @class
(record_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(annotation_type_declaration name: (_) @name) @interface
(enum_declaration name: (_) @name) @enum
(constructor_declaration name: (_) @name) @constructor
(compact_constructor_declaration name: (_) @name) @constructor
(method_declaration name: (_) @name body: (_)) @method
(method_declaration name: (_) @name !body) @method.declaration
(module_declaration name: (_) @name) @module
