(class_specifier name: (_) @name body: (_)) @class
(namespace_definition name: (_) @name) @namespace
(field_declaration_list (field_declaration declarator: [
  (function_declarator)
  (pointer_declarator (function_declarator))
  (reference_declarator (function_declarator))] @name) @method.declaration)
(field_declaration_list (declaration declarator: (function_declarator) @name) @method.declaration)
(declaration declarator: (reference_declarator (function_declarator)) @name) @function.declaration
(alias_declaration name: (_) @name) @type
(concept_definition name: (_) @name) @type
