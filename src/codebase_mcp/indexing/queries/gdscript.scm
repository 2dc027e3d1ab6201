(class_name_statement name: (_) @name) @class
(class_definition name: (_) @name) @class
(function_definition name: (_) @name) @function
(constructor_definition "_init" @name) @constructor
(enum_definition name: (_) @name) @enum
(signal_statement name: (_) @name) @type
(source (const_statement name: (_) @name) @constant)
(source (variable_statement name: (_) @name) @variable)
