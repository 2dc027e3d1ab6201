(class_declaration declaration_kind: ["class" "actor"] name: (type_identifier) @name) @class
(class_declaration declaration_kind: "struct" name: (type_identifier) @name) @struct
(class_declaration declaration_kind: "enum" name: (type_identifier) @name) @enum
(class_declaration declaration_kind: "extension" name: (_) @name) @extension
(protocol_declaration name: (type_identifier) @name) @interface
(protocol_function_declaration name: (simple_identifier) @name) @method.declaration
(init_declaration "init" @name) @constructor
(function_declaration name: (simple_identifier) @name) @function
(macro_declaration (simple_identifier) @name) @macro
(typealias_declaration name: (type_identifier) @name) @type
(source_file (property_declaration name: (pattern bound_identifier: (simple_identifier) @name)) @variable)
