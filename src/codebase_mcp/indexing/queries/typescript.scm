(abstract_class_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(type_alias_declaration name: (_) @name) @type
(enum_declaration name: (_) @name) @enum
(internal_module name: (_) @name) @namespace
(module name: (_) @name) @namespace
(function_signature name: (_) @name) @function.declaration
(method_signature name: (_) @name) @method.declaration
(abstract_method_signature name: (_) @name) @method.declaration
(ambient_declaration (lexical_declaration (variable_declarator name: (identifier) @name) @variable.declaration))
(ambient_declaration (variable_declaration (variable_declarator name: (identifier) @name) @variable.declaration))
(ambient_declaration [(class_declaration name: (_) @name) (abstract_class_declaration name: (_) @name)] @class.declaration)
