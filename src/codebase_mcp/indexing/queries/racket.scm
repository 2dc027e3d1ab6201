(list . (symbol) @_keyword . (list . (symbol) @name)
  (#any-of? @_keyword "define" "define/contract" "define-syntax" "define-syntax-rule" "define/public" "define/override")) @function
(list . (symbol) @_keyword . (symbol) @name
  (#any-of? @_keyword "struct" "define-struct")) @struct
(list . (symbol) @_keyword . (symbol) @name (#any-of? @_keyword "define-syntax")) @macro
(program (list . (symbol) @_keyword . (symbol) @name (#any-of? @_keyword "define" "define/contract")) @variable)
