(module_binding (module_name) @name) @module
(module_type_definition (module_type_name) @name) @interface
(type_binding name: (_) @name) @type
(class_type_binding (class_type_name) @name) @class.declaration
(exception_definition (constructor_declaration (constructor_name) @name)) @type
(value_specification (value_name) @name) @function.declaration
(external (value_name) @name) @function.declaration
