(extra_defs "defmacro" name: (_) @name) @macro
(extra_defs name: (_) @name) @function
(source_file (def name: (_) @name) @variable)
