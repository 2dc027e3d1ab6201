(command (unit (identifier) @_keyword) . (block . (unit (identifier) @name))
  (#any-of? @_keyword "class" "interface" "trait" "enum")) @class
(command . (unit (identifier)) . (block . (unit (func (identifier) @name)))) @function
