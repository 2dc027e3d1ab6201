(class_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(trait_declaration name: (_) @name) @trait
(enum_declaration name: (_) @name) @enum
(function_definition name: (_) @name) @function
(method_declaration name: (_) @name body: (_)) @method
(method_declaration name: (_) @name !body) @method.declaration
(namespace_definition name: (_) @name body: (_)) @namespace
(program (const_declaration (const_element (name) @name) @constant))
(class_declaration body: (declaration_list (const_declaration (const_element (name) @name) @constant)))
