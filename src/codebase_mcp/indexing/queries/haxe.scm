(class_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(typedef_declaration name: (_) @name) @type
(function_declaration "new" @name) @constructor
(function_declaration name: (_) @name body: (_)) @function
(function_declaration name: (_) @name) @function.declaration
