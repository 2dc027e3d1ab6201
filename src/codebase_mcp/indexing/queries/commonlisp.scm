(list_lit (defun (defun_header keyword: (defun_keyword "defmacro") function_name: (_) @name))) @macro
(list_lit (defun (defun_header function_name: (_) @name))) @function
(list_lit . value: (sym_lit) @_keyword . value: [(sym_lit) @name (list_lit . value: (sym_lit) @name)]
  (#any-of? @_keyword "defclass" "defstruct" "define-condition")) @class
(list_lit . value: (sym_lit) @_keyword . value: (sym_lit) @name
  (#any-of? @_keyword "defvar" "defparameter" "defconstant")) @variable
(list_lit . value: (sym_lit) @_keyword . value: [(sym_lit) (kwd_lit)] @name (#eq? @_keyword "defpackage")) @namespace
