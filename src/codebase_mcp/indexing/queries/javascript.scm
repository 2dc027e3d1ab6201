(class_declaration name: (_) @name) @class
(variable_declarator name: (identifier) @name value: (class)) @class
(function_declaration name: (_) @name) @function
(generator_function_declaration name: (_) @name) @function
(method_definition name: (_) @name) @method

; Functions that are values are called what they are assigned to.
(variable_declarator name: (identifier) @name value: [(arrow_function) (function_expression) (generator_function)]) @function
(assignment_expression
  left: [(identifier) (member_expression)] @name
  right: [(arrow_function) (function_expression) (generator_function)]) @function
(assignment_expression left: [(identifier) (member_expression)] @name right: (class)) @class
(pair key: [(property_identifier) (string)] @name value: [(arrow_function) (function_expression) (generator_function)]) @method
(_ [(property_identifier) (private_property_identifier)] @name . "=" . value: [(arrow_function) (function_expression)]) @method

(program (_ (variable_declarator name: (identifier) @name value: [
    (call_expression function: (identifier) @_require)
    (member_expression object: (call_expression function: (identifier) @_require))
    (call_expression function: (call_expression function: (identifier) @_require))]) @import)
  (#eq? @_require "require"))
(program (lexical_declaration (variable_declarator name: (identifier) @name) @variable))
(program (variable_declaration (variable_declarator name: (identifier) @name) @variable))
(program (export_statement (lexical_declaration (variable_declarator name: (identifier) @name) @variable)))
(program (expression_statement (assignment_expression
  left: (member_expression object: (_) @_exports property: (property_identifier)) @name) @variable)
  (#any-of? @_exports "exports" "module.exports"))
