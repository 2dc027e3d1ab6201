(fn_define (function_header name: (_) @name)) @function
(declare (function_header name: (_) @name)) @function.declaration
