(class name: (_) @name) @class
(module name: (_) @name) @module
(method name: (_) @name) @function
(singleton_method name: (_) @name) @method
(program (assignment left: (constant) @name) @constant)
(class body: (body_statement (assignment left: (constant) @name) @constant))
(module body: (body_statement (assignment left: (constant) @name) @constant))
(assignment left: (constant) @name right: (call receiver: (constant) @_type method: (identifier) @_new block: (_))
  (#any-of? @_type "Struct" "Class" "Data") (#any-of? @_new "new" "define")) @class
