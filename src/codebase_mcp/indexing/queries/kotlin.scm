(class_declaration "interface" (type_identifier) @name) @interface
(class_declaration "enum" (type_identifier) @name) @enum
(class_declaration (type_identifier) @name) @class
(object_declaration (type_identifier) @name) @class
(companion_object (type_identifier) @name) @class
(secondary_constructor "constructor" @name) @constructor
(function_declaration (simple_identifier) @name (function_body)) @function
(function_declaration (simple_identifier) @name) @function.declaration
(type_alias (type_identifier) @name) @type
(source_file (property_declaration (variable_declaration (simple_identifier) @name)) @variable)
