(function_definition declarator: (_) @name) @function
(declaration declarator: [
  (function_declarator)
  (pointer_declarator (function_declarator))
  (pointer_declarator (pointer_declarator (function_declarator)))] @name) @function.declaration
(struct_specifier name: (_) @name body: (_)) @struct
(union_specifier name: (_) @name body: (_)) @struct
(enum_specifier name: (_) @name body: (_)) @enum
(type_definition declarator: (_) @name) @type
(preproc_def name: (_) @name value: (_)) @constant
(preproc_function_def name: (_) @name) @macro
(translation_unit (declaration declarator: (init_declarator declarator: (_) @name)) @variable)
(translation_unit (declaration declarator: [(identifier) (array_declarator) (pointer_declarator (identifier))] @name) @variable)
