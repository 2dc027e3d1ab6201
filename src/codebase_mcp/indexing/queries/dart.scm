(class_definition name: (identifier) @name) @class
(mixin_declaration (identifier) @name) @trait
(extension_declaration name: (identifier) @name) @extension
(enum_declaration name: (identifier) @name) @enum
(type_alias . (type_identifier) @name) @type
((method_signature [
    (function_signature name: (identifier) @name)
    (getter_signature name: (identifier) @name)
    (setter_signature name: (identifier) @name)]) @method . (function_body) @body)
((method_signature (constructor_signature name: (identifier) @name)) @constructor . (function_body) @body)
((method_signature (factory_constructor_signature (identifier) @name)) @constructor . (function_body) @body)
(declaration (constructor_signature name: (identifier) @name)) @constructor
(declaration [
    (function_signature name: (identifier) @name)
    (getter_signature name: (identifier) @name)]) @method.declaration
((function_signature name: (identifier) @name) @function . (function_body) @body)
(program (static_final_declaration_list (static_final_declaration (identifier) @name) @constant))
(program (initialized_identifier_list (initialized_identifier (identifier) @name) @variable))
