(struct_definition . (identifier) @name) @struct
(union_definition . (identifier) @name) @struct
(exception_definition . (identifier) @name) @class
(enum_definition . (identifier) @name) @enum
(service_definition . (identifier) @name) @interface
(function_definition (identifier) @name) @method
(typedef_definition (typedef_identifier) @name) @type
(const_definition (identifier) @name) @constant
