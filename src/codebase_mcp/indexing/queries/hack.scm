(class_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(trait_declaration name: (_) @name) @trait
(enum_declaration name: (_) @name) @enum
(function_declaration name: (_) @name) @function
(method_declaration name: (_) @name body: (_)) @method
(method_declaration name: (_) @name) @method.declaration
(alias_declaration . (identifier) @name) @type
(namespace_declaration name: (_) @name) @namespace
