(class_definition name: (_) @name) @class
(trait_definition name: (_) @name) @trait
(object_definition name: (_) @name) @class
(package_object name: (_) @name) @module
(enum_definition name: (_) @name) @enum
(type_definition name: (_) @name) @type
(function_definition name: (_) @name) @function
(function_declaration name: (_) @name) @function.declaration
(given_definition name: (_) @name) @variable
(compilation_unit (val_definition pattern: (identifier) @name) @variable)
(compilation_unit (var_definition pattern: (identifier) @name) @variable)
(package_object body: (template_body (val_definition pattern: (identifier) @name) @variable))
