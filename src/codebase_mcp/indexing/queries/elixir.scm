(call target: (identifier) @_keyword (arguments . (alias) @name) (#eq? @_keyword "defmodule")) @module
(call target: (identifier) @_keyword (arguments . (alias) @name) (#eq? @_keyword "defprotocol")) @interface
(call target: (identifier) @_keyword (arguments . (alias) @name) (#eq? @_keyword "defimpl")) @extension
(call target: (identifier) @_keyword
  (arguments . [
    (identifier) @name
    (call target: (identifier) @name)
    (binary_operator left: [(identifier) @name (call target: (identifier) @name)])])
  (#any-of? @_keyword "def" "defp" "defdelegate" "defguard" "defguardp" "defn")) @function
(call target: (identifier) @_keyword
  (arguments . [
    (identifier) @name
    (call target: (identifier) @name)
    (binary_operator left: [(identifier) @name (call target: (identifier) @name)])])
  (#any-of? @_keyword "defmacro" "defmacrop")) @macro
(unary_operator operand: (call target: (identifier) @_keyword
    (arguments . (binary_operator left: [(identifier) @name (call target: (identifier) @name)])))
  (#any-of? @_keyword "type" "typep" "opaque")) @type
(unary_operator operand: (call target: (identifier) @_keyword
    (arguments . (binary_operator left: [(identifier) @name (call target: (identifier) @name)])))
  (#any-of? @_keyword "callback" "macrocallback")) @function.declaration
