(list_lit . value: (sym_lit) @_keyword . value: (sym_lit name: (sym_name) @name)
  (#any-of? @_keyword "defn" "defn-" "defmulti" "defmethod" "deftest" "defspec")) @function
(list_lit . value: (sym_lit) @_keyword . value: (sym_lit name: (sym_name) @name) (#eq? @_keyword "defmacro")) @macro
(list_lit . value: (sym_lit) @_keyword . value: (sym_lit name: (sym_name) @name)
  (#any-of? @_keyword "defprotocol" "definterface")) @interface
(list_lit . value: (sym_lit) @_keyword . value: (sym_lit name: (sym_name) @name)
  (#any-of? @_keyword "defrecord" "deftype")) @class
(list_lit . value: (sym_lit) @_keyword . value: (sym_lit name: (sym_name) @name)
  (#any-of? @_keyword "def" "defonce")) @variable
(list_lit . value: (sym_lit) @_keyword . value: (sym_lit name: (sym_name) @name) (#eq? @_keyword "ns")) @namespace
