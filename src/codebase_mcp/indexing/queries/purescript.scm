(data name: (_) @name) @type
(newtype name: (_) @name) @type
(type_alias name: (_) @name) @type
(class_declaration (class_head (class_name) @name)) @class
(class_body (signature name: (_) @name) @method.declaration)
(class_instance (instance_name) @name) @scope
(purescript (function name: (_) @name) @function)
(class_instance (function name: (_) @name) @function)
(foreign_import name: (_) @name) @function.declaration
