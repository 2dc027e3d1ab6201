(function_definition name: (symbol) @name) @function
(macro_definition name: (symbol) @name) @macro
(special_form ["defvar" "defconst"] . (symbol) @name) @variable
(source_file (list . (symbol) @_keyword . (symbol) @name
  (#any-of? @_keyword "defcustom" "defgroup" "defface" "defvar-local")) @variable)
(source_file (list . (symbol) @_keyword . [(symbol) @name (list . (symbol) @name)]
  (#any-of? @_keyword "cl-defstruct" "defclass")) @class)
(source_file (list . (symbol) @_keyword . (symbol) @name
  (#any-of? @_keyword "cl-defun" "cl-defmethod" "cl-defgeneric" "define-minor-mode" "define-derived-mode"
    "define-globalized-minor-mode" "ert-deftest")) @function)
(source_file (list . (symbol) @_keyword . (symbol) @name (#eq? @_keyword "cl-defmacro")) @macro)
