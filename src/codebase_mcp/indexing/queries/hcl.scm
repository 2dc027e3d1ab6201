(block . (identifier) @_kind . (string_lit) @name . (block_start)
  (#any-of? @_kind "variable" "output")) @variable
(block . (identifier) @_kind . (string_lit) @name . (string_lit)? @name) @class
(config_file (body (block . (identifier) @name . (block_start)) @class))
