(rule (targets (word) @name) (#not-match? @name "^\\.[A-Z]")) @function
(define_directive name: (word) @name) @macro
(makefile (variable_assignment name: (word) @name) @variable)
