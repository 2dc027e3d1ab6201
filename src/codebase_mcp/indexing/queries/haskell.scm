(header module: (module) @name) @module
(data_type name: (_) @name) @type
(newtype name: (_) @name) @type
(type_synomym name: (_) @name) @type
(type_family name: (_) @name) @type
(class name: (_) @name) @class
(class_declarations (signature name: (variable) @name) @method.declaration)
(instance name: (_) @name) @scope
(declarations (function name: (_) @name) @function)
(declarations (bind name: (_) @name) @function)
(class_declarations [(function name: (_) @name) (bind name: (_) @name)] @function)
(instance_declarations [(function name: (_) @name) (bind name: (_) @name)] @function)
(pattern_synonym (signature synonym: (_) @name)) @function.declaration
