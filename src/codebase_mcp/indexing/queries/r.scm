(binary_operator lhs: (identifier) @name operator: ["<-" "=" "<<-"] rhs: (function_definition)) @function
(program (binary_operator lhs: (identifier) @name operator: ["<-" "=" "<<-"]) @variable)
(call function: (identifier) @_new
  arguments: (arguments . argument: (argument value: (string content: (string_content) @name)))
  (#any-of? @_new "setClass" "setRefClass" "R6Class")) @class
(call function: (identifier) @_new
  arguments: (arguments . argument: (argument value: (string content: (string_content) @name)))
  (#any-of? @_new "setGeneric" "setMethod")) @function
