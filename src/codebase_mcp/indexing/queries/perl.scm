(package_statement name: (_) @name) @module
(class_statement name: (_) @name) @class
(subroutine_declaration_statement name: (_) @name) @function
(method_declaration_statement name: (_) @name) @method
(source_file (expression_statement (assignment_expression
  left: (variable_declaration "our" variable: (_ (varname) @name))) @variable))
