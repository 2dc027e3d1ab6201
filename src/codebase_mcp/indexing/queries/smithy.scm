(structure_statement (identifier) @name) @struct
(service_statement (identifier) @name) @interface
(resource_statement (identifier) @name) @interface
(operation_statement (identifier) @name) @function
(enum_statement (identifier) @name) @enum
(union_statement (identifier) @name) @struct
(list_statement (identifier) @name) @type
(simple_shape_statement (identifier) @name) @type
