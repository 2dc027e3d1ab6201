(list . (symbol) @_keyword . (list . (symbol) @name)
  (#any-of? @_keyword "define" "define*" "define-public" "define-syntax-rule")) @function
(program (list . (symbol) @_keyword . (symbol) @name . (list . (symbol) @_lambda)
  (#any-of? @_keyword "define" "define-public") (#any-of? @_lambda "lambda" "case-lambda")) @function)
(list . (symbol) @_keyword . (symbol) @name (#any-of? @_keyword "define-syntax")) @macro
(list . (symbol) @_keyword . (symbol) @name (#any-of? @_keyword "define-record-type" "define-class")) @class
(program (list . (symbol) @_keyword . (symbol) @name (#any-of? @_keyword "define" "define-public")) @variable)
