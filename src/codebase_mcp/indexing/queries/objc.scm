(class_implementation . (identifier) @name) @class
(class_interface . (identifier) @name) @class.declaration
(protocol_declaration . (identifier) @name) @interface
(method_definition . (method_type)? . (identifier) @name) @method
(method_declaration . (method_type)? . (identifier) @name) @method.declaration
